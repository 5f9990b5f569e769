"""The contract of records: what a store keeps beside the conversations, for whoever needs it durable and shared.

Audit entries, canned replies, alerts that wait to be sent: each is a ``Record``, found by its kind and id.

- **Commit before return**, as for entries: what ``add``, ``replace`` and ``remove`` have said is durable.
- **Unique.** (kind, id) exists once: of two that ``add`` it at once, one gets True. So an id that follows from what
  happened makes a record at most once.
- **Versions.** ``replace`` takes effect only on the version that was read, and raises it: of two at once one gets True.
  Work is claimed so by one of many processes: who replaces ``due`` by a later time has it until then.
- **Missing things.** ``get`` gives None; ``replace`` and ``remove`` give False.
- **What comes back** is what JSON makes of ``data``: tuples come as lists. It is the caller's own copy.
- **Failure, cancellation.** As in ``storage.base``: a call that failed as ``StorageBusy``, or was cancelled, may have
  happened; ``get`` finds out.
- **Lists** may for a moment lag behind what other processes write; ``get`` doesn't.

``MemoryRecords`` in ``storage.memory`` is the specification; one suite of tests runs over all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from chatbox.errors import StorageCorrupt


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is unique within its kind; neither is empty. ``key`` is what it is looked up by: a user id, a state.

    ``at`` and ``due`` are Unix ms: lists are newest first by ``at``; ``due`` is when something has to be done with it,
    None: nothing. ``version`` is raised by every replacement. ``data`` holds JSON values; the encrypting store seals it
    as a whole, and leaves the other fields open.
    """

    kind: str
    id: str
    key: str = ""
    at: int = 0
    due: int | None = None
    version: int = 0
    data: dict[str, Any] = {}

    @property
    def place(self) -> tuple[str, str]:
        return self.kind, self.id


class Records(ABC):
    """See the module's text for the guarantees. Can be called while its store is open."""

    @abstractmethod
    async def add(self, record: Record) -> bool:
        """Store a record as it is; False, and nothing changes, when its kind and id are there already."""

    @abstractmethod
    async def get(self, kind: str, record_id: str) -> Record | None:
        """The record as it was stored last."""

    @abstractmethod
    async def replace(self, record: Record) -> bool:
        """Store all of a record, with ``version`` + 1, if what is stored has its version; False when it has not, or
        there is none."""

    @abstractmethod
    async def remove(self, kind: str, record_id: str) -> bool:
        """Remove a record for good. False when there is none (or when an earlier try, whose answer got lost, took it
        away)."""

    @abstractmethod
    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        """Records of a kind, newest first by (at, id). ``since``: ``at`` is that or later. ``before`` = (at, id)
        continues a page."""

    @abstractmethod
    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        """Records whose ``due`` is ``now`` or earlier, the oldest due first (ties by id)."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def data_text(data: dict[str, Any]) -> str:
    """A record's data as it is stored."""
    return _encode(data).decode() if data else "{}"


def data_from(text: str) -> dict[str, Any]:
    """The data of a stored text. Raises ``StorageCorrupt``."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, TypeError) as error:
        raise StorageCorrupt("the data of a stored record can't be read") from error
