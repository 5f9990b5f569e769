"""Records as rows of the SQLite store. Each function is a whole operation on the connection that it gets."""

# ruff: noqa: S608 - only this module's own words are put into statements; values go by marks

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial as bind
from typing import Any, Protocol, TypeVar

from msgspec.structs import astuple

from chatbox.storage.records import Record, Records, data_from, data_text

T = TypeVar("T")

COLUMNS = Record.__struct_fields__
_NAMES = ", ".join(COLUMNS)
_ADD = f"INSERT INTO records ({_NAMES}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO NOTHING"
_REPLACE = (
    "UPDATE records SET key = ?3, at = ?4, due = ?5, version = ?6 + 1, data = ?7"
    " WHERE kind = ?1 AND id = ?2 AND version = ?6"
)


class Run(Protocol):
    """Runs an operation on one of the store's connections."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class SqliteRecords(Records):
    def __init__(self, write: Run, read: Run) -> None:
        self._write = write
        self._read = read

    async def add(self, record: Record) -> bool:
        return await self._write(bind(add, record=record))

    async def get(self, kind: str, record_id: str) -> Record | None:
        return await self._read(bind(get, kind=kind, record_id=record_id))

    async def replace(self, record: Record) -> bool:
        return await self._write(bind(replace, record=record))

    async def remove(self, kind: str, record_id: str) -> bool:
        return await self._write(bind(remove, kind=kind, record_id=record_id))

    async def find(
        self,
        kind: str,
        *,
        key: str | None = None,
        since: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 100,
    ) -> list[Record]:
        return await self._read(bind(find, kind=kind, key=key, since=since, before=before, limit=limit))

    async def due(self, kind: str, now: int, limit: int) -> list[Record]:
        return await self._read(bind(due, kind=kind, now=now, limit=limit))


def add(db: sqlite3.Connection, record: Record) -> bool:
    return db.execute(_ADD, _row(record)).rowcount == 1


def get(db: sqlite3.Connection, kind: str, record_id: str) -> Record | None:
    found = _select(db, "kind = ? AND id = ?", (kind, record_id))
    return found[0] if found else None


def replace(db: sqlite3.Connection, record: Record) -> bool:
    return db.execute(_REPLACE, _row(record)).rowcount == 1


def remove(db: sqlite3.Connection, kind: str, record_id: str) -> bool:
    return db.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, record_id)).rowcount == 1


def find(
    db: sqlite3.Connection, kind: str, key: str | None, since: int | None, before: tuple[int, str] | None, limit: int
) -> list[Record]:
    clauses, values = ["kind = ?"], list[Any]([kind])
    for clause, given in (("key = ?", (key,)), ("at >= ?", (since,)), ("(at, id) < (?, ?)", before or (None,))):
        if None not in given:
            clauses.append(clause)
            values += given
    return _select(db, f"{' AND '.join(clauses)} ORDER BY at DESC, id DESC LIMIT ?", (*values, limit))


def due(db: sqlite3.Connection, kind: str, now: int, limit: int) -> list[Record]:
    return _select(db, "kind = ? AND due <= ? ORDER BY due, id LIMIT ?", (kind, now, limit))


def after(db: sqlite3.Connection, place: tuple[str, str], limit: int) -> list[Record]:
    """The next ones in the order of (kind, id)."""
    return _select(db, "(kind, id) > (?, ?) ORDER BY kind, id LIMIT ?", (*place, limit))


def _select(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Record]:
    return [_record(row) for row in db.execute(f"SELECT {_NAMES} FROM records WHERE {where}", values)]


def _row(record: Record) -> tuple[Any, ...]:
    """Values in the order of ``COLUMNS``."""
    return (*astuple(record)[:-1], data_text(record.data))


def _record(row: tuple[Any, ...]) -> Record:
    values = dict(zip(COLUMNS, row, strict=True))
    return Record(**values | {"data": data_from(values["data"])})
