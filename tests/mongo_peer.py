"""A MongoDB peer of one's own for tests: ``secantusd-py``, a server that speaks MongoDB's wire protocol and keeps what
it has acknowledged."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient

LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


class MongoPeer:
    """A server process, kept at one port over restarts; what it holds stays until the end of the block.

    ``durable``: everything is flushed before it is acknowledged, which takes its time.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="mongo-peer-"))
        self._durable = durable
        self._log = self.folder / "log.txt"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def start(self, patience: float = 60.0) -> None:
        """Returns when it listens."""
        with self._log.open("wb") as sink:
            self.process = subprocess.Popen(self._command(), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + patience
        while not (told := LISTENING.search(self._log.read_text(errors="replace"))):
            assert self.process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < deadline, "the peer does not listen"
            time.sleep(0.02)
        self.port = int(told[1])

    def kill(self) -> None:
        """As a crash would end it."""
        if self.process:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def failing(self, *commands: str, times: int | None = None, **failure: Any) -> Iterator[None]:
        """These commands fail, for ever or so many times: ``errorCode``, ``closeConnection``, ``writeConcernError``."""
        mode: object = "alwaysOn" if times is None else {"times": times}
        with MongoClient(self.url) as client:
            data = {"failCommands": list(commands), **failure}
            client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
            try:
                yield
            finally:
                client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})

    def _command(self) -> list[str]:
        program = shutil.which("secantusd-py", path=str(Path(sys.executable).parent))
        assert program, "SecantusDB is not installed: make install installs what tests need"
        options = ["--port", str(self.port), "--storage-path", str(self.data), "--enable-test-commands"]
        return [program, *options, *(["--sync-on-commit"] if self._durable else [])]
