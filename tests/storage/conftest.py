"""The stores that every test of the contract runs over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from chatbox.storage.base import CellStorage, Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.mongo import MongoStorage
from chatbox.storage.sqlite import SqliteStorage
from tests.mongo_peer import MongoPeer
from tests.storage.mongo import NAMED, shared
from tests.storage.values import ring

CELL_STORES: dict[str, Callable[[Path], CellStorage]] = {
    "memory": lambda _: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "chatbox.db"),
    "mongo": lambda _: MongoStorage(shared.settings()),
}
"""``mongo`` is a peer that speaks MongoDB's protocol, ``mongodb`` the one that ``CHATBOX_TEST_MONGO_URI`` names."""

if NAMED:
    CELL_STORES["mongodb"] = lambda _: MongoStorage(shared.settings(NAMED))


def encrypted(make: Callable[[Path], CellStorage]) -> Callable[[Path], Storage]:
    return lambda folder: EncryptedStorage(make(folder), ring("new"))


STORES: dict[str, Callable[[Path], Storage]] = {
    **CELL_STORES,
    **{f"encrypted-{kind}": encrypted(make) for kind, make in CELL_STORES.items()},
}


IN_TURN = {"mongo": lambda _: MongoStorage(shared.emptied()), "mongodb": lambda _: MongoStorage(shared.emptied(NAMED))}
"""Stores that are opened again and again, one after the other, each of them empty."""


def one_after_the_other(kind: str) -> Callable[[Path], Storage]:
    make = IN_TURN.get(kind.removeprefix("encrypted-"))
    if make is None:
        return STORES[kind]
    return encrypted(make) if kind.startswith("encrypted-") else make


@pytest.fixture(scope="session", autouse=True)
def mongo_ends() -> Iterator[None]:
    yield
    shared.close()


@pytest.fixture
async def mongo() -> AsyncIterator[MongoStorage]:
    async with MongoStorage(shared.settings()) as opened:
        yield opened


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


@pytest.fixture(scope="session")
def durable_process() -> Iterator[MongoPeer]:
    with MongoPeer() as started:
        yield started


@pytest.fixture
def peer(durable_process: MongoPeer) -> MongoPeer:
    """A MongoDB peer that runs, flushes what it acknowledges, and may be killed."""
    if not durable_process.runs:
        durable_process.start()
    return durable_process
