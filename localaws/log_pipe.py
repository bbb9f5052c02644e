"""What a function process prints, as lines that can be collected at the end of each invocation."""

import os
import select
import threading


class LogPipe:
    """Reads one pipe; the process writes to ``writer``, a file descriptor that it inherits.

    When its starter has called ``close_writer`` and the process and its children have ended, the pipe is closed.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._lock = threading.Lock()
        self._text = bytearray()
        self._open = True
        threading.Thread(target=self._follow, daemon=True, name="function-log").start()

    def close_writer(self) -> None:
        """Leaves writing to the process that inherited ``writer``. May be called again."""
        with self._lock:
            if self.writer >= 0:
                os.close(self.writer)
                self.writer = -1

    def take(self) -> list[str]:
        """The lines written so far, once: what was written before this call is in it."""
        with self._lock:
            self._drain()
            text = self._text.decode("utf-8", "replace")
            self._text.clear()
        return text.splitlines()

    def _follow(self) -> None:
        """Keeps the pipe from filling up, which would block the process."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while self._open:
            poll.poll()
            with self._lock:
                self._drain()
        with self._lock:
            os.close(self._reader)

    def _drain(self) -> None:
        if not self._open:
            return
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while poll.poll(0):
            chunk = os.read(self._reader, 65_536)
            if not chunk:
                self._open = False
                return
            self._text += chunk
