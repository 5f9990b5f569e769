"""Sockets that come, sign in, hear something and break off in every way there is leave nothing behind.

`make cycles` does it 20,000 times and prints what it took; the suite does it a few hundred times.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import re
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from chatbox.connections import Connections
from chatbox.limits import SlidingWindow
from chatbox.protocol import Close
from tests import mutants
from tests.live import running
from tests.rawsocket import BINARY, CLOSE, PING, TEXT, Closed, connection, frame, head
from tests.redis_server import RedisServer

COUNT = int(os.environ.get("CHATBOX_TEST_CYCLES", "300"))
USERS = 101  # no multiple of the ways, so that each user goes each of them
AT_ONCE = 20
PATIENCE = 90

SETTINGS = {
    "RATE_LIMIT": "1000000",
    "USER_MAX_ANSWERS": "1000000",
    "MAX_CONNECTIONS_PER_USER": "1000",
    "SESSION_TTL": "1s",
    "RECONNECT_TIMEOUT": "2s",
    "SESSION_CLEANUP_INTERVAL": "1s",
    "RATE_LIMIT_CLEANUP_INTERVAL": "1s",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


# -- one cycle ---------------------------------------------------------------------------------------------------------


def says(text):
    return frame(TEXT, b'{"type":"user_message","content":"%s"}' % text.encode())


async def hears(raw, word):
    while word not in await raw.next(TEXT):
        pass


async def breaks_off_before_the_answer_to_the_handshake(raw):
    pass


async def breaks_off_after_the_greeting(raw):
    await greeted(raw)


async def breaks_off_after_a_word(raw):
    await greeted(raw)
    raw.write(says("/list 3"))


async def breaks_off_in_the_middle_of_an_answer(raw):
    await greeted(raw)
    raw.write(says("/slow 2 one two three four five"))
    await hears(raw, b'"streaming"')


async def stops_the_answer_and_breaks_off(raw):
    await greeted(raw)
    raw.write(says("/stall 2"))
    await hears(raw, b'"streaming"')
    raw.write(frame(TEXT, b'{"type":"stop"}'))
    await hears(raw, b'"finish_reason"')


async def breaks_off_in_a_frame(raw):
    await greeted(raw)
    raw.write(says("x" * 100)[:50])
    await raw.writer.drain()


async def hears_an_answer_and_says_goodbye(raw):
    await greeted(raw)
    raw.write(says("/list 3"))
    await hears(raw, b'"finish_reason"')
    raw.write(frame(PING, b"still there?"), frame(CLOSE, (1000).to_bytes(2)))
    await is_closed(raw, 1000)


async def is_put_out(raw):
    await greeted(raw)
    raw.write(frame(BINARY, b"x"))
    await is_closed(raw, 1003)


async def breaks_the_protocol(raw):
    await greeted(raw)
    raw.write(frame(TEXT, b"{}", masked=False))
    await is_closed(raw, 1002)


async def is_closed(raw, code):
    if (found := await raw.close_code()) != code:
        raise Closed(found)


async def greeted(raw):
    assert (await raw.response())[0] == 101
    await hears(raw, b'"connection_status"')


async def is_refused(raw):
    assert (await raw.response())[0] == 401


WAYS = [
    breaks_off_before_the_answer_to_the_handshake,
    breaks_off_after_the_greeting,
    breaks_off_after_a_word,
    breaks_off_in_the_middle_of_an_answer,
    stops_the_answer_and_breaks_off,
    breaks_off_in_a_frame,
    hears_an_answer_and_says_goodbye,
    is_put_out,
    breaks_the_protocol,
    is_refused,
]


async def cycle(live, number):
    way = WAYS[number % len(WAYS)]
    user = None if way is is_refused else f"user{number % USERS}"
    async with connection(live) as raw:
        raw.write(head("/chatbox/ws?client=tab", user=user))
        try:
            await way(raw)
        except Closed as closed:
            assert closed.args[0] == Close.DELETED  # the session was empty, and nobody had been there for long
        raw.writer.transport.abort()


async def cycles(live, numbers):
    async def work():
        for number in numbers:
            await cycle(live, number)

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])


# -- what is there -----------------------------------------------------------------------------------------------------


VALUE, IN_HANDS = "value ", 20
"""A thread or a task may still hold the last few values that it dealt with."""


def inventory():
    """Tasks, open files, objects of ours by class, and how much their registries hold."""
    for window in [thing for thing in gc.get_objects() if isinstance(thing, SlidingWindow)]:
        window._clock = lambda: time.monotonic() + inventory.later
    gc.collect()
    found = Counter({"tasks": len(asyncio.all_tasks()), "open files": len(list(Path("/proc/self/fd").iterdir()))})
    for thing in gc.get_objects():
        if not str(type(thing).__module__).startswith("chatbox."):
            continue
        name = type(thing).__qualname__
        if isinstance(thing, msgspec.Struct):
            found[f"{VALUE}{name}"] += 1
            continue
        found[name] += 1
        for attribute, value in attributes(thing):
            if isinstance(value, Mapping | set | list | deque):
                found[f"{name}.{attribute}"] += len(value)
    return found


inventory.later = 0.0


def attributes(thing):
    slots = itertools.chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(thing).__mro__)
    yield from getattr(thing, "__dict__", {}).items()
    yield from ((slot, getattr(thing, slot)) for slot in slots if isinstance(slot, str) and hasattr(thing, slot))


async def nothing_more_than(base, patience=PATIENCE):
    """Wait until no more is there than was. The limits' windows have passed by then."""
    inventory.later += 61.0
    excess = {}
    try:
        async with asyncio.timeout(patience):
            while excess := more_than(base):
                await asyncio.sleep(0.5)
    except TimeoutError:
        pytest.fail(f"more than before: {excess}")


def more_than(base):
    """What there is more of: before and now."""
    return {
        name: (base[name], now)
        for name, now in inventory().items()
        if now > base[name] + (IN_HANDS if name.startswith(VALUE) else 0)
    }


async def at_rest(patience=PATIENCE):
    """The inventory once it has stayed the same for a while."""
    inventory.later += 61.0
    found, seen = inventory(), time.monotonic()
    async with asyncio.timeout(patience):
        while time.monotonic() - seen < 3:
            await asyncio.sleep(0.3)
            if (now := inventory()) != found:
                found, seen = now, time.monotonic()
    return found


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


async def check(live, count):
    gc.unfreeze()
    await cycles(live, iter(range(len(WAYS) * AT_ONCE)))
    base, before, start = await at_rest(), resident(), time.monotonic()
    await cycles(live, iter(range(count)))
    took = time.monotonic() - start
    await nothing_more_than(base)
    assert live.app.tasks.failed == 0
    return (
        f"\n{count:,} cycles in {took:.0f} s ({count / took:.0f}/s); memory {before} MiB before and {resident()} "
        f"MiB after; {base['tasks']} tasks, {base['open files']} open files and all registries as before"
    )


@pytest.fixture(autouse=True)
def little_is_remembered(monkeypatch):
    """So that what is remembered has come to its bound before anything is counted."""
    monkeypatch.setattr("chatbox.storage.sqlite.ledger.REMEMBERED", 20)
    monkeypatch.setattr("chatbox.staff.news.KEPT", 1.0)


async def test_sockets_that_break_off_leave_nothing_behind(tmp_path, capsys):
    async with running(tmp_path, SETTINGS) as live:
        figures = await check(live, COUNT)
    with capsys.disabled():
        print(figures)


LASTING = {"born", "at", "hits:frames", "pool:listeners"}
"""What Redis keeps for a while: since when it knows all, positions, hits, and who may come back."""
TOPIC = b"{*"
"""What is in the key of a topic, which this replica listens to all the time."""
LONGEST = 15 * 60_000


async def test_over_redis_nothing_stays_but_what_goes_by_itself(tmp_path):
    with RedisServer() as server, server.client() as redis:
        async with running(tmp_path, SETTINGS | {"REDIS_URL": server.url}) as live:
            await check(live, min(COUNT, 1000))
            async with asyncio.timeout(PATIENCE):
                while more := {kind(key) for key in redis.scan_iter() if TOPIC not in key} - LASTING:
                    await asyncio.sleep(0.5)
            assert not more
            left = {key: redis.pttl(key) for key in redis.scan_iter() if kind(key) != "born"}
            assert all(ttl == -2 or 0 <= ttl <= LONGEST for ttl in left.values())


def kind(key):
    """What a key is for, without whose it is."""
    return ":".join(part for part in key.decode().split(":")[2:] if not re.fullmatch(r"\{.*\}|[0-9a-f]{64}", part))


async def test_a_registry_that_keeps_what_has_gone_would_be_found(tmp_path, monkeypatch):
    async with running(tmp_path, SETTINGS) as live:
        gc.unfreeze()
        await cycles(live, iter(range(100)))
        base = await at_rest()
        monkeypatch.setattr(Connections, "_forget", lambda self, socket: None)
        await cycles(live, iter(range(100)))
        with mutants.found():
            await nothing_more_than(base, patience=5)
