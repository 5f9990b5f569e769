"""Slow clients, and many at once: what they cost, and that nobody else notices."""

import asyncio
import json

import pytest

from chatbox import outbox
from chatbox.protocol import Close
from tests import mutants
from tests.live import running
from tests.rawsocket import CLOSE, TEXT, frame, upgraded

ROOM = 4096
BOUND = 50_000


async def gone_but(live, count, patience=30):
    async with asyncio.timeout(patience):
        while len(live.app.connections) > count:
            await asyncio.sleep(0.02)


# -- readers that do not read ------------------------------------------------------------------------------------------


@pytest.fixture
async def live(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_BYTES", BOUND)
    async with running(tmp_path) as server:
        yield server


async def hears(client, answers):
    """The texts of so many answers."""
    return ["".join([found["content"] for found in await client.answer()]) for _ in range(answers)]


async def falls_behind(ann):
    """More comes than a socket that does not read may keep waiting; the texts that ann heard."""
    heard = []
    for number in range(2):
        await ann.say("user_message", message_id=f"m{number}", content="/long 15000")
        heard += await hears(ann, 1)
    return heard


async def goes_on(ann):
    """Still more comes: what the lines themselves hold is not the same everywhere."""
    for number in range(100):
        await ann.say("user_message", message_id=f"more{number}", content="/long 15000")
        await hears(ann, 1)


def watched(monkeypatch):
    """The most that ever waited in an outbox."""
    most = [0]
    grow = outbox.Outbox._grow

    def growing(self, size):
        most[0] = max(most[0], self.size + size)
        grow(self, size)

    monkeypatch.setattr(outbox.Outbox, "_grow", growing)
    return most


WHOLE = "".join(f"{number} " for number in range(1, 15001))


async def test_of_readers_that_never_read_little_is_kept_and_the_others_hear_everything(live, monkeypatch):
    monkeypatch.setattr("chatbox.sockets.WRITE_DEADLINE", 1.0)
    most = watched(monkeypatch)
    async with live.socket() as ann, live.socket() as ben:
        await ann.next()
        await ben.next()
        async with upgraded(live, room=ROOM) as one, upgraded(live, room=ROOM) as two:
            for raw in (one, two):
                raw.writer.transport.pause_reading()
            hearing = asyncio.create_task(hears(ben, 2))
            assert await falls_behind(ann) == [WHOLE, WHOLE]
            assert await hearing == [WHOLE, WHOLE]
            talking = asyncio.create_task(goes_on(ann))
            await gone_but(live, 2)
            talking.cancel()
    assert 0 < most[0] <= BOUND + 10_000


async def test_a_reader_that_comes_to_itself_hears_4408_and_resumes_without_a_gap(live, monkeypatch):
    monkeypatch.setattr("chatbox.sockets.WRITE_DEADLINE", 1000.0)
    async with live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        async with upgraded(live, room=ROOM) as slow:
            first = json.loads(await slow.next(TEXT))
            slow.writer.transport.pause_reading()
            answers = await falls_behind(ann)
            slow.writer.transport.resume_reading()
            got, at, code = await reads_to_the_end(slow, first["seq"])
        assert code == Close.TOO_SLOW
        assert len(str(got)) < len(str(answers))
        async with live.socket(session_id=session_id, epoch=first["epoch"], last_seq=str(at)) as back:
            assert (await back.next())["metadata"]["resumed"] == "true"
            await back.say("ping", message_id="end")
            while (found := await back.next())["type"] != "pong":
                at = follow(got, at, found)
        assert list(got.values()) == answers


async def reads_to_the_end(raw, at):
    """The answers heard, the last position, and the close code."""
    got = {}
    while (found := await raw.frame())[0] != CLOSE:
        if found[0] == TEXT:
            at = follow(got, at, json.loads(found[1]))
    return got, at, int.from_bytes(found[1][:2])


def follow(got, at, found):
    """The position after a frame, which has to come right after the one before; answers are put together."""
    if "seq" not in found:
        return at
    assert found.get("prev", found["seq"] - 1) == at
    if found["type"] == "ai_response":
        before = got.get(found["message_id"], "") if found["metadata"].get("streaming") == "true" else ""
        got[found["message_id"]] = before + found["content"]
    return found["seq"]


async def test_an_outbox_without_a_bound_would_be_found(live, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_BYTES", 1 << 40)
    most = watched(monkeypatch)
    async with live.socket() as ann, upgraded(live, room=ROOM) as slow:
        slow.writer.transport.pause_reading()
        await falls_behind(ann)
        with mutants.found():
            assert most[0] <= BOUND + 10_000


# -- all at once -------------------------------------------------------------------------------------------------------


async def test_five_hundred_clients_whose_lines_break_are_all_back_where_they_were(tmp_path):
    async with running(tmp_path, {"MAX_CONNECTIONS_PER_USER": "10"}) as live, live.socket("someone else") as other:
        await other.next()
        places = await asyncio.gather(*[visit(live, number) for number in range(500)])
        await gone_but(live, 1)
        back = asyncio.gather(*[visit(live, number, place) for number, place in enumerate(places)])
        await other.say("user_message", message_id="m", content="and me?")
        assert "".join(found["content"] for found in await other.answer()) == "and me?"
        assert await asyncio.wait_for(back, 60) == places
        await gone_but(live, 1)


async def visit(live, number, place=None):
    """Connect, hear where one is, and lose the line: session, epoch, position. Whoever was there before resumes."""
    query = "".join(f"&{name}={value}" for name, value in (place or {}).items())
    async with upgraded(live, f"/ws?client=tab{number}{query}", user=f"user{number % 100}") as raw:
        greeting = json.loads(await raw.next(TEXT))
        assert greeting["metadata"]["resumed"] == ("true" if place else "false")
        raw.write(frame(TEXT, b'{"type":"ping"}'))
        while json.loads(await raw.next(TEXT))["type"] != "pong":
            pass
        raw.writer.transport.abort()
    return {
        name: greeting[key] for name, key in (("session_id", "session_id"), ("epoch", "epoch"), ("last_seq", "seq"))
    }
