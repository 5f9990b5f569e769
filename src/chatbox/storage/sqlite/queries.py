"""What is read. Each function is a whole read on the connection that it gets."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from typing import Any

from chatbox.session import Entry, Session
from chatbox.storage.base import Copy, Counted, Partial, SessionQuery, Spent
from chatbox.storage.overview import Tally
from chatbox.storage.sqlite import rows

SESSION = ", ".join(rows.SESSION_COLUMNS)
ENTRY = ", ".join(rows.ENTRY_COLUMNS)
TALLY = ", ".join(Tally.__struct_fields__)
NUMBER = "(SELECT number FROM sessions WHERE id = ?)"


def get(db: sqlite3.Connection, session_id: str) -> Session | None:
    row = db.execute(f"SELECT {SESSION} FROM sessions WHERE id = ?", (session_id,)).fetchone()
    return rows.session_from(row) if row else None


def find(db: sqlite3.Connection, query: SessionQuery) -> list[Session]:
    where, values = conditions(query)
    sql = f"SELECT {SESSION} FROM sessions WHERE {where} ORDER BY last_activity DESC, id DESC LIMIT ?"
    return [rows.session_from(row) for row in db.execute(sql, (*values, query.limit))]


def read(db: sqlite3.Connection, session_id: str, after: int, before: int | None, limit: int) -> list[Entry]:
    sql = f"SELECT {ENTRY} FROM messages WHERE session = {NUMBER} AND idx > ?"
    if before is None:
        found = db.execute(f"{sql} ORDER BY idx LIMIT ?", (session_id, after, limit))
        return [rows.entry_from(session_id, row) for row in found]
    found = db.execute(f"{sql} AND idx < ? ORDER BY idx DESC LIMIT ?", (session_id, after, before, limit))
    return [rows.entry_from(session_id, row) for row in found][::-1]


def partial(db: sqlite3.Connection, session_id: str) -> Partial | None:
    sql = f"SELECT answer_id, fence, content FROM partials WHERE session = {NUMBER}"
    row = db.execute(sql, (session_id,)).fetchone()
    return Partial(session_id, *row) if row else None


def usage(db: sqlite3.Connection, user_id: str, day: str) -> int:
    row = db.execute("SELECT tokens FROM usage WHERE user_id = ? AND day = ?", (user_id, day)).fetchone()
    return row[0] if row else 0


def sizes(db: sqlite3.Connection) -> tuple[int, int]:
    sessions, entries = db.execute("SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM messages)").fetchone()
    return sessions, entries


def copies(db: sqlite3.Connection, after: str, limit: int) -> list[Copy]:
    sql = f"SELECT number, {SESSION} FROM sessions WHERE id > ? ORDER BY id LIMIT ?"
    found = db.execute(sql, (after, limit)).fetchall()
    return [_copy(db, number, rows.session_from(tuple(row))) for number, *row in found]


def spent(db: sqlite3.Connection, after: tuple[str, str], limit: int) -> list[Spent]:
    sql = "SELECT user_id, day, tokens FROM usage WHERE (user_id, day) > (?, ?) ORDER BY user_id, day LIMIT ?"
    return [Spent(*row) for row in db.execute(sql, (*after, limit))]


def counted(db: sqlite3.Connection, after: tuple[int, int], limit: int) -> list[Counted]:
    sql = f"SELECT width, at, {TALLY} FROM tallies WHERE (width, at) > (?, ?) ORDER BY width, at LIMIT ?"
    return [Counted(width, at, Tally(*tally)) for width, at, *tally in db.execute(sql, (*after, limit))]


def key_checks(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT key_id, value FROM key_checks").fetchall())


def probe(db: sqlite3.Connection) -> None:
    """Read what ``Ledger.probe`` wrote."""
    db.execute("SELECT count FROM probe").fetchone()


def _copy(db: sqlite3.Connection, number: int, session: Session) -> Copy:
    periods = db.execute("SELECT start, end FROM periods WHERE session = ? ORDER BY rowid", (number,)).fetchall()
    sql = "SELECT admin_id, start, idx, messages, end FROM takeovers WHERE session = ? ORDER BY idx"
    takeovers = [rows.takeover_from(session, row) for row in db.execute(sql, (number,))]
    return Copy(session, tuple(periods), partial(db, session.id), tuple(takeovers))


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
    for name in ("active", "answering", "empty", "assisted", "waiting"):
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
    ("assisted", True): ("assisting_admin_id IS NOT NULL",),
    ("assisted", False): ("assisting_admin_id IS NULL",),
    ("waiting", True): ("help_since IS NOT NULL",),
    ("waiting", False): ("help_since IS NULL",),
    ("empty", True): ("last_index = 0",),
    ("empty", False): ("last_index > 0",),
}
