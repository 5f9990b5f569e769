"""The store in memory: the specification that the others follow, and the store of demonstrations and tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from chatbox.errors import NotFound, StorageError
from chatbox.session import Change, Entry, Session, Takeover, apply, closed, day_of, takeover_ended
from chatbox.storage.base import (
    SEALED,
    Appended,
    Cell,
    CellStorage,
    Copy,
    Counted,
    Partial,
    Renewal,
    SessionQuery,
    Spent,
    admit,
    admit_partial,
    period_closed,
)
from chatbox.storage.overview import HOUR, MINUTE, Tally, minute_of, tally_of
from chatbox.storage.records import Record, Records, data_from, data_text
from chatbox.storage.scan import ScanOverview


@dataclass
class Log:
    """A session with its entries, and where each message_id lies among them."""

    session: Session
    entries: list[Entry] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    periods: list[tuple[int, int]] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    partial: Partial | None = None

    @property
    def copy(self) -> Copy:
        return Copy(self.session, tuple(self.periods), self.partial, tuple(self.takeovers))

    def become(self, session: Session) -> None:
        """Take the new state, and note the period that it closes."""
        if period := period_closed(self.session, session):
            self.periods.append(period)
        self.session = session


class MemoryStorage(CellStorage):
    """Keeps everything until the process ends. No call awaits anything, so each one is atomic."""

    def __init__(self) -> None:
        self._logs: dict[str, Log] = {}
        self._usage: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._key_checks: dict[str, str] = {}
        self._records = MemoryRecords()
        self._minutes: dict[int, Tally] = {}
        self._overview = ScanOverview(self._everything, self._minutes)

    async def create(self, session: Session) -> Session:
        if empty := await self.find(SessionQuery(user_id=session.user_id, empty=True, limit=1)):
            return empty[0]
        if session.id in self._logs:
            raise StorageError(f"session {session.id} exists")
        self._logs[session.id] = Log(session)
        return session

    async def get(self, session_id: str) -> Session | None:
        log = self._logs.get(session_id)
        return log.session if log else None

    async def find(self, query: SessionQuery) -> list[Session]:
        found = [log.session for log in self._logs.values() if matches(log.session, query)]
        found.sort(key=lambda session: (session.last_activity, session.id), reverse=True)
        return found[: query.limit]

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        log, change = self._log(entry.session_id), change or Change()
        if entry.message_id in log.places:
            return Appended(log.entries[log.places[entry.message_id]], log.session, fresh=False)
        admit(log.session, change, fence)
        entry = replace(entry, index=log.session.last_index + 1)
        log.places[entry.message_id] = len(log.entries)
        log.entries.append(entry)
        before = log.session
        log.become(apply(before, entry, change))
        if takeover := takeover_ended(before, entry, log.session):
            log.takeovers.append(takeover)
        minute = minute_of(entry.timestamp)
        self._minutes[minute] = self._minutes.get(minute, Tally()).plus(tally_of(entry, change))
        if change.tokens:
            self._usage[log.session.user_id, day_of(entry.timestamp)] += change.tokens
        if change.ends_turn:
            log.partial = None
        if change.supersedes in log.places:
            place = log.places[change.supersedes]
            log.entries[place] = replace(log.entries[place], superseded=True)
        return Appended(entry, log.session, fresh=True, closed=self._close_others(log.session) if change.active else ())

    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        log = self._logs.get(session_id)
        if log is None:
            return []
        if before is None:
            return log.entries[after : after + limit]
        return log.entries[after : max(before - 1, 0)][-limit:]

    async def keep(self, partial: Partial) -> None:
        log = self._log(partial.session_id)
        admit_partial(log.session, partial)
        log.partial = partial

    async def partial(self, session_id: str) -> Partial | None:
        log = self._logs.get(session_id)
        return log.partial if log else None

    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        log = self._logs.get(session_id)
        if log and last_index not in (None, log.session.last_index):
            return False
        self._logs.pop(session_id, None)
        return True

    async def usage(self, user_id: str, day: str) -> int:
        return self._usage.get((user_id, day), 0)

    @property
    def records(self) -> MemoryRecords:
        return self._records

    @property
    def overview(self) -> ScanOverview:
        return self._overview

    async def check(self) -> None:
        """Always well."""

    async def stale(self, prefix: str, batch: int) -> AsyncIterator[list[Cell]]:
        for session_id in list(self._logs):
            for found in _stale(self._cells(session_id), prefix, batch):
                yield found
        for found in _stale(self._records.cells(), prefix, batch):
            yield found

    async def rewrite(self, renewals: Sequence[Renewal]) -> int:
        return sum(self._rewrite(renewal) for renewal in renewals)

    async def key_checks(self) -> dict[str, str]:
        return dict(self._key_checks)

    async def replace_key_checks(self, checks: Mapping[str, str]) -> None:
        self._key_checks = dict(checks)

    async def sizes(self) -> tuple[int, int]:
        return len(self._logs), sum(len(log.entries) for log in self._logs.values())

    async def copies(self, after: str, limit: int) -> list[Copy]:
        ids = sorted(session_id for session_id in self._logs if session_id > after)[:limit]
        return [self._logs[session_id].copy for session_id in ids]

    async def spent(self, after: tuple[str, str], limit: int) -> list[Spent]:
        days = sorted(day for day in self._usage if day > after)[:limit]
        return [Spent(*day, self._usage[day]) for day in days]

    async def counted(self, after: tuple[int, int], limit: int) -> list[Counted]:
        totals: defaultdict[tuple[int, int], Tally] = defaultdict(Tally)
        for minute, tally in self._minutes.items():
            for width in (MINUTE, HOUR) if tally != Tally() else ():
                place = width, minute - minute % width
                totals[place] = totals[place].plus(tally)
        return [Counted(*place, totals[place]) for place in sorted(totals) if place > after][:limit]

    async def recorded(self, after: tuple[str, str], limit: int) -> list[Record]:
        return self._records.after(after, limit)

    async def _everything(self) -> list[Copy]:
        return [log.copy for log in self._logs.values()]

    def _log(self, session_id: str) -> Log:
        try:
            return self._logs[session_id]
        except KeyError:
            raise NotFound("no such session") from None

    def _close_others(self, session: Session) -> tuple[str, ...]:
        others = [
            log
            for log in self._logs.values()
            if log.session.user_id == session.user_id and log.session.is_active and log.session.id != session.id
        ]
        for log in others:
            log.become(closed(log.session))
        return tuple(sorted(log.session.id for log in others))

    def _cells(self, session_id: str) -> Iterator[Cell]:
        log = self._logs.get(session_id)
        if log is None:
            return
        for column, value in sealed_values(log.session):
            yield Cell("sessions", session_id, session_id, column, value)
        for entry in log.entries:
            yield Cell("messages", entry.message_id, session_id, "content", entry.content)
        if log.partial:
            yield Cell("partials", log.partial.answer_id, session_id, "content", log.partial.content)

    def _rewrite(self, renewal: Renewal) -> bool:
        cell = renewal.cell
        if cell.table == "records":
            return self._records.rewrite(renewal)
        if cell not in self._cells(cell.session_id):
            return False
        log = self._logs[cell.session_id]
        match cell.table:
            case "messages":
                place = log.places[cell.row]
                log.entries[place] = replace(log.entries[place], content=renewal.value)
            case "partials" if log.partial:
                log.partial = replace(log.partial, content=renewal.value)
            case _:
                log.session = renewed(log.session, renewal)
        return True


class MemoryRecords(Records):
    """Keeps records until the process ends."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}

    async def add(self, record: Record) -> bool:
        if record.place in self._records:
            return False
        self._records[record.place] = copied(record)
        return True

    async def get(self, kind: str, record_id: str) -> Record | None:
        record = self._records.get((kind, record_id))
        return record and copied(record)

    async def replace(self, record: Record) -> bool:
        stored = self._records.get(record.place)
        if stored is None or stored.version != record.version:
            return False
        self._records[record.place] = replace(copied(record), version=record.version + 1)
        return True

    async def remove(self, kind: str, record_id: str) -> bool:
        return self._records.pop((kind, record_id), None) is not None

    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        found = [
            record
            for record in self._of(kind)
            if (key is None or record.key == key)
            and (since is None or record.at >= since)
            and (before is None or (record.at, record.id) < before)
        ]
        found.sort(key=lambda record: (record.at, record.id), reverse=True)
        return [copied(record) for record in found[:limit]]

    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        found = sorted((record.due, record.id) for record in self._of(kind) if record.due is not None)
        return [copied(self._records[kind, record_id]) for due, record_id in found[:limit] if due <= now]

    def after(self, place: tuple[str, str], limit: int) -> list[Record]:
        """The next ones in the order of (kind, id)."""
        found = sorted(found for found in self._records if found > place)
        return [copied(self._records[place]) for place in found[:limit]]

    def cells(self) -> Iterator[Cell]:
        """The sealed values."""
        for (kind, record_id), record in list(self._records.items()):
            if value := record.data.get(SEALED):
                yield Cell("records", record_id, kind, "data", value)

    def rewrite(self, renewal: Renewal) -> bool:
        """Whether the value was still what it was read as."""
        cell = renewal.cell
        record = self._records.get((cell.session_id, cell.row))
        if record is None or record.data.get(SEALED) != cell.value:
            return False
        self._records[record.place] = replace(record, data={SEALED: renewal.value})
        return True

    def _of(self, kind: str) -> Iterator[Record]:
        return (record for record in self._records.values() if record.kind == kind)


def copied(record: Record) -> Record:
    """The record with data of its own, as JSON gives it back."""
    return replace(record, data=data_from(data_text(record.data)))


def matches(session: Session, query: SessionQuery) -> bool:
    """Whether a session is one that the query asks for."""
    wanted = (
        (query.user_id, session.user_id),
        (query.active, session.is_active),
        (query.answering, session.answer_id is not None),
        (query.empty, session.last_index == 0),
        (query.assisted, session.assisting_admin_id is not None),
        (query.waiting, session.help_since is not None),
        (query.share_token, session.share_token),
    )
    return (
        all(value is None or value == actual for value, actual in wanted)
        and (query.share_hashes is None or session.share_hash in query.share_hashes)
        and (query.idle_since is None or session.last_activity < query.idle_since)
        and (query.before is None or (session.last_activity, session.id) < query.before)
    )


def _stale(cells: Iterator[Cell], prefix: str, batch: int) -> Iterator[list[Cell]]:
    """Those that do not begin with the prefix, in lists."""
    found = [cell for cell in cells if not cell.value.startswith(prefix)]
    return (found[start : start + batch] for start in range(0, len(found), batch))


def sealed_values(session: Session) -> Iterator[tuple[str, str]]:
    """The values of a session that are sealed, with their columns."""
    for column in ("name", "user_name", "assisting_admin_name", "share_token"):
        if value := getattr(session, column):
            yield column, value
    if value := session.context.get(SEALED):
        yield "context", value


def renewed(session: Session, renewal: Renewal) -> Session:
    """The session with one sealed value replaced."""
    match renewal.cell.column:
        case "context":
            return replace(session, context={SEALED: renewal.value})
        case "share_token":
            return replace(session, share_token=renewal.value, share_hash=renewal.share_hash)
        case column:
            return replace(session, **{column: renewal.value})
