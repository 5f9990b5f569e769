"""What the overview is made from, written in the same commit as what it sums up.

- ``listed`` has a row for each session that has entries and is not active, in the orders in which staff list them.
  Sessions that are active change with every message; they are few, and are looked at one by one. So a message in one
  costs nothing here.
- ``listed_days`` counts these rows by the day on which their sessions began.
- ``hours`` tells of each hour how many sessions began in it, how many closed periods began and ended in it, and when
  (see ``levels``).
- ``tallies`` has what was counted in each minute, and in each hour. All entries of a transaction are added at once.

Used by the writing thread alone.
"""

# ruff: noqa: S608 - only this package's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import NamedTuple

from msgspec.structs import astuple

from chatbox.session import Change, Entry, Session
from chatbox.storage.overview import HOUR, MESSAGE, MINUTE, NOTHING, Tally, minute_of, tally_of

DAY = 24 * HOUR
ADDED = Tally.__struct_fields__[:-2]
HIGHEST = Tally.__struct_fields__[-2:]

_LIST = "INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNLIST = "DELETE FROM listed WHERE (admin_assisted, help_requested, start_time, id) = (?, ?, ?, ?)"
_COUNT_DAY = (
    "INSERT INTO listed_days VALUES (?, ?, ?, ?)"
    " ON CONFLICT (admin_assisted, help_requested, day) DO UPDATE SET sessions = sessions + excluded.sessions"
)
_COUNT_HOUR = (
    "INSERT INTO hours (at, opened, closed, late, began) VALUES (?, ?, ?, ?, 0) ON CONFLICT (at) DO UPDATE SET"
    " opened = opened + excluded.opened, closed = closed + excluded.closed, late = late + excluded.late,"
    " peak = NULL, version = version + 1"
)
_COUNT_BEGUN = (
    "INSERT INTO hours (at, opened, closed, late, began, peak) VALUES (?, 0, 0, 0, ?, 0)"
    " ON CONFLICT (at) DO UPDATE SET began = began + excluded.began"
)
_TALLY = (
    f"INSERT INTO tallies VALUES (?, ?, {', '.join('?' * len(Tally.__struct_fields__))})"
    " ON CONFLICT (width, at) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in ADDED)
    + "".join(f", {name} = max({name}, excluded.{name})" for name in HIGHEST)
)


Key = tuple[bool, bool, int, str]
"""By what ``listed`` is ordered: assisted, help asked for, start, id."""


class Listing(NamedTuple):
    """A row of ``listed``. ``long`` are sessions that went on for more than a day after they began: of the others it is
    known within a day when they were last active, and when they ended."""

    admin_assisted: bool
    help_requested: bool
    start_time: int
    id: str
    user_id: str
    end_time: int | None
    last_activity: int
    duration_ms: int
    message_count: int
    total_tokens: int
    long: bool

    @property
    def key(self) -> Key:
        return self.admin_assisted, self.help_requested, self.start_time, self.id


_COLUMNS = Listing._fields[:-1]


class Summaries:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._messages: defaultdict[int, int] = defaultdict(int)
        self._counted: dict[int, Tally] = {}

    def list_new(self, session: Session) -> None:
        """A session was made."""
        if session.last_index:
            self._begin(session.start_time, 1)
        if listing := listing_of(session):
            self._insert(listing)

    def list_again(self, before: Session, after: Session) -> None:
        """A session has changed."""
        if before.last_index == 0:
            self._begin(after.start_time, 1)
        if before.is_active and after.is_active:
            return
        old, new = listing_of(before), listing_of(after)
        if old != new:
            if old:
                self._unlist(old.key)
            if new:
                self._insert(new)

    def delete(self, last_index: int, key: Key) -> None:
        """A session was deleted."""
        if last_index:
            self._begin(key[2], -1)
        self._unlist(key)

    def period(self, start: int, end: int, by: int = 1) -> None:
        """A period was closed; or, by -1, deleted."""
        for at, opened, closed in ((start, by, 0), (end, 0, by)):
            late = at % HOUR
            self._db.execute(_COUNT_HOUR, (at - late, opened, closed, (opened - closed) * late))

    def count(self, entry: Entry, change: Change) -> None:
        """An entry was stored."""
        tally, minute = tally_of(entry, change), minute_of(entry.timestamp)
        if tally is MESSAGE:
            self._messages[minute] += 1
        elif tally is not NOTHING:
            self._counted[minute] = self._counted.get(minute, NOTHING).plus(tally)

    def flush(self) -> None:
        """Write what was counted in the transaction that is going to be committed."""
        for minute in self._messages.keys() | self._counted.keys():
            messages = Tally(messages=self._messages.get(minute, 0))
            values = astuple(messages.plus(self._counted.get(minute, NOTHING)))
            self._db.execute(_TALLY, (MINUTE, minute, *values))
            self._db.execute(_TALLY, (HOUR, minute - minute % HOUR, *values))
        self.forget()

    def forget(self) -> None:
        """The transaction was undone, or all of it is written."""
        self._messages.clear()
        self._counted.clear()

    def _insert(self, listing: Listing) -> None:
        self._db.execute(_LIST, listing)
        self._count_day(listing.key, 1)

    def _unlist(self, key: Key) -> None:
        if self._db.execute(_UNLIST, key).rowcount:
            self._count_day(key, -1)

    def _begin(self, start: int, by: int) -> None:
        self._db.execute(_COUNT_BEGUN, (start - start % HOUR, by))

    def _count_day(self, key: Key, by: int) -> None:
        assisted, helped, start, _ = key
        self._db.execute(_COUNT_DAY, (assisted, helped, start - start % DAY, by))


def listing_of(session: Session) -> Listing | None:
    if session.is_active or session.last_index == 0:
        return None
    return Listing._make([*(getattr(session, column) for column in _COLUMNS), is_long(session)])


def is_long(session: Session) -> bool:
    start, end, last = session.start_time, session.end_time, session.last_activity
    return end is None or not (start <= end <= start + DAY and start <= last <= start + DAY)
