"""Watching: the whole conversation, once, from wherever one comes, and nobody notices."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.conversations import Conversations
from chatbox.errors import Conflict, NotFound, TooMany, Unavailable
from chatbox.hub import Position
from chatbox.llm.base import End, Piece
from chatbox.session import Kind
from chatbox.sessions import LISTENERS
from chatbox.staff import watching
from chatbox.storage.memory import MemoryStorage
from tests.staff.seats import office
from tests.world import Scripted, Yielding, principal

SHOWN = (Kind.USER_MESSAGE, Kind.AI_RESPONSE, Kind.NOTE)


async def said(here, session_id):
    return [(e.message_id, e.content) for e in await here.log(session_id) if e.kind in SHOWN]


async def asked(here, user="ann", text="Hello"):
    """A session with one answered question."""
    ear = await here.enter(user)
    await here.say(ear, text, user=user)
    await ear.done()
    await here.quiet()
    return ear


async def test_a_watch_begins_with_the_stored_messages_and_goes_on_with_what_happens():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        await bea.watch(ear.session_id)
        assert bea.frames[0]["type"] == "connection_status"
        assert [message["content"] for message in bea.frames[0]["messages"]] == ["Hello", "Hello there"]
        await desk.here.say(ear, "And now?")
        await ear.done(2)
        await desk.here.quiet()
        copy = bea.copies[ear.session_id]
        assert copy.conversation == await said(desk.here, ear.session_id)
        assert not copy.broken


async def test_a_running_answer_is_watched_from_its_first_character():
    gate = asyncio.Event()
    async with office(None, Scripted((Piece("It "), Piece("is "), gate, Piece("so."), End()))) as desk:
        ear, bea = await desk.here.enter(), desk.seat()
        await desk.here.say(ear, "What is it?")
        await ear.hear("ai_response", 2)
        await desk.here.say(ear, "Hurry.")
        await bea.watch(ear.session_id)
        assert [message["content"] for message in bea.frames[0]["messages"]] == ["What is it?"]
        answer = bea.of("loading")[0]["message_id"]
        assert bea.copies[ear.session_id].texts[answer] == "It is "
        gate.set()
        await ear.done(2)
        await desk.here.quiet()
        assert bea.copies[ear.session_id].conversation == await said(desk.here, ear.session_id)
        assert not bea.broken


async def test_nobody_in_the_session_notices_a_watcher():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        before, listeners = len(ear.frames), await desk.here.quotas.members(LISTENERS, ear.session_id)
        await bea.watch(ear.session_id)
        await bea.unwatch(ear.session_id)
        assert len(ear.frames) == before
        assert await desk.here.quotas.members(LISTENERS, ear.session_id) == listeners
        await desk.here.say(ear, "Alone?")
        await ear.done(2)
        assert not ear.copy.broken
        assert len(bea.frames) == 1


async def test_a_note_reaches_those_who_watch_and_never_the_user():
    async with office() as desk:
        ear, bea, cy = await asked(desk.here), desk.seat(), desk.seat("cy")
        await bea.watch(ear.session_id)
        await cy.watch(ear.session_id)
        await bea.note(ear.session_id, "Careful.")
        note = cy.of("note")[0]
        assert (note["content"], note["sender"], note["metadata"]["admin_name"]) == ("Careful.", "admin", "Bea")
        assert bea.of("ack")
        assert not bea.of("note")
        back = await desk.here.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, 0))
        page = await desk.conversations.page(await desk.here.storage.get(ear.session_id))
        assert "Careful." not in str([ear.frames, back.frames, page.entries])
        late = desk.seat("di")
        await late.watch(ear.session_id)
        assert [m["content"] for m in late.frames[0]["messages"] if m.get("metadata", {}).get("event") == "note"] == [
            "Careful."
        ]


async def test_to_act_where_one_does_not_watch_begins_to_watch_without_history():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        await bea.join(ear.session_id)
        status, ack = bea.frames
        assert (status["type"], ack["type"]) == ("connection_status", "ack")
        assert "messages" not in status
        await desk.here.say(ear, "Who is there?")
        assert bea.of("user_message")[0]["content"] == "Who is there?"
        assert not bea.broken


@pytest.mark.readiness(issue=2)
async def test_a_conversation_that_is_not_there_can_not_be_watched():
    async with office() as desk:
        bea = desk.seat()
        for session_id in ("nothing", "*staff", "*desks"):
            with pytest.raises(NotFound):
                await bea.watch(session_id)
        assert desk.here.hub.rooms() == []


async def test_a_watched_conversation_that_is_deleted_says_so_and_the_socket_stays():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        other = await asked(desk.here, "ben")
        await bea.watch(ear.session_id)
        await bea.watch(other.session_id)
        await desk.here.sessions.delete(await desk.here.sessions.own(principal(), ear.session_id))
        assert bea.frames[-1]["metadata"]["event"] == "session_deleted"
        assert bea.frames[-1]["session_id"] == ear.session_id
        assert bea.closed is None
        assert len(bea.watching) == 1
        await desk.here.say(other, "Still here", user="ben")
        assert bea.of("user_message", other.session_id)


@pytest.mark.readiness(issue=3)
async def test_to_watch_again_is_to_begin_again_and_nothing_comes_twice():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        await bea.watch(ear.session_id)
        await bea.watch(ear.session_id)
        assert len(bea.watching) == 1
        await desk.here.say(ear, "Once?")
        await ear.done(2)
        assert len(bea.of("user_message")) == 1
        assert not bea.broken


@pytest.mark.readiness(issue=3)
async def test_a_closed_socket_leaves_no_listener_even_while_a_watch_is_on_its_way():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        coming = asyncio.ensure_future(bea.watch(ear.session_id))
        bea.watching.close()
        await coming
        assert set(desk.here.hub.room(ear.session_id).listeners) == {ear.id}
        assert len(bea.watching) == 0


async def test_one_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(watching, "MAX_WATCHED", 1)
    async with office() as desk:
        ear, other, bea = await asked(desk.here), await asked(desk.here, "ben"), desk.seat()
        await bea.watch(ear.session_id)
        await bea.watch(ear.session_id)
        with pytest.raises(TooMany):
            await bea.watch(other.session_id)


class Talkative(Conversations):
    """While messages are read, more are said."""

    def __init__(self, storage, say, times):
        super().__init__(storage)
        self._say = say
        self.times = times

    async def page(self, *args, **options):
        page = await super().page(*args, **options)
        if self.times:
            self.times -= 1
            await self._say()
        return page


@pytest.mark.parametrize("most", [1, 500])
async def test_what_is_said_while_the_messages_are_read_comes_once(most, monkeypatch):
    monkeypatch.setattr("chatbox.hub.MAX_REPLAY_ENTRIES", most)
    async with office() as desk:
        ear, bea, cy = await asked(desk.here), desk.seat(), desk.seat("cy")
        await cy.join(ear.session_id)

        async def say():
            for _ in range(3):
                await cy.speak(ear.session_id, "And another thing")

        bea.watching._conversations = Talkative(desk.here.storage, say, 2)
        await bea.watch(ear.session_id)
        assert bea.copies[ear.session_id].conversation == await said(desk.here, ear.session_id)
        assert not bea.broken
        bea.watching._conversations.times = 1000
        await bea.unwatch(ear.session_id)
        if most == 1:
            with pytest.raises(Unavailable):
                await bea.watch(ear.session_id)


@pytest.mark.parametrize(
    ("at", "reason"), [(Position("other", 0), "epoch"), (Position("", 1 << 50), "unknown"), (Position("", 0), None)]
)
async def test_a_position_is_resumed_or_refused_with_the_reason_and_the_messages(at, reason):
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        epoch = (await desk.here.storage.get(ear.session_id)).epoch
        await bea.watch(ear.session_id, Position(at.epoch or epoch, at.seq))
        status = bea.frames[0]
        assert status["metadata"].get("reason") == reason
        assert status["metadata"]["resumed"] == ("true" if reason is None else "false")
        assert ("messages" in status) == (reason is not None)
        await desk.here.say(ear, "Go on")
        await ear.done(2)
        await desk.here.quiet()
        assert bea.copies[ear.session_id].conversation == await said(desk.here, ear.session_id)
        assert not bea.broken


async def test_who_is_too_far_behind_gets_the_newest_messages():
    async with office() as desk:
        ear, bea = await asked(desk.here), desk.seat()
        await bea.watch(ear.session_id)
        await bea.unwatch(ear.session_id)
        await bea.join(ear.session_id)
        await bea.unwatch(ear.session_id)
        for number in range(510):
            await bea.speak(ear.session_id, f"word {number}")
            await bea.unwatch(ear.session_id)
        cy = desk.seat("cy")
        await cy.watch(ear.session_id, Position(bea.copies[ear.session_id].epoch, 1 << 20))
        assert cy.frames[0]["metadata"] == {"resumed": "false", "reason": "too_far"}
        assert cy.frames[0]["messages"][-1]["content"] == "word 509"
        assert cy.frames[0]["before"]


async def test_stored_messages_that_are_long_come_in_parts(monkeypatch):
    monkeypatch.setattr(watching, "EXCERPT", 25)
    async with office() as desk:
        ear, bea = await desk.here.enter(), desk.seat()
        for number in range(5):
            await desk.here.say(ear, f"{number} and so on")
            await ear.done(number + 1)
            await desk.here.quiet()
        await bea.watch(ear.session_id)
        shown, before = bea.frames[0]["messages"], bea.frames[0]["before"]
        while before:
            await bea.watching.history(ear.session_id, "h", before)
            page = bea.of("history")[-1]
            assert page["messages"]
            shown, before = page["messages"] + shown, page.get("before")
        assert [message["message_id"] for message in shown] == [m for m, _ in await said(desk.here, ear.session_id)]


async def test_pieces_of_two_answers_on_a_slow_line_are_merged_each_with_its_own():
    gate = asyncio.Event()
    pieces = [event for number in range(200) for event in (Piece(f"{number} "), 0.0)]
    async with office(None, Scripted((gate, *pieces, End()))) as desk:
        ears = [await desk.here.enter(user) for user in ("ann", "ben")]
        bea = desk.seat()
        for ear, user in zip(ears, ("ann", "ben"), strict=True):
            await desk.here.say(ear, "Count", user=user)
            await bea.watch(ear.session_id)
        bea.shut()
        gate.set()
        await asyncio.gather(*[ear.done() for ear in ears])
        bea.open()
        await desk.here.quiet()
        for ear in ears:
            assert bea.copies[ear.session_id].conversation == await said(desk.here, ear.session_id)
            assert len(bea.of("ai_response", ear.session_id)) < 10
        assert not bea.broken


async def test_forty_conversations_on_one_socket_are_each_whole_whatever_the_line_does():
    gate = asyncio.Event()
    pieces = [event for number in range(30) for event in (Piece(f"{number} "), 0.0)]
    users = [f"user{number}" for number in range(40)]
    async with office(None, Scripted((gate, *pieces, End()))) as desk:
        ears, bea = [await desk.here.enter(user) for user in users], desk.seat()
        for ear, user in zip(ears, users, strict=True):
            await desk.here.say(ear, "Count", user=user)
            await bea.watch(ear.session_id)
        gate.set()
        while len([ear for ear in ears if not ear.ends]):
            bea.shut()
            await asyncio.sleep(0.001)
            bea.open()
            await asyncio.sleep(0.001)
        await desk.here.quiet()
        for ear in ears:
            assert bea.copies[ear.session_id].conversation == await said(desk.here, ear.session_id)
        assert not bea.broken


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from(
            [
                "ask",
                "ask",
                "stop",
                "again",
                "join",
                "leave",
                "speak",
                "note",
                "watch",
                "back",
                "unwatch",
                "shut",
                "open",
            ]
        ),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=150)
@given(ACTIONS, st.integers(0, 3), st.booleans())
def test_whatever_happens_what_a_watcher_has_and_then_hears_is_what_a_fresh_one_gets(actions, yields, slow):
    asyncio.run(act(actions, yields, Yielding(MemoryStorage()) if slow else MemoryStorage()))


async def act(actions, yields, storage):
    async with office(storage, Scripted((Piece("x"), 0.0, Piece("y"), 0.0, Piece("z"), End()))) as desk:
        here, users = desk.here, ("ann", "ben")
        ears = [await here.enter(user) for user in users]
        seats = [desk.seat("bea"), desk.seat("cy")]
        for who, where, what in actions:
            doing = asyncio.ensure_future(once(here, ears[where], seats[who], users[where], what))
            for _ in range(yields):
                await asyncio.sleep(0)
            if what in ("back", "watch", "unwatch", "speak", "note", "join", "leave"):
                await doing
        await asyncio.sleep(0)
        for seat in seats:
            seat.open()
        await here.quiet()
        for ear in ears:
            fresh = desk.seat("di")
            await fresh.watch(ear.session_id)
            expected = await said(here, ear.session_id)
            assert fresh.copies[ear.session_id].conversation == expected
            assert not ear.copy.broken
            for seat in seats:
                if ear.session_id in seat.copies:
                    await seat.come_back(ear.session_id)
                    assert seat.copies[ear.session_id].conversation == expected
                    assert seat.copies[ear.session_id].position == fresh.copies[ear.session_id].position
        assert [problem for seat in seats for problem in seat.broken] == []


async def once(here, ear, seat, user, what):
    session_id = ear.session_id
    if what in ("join", "leave", "speak", "note") and session_id not in seat.watched:
        await (seat.come_back if session_id in seat.copies else seat.watch)(session_id)
    try:
        match what:
            case "ask":
                await here.say(ear, "something", user=user)
            case "stop" if user == "ann":
                await here.stop(ear)
            case "again" if user == "ann":
                await here.again(ear)
            case "join" | "leave":
                await getattr(seat, what)(session_id)
            case "speak" | "note":
                await getattr(seat, what)(session_id, what)
            case "watch":
                await seat.watch(session_id)
            case "back" if session_id in seat.copies:
                await seat.come_back(session_id)
            case "unwatch":
                await seat.unwatch(session_id)
            case "shut" | "open":
                getattr(seat, what)()
    except Conflict:
        pass
