"""A store around another one, which tells what it has stored."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from chatbox.session import Change, Entry, Session
from chatbox.storage.base import Appended, Partial, SessionQuery, Storage
from chatbox.storage.overview import Overview
from chatbox.storage.records import Records


class Deleted(msgspec.Struct, frozen=True):
    """A session is gone."""

    session_id: str


Follower = Callable[[Appended | Deleted], None]


class TellingStorage(Storage):
    """Opens and closes ``inner``. Followers hear of each change once it is durable, in this process only; they must
    neither wait nor raise. A repeated append is told again: what it found stored may never have been told."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        """Tell this one too, from now on."""
        self._followers.append(follower)

    async def create(self, session: Session) -> Session:
        return await self._inner.create(session)

    async def get(self, session_id: str) -> Session | None:
        return await self._inner.get(session_id)

    async def find(self, query: SessionQuery) -> list[Session]:
        return await self._inner.find(query)

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        stored = await self._inner.append(entry, change, fence=fence)
        self._tell(stored)
        return stored

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        return await self._inner.read(session_id, after=after, before=before, limit=limit)

    async def keep(self, partial: Partial) -> None:
        await self._inner.keep(partial)

    async def partial(self, session_id: str) -> Partial | None:
        return await self._inner.partial(session_id)

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        deleted = await self._inner.delete(session_id, last_index=last_index)
        if deleted:
            self._tell(Deleted(session_id))
        return deleted

    async def usage(self, user_id: str, day: str) -> int:
        return await self._inner.usage(user_id, day)

    async def check(self) -> None:
        await self._inner.check()

    @property
    def records(self) -> Records:
        return self._inner.records

    @property
    def overview(self) -> Overview:
        return self._inner.overview

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    def _tell(self, news: Appended | Deleted) -> None:
        for follower in self._followers:
            follower(news)
