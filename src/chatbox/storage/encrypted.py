"""A store over another one, in which names and contents are sealed (see ``seals`` for which, and what binds them)."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from msgspec.structs import replace

from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring
from chatbox.session import Change, Entry, Session, Takeover
from chatbox.storage.base import Appended, CellStorage, Partial, SessionQuery, Storage
from chatbox.storage.overview import Bucket, Figures, Overview, StaffQuery
from chatbox.storage.records import Record, Records
from chatbox.storage.seals import Seals


class EncryptedStorage(Storage):
    """Opens and closes ``inner``. Refuses to open, with ``StorageCorrupt``, a store that these keys can't read."""

    def __init__(self, inner: CellStorage, keyring: Keyring) -> None:
        self._inner = inner
        self._seals = Seals(keyring)
        self._records = EncryptedRecords(inner.records, self._seals)
        self._overview = EncryptedOverview(inner.overview, self._seals)

    async def create(self, session: Session) -> Session:
        return self._seals.opened_session(await self._inner.create(self._seals.session(session)))

    async def get(self, session_id: str) -> Session | None:
        session = await self._inner.get(session_id)
        return session and self._seals.opened_session(session)

    async def find(self, query: SessionQuery) -> list[Session]:
        if query.share_token is not None:
            hashes = self._seals.keyring.hashes(query.share_token)
            query = replace(query, share_token=None, share_hashes=hashes)
        return [self._seals.opened_session(session) for session in await self._inner.find(query)]

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        sealed = change and self._seals.change(entry.session_id, change)
        appended = await self._inner.append(self._seals.entry(entry), sealed, fence=fence)
        if appended.fresh:
            stored = replace(entry, index=appended.entry.index)
        else:
            stored = self._seals.opened_entry(appended.entry)
        return replace(appended, entry=stored, session=self._seals.opened_session(appended.session))

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        entries = await self._inner.read(session_id, after=after, before=before, limit=limit)
        return [self._seals.opened_entry(entry) for entry in entries]

    async def keep(self, partial: Partial) -> None:
        await self._inner.keep(self._seals.partial(partial))

    async def partial(self, session_id: str) -> Partial | None:
        partial = await self._inner.partial(session_id)
        return partial and self._seals.opened_partial(partial)

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        return await self._inner.delete(session_id, last_index=last_index)

    async def usage(self, user_id: str, day: str) -> int:
        return await self._inner.usage(user_id, day)

    @property
    def records(self) -> EncryptedRecords:
        return self._records

    @property
    def overview(self) -> EncryptedOverview:
        return self._overview

    async def check(self) -> None:
        await self._inner.check()
        await self._check_keys()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        try:
            await self._check_keys()
        except BaseException:
            await self._inner.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def _check_keys(self) -> None:
        checks = await self._inner.key_checks()
        if not checks and await self._holds_something():
            checks = await self._inner.key_checks()  # another process may have begun with this store meanwhile
            if not checks:
                raise StorageCorrupt("the store holds conversations or records that were written without encryption")
        for key_id, key_check in checks.items():
            self._seals.verify(key_id, key_check)
        if self._seals.keyring.current not in checks:
            await self._inner.replace_key_checks(checks | self._seals.key_check())

    async def _holds_something(self) -> bool:
        sessions = await self._inner.find(SessionQuery(empty=None, limit=1))
        return bool(sessions or await self._inner.recorded(("", ""), 1))


class EncryptedRecords(Records):
    """Records over others, in which the data are sealed."""

    def __init__(self, inner: Records, seals: Seals) -> None:
        self._inner = inner
        self._seals = seals

    async def add(self, record: Record) -> bool:
        return await self._inner.add(self._seals.record(record))

    async def get(self, kind: str, record_id: str) -> Record | None:
        record = await self._inner.get(kind, record_id)
        return record and self._seals.opened_record(record)

    async def replace(self, record: Record) -> bool:
        return await self._inner.replace(self._seals.record(record))

    async def remove(self, kind: str, record_id: str) -> bool:
        return await self._inner.remove(kind, record_id)

    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        found = await self._inner.find(kind, key=key, since=since, before=before, limit=limit)
        return [self._seals.opened_record(record) for record in found]

    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        return [self._seals.opened_record(record) for record in await self._inner.due(kind, now, limit)]


class EncryptedOverview(Overview):
    """The overview of another store, with the texts of its sessions opened: nothing is searched or sorted by them."""

    def __init__(self, inner: Overview, seals: Seals) -> None:
        self._inner = inner
        self._seals = seals

    async def sessions(self, query: StaffQuery, now: int) -> list[Session]:
        return [self._seals.opened_session(session) for session in await self._inner.sessions(query, now)]

    async def count(self, query: StaffQuery) -> int:
        return await self._inner.count(query)

    async def figures(self, start: int, end: int, now: int) -> Figures:
        return await self._inner.figures(start, end, now)

    async def series(self, start: int, end: int, step: int, now: int) -> list[Bucket]:
        return await self._inner.series(start, end, step, now)

    async def takeovers(
        self,
        *,
        session_id: str | None = None,
        admin_id: str | None = None,
        before: tuple[int, str, int] | None = None,
        limit: int = 100,
    ) -> list[Takeover]:
        return await self._inner.takeovers(session_id=session_id, admin_id=admin_id, before=before, limit=limit)
