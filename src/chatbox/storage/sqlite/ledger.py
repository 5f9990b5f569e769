"""What is written. Each method is a whole operation inside the transaction of the thread that calls it.

A method that refuses does so before it writes.
"""

# ruff: noqa: S608 - only this package's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from chatbox.errors import Fenced, NotFound, StorageError
from chatbox.session import Change, Entry, Session, apply, closed, day_of, takeover_ended
from chatbox.storage.base import Appended, Partial, Renewal, admit, admit_partial, period_closed
from chatbox.storage.sqlite import cells, rows
from chatbox.storage.sqlite.queries import ENTRY, SESSION
from chatbox.storage.sqlite.summaries import Summaries

T = TypeVar("T")

REMEMBERED = 4096
"""Sessions kept decoded for the next append."""

_GET = f"SELECT number, {SESSION} FROM sessions WHERE id = ?"
_OTHERS = f"SELECT number, {SESSION} FROM sessions WHERE user_id = ? AND is_active = 1 AND id <> ? ORDER BY id"
_EMPTY = f"SELECT {SESSION} FROM sessions WHERE user_id = ? AND last_index = 0"
_CREATE = f"INSERT INTO sessions ({SESSION}) VALUES ({', '.join('?' * len(rows.SESSION_COLUMNS))})"
_INSERT = (
    f"INSERT INTO messages (session, {ENTRY}) VALUES (?, {', '.join('?' * len(rows.ENTRY_COLUMNS))})"
    " ON CONFLICT (session, message_id) DO NOTHING"
)
_ENTRY_BY_ID = f"SELECT {ENTRY} FROM messages WHERE session = ? AND message_id = ?"


class Known(NamedTuple):
    """A session with the number that its rows refer to."""

    number: int
    session: Session


class Ledger:
    """The writing side of the store. Used by one thread alone.

    It remembers sessions as it left them, which holds because nobody else writes; ``undone`` follows every rollback.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[str, Known] = {}
        self._summaries = Summaries(db)

    def create(self, session: Session) -> Session:
        if empty := self._db.execute(_EMPTY, (session.user_id,)).fetchone():
            return rows.session_from(empty)
        try:
            self._db.execute(_CREATE, rows.session_row(session))
        except sqlite3.IntegrityError as error:
            raise StorageError(f"session {session.id} exists") from error
        self._summaries.list_new(session)
        return session

    def append(self, entry: Entry, change: Change, fence: int | None) -> Appended:
        number, before = self._existing(entry.session_id)
        try:
            admit(before, change, fence)
        except Fenced:
            if first := self._stored(number, entry):
                return Appended(first, before, fresh=False)
            raise
        new = replace(entry, index=before.last_index + 1)
        if not self._insert(number, new) and (first := self._stored(number, entry)):
            return Appended(first, before, fresh=False)
        after = apply(before, new, change)
        self._update(number, before, after)
        self._follow(number, before, after, new, change)
        moved = after.is_active and not before.is_active
        return Appended(new, after, fresh=True, closed=self._close_others(after) if moved else ())

    def keep(self, partial: Partial) -> None:
        number, session = self._existing(partial.session_id)
        admit_partial(session, partial)
        sql = "REPLACE INTO partials (session, answer_id, fence, content) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (number, partial.answer_id, partial.fence, partial.content))

    def delete(self, session_id: str, last_index: int | None) -> bool:
        """False when the session stays."""
        doomed = (
            "DELETE FROM sessions WHERE id = ?1 AND last_index = coalesce(?2, last_index)"
            " RETURNING number, last_index, admin_assisted, help_requested, start_time, id"
        )
        row = self._db.execute(doomed, (session_id, last_index)).fetchone()
        if row is None:
            return self._db.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchone() is None
        self._summaries.delete(row[1], row[2:])
        gone = "DELETE FROM periods WHERE session = ? RETURNING start, end"
        for start, end in self._db.execute(gone, row[:1]).fetchall():
            self._summaries.period(start, end, by=-1)
        for table in ("messages", "partials", "takeovers"):
            self._db.execute(f"DELETE FROM {table} WHERE session = ?", row[:1])
        self._known.pop(session_id, None)
        return True

    def rewrite(self, renewals: Sequence[Renewal]) -> int:
        self.forget()
        return sum(cells.rewrite(self._db, renewal) for renewal in renewals)

    def replace_key_checks(self, checks: Mapping[str, str]) -> None:
        self._db.execute("DELETE FROM key_checks")
        self._db.executemany("INSERT INTO key_checks VALUES (?, ?)", checks.items())

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Something that has nothing to do with sessions."""
        return work(self._db)

    def probe(self) -> None:
        """Write something for real."""
        self._db.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1")

    def forget(self) -> None:
        """What is remembered may not be what is stored: read it again."""
        self._known.clear()

    def undone(self) -> None:
        """The transaction was rolled back."""
        self.forget()
        self._summaries.forget()

    def flush(self) -> None:
        """The transaction is going to be committed."""
        self._summaries.flush()

    def _existing(self, session_id: str) -> Known:
        known = self._known.get(session_id)
        if known is None:
            row = self._db.execute(_GET, (session_id,)).fetchone()
            if row is None:
                raise NotFound("no such session")
            known = self._remember(row[0], rows.session_from(row[1:]))
        return known

    def _remember(self, number: int, session: Session) -> Known:
        if session.id not in self._known and len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        known = self._known[session.id] = Known(number, session)
        return known

    def _insert(self, number: int, entry: Entry) -> bool:
        """Whether the entry is new."""
        return self._db.execute(_INSERT, (number, *rows.entry_row(entry))).rowcount == 1

    def _stored(self, number: int, entry: Entry) -> Entry | None:
        """The first entry with this entry's id."""
        row = self._db.execute(_ENTRY_BY_ID, (number, entry.message_id)).fetchone()
        return rows.entry_from(entry.session_id, row) if row else None

    def _update(self, number: int, before: Session, after: Session) -> None:
        """Write what changed of a session, and the period that it closed, if any."""
        changed = rows.changed_columns(before, after)
        assignments = ", ".join(f"{column} = ?" for column in changed)
        self._db.execute(f"UPDATE sessions SET {assignments} WHERE number = ?", (*changed.values(), number))
        if period := period_closed(before, after):
            self._db.execute("INSERT INTO periods VALUES (?, ?, ?)", (number, *period))
            self._summaries.period(*period)
        self._summaries.list_again(before, after)
        self._remember(number, after)

    def _follow(self, number: int, before: Session, after: Session, entry: Entry, change: Change) -> None:
        """What an entry changes in other rows than its session's."""
        self._summaries.count(entry, change)
        if change.tokens:
            sql = "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens"
            self._db.execute(sql, (after.user_id, day_of(entry.timestamp), change.tokens))
        if change.ends_turn:
            self._db.execute("DELETE FROM partials WHERE session = ?", (number,))
        if takeover := takeover_ended(before, entry, after):
            row = (number, takeover.index, takeover.admin_id, takeover.start, takeover.end, takeover.messages)
            self._db.execute("INSERT INTO takeovers VALUES (?, ?, ?, ?, ?, ?)", row)
        if change.supersedes is not None:
            sql = "UPDATE messages SET superseded = 1 WHERE session = ? AND message_id = ?"
            self._db.execute(sql, (number, change.supersedes))

    def _close_others(self, session: Session) -> tuple[str, ...]:
        found = self._db.execute(_OTHERS, (session.user_id, session.id)).fetchall()
        others = [Known(row[0], rows.session_from(row[1:])) for row in found]
        for number, other in others:
            self._update(number, other, closed(other))
        return tuple(other.id for _, other in others)
