"""Canned replies: texts that staff keep to say again. All staff share them."""

from __future__ import annotations

import msgspec

from chatbox.errors import Conflict, NotFound
from chatbox.session import Principal, now_ms
from chatbox.storage.records import Record, Records

KIND = "canned"
MOST = 500
"""Canned replies that there may be."""


class CannedReply(msgspec.Struct, frozen=True, kw_only=True):
    """``at`` (Unix ms) is when it was written last, ``by`` the id of who did."""

    id: str
    title: str
    text: str
    at: int
    by: str


class CannedReplies:
    """Raises ``StorageError`` everywhere."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def everything(self) -> list[CannedReply]:
        """All of them, by title."""
        found = [_reply(record) for record in await self._records.find(KIND, limit=MOST)]
        return sorted(found, key=lambda reply: (reply.title.casefold(), reply.id))

    async def put(self, who: Principal, reply_id: str, title: str, text: str) -> CannedReply:
        """Write a reply, in the place of the one with this id. Raises ``Conflict`` when there are too many."""
        while True:
            old = await self._records.get(KIND, reply_id)
            data = {"title": title, "text": text}
            record = Record(
                kind=KIND, id=reply_id, key=who.user_id, at=now_ms(), version=old.version if old else 0, data=data
            )
            if old is None and len(await self._records.find(KIND, limit=MOST)) >= MOST:
                raise Conflict(f"There are {MOST} canned replies already. Remove one first.")
            if await (self._records.replace(record) if old else self._records.add(record)):
                return _reply(record)

    async def remove(self, reply_id: str) -> None:
        """Raises ``NotFound``."""
        if not await self._records.remove(KIND, reply_id):
            raise NotFound("The canned reply does not exist.")


def _reply(record: Record) -> CannedReply:
    return msgspec.convert({**record.data, "id": record.id, "at": record.at, "by": record.key}, CannedReply)
