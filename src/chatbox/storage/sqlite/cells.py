"""Where sealed values lie in the tables, to walk and replace them. Each function is a whole operation."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from chatbox.storage.base import SEALED, Cell, Renewal


class Place(NamedTuple):
    """A table with sealed columns: where its rows come from, with their key, and how one of them is found again.
    ``session`` is the session's id, or a record's kind."""

    table: str
    rows: str
    key: str
    row: str
    columns: tuple[str, ...]
    found: str
    session: str = "sessions.id"


_OF_SESSION = "session = (SELECT number FROM sessions WHERE id = :session_id)"

PLACES = (
    Place(
        "sessions",
        "sessions",
        key="sessions.number",
        row="sessions.id",
        columns=("name", "user_name", "assisting_admin_name", "share_token", "context"),
        found="id = :session_id",
    ),
    Place(
        "messages",
        "messages JOIN sessions ON sessions.number = messages.session",
        key="messages.number",
        row="message_id",
        columns=("content",),
        found=f"{_OF_SESSION} AND message_id = :row",
    ),
    Place(
        "partials",
        "partials JOIN sessions ON sessions.number = partials.session",
        key="partials.session",
        row="partials.answer_id",
        columns=("content",),
        found=f"{_OF_SESSION} AND answer_id = :row",
    ),
    Place(
        "records",
        "records",
        key="records.number",
        row="records.id",
        columns=("data",),
        found="kind = :session_id AND id = :row",
        session="records.kind",
    ),
)

_MAPPINGS = ("context", "data")
_READ = {column: f"json_extract({column}, '$.{SEALED}')" for column in _MAPPINGS}
_WRITE = dict.fromkeys(_MAPPINGS, f"json_object('{SEALED}', :value)")
"""How the sealed text is reached in the columns that are not plain text."""


def walk(db: sqlite3.Connection, place: Place, after: int, prefix: str, limit: int) -> tuple[list[Cell], int | None]:
    """The values of the next ``limit`` rows that do not begin with ``prefix``, and the key to go on after."""
    values = ", ".join(_unless_fresh(column) for column in place.columns)
    sql = (
        f"SELECT {place.key}, {place.row}, {place.session}, {values} FROM {place.rows}"
        f" WHERE {place.key} > :after ORDER BY {place.key} LIMIT :limit"
    )
    found = db.execute(sql, {"prefix": prefix, "after": after, "limit": limit}).fetchall()
    cells = [cell for row in found for cell in _cells(place, row[1:])]
    return cells, found[-1][0] if found else None


def rewrite(db: sqlite3.Connection, renewal: Renewal) -> int:
    """Replace one value if it is still what it was read as; returns how many."""
    cell = renewal.cell
    place = next(place for place in PLACES if place.table == cell.table)
    read, write = _READ.get(cell.column, cell.column), _WRITE.get(cell.column, ":value")
    changes = f"{cell.column} = {write}"
    if renewal.share_hash is not None:
        changes += ", share_hash = :share_hash"
    sql = f"UPDATE {place.table} SET {changes} WHERE {place.found} AND {read} = :old"
    names = {"session_id": cell.session_id, "row": cell.row, "old": cell.value}
    return db.execute(sql, names | {"value": renewal.value, "share_hash": renewal.share_hash}).rowcount


def _unless_fresh(column: str) -> str:
    value = _READ.get(column, column)
    return f"CASE WHEN {value} <> '' AND substr({value}, 1, length(:prefix)) <> :prefix THEN {value} END"


def _cells(place: Place, row: Sequence[Any]) -> list[Cell]:
    name, session_id, *values = row
    return [
        Cell(place.table, name, session_id, column, value)
        for column, value in zip(place.columns, values, strict=True)
        if value is not None
    ]
