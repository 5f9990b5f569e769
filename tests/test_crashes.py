"""Processes that ended without a word."""

import asyncio
import subprocess
import sys

import msgspec
import pytest

from chatbox import crashes
from chatbox.crashes import SILENCE, Crashes, is_gone, machine
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.records import Record
from tests.notify.telling import Office


class Time:
    """What monotonic clocks show."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(crashes.time, "monotonic", lambda: self.now)


def process(office, connected=3):
    return Crashes(office.records, office.alerts, lambda: connected)


async def crashed(office):
    return [record.data for record in await office.records.find("alert") if record.data["event"] == "crashed"]


def elsewhere(**fields):
    """The record of a process on another machine."""
    data = {"host": "b", "pid": 7, "process": "p", "version": "1", "seen": 5, "connected": 42}
    return Record(kind="process", id="other", key="b", at=1, data=data | fields)


async def test_a_process_elsewhere_has_crashed_when_it_is_silent_for_long(monkeypatch):
    async with MemoryStorage() as storage:
        office, here = Office(storage), process(Office(storage))
        await office.records.add(elsewhere())
        clock = Time(monkeypatch)
        await here.look()
        clock.now += SILENCE - 1
        await here.look()
        assert await crashed(office) == []
        clock.now += 2
        await here.look()
        [alert] = await crashed(office)
        assert alert["affected"] == 42
        assert alert["facts"]["Server"] == "b, process 7, version 1"
        assert await office.records.get("process", "other") is None
        await here.look()
        assert len(await crashed(office)) == 1


async def test_a_sign_of_life_counts_whatever_its_wall_clock_says(monkeypatch):
    async with MemoryStorage() as storage:
        office, here = Office(storage), process(Office(storage))
        await office.records.add(elsewhere())
        clock = Time(monkeypatch)
        for beat in range(10):
            await here.look()
            clock.now += SILENCE - 1
            record = await office.records.get("process", "other")
            data = record.data | {"seen": -beat}
            assert await office.records.replace(msgspec.structs.replace(record, data=data))
        assert await crashed(office) == []


async def test_two_who_look_tell_of_a_crash_once(monkeypatch):
    async with MemoryStorage() as storage:
        office = Office(storage)
        await office.records.add(elsewhere())
        clock = Time(monkeypatch)
        two = [process(office), process(office)]
        await asyncio.gather(*[one.look() for one in two])
        clock.now += SILENCE + 1
        await asyncio.gather(*[one.look() for one in two])
        assert len(await crashed(office)) == 1


async def test_a_process_that_stops_as_it_should_leaves_nothing():
    async with MemoryStorage() as storage:
        office, one, other = Office(storage), process(Office(storage)), process(Office(storage))
        await one.beat()
        await one.beat()
        assert len(await office.records.find("process")) == 1
        await one.end()
        await other.look()
        assert await crashed(office) == await office.records.find("process") == []


async def test_who_was_taken_for_crashed_and_lives_is_there_again():
    async with MemoryStorage() as storage:
        office, one = Office(storage), process(Office(storage))
        await one.beat()
        await office.records.remove("process", (await office.records.find("process"))[0].id)
        await one.beat()
        await one.beat()
        assert len(await office.records.find("process")) == 1


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


async def test_on_this_machine_a_crash_is_seen_at_once(ended):
    async with MemoryStorage() as storage:
        office, here = Office(storage), process(Office(storage))
        await office.records.add(msgspec.structs.replace(elsewhere(pid=ended), key=machine()))
        await here.look()
        assert len(await crashed(office)) == 1


def test_a_number_that_is_used_again_is_another_process(ended, monkeypatch):
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert is_gone(msgspec.structs.replace(elsewhere(pid=ended), key=machine()))
        assert not is_gone(msgspec.structs.replace(elsewhere(pid=living.pid), key=machine()))
        assert not is_gone(elsewhere(pid=ended))
    finally:
        living.stdin.close()
        living.wait()
    own = crashes.os.getpid()
    assert is_gone(msgspec.structs.replace(elsewhere(pid=own), key=machine()))
    assert not is_gone(msgspec.structs.replace(elsewhere(pid=own, process=crashes.PROCESS), key=machine()))
