"""Rooms and how sockets come into them: complete, in order, or refused."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox.backplane import base as backplane
from chatbox.backplane.base import Removed, Signal, Stored, Turn
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.errors import NotFound, StorageBusy
from chatbox.hub import Hub, Position, Replay
from chatbox.llm.base import End, Piece
from chatbox.protocol import AskHelp, connection_status
from chatbox.room import Room
from chatbox.session import STEP, Kind
from chatbox.storage.memory import MemoryStorage
from tests.mutants import found
from tests.storage.values import entry, session
from tests.world import WHOLE, Ear, Failing, Scripted, World, world


def greet(replay: Replay):
    return connection_status(
        session_id="s", user_id="ann", models=(), epoch="e", seq=replay.seq, metadata={"reason": replay.reason or ""}
    )


async def test_a_position_of_another_epoch_is_refused():
    async with world() as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        back = await here.enter(session_id=ear.session_id, at=Position("another", 0))
        status = back.frames[0]
        assert status["metadata"]["resumed"] == "false"
        assert status["metadata"]["reason"] == "epoch"
        assert status["seq"] == here.hub.room(ear.session_id).position


async def test_a_position_that_the_log_never_had_is_refused():
    async with world() as here:
        ear = await here.enter()
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, 7 * STEP))
        assert back.frames[0]["metadata"]["reason"] == "unknown"


async def test_a_position_in_a_session_that_is_not_there_is_refused():
    async with world() as here:
        back = await here.enter(session_id="a stranger's", at=Position("e", 0))
        assert back.frames[0]["metadata"]["reason"] == "unknown"


@pytest.mark.parametrize(
    ("entries", "position", "reason"),
    [
        ([""] * 501, 0, "too_far"),
        ([""] * 501, 1, None),
        (["x" * 400_000] * 3, 0, "too_far"),
        (["x" * 400_000] * 3, 1, None),
        ([""] * 2100, 0, "too_far"),
    ],
)
async def test_more_than_500_messages_or_a_mebibyte_is_too_far(entries, position, reason):
    async with world() as here:
        ear = await here.enter()
        for content in entries:
            await here.storage.append(entry(ear.session_id, content=content))
        await here.hub.forget(ear.session_id)
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, position * STEP))
        assert back.frames[0]["metadata"].get("reason") == reason
        assert len(back.of("user_message")) == (0 if reason else len(entries) - position)


async def test_a_position_that_the_store_has_and_the_room_has_not_heard_of_is_good():
    async with world() as here:
        ear = await here.enter()
        stored = await here.storage.append(entry(ear.session_id, content="quiet"))
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, stored.entry.seq))
        assert back.frames[0]["metadata"]["resumed"] == "true"
        assert [frame["content"] for frame in ear.of("user_message")] == ["quiet"]


async def test_hidden_entries_leave_no_gap_for_anyone():
    async with world() as here:
        ear, other = await here.enter(), await here.enter()
        await here.sessions.share(await here.storage.get(ear.session_id))
        await here.say(ear, "hi")
        await other.done()
        await here.sessions.unshare(await here.storage.get(ear.session_id))
        await here.say(other, "there")
        await ear.done(2)
        assert not ear.copy.broken + other.copy.broken


async def test_a_signal_passes_its_sender_by():
    async with world() as here:
        ear, other = await here.enter(), await here.enter()
        await here.backplane.publish(ear.session_id, Signal('{"type":"typing_indicator"}', but=ear.id))
        assert (len(ear.of("typing_indicator")), len(other.of("typing_indicator"))) == (0, 1)


async def test_sockets_of_a_deleted_session_are_told_and_closed():
    async with world() as here:
        ear = await here.enter()
        await here.sessions.delete(await here.storage.get(ear.session_id))
        assert ear.closed == 1000
        assert ear.frames[-1]["metadata"]["event"] == "session_deleted"
        assert len(here.hub) == 0


async def test_two_sockets_that_come_at_once_share_a_room():
    async with world(Failing(MemoryStorage())) as here:
        ears = await asyncio.gather(*[here.enter() for _ in range(5)])
        assert {ear.session_id for ear in ears} == {ears[0].session_id}
        assert len(here.hub) == 1
        assert len(here.hub.room(ears[0].session_id).listeners) == 5


async def test_a_room_that_can_not_be_opened_leaves_nothing_behind():
    async with world(Failing(MemoryStorage())) as here:
        here.storage.down = {"read"}
        with pytest.raises(StorageBusy):
            await here.enter()
        assert len(here.hub) == 0
        assert here.backplane._listening == set()
        here.storage.down = set()
        assert (await here.enter()).frames


async def test_a_session_that_is_not_there_can_not_be_attached_to():
    async with world() as here:
        with pytest.raises(NotFound):
            await here.hub.attach(session(), Ear(), None, greet)
        assert len(here.hub) == 0


class DeletedWhileReading(Failing):
    """Runs ``then`` in the middle of the next read."""

    then = None

    async def around(self, name, call):
        found = await call()
        if name == "read" and self.then:
            then, self.then = self.then, None
            await then()
        return found


async def test_who_attaches_while_the_session_is_deleted_gets_another_one():
    async with world(DeletedWhileReading(MemoryStorage())) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        old = await here.storage.get(ear.session_id)
        await here.hub.forget(old.id)
        here.storage.then = lambda: here.sessions.delete(old)
        back = await here.enter(session_id=old.id)
        assert back.session_id != old.id
        assert here.hub.room(old.id) is None


async def test_who_attaches_while_its_room_is_forgotten_gets_the_next_one():
    async with world(DeletedWhileReading(MemoryStorage())) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        await here.leave(ear)
        here.storage.then = lambda: here.hub.evict(ear.session_id)
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, 0))
        await here.say(back, "still there?")
        await back.done(2)
        assert not back.copy.broken


async def test_leaving_twice_or_for_another_is_nothing():
    async with world() as here:
        ear = await here.enter()
        room = here.hub.room(ear.session_id)
        namesake = Ear()
        namesake.id = ear.id
        assert not room.leave(namesake)
        assert room.leave(ear)
        assert not room.leave(ear)
        here.hub.leave("no such session", ear)


async def test_only_rooms_that_nobody_needs_are_evicted():
    gate = asyncio.Event()
    async with world(None, Scripted((gate, End()))) as here:
        ear = await here.enter()
        assert here.hub.idle(0.0) == []
        await here.say(ear, "hi")
        await ear.hear("loading")
        await here.leave(ear)
        assert here.hub.idle(0.0) == []
        await here.hub.evict(ear.session_id)
        assert len(here.hub) == here.hub.active == 1
        gate.set()
        await here.quiet()
        assert here.hub.idle(60.0) == []
        assert here.hub.idle(0.0) == [ear.session_id]
        await here.hub.evict(ear.session_id)
        await here.hub.forget(ear.session_id)
        assert len(here.hub) == 0


class Bus(MemoryBackplane):
    """Loses, doubles and holds back events on their way to the rooms, as ``chance`` decides."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._held: list[tuple[str, object]] = []
        self.faulty = True

    def _tell(self, session_id, event):
        self._held.append((session_id, event))
        if self.faulty and self._chance.random() < 0.3:
            return
        if self.faulty and self._chance.random() < 0.2:
            self._chance.shuffle(self._held)
        held, self._held = self._held, []
        for late in held:
            if self.faulty and not isinstance(late[1], Removed) and self._chance.random() < 0.15:
                continue
            super()._tell(*late)
            if self._chance.random() < 0.1:
                super()._tell(*late)


@given(st.integers(0, 10_000))
def test_lost_doubled_and_reordered_events_are_not_seen_by_anyone(seed):
    asyncio.run(through_a_bad_bus(Bus(random.Random(seed))))


class Trusting(Room):
    """Takes every piece as the next one."""

    def _piece(self, piece):
        if piece.seq > self.position and (answer := self._answer_of(piece)):
            self._pass_piece(answer, piece)


class Believing(Room):
    """Takes every entry as the next one, whatever piece it says comes before it."""

    def _stored(self, event):
        super()._stored(replace(event, after=0))


@pytest.mark.parametrize("room", [Trusting, Believing])
def test_a_room_that_does_not_look_for_gaps_would_be_found(room, monkeypatch):
    monkeypatch.setattr("chatbox.hub.Room", room)
    with found():
        for seed in range(300):
            asyncio.run(through_a_bad_bus(Bus(random.Random(seed))))


async def through_a_bad_bus(bus, hub=Hub):
    model = Scripted((Piece("a"), 0.0, Piece("b"), 0.0, Piece("c"), Piece("d"), End()))
    async with MemoryStorage() as storage:
        here = World(storage, model, backplane=bus, hub=hub)
        async with here.tasks:
            ear, other = await here.enter(), await here.enter()
            for number in range(4):
                await here.say(ear, f"message {number}")
                for _ in range(number * 3):
                    await asyncio.sleep(0)
            await here.quiet()
            bus.faulty = False
            await here.say(other, "the last one")
            await here.quiet()
            async with asyncio.timeout(5):
                while here.hub.room(ear.session_id).position < (await storage.get(ear.session_id)).seq:
                    await asyncio.sleep(0.001)
            log = await here.log(ear.session_id)
            said = [(e.message_id, e.content) for e in log if e.kind in (Kind.USER_MESSAGE, Kind.AI_RESPONSE)]
            for listener in (ear, other):
                assert not listener.copy.broken
                assert listener.copy.conversation == said


async def test_a_gap_waits_for_the_store_and_is_filled_then():
    async with world(Failing(MemoryStorage())) as here:
        ear = await here.enter()
        await here.storage.append(entry(ear.session_id, content="unheard"))
        here.storage.down = {"read"}
        await here.say(ear, "heard")
        assert ear.of("ack") == []
        here.storage.down = set()
        await ear.hear("ack")
        assert [frame["content"] for frame in ear.of("user_message")] == ["unheard"]
        assert not ear.copy.broken


async def test_a_gap_is_filled_after_a_failure_that_nobody_foresaw(monkeypatch):
    monkeypatch.setattr("chatbox.hub.TRY_AGAIN", 0.01)
    storage = Failing(MemoryStorage())
    storage.error = lambda: ValueError("unforeseen")
    async with world(storage) as here:
        ear = await here.enter()
        await storage.append(entry(ear.session_id, content="unheard"))
        storage.down = {"read"}
        await here.do(ear, AskHelp(message_id="h"))
        async with asyncio.timeout(5):
            while not here.tasks.failed:
                await asyncio.sleep(0.001)
        storage.down = set()
        await ear.hear("ack")
        assert [frame["content"] for frame in ear.of("user_message")] == ["unheard"]


class Tardy(MemoryBackplane):
    """Loses the pieces, and keeps the news of a turn until it is asked for them."""

    turn = None

    def _tell(self, session_id, event):
        if isinstance(event, Turn):
            self.turn = event
        elif not isinstance(event, backplane.Piece):
            super()._tell(session_id, event)

    async def running(self, session_id, known):
        return None


async def test_the_news_of_a_turn_that_come_after_its_answer_begin_nothing():
    late = Tardy()
    async with world(backplane=late) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        here.hub._receive(ear.session_id, late.turn)
        assert ear.of("loading") == []
        assert here.hub.room(ear.session_id).answer is None


class HardOfHearing(MemoryBackplane):
    """Misses an answer's first piece; ``before_running`` happens before the next look at the running answer."""

    before_running = None

    def connect(self, receiver):
        missed = []

        def hear(session_id, event):
            if isinstance(event, backplane.Piece) and not missed:
                missed.append(event)
            else:
                receiver(session_id, event)

        super().connect(hear)

    async def running(self, session_id, known):
        if self.before_running:
            before, self.before_running = self.before_running, None
            await before()
        return await super().running(session_id, known)


async def test_an_answer_that_ends_while_a_gap_is_filled_is_given_whole():
    gate, bus, storage = asyncio.Event(), MemoryBus(), MemoryStorage()
    model = Scripted((Piece("a"), gate, Piece("b"), End()), WHOLE)
    one = World(storage, model, backplane=MemoryBackplane(bus))
    two = World(storage, model, backplane=HardOfHearing(bus))
    async with one.tasks, two.tasks:
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await ear.hear("ai_response")

        async def the_answer_ends():
            gate.set()
            await ear.done()
            while one.backplane._bus.answers:
                await asyncio.sleep(0)

        two.backplane.before_running = the_answer_ends
        await one.say(ear, "and")
        answer = (await other.done())["message_id"]
        assert [f["content"] for f in other.of("ai_response") if f["message_id"] == answer] == ["ab"]
        await other.done(2)
        assert not other.copy.broken


async def test_who_comes_back_after_what_overtook_the_first_piece_is_told_that_the_answer_begins():
    first, last = asyncio.Event(), asyncio.Event()
    async with world(None, Scripted((first, Piece("a"), last, End()))) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.hear("loading")
        await here.say(ear, "and")
        acked = await ear.hear("ack", 2)
        first.set()
        await ear.hear("ai_response")
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, acked["seq"]))
        assert [frame["type"] for frame in back.frames] == ["connection_status", "loading", "ai_response"]
        last.set()


@pytest.mark.parametrize("comes_back", [False, True])
async def test_who_was_not_shown_all_of_an_answer_gets_it_whole_at_its_end(comes_back):
    """As when Redis was away: the message passes here before the pieces that came before it elsewhere are heard of."""
    first, last = asyncio.Event(), asyncio.Event()
    bus, storage = MemoryBus(), MemoryStorage()
    one = World(storage, Scripted((Piece("a"), first, Piece("b"), last, End()), WHOLE), backplane=MemoryBackplane(bus))
    two = World(storage, backplane=MemoryBackplane(bus))
    async with one.tasks, two.tasks:
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        two.backplane._listening.clear()
        await one.say(ear, "hi")
        await ear.hear("ai_response")
        said = await storage.append(entry(ear.session_id, content="and"))
        two.hub.room(ear.session_id).merge(await storage.read(ear.session_id), None)
        await two.backplane.listen(ear.session_id)
        await one.backplane.publish(ear.session_id, Stored(said.entry))
        first.set()
        piece = await other.hear("ai_response")
        if comes_back:
            other = await two.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, piece["seq"]))
        last.set()
        end = await other.done()
        assert (end["content"], "streaming" in end["metadata"]) == ("ab", False)


async def test_a_gap_of_a_forgotten_room_is_not_filled():
    async with world(Failing(MemoryStorage())) as here:
        ear = await here.enter()
        await here.storage.append(entry(ear.session_id))
        here.storage.down = {"read"}
        await here.do(ear, AskHelp(message_id="h"))
        await here.hub.forget(ear.session_id)
        here.storage.down = set()
        async with asyncio.timeout(5):
            while len(here.tasks):
                await asyncio.sleep(0.01)
