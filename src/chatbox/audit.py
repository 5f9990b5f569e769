"""What staff did, kept for those who have to know: who, when, what, in which session, to whom.

An entry is durable before the thing is done, so that nothing is done without one; what was then refused says so. It
holds no word of a conversation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog

from chatbox.errors import Code, Refusal, StorageError
from chatbox.session import Principal, new_id, now_ms
from chatbox.storage.records import Record, Records

log = structlog.get_logger(component="audit")

KIND = "audit"
PAGE = 500


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. ``at`` is Unix ms; ``actor_id`` who did it, under these ``roles``; ``refused`` the code with which it
    was refused or failed, "" when it was done."""

    id: str
    at: int
    actor_id: str
    actor_name: str = ""
    roles: list[str] = []
    action: str = ""
    session_id: str = ""
    user_id: str = ""
    detail: dict[str, str] = {}
    refused: str = ""


class Audit:
    """The log of staff's actions. Nothing takes an entry out of it."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def note(
        self, who: Principal, action: str, *, session_id: str = "", user_id: str = "", **detail: str
    ) -> None:
        """Add an entry; durable on return. Call it before the thing is done. Raises ``StorageError``."""
        await self._records.add(_record(who, action, session_id, user_id, detail))

    @asynccontextmanager
    async def doing(
        self, who: Principal, action: str, *, session_id: str = "", user_id: str = "", **detail: str
    ) -> AsyncIterator[None]:
        """Add an entry, then do the thing inside; if that is refused or fails, the entry says so."""
        record = _record(who, action, session_id, user_id, detail)
        await self._records.add(record)
        try:
            yield
        except (Refusal, StorageError) as error:
            await self._mark(record, error.code if isinstance(error, Refusal) else Code.DATABASE_ERROR)
            raise

    async def _mark(self, record: Record, code: Code) -> None:
        try:
            await self._records.replace(msgspec.structs.replace(record, data={**record.data, "refused": code}))
        except StorageError as error:
            log.warning("the audit log does not say that it was refused", act=record.id, error=str(error))

    async def page(
        self,
        *,
        actor_id: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Act]:
        """Entries, newest first; ``since`` (ms) leaves out older ones, ``before`` = (at, id) continues a page."""
        found = await self._records.find(KIND, key=actor_id, since=since, before=before, limit=limit)
        return [_act(record) for record in found]

    async def everything(self, since: int | None = None) -> AsyncIterator[Act]:
        """All entries, newest first. Those that are added meanwhile are not among them."""
        before: tuple[int, str] | None = None
        while acts := await self.page(since=since, before=before, limit=PAGE):
            for act in acts:
                yield act
            before = acts[-1].at, acts[-1].id


def _record(who: Principal, action: str, session_id: str, user_id: str, detail: dict[str, str]) -> Record:
    data = {
        "actor_name": who.name,
        "roles": sorted(who.roles),
        "action": action,
        "session_id": session_id,
        "user_id": user_id,
        "detail": detail,
    }
    return Record(kind=KIND, id=new_id(), key=who.user_id, at=now_ms(), data=data)


def _act(record: Record) -> Act:
    return msgspec.convert({**record.data, "id": record.id, "at": record.at, "actor_id": record.key}, Act)
