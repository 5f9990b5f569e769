"""A message's whole way, from the socket's command to the stored answer, and back to every listener."""

import asyncio
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.conversations import Conversations
from chatbox.hub import Position
from chatbox.llm.base import End, Piece, Usage
from chatbox.reply import ANSWERS
from chatbox.session import Kind
from tests.world import Copy, Scripted, encrypted, principal, world


@pytest.fixture
async def here(tmp_path):
    async with world(encrypted(tmp_path)) as opened:
        yield opened


async def test_a_message_is_acknowledged_announced_streamed_and_stored(here):
    ear = await here.enter()
    first = await here.say(ear, "Hi. How are you?")
    end = await ear.done()
    kinds = [frame["type"] for frame in ear.frames]
    assert kinds == ["connection_status", "ack", "loading", "ai_response", "ai_response", "ai_response"]
    assert ear.copy.conversation == [(first, "Hi. How are you?"), (end["message_id"], "Hello there")]
    assert end["metadata"]["finish_reason"] == "stop"
    assert end["metadata"]["tokens"] == "9"
    log = await here.log(ear.session_id)
    assert [entry.kind for entry in log] == [Kind.USER_MESSAGE, Kind.TURN, Kind.AI_RESPONSE]
    assert log[-1].content == "Hello there"
    session = await here.storage.get(ear.session_id)
    assert session.name == "Hi."
    assert session.answer_id is None
    assert session.total_tokens == 9
    assert not ear.copy.broken


async def test_the_users_other_devices_see_the_same(here):
    phone, laptop = await here.enter(), await here.enter()
    assert phone.session_id == laptop.session_id
    await here.say(phone, "from the phone")
    await phone.done()
    await here.say(laptop, "from the laptop")
    await asyncio.gather(phone.done(2), laptop.done(2))
    assert phone.copy.conversation == laptop.copy.conversation
    assert not phone.copy.broken + laptop.copy.broken


async def test_what_was_said_and_answered_goes_to_the_model_in_order(tmp_path):
    model = Scripted((Piece("one"), End()), (Piece("two"), End()))
    async with world(encrypted(tmp_path), model) as here:
        ear = await here.enter()
        await here.say(ear, "first")
        await ear.done()
        await here.say(ear, "second")
        await ear.done(2)
        turns = [(turn.role, turn.content) for turn in model.prompts[-1].turns]
    assert turns == [("user", "first"), ("assistant", "one"), ("user", "second")]


async def test_everything_is_there_after_a_restart(tmp_path):
    async with world(encrypted(tmp_path)) as here:
        ear = await here.enter()
        await here.say(ear, "remember me")
        await ear.done()
    async with world(encrypted(tmp_path)) as here:
        back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, 0))
        await here.say(back, "and now?")
        await back.done(2)
    assert [text for _, text in back.copy.conversation] == ["remember me", "Hello there", "and now?", "Hello there"]
    assert not back.copy.broken


async def test_a_message_that_comes_while_an_answer_runs_does_not_disturb_it_and_is_answered_next(tmp_path):
    gate = asyncio.Event()
    model = Scripted((Piece("slow "), gate, Piece("answer"), End()), (Piece("to both"), End()))
    async with world(encrypted(tmp_path), model) as here:
        ear = await here.enter()
        await here.say(ear, "one")
        await ear.hear("ai_response")
        await here.say(ear, "two")
        await here.say(ear, "three")
        gate.set()
        await ear.done(2)
        await here.quiet()
        assert [text for _, text in ear.copy.conversation] == ["one", "two", "three", "slow answer", "to both"]
        assert model.asked == ["one", "two\nthree"]
        assert not ear.copy.broken


@pytest.mark.parametrize("moment", range(12))
async def test_a_message_in_the_very_moment_an_answer_ends_gets_exactly_one_answer(moment):
    model = Scripted((Piece("a"), End()))
    async with world(None, model) as here:
        ear = await here.enter()
        await here.say(ear, "one")
        for _ in range(moment):
            await asyncio.sleep(0)
        last = await here.say(ear, "two")
        await here.quiet()
        log = await here.log(ear.session_id)
    asked = next(entry.index for entry in log if entry.message_id == last)
    assert len([entry for entry in log if entry.kind is Kind.TURN and entry.index > asked]) == 1
    assert len(ear.ends) == len(ear.copy.loading) == len(model.prompts)
    assert "two" in model.asked[-1]
    assert not ear.copy.broken


async def story(here):
    """A conversation with everything in it, as one listener saw it; what the others say is in it too."""
    ear, other = await here.enter(), await here.enter()
    await here.say(ear, "Hallo, Grüße! 👋")
    await ear.done(1)
    await here.say(other, "second")
    await ear.done(2)
    await here.again(ear)
    await ear.done(3)
    await here.sessions.rename(await here.storage.get(ear.session_id), "A name")
    await here.say(other, "third")
    await ear.hear("ai_response", 9)
    await here.say(other, "meanwhile")
    await ear.done(5)
    await here.quiet()
    return ear


TALK = ((Piece("Ja "), Piece("gut "), Piece("👍"), Usage(3, 3), End()),)


async def test_a_resume_from_every_position_gives_exactly_the_conversation():
    async with world(None, Scripted(*TALK)) as here:
        ear = await story(here)
        whole = ear.copy.conversation
        assert len(whole) == 9
        replayed = Copy()
        replayed.sent = dict(whole)
        for cut in range(len(ear.frames) + 1):
            if cut:
                replayed.take(ear.frames[cut - 1])
            back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, replayed.position))
            client = copy.deepcopy(replayed)
            for frame in back.frames:
                client.take(frame)
            assert back.frames[0]["metadata"]["resumed"] == "true"
            assert client.conversation == whole
            assert not client.broken
            await here.leave(back)


async def test_a_resume_inside_a_running_answer_from_every_position_gives_the_rest_and_what_was_said_meanwhile():
    gates = [asyncio.Event() for _ in range(3)]
    model = Scripted((Piece("a"), Piece("b"), gates[0], Piece("c"), gates[1], Piece("d"), gates[2], End()))
    async with world(None, model) as here:
        ear, other = await here.enter(), await here.enter()
        await here.say(other, "go")
        await ear.hear("ai_response", 2)
        await here.say(other, "wait")
        gates[0].set()
        await ear.hear("ai_response", 3)
        backs = []
        client = Copy()
        for frame in ear.frames:
            client.take(frame)
            back = await here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, client.position))
            backs.append((copy.deepcopy(client), back))
        for gate in gates:
            gate.set()
        await ear.done(2)
        await here.quiet()
        for client, back in backs:
            for frame in back.frames:
                client.take(frame)
            assert client.conversation == ear.copy.conversation
            assert not client.broken


async def test_a_socket_without_a_position_gets_the_running_answer_from_its_first_character_and_the_page_the_rest():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("to "), Piece("be "), gate, Piece("or not"), End()))) as here:
        ear = await here.enter()
        await here.say(ear, "go on")
        await ear.hear("ai_response", 2)
        await here.say(ear, "and on")
        late = await here.enter()
        page = await Conversations(here.storage).page(await here.storage.get(ear.session_id))
        gate.set()
        await ear.done(2)
        client = Copy()
        client.load(page)
        for frame in late.frames:
            client.take(frame)
        assert client.conversation == ear.copy.conversation
        assert not late.copy.broken


@pytest.mark.parametrize("attached", [True, False], ids=["while others listen", "with nobody there"])
async def test_a_page_and_a_socket_from_its_position_are_the_whole_conversation_while_an_answer_runs(attached):
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("to "), Piece("be "), gate, Piece("or not"), End()))) as here:
        ear = await here.enter()
        await here.say(ear, "go on")
        await ear.hear("ai_response", 2)
        await here.say(ear, "and on")
        if not attached:
            await here.leave(ear)
            await here.hub.forget(ear.session_id)
        page = await Conversations(here.storage).page(await here.storage.get(ear.session_id))
        back = await here.enter(session_id=ear.session_id, at=Position(page.session.epoch, page.seq))
        gate.set()
        await back.done(2)
        client = Copy()
        client.load(page)
        for frame in back.frames:
            client.take(frame)
        log = await here.log(ear.session_id)
        assert client.conversation == [(e.message_id, e.content) for e in log if e.kind is not Kind.TURN]
        assert client.loading[0] == client.order[2]
        assert not client.broken


ACTIONS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["say", "stop", "again", "leave", "model", "help", "pause"])),
    min_size=1,
    max_size=14,
)


@given(ACTIONS, st.integers(0, 3))
def test_whatever_several_listeners_do_at_once_all_have_the_same_log(actions, yields):
    asyncio.run(act(actions, yields))


async def act(actions, yields):
    async with world(None, Scripted((Piece("x"), 0.0, Piece("y"), 0.0, Piece("z"), End()))) as here:
        ears = [await here.enter() for _ in range(3)]
        for number, (who, what) in enumerate(actions):
            doing = asyncio.ensure_future(once(here, ears, who, what, number))
            for _ in range(yields):
                await asyncio.sleep(0)
            if what in ("leave", "pause"):
                await doing
        await asyncio.sleep(0)
        await here.quiet()
        session_id = ears[0].session_id
        log = await here.log(session_id)
        fresh = await here.enter(session_id=session_id, at=Position(ears[0].copy.epoch, 0))
        said = [(e.message_id, e.content) for e in log if e.kind in (Kind.USER_MESSAGE, Kind.AI_RESPONSE)]
        for ear in [*ears, fresh]:
            assert not ear.copy.broken
            assert ear.copy.conversation == said
        for ear in ears:
            assert sorted(set(ear.copy.loading)) == sorted(ear.copy.ended)
        assert (await here.storage.get(session_id)).answer_id is None
        assert fresh.copy.position == max([e.seq for e in log if e.kind in fresh_kinds()], default=0)


def fresh_kinds():
    return {Kind.USER_MESSAGE, Kind.AI_RESPONSE, Kind.NOTIFICATION}


async def once(here, ears, who, what, number):
    ear = ears[who]
    match what:
        case "say":
            await here.say(ear, f"message {number}", f"m{number}")
        case "stop":
            await here.stop(ear)
        case "again" if any(e.kind is Kind.USER_MESSAGE for e in await here.log(ear.session_id)):
            await here.again(ear, f"m{number}")
        case "leave":
            await come_back(here, ears, who)
        case "pause":
            await asyncio.sleep(0.001)


async def come_back(here, ears, who):
    """The socket breaks, and its client resumes with what it has."""
    old = ears[who]
    await here.leave(old)
    back = await here.enter(session_id=old.session_id, at=Position(old.copy.epoch, old.copy.position))
    client = old.copy
    for frame in back.frames:
        client.take(frame)
    back.copy = client
    ears[who] = back


async def test_an_answer_outlives_every_socket():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), gate, Piece("b"), End()))) as here:
        ear = await here.enter()
        await here.say(ear, "go")
        await ear.hear("ai_response")
        await here.leave(ear)
        gate.set()
        await here.quiet()
        back = await here.enter(at=Position(ear.copy.epoch, ear.copy.position), session_id=ear.session_id)
        assert back.ends[0]["content"] == "ab"
        assert "streaming" not in back.ends[0]["metadata"]


async def test_nothing_is_left_when_everyone_has_gone():
    async with world(None) as here:
        for _ in range(50):
            ear = await here.enter()
            await here.say(ear, "hi")
            await ear.done()
            await here.leave(ear)
            await here.sessions.delete(await here.sessions.own(principal(), ear.session_id))
        await here.quiet()
        await asyncio.sleep(0.01)
        assert len(here.hub) == len(here.replies) == len(here.tasks) == 0
        assert here.hub.active == 0
        bus = here.backplane._bus
        assert here.backplane._listening == set()
        assert bus.known == bus.leases == bus.answers == {}
        assert here.allowance._asking == {}
        assert await here.quotas.members(ANSWERS, "ann") == set()
