"""Text of the Python standard library's own sources, read from the running interpreter: nothing is downloaded.

The same Python release gives the same text; another release gives another, which shows as another data digest in the
manifest, so every worker's data come from the machine that planned.
"""

import sysconfig
from pathlib import Path

import numpy as np

SYMBOLS = 128
"""ASCII; the few other characters of the sources become ``OTHER``."""
OTHER = ord("?")


def standard_library_text(characters: int) -> np.ndarray:
    """The first ``characters`` characters of the top-level modules, joined in the order of their names, as codes.

    Raises:
        FileNotFoundError: this Python has no sources to read, or fewer than asked for.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    parts, missing = [], characters
    for file in sorted(folder.glob("*.py"), key=lambda path: path.name):
        if missing <= 0:
            break
        text = file.read_text(encoding="utf-8")[:missing]
        parts.append(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"))
        missing -= len(text)
    if missing > 0:
        raise FileNotFoundError(
            f"{folder} has {characters - missing} characters of module sources, {characters} are wanted. "
            "Ask for fewer characters, or use a Python that ships its sources."
        )
    codes = np.concatenate(parts)
    return np.where(codes < SYMBOLS, codes, OTHER).astype(np.int64)


def standard_library(
    context: int = 64, characters: int = 1_000_000, test_fraction: float = 0.05
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Next-character prediction on windows that do not overlap; the end of the text is held out.

    Args:
        context: characters of a sample.
        characters: of the text that is used.
        test_fraction: share of the windows that is held out; they come after all training windows.

    Returns:
        ``{"train": (inputs, targets), "test": (inputs, targets)}``: all int64 [samples, context], codes below 128;
        a target is the character after its input.
    """
    text = standard_library_text(characters)
    samples = (len(text) - 1) // context
    inputs = text[: samples * context].reshape(samples, context)
    targets = text[1 : samples * context + 1].reshape(samples, context)
    train = samples - int(samples * test_fraction)
    return {"train": (inputs[:train], targets[:train]), "test": (inputs[train:], targets[train:])}
