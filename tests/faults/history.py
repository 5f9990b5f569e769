"""What happened, a JSON line each: what clients asked for and were told, what the model said, which faults there were.

A request is an ``invoke``, followed by ``ok``, by ``fail`` (nothing was done) or by ``info`` (nobody knows). Everything
else is ``info``. Times are monotonic seconds since the history began.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

INVOKE, OK, FAIL, INFO = "invoke", "ok", "fail", "info"


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``who`` is a device, a socket, a replica or the model; ``id`` a message's."""

    at: float
    kind: str
    what: str
    who: str = ""
    user: str = ""
    session: str = ""
    id: str = ""
    seq: int | None = None
    prev: int | None = None
    text: str = ""
    more: dict[str, str] = {}


class History:
    """Written as it happens: a run that breaks off leaves what it saw."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun = time.monotonic()
        self._encode = msgspec.json.Encoder().encode

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def now(self) -> float:
        return round(time.monotonic() - self._begun, 6)

    def note(self, kind: str, what: str, **fields: object) -> None:
        record = Record(at=self.now, kind=kind, what=what, **fields)
        self._file.write(self._encode(record) + b"\n")

    def info(self, what: str, **fields: object) -> None:
        self.note(INFO, what, **fields)


def read(path: Path) -> Iterator[Record]:
    """The records; a last line that was cut off is left out."""
    decode = msgspec.json.Decoder(Record).decode
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield decode(line)
