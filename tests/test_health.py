"""Readiness tells the truth."""

import asyncio
import time

import pytest

from chatbox import health
from chatbox.backplane.base import Pool
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.connections import SOCKETS, Connections
from chatbox.errors import BackplaneDown, ProviderUnreachable
from chatbox.health import Health
from chatbox.metrics import Metrics
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from tests.storage.values import ring
from tests.world import Failing, Scripted


@pytest.fixture
def connections():
    return Connections(10, MemoryQuotas({}, {SOCKETS: Pool(10)}), Metrics())


@pytest.fixture
def storage():
    return Failing(MemoryStorage())


@pytest.fixture
def backplane():
    return Checked()


class Checked(MemoryBackplane):
    """Fails its check with ``error`` while there is one."""

    def __init__(self):
        super().__init__()
        self.error = None

    async def check(self):
        if self.error:
            raise self.error


async def test_a_process_that_can_work_is_ready(storage, backplane, connections):
    ready, checks = await Health(storage, backplane, {"echo": Scripted()}, connections).ready()
    assert ready
    assert checks == {
        "store": "ok",
        "backplane": "ok",
        "loop": "ok",
        "draining": False,
        "providers": {"echo": "not checked yet"},
    }


async def test_a_store_that_fails_is_told_and_its_recovery_too(storage, backplane, connections, monkeypatch):
    monkeypatch.setattr(health, "FRESH", 0.0)
    told = Health(storage, backplane, {}, connections)
    storage.down = {"check"}
    ready, checks = await told.ready()
    assert (ready, checks["store"]) == (False, "StorageBusy")
    storage.down = set()
    assert (await told.ready())[0]


async def test_keys_that_do_not_fit_what_is_stored_are_told(storage, backplane, connections):
    async with EncryptedStorage(storage.inner, ring("old")):
        pass
    other = EncryptedStorage(storage.inner, ring("new"))
    ready, checks = await Health(other, backplane, {}, connections).ready()
    assert (ready, checks["store"]) == (False, "StorageCorrupt")


async def test_a_store_that_does_not_answer_is_told(backplane, connections, monkeypatch):
    class Silent(Failing):
        async def around(self, name, call):
            await asyncio.Event().wait()

    monkeypatch.setattr(health, "PATIENCE", 0.01)
    ready, checks = await Health(Silent(MemoryStorage()), backplane, {}, connections).ready()
    assert not ready
    assert "no answer" in checks["store"]


async def test_a_way_to_the_other_replicas_that_is_cut_is_told_and_its_return_too(
    storage, backplane, connections, monkeypatch
):
    monkeypatch.setattr(health, "FRESH", 0.0)
    told = Health(storage, backplane, {}, connections)
    backplane.error = BackplaneDown("no connection to redis.internal")
    ready, checks = await told.ready()
    assert (ready, checks["backplane"], checks["store"]) == (False, "BackplaneDown", "ok")
    backplane.error = None
    ready, checks = await told.ready()
    assert (ready, checks["backplane"]) == (True, "ok")


async def test_a_way_to_the_other_replicas_that_does_not_answer_is_told(storage, connections, monkeypatch):
    class Silent(MemoryBackplane):
        async def check(self):
            await asyncio.Event().wait()

    monkeypatch.setattr(health, "PATIENCE", 0.01)
    ready, checks = await Health(storage, Silent(), {}, connections).ready()
    assert not ready
    assert "no answer" in checks["backplane"]
    assert checks["store"] == "ok"


async def test_a_draining_process_is_not_ready(storage, backplane, connections):
    connections.draining = True
    ready, checks = await Health(storage, backplane, {}, connections).ready()
    assert not ready
    assert checks["draining"] is True


async def test_many_askers_at_once_cost_one_look(storage, backplane, connections):
    told = Health(storage, backplane, {}, connections)
    answers = await asyncio.gather(*[told.ready() for _ in range(50)])
    assert storage.calls == ["check"]
    assert all(answer == answers[0] for answer in answers)


async def test_a_loop_that_was_blocked_is_told_until_that_is_a_while_ago(storage, backplane, connections, monkeypatch):
    monkeypatch.setattr(health, "LAG_TICK", 0.01)
    monkeypatch.setattr(health, "LAG_WINDOW", 0.05)
    monkeypatch.setattr(health, "MAX_LAG", 0.2)
    monkeypatch.setattr(health, "FRESH", 0.0)
    told = Health(storage, backplane, {}, connections)
    watching = asyncio.ensure_future(told.watch_loop())
    await asyncio.sleep(0.03)
    time.sleep(0.3)
    async with asyncio.timeout(5):
        while told.loop_lag < 0.2:
            await asyncio.sleep(0.001)
        ready, checks = await told.ready()
        assert not ready
        assert "blocked for 0." in checks["loop"]
        while told.loop_lag >= 0.2:
            await asyncio.sleep(0.01)
    assert (await told.ready())[1]["loop"] == "ok"
    watching.cancel()


async def test_a_model_that_is_away_is_told_and_takes_nothing_else_away(storage, backplane, connections, monkeypatch):
    class Away(Scripted):
        async def check(self):
            raise ProviderUnreachable("no connection")

    class Silent(Scripted):
        async def check(self):
            await asyncio.Event().wait()

    monkeypatch.setattr(health, "PROVIDER_PATIENCE", 0.01)
    told = Health(storage, backplane, {"here": Scripted(), "away": Away(), "silent": Silent()}, connections)
    watching = asyncio.ensure_future(told.watch_providers())
    async with asyncio.timeout(5):
        while "not checked yet" in told._models.values():
            await asyncio.sleep(0.001)
    ready, checks = await told.ready()
    assert ready
    assert checks["providers"] == {"here": "ok", "away": "ProviderUnreachable", "silent": "TimeoutError"}
    watching.cancel()
