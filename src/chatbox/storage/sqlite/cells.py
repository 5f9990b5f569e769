"""Where sealed values lie in the tables, to walk and replace them. Each function is a whole operation."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chatbox.storage.base import SEALED, Cell, Renewal


class Place(NamedTuple):
    """A table with sealed columns: the columns of its key, those that name row and session, and the sealed ones."""

    table: str
    key: tuple[str, ...]
    row: str
    session_id: str
    columns: tuple[str, ...]


PLACES = (
    Place("sessions", ("id",), "id", "id", ("name", "user_name", "assisting_admin_name", "share_token", "context")),
    Place("messages", ("session_id", "idx"), "message_id", "session_id", ("content",)),
    Place("partials", ("session_id",), "answer_id", "session_id", ("content",)),
)

START = ("", -1)
"""Comes before every key."""

_READ = {"context": f"json_extract(context, '$.{SEALED}')"}
_WRITE = {"context": f"json_object('{SEALED}', ?)"}
"""How the sealed text is reached in the columns that are not plain text."""


def walk(
    db: sqlite3.Connection, place: Place, after: Sequence[Any], prefix: str, limit: int
) -> tuple[list[Cell], Sequence[Any] | None]:
    """The values of the next ``limit`` rows that do not begin with ``prefix``, and the key to go on after."""
    width = len(place.key)
    key = ", ".join(place.key)
    values = ", ".join(_unless_fresh(column) for column in place.columns)
    sql = (
        f"SELECT {key}, {place.row}, {place.session_id}, {values} FROM {place.table}"
        f" WHERE ({key}) > ({', '.join('?' * width)}) ORDER BY {key} LIMIT ?"
    )
    # ?1 is the prefix in every column; the plain marks after it go on with ?2.
    found = db.execute(sql, (prefix, *after[:width], limit)).fetchall()
    cells = [cell for row in found for cell in _cells(place, row[width:])]
    return cells, found[-1][:width] if found else None


def rewrite(db: sqlite3.Connection, renewals: Sequence[Renewal]) -> int:
    return sum(_rewrite(db, renewal) for renewal in renewals)


def key_checks(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT key_id, value FROM key_checks").fetchall())


def replace_key_checks(db: sqlite3.Connection, checks: Mapping[str, str]) -> None:
    db.execute("DELETE FROM key_checks")
    db.executemany("INSERT INTO key_checks VALUES (?, ?)", checks.items())


def _cells(place: Place, row: Sequence[Any]) -> list[Cell]:
    name, session_id, *values = row
    return [
        Cell(place.table, name, session_id, column, value)
        for column, value in zip(place.columns, values, strict=True)
        if value is not None
    ]


def _unless_fresh(column: str) -> str:
    value = _READ.get(column, column)
    return f"CASE WHEN {value} <> '' AND substr({value}, 1, length(?1)) <> ?1 THEN {value} END"


def _rewrite(db: sqlite3.Connection, renewal: Renewal) -> int:
    cell = renewal.cell
    place = next(place for place in PLACES if place.table == cell.table)
    read, write = _READ.get(cell.column, cell.column), _WRITE.get(cell.column, "?")
    values = [renewal.value]
    changes = f"{cell.column} = {write}"
    if renewal.share_hash is not None:
        changes += ", share_hash = ?"
        values.append(renewal.share_hash)
    sql = f"UPDATE {place.table} SET {changes} WHERE {place.session_id} = ? AND {place.row} = ? AND {read} = ?"
    return db.execute(sql, (*values, cell.session_id, cell.row, cell.value)).rowcount
