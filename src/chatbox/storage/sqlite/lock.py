"""Exclusive use of a database file by one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from chatbox.errors import StorageLocked


class FileLock:
    """The kernel's lock on ``<path>.lock``, taken at once or not at all.

    It ends with the process, however that ends, so nothing is left behind that could stop a restart. It is not on the
    database itself: closing any descriptor of that would drop SQLite's own locks.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise StorageLocked(f"{path} is in use by another process; stop that one first") from None

    def release(self) -> None:
        os.close(self._fd)
