"""The stores that every test of the contract runs over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chatbox.storage.base import CellStorage, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.sqlite import SqliteStorage
from tests.storage.values import ring

CELL_STORES: dict[str, Callable[[Path], CellStorage]] = {
    "memory": lambda _: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "chatbox.db"),
}

STORES: dict[str, Callable[[Path], Storage]] = {
    **CELL_STORES,
    "encrypted-memory": lambda folder: EncryptedStorage(CELL_STORES["memory"](folder), ring("new")),
    "encrypted-sqlite": lambda folder: EncryptedStorage(CELL_STORES["sqlite"](folder), ring("new")),
}


@pytest.fixture(params=STORES)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """An empty store of each kind."""
    async with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture(params=CELL_STORES)
async def cells(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CellStorage]:
    """An empty store of each kind that the encrypting one can lie over."""
    async with CELL_STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    async with SqliteStorage(tmp_path / "chatbox.db") as opened:
        yield opened
