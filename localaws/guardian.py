"""Ends the function processes of a server that has died without ending them itself.

The server holds the only writing end of this process's standard input and writes there each process group that it
starts ("+ID") and that has ended ("-ID"). End of file means that the server is gone, however it went.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path

from localaws.processes import kill_group, start_time


class Guardian:
    """The server's end of the pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "localaws.guardian"],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Ends the guardian, and with it whatever it still watches."""
        with self._lock:
            self._process.communicate()

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watched: dict[int, str | None] = {}
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            watched[group] = start_time(group)
        else:
            watched.pop(group, None)
    for group, started in watched.items():
        # Its id may belong to another process by now.
        if started is not None and start_time(group) == started:
            kill_group(group)


if __name__ == "__main__":
    main()
