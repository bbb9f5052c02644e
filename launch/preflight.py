"""What `funcpipe doctor` looks at before a deployment, as data: how each thing is, what was found, what to do."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """``skipped``: it could not, or need not, be looked at; nothing is said about it."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """``remedy`` is the next step; always there when the check failed."""

    name: str
    status: Status
    found: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return {**asdict(self), "status": self.status.value}


def passed(name: str, found: str) -> Check:
    return Check(name, Status.OK, found)


def failed(name: str, found: str, remedy: str) -> Check:
    return Check(name, Status.FAILED, found, remedy)


def skipped(name: str, found: str, remedy: str | None = None) -> Check:
    return Check(name, Status.SKIPPED, found, remedy)
