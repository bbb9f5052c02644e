"""The one MiniStack version that the adapters fit: they replace functions of its modules that it promises nobody."""

from importlib.metadata import version

ADAPTED = "1.5.33"


def require_adapted_version() -> None:
    """Raises RuntimeError when another MiniStack is installed."""
    found = version("ministack")
    if found != ADAPTED:
        raise RuntimeError(
            f"the adapters of localaws fit MiniStack {ADAPTED}, this environment has {found}. "
            "Make .venv-emulator again with `make setup`, or adapt localaws/ministack_*.py to the new version."
        )
