"""The statements of the store. Each function is a whole operation inside the transaction of its caller."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from typing import Any

from msgspec.structs import replace

from chatbox.errors import NotFound, StorageError
from chatbox.session import Change, Entry, Session, apply, closed, day_of
from chatbox.storage.base import Appended, Partial, SessionQuery, admit, admit_partial
from chatbox.storage.sqlite import rows

_SESSION = ", ".join(rows.SESSION_COLUMNS)
_ENTRY = ", ".join(rows.ENTRY_COLUMNS)

_GET = f"SELECT {_SESSION} FROM sessions WHERE id = ?"
_CREATE = f"INSERT INTO sessions ({_SESSION}) VALUES ({', '.join('?' * len(rows.SESSION_COLUMNS))})"
_INSERT = f"INSERT INTO messages ({_ENTRY}) VALUES ({', '.join('?' * len(rows.ENTRY_COLUMNS))})"
_ENTRY_BY_ID = f"SELECT {_ENTRY} FROM messages WHERE session_id = ? AND message_id = ?"
_OTHERS = f"SELECT {_SESSION} FROM sessions WHERE user_id = ? AND is_active = 1 AND id <> ? ORDER BY id"


def create(db: sqlite3.Connection, session: Session) -> None:
    try:
        db.execute(_CREATE, rows.session_row(session))
    except sqlite3.IntegrityError as error:
        raise StorageError(f"session {session.id} can't be created: {error}") from error


def get(db: sqlite3.Connection, session_id: str) -> Session | None:
    row = db.execute(_GET, (session_id,)).fetchone()
    return rows.session_from(row) if row else None


def find(db: sqlite3.Connection, query: SessionQuery) -> list[Session]:
    where, values = conditions(query)
    sql = f"SELECT {_SESSION} FROM sessions WHERE {where} ORDER BY last_activity DESC, id DESC LIMIT ?"
    return [rows.session_from(row) for row in db.execute(sql, (*values, query.limit))]


def append(db: sqlite3.Connection, entry: Entry, change: Change, fence: int | None) -> Appended:
    before = _existing(db, entry.session_id)
    if known := _entry(db, entry.session_id, entry.message_id):
        return Appended(known, before, fresh=False)
    admit(before, change, fence)
    entry = replace(entry, index=before.last_index + 1)
    db.execute(_INSERT, rows.entry_row(entry))
    after = apply(before, entry, change)
    _update(db, before, after)
    _follow(db, after, entry, change)
    return Appended(entry, after, fresh=True, closed=_close_others(db, after) if change.active else ())


def read(db: sqlite3.Connection, session_id: str, after: int, before: int | None, limit: int) -> list[Entry]:
    sql = f"SELECT {_ENTRY} FROM messages WHERE session_id = ? AND idx > ?"
    if before is None:
        found = db.execute(f"{sql} ORDER BY idx LIMIT ?", (session_id, after, limit))
        return [rows.entry_from(row) for row in found]
    found = db.execute(f"{sql} AND idx < ? ORDER BY idx DESC LIMIT ?", (session_id, after, before, limit))
    return [rows.entry_from(row) for row in found][::-1]


def keep(db: sqlite3.Connection, partial: Partial) -> None:
    admit_partial(_existing(db, partial.session_id), partial)
    values = (partial.session_id, partial.answer_id, partial.fence, partial.content)
    db.execute("REPLACE INTO partials (session_id, answer_id, fence, content) VALUES (?, ?, ?, ?)", values)


def get_partial(db: sqlite3.Connection, session_id: str) -> Partial | None:
    sql = "SELECT session_id, answer_id, fence, content FROM partials WHERE session_id = ?"
    row = db.execute(sql, (session_id,)).fetchone()
    return Partial(*row) if row else None


def delete(db: sqlite3.Connection, session_id: str) -> None:
    db.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
    for table in ("messages", "partials", "periods"):
        db.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))


def usage(db: sqlite3.Connection, user_id: str, day: str) -> int:
    row = db.execute("SELECT tokens FROM usage WHERE user_id = ? AND day = ?", (user_id, day)).fetchone()
    return row[0] if row else 0


def probe(db: sqlite3.Connection) -> None:
    """Write something for real."""
    db.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1")


def probed(db: sqlite3.Connection) -> None:
    """Read it back."""
    db.execute("SELECT count FROM probe").fetchone()


def conditions(query: SessionQuery) -> tuple[str, list[Any]]:
    """The WHERE clause of a query, with its values."""
    clauses, values = ["TRUE"], []
    for clause, value in (
        ("user_id = ?", query.user_id),
        ("share_token = ?", query.share_token),
        ("last_activity < ?", query.idle_since),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    for name in ("active", "answering", "empty"):
        clauses += _FLAGS.get((name, getattr(query, name)), ())
    if query.share_hashes is not None:
        clauses.append(f"share_hash IN ({', '.join('?' * len(query.share_hashes))})")
        values += query.share_hashes
    if query.before is not None:
        clauses.append("(last_activity, id) < (?, ?)")
        values += query.before
    return " AND ".join(clauses), values


_FLAGS = {
    ("active", True): ("is_active = 1",),
    ("active", False): ("is_active = 0",),
    ("answering", True): ("answer_id IS NOT NULL",),
    ("answering", False): ("answer_id IS NULL",),
    ("empty", True): ("last_index = 0",),
    ("empty", False): ("last_index > 0",),
}


def _existing(db: sqlite3.Connection, session_id: str) -> Session:
    session = get(db, session_id)
    if session is None:
        raise NotFound("no such session")
    return session


def _entry(db: sqlite3.Connection, session_id: str, message_id: str) -> Entry | None:
    row = db.execute(_ENTRY_BY_ID, (session_id, message_id)).fetchone()
    return rows.entry_from(row) if row else None


def _update(db: sqlite3.Connection, before: Session, after: Session) -> None:
    """Write what changed of a session, and the period that it closed, if any."""
    changed = rows.changed_columns(before, after)
    assignments = ", ".join(f"{column} = ?" for column in changed)
    db.execute(f"UPDATE sessions SET {assignments} WHERE id = ?", (*changed.values(), after.id))
    if before.is_active and not after.is_active:
        db.execute("INSERT INTO periods VALUES (?, ?, ?)", (after.id, before.opened_at, after.end_time))


def _follow(db: sqlite3.Connection, session: Session, entry: Entry, change: Change) -> None:
    """What an entry changes in other rows than its session's."""
    if change.tokens:
        sql = "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens"
        db.execute(sql, (session.user_id, day_of(entry.timestamp), change.tokens))
    if change.ends_turn:
        db.execute("DELETE FROM partials WHERE session_id = ?", (session.id,))
    if change.supersedes is not None:
        sql = "UPDATE messages SET superseded = 1 WHERE session_id = ? AND message_id = ?"
        db.execute(sql, (session.id, change.supersedes))


def _close_others(db: sqlite3.Connection, session: Session) -> tuple[str, ...]:
    others = [rows.session_from(row) for row in db.execute(_OTHERS, (session.user_id, session.id)).fetchall()]
    for other in others:
        _update(db, other, closed(other))
    return tuple(other.id for other in others)
