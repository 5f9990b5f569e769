"""Whose a session is."""

import asyncio

import pytest

from chatbox import takeovers
from chatbox.chat import help_entry
from chatbox.errors import Conflict, Fenced, Forbidden, NotFound, Unavailable
from chatbox.llm.base import Piece
from chatbox.protocol import AskHelp, CancelHelp
from chatbox.session import Change, Help, Kind, Principal, Sender, Staff
from chatbox.storage.memory import MemoryStorage
from chatbox.turn import ENDED, owed, turn_entry
from tests.storage.values import entry, turn
from tests.world import WHOLE, Failing, Scripted, world

BEA = Principal("bea", "Bea", frozenset({"chat_admin"}), 2e9)
CY = Principal("cy", "Cy", frozenset({"chat_admin"}), 2e9)
DI = Principal("di", "Di", frozenset({"admin"}), 2e9)


async def kinds(here, ear):
    return [(entry.kind, entry.sender) for entry in await here.log(ear.session_id)]


async def asked(here, text="Hello"):
    """A session with one answered question."""
    ear = await here.enter()
    await here.say(ear, text)
    await ear.done()
    await here.quiet()
    return ear


async def test_who_joins_has_the_session_and_everyone_sees_the_name():
    async with world() as here:
        ear = await asked(here)
        session = await here.takeovers.join(BEA, ear.session_id, "join")
        assert (session.assisting_admin_id, session.assisting_admin_name) == ("bea", "Bea")
        assert session.admin_assisted
        frame = await ear.hear("admin_join")
        assert (frame["sender"], frame["metadata"]) == ("admin", {"admin_id": "bea", "admin_name": "Bea"})


async def test_a_takeover_during_an_answer_stops_it_and_keeps_its_text():
    async with world(None, Scripted([Piece("It is"), asyncio.Event()])) as here:
        ear = await here.enter()
        await here.say(ear, "What is it?")
        await ear.until(lambda: any(f["content"] for f in ear.of("ai_response")))
        await here.takeovers.join(BEA, ear.session_id, "join")
        await ear.hear("admin_join")
        end = await ear.done()
        assert end["metadata"]["finish_reason"] == "stopped"
        assert ear.frames.index(end) < ear.frames.index(ear.of("admin_join")[0])
        answer, join = (await here.log(ear.session_id))[-2:]
        assert (answer.content, join.kind) == ("It is", Kind.ADMIN_JOIN)
        await here.quiet()
        assert ear.copy.broken == []


async def test_while_staff_have_the_session_the_ai_is_silent():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.say(ear, "Is anybody there?", "q")
        await here.takeovers.say(BEA, ear.session_id, "a", "Yes, me.")
        await here.say(ear, "Good.", "q2")
        await here.quiet()
        assert [e.kind for e in await here.log(ear.session_id)][-4:] == [
            Kind.ADMIN_JOIN, Kind.USER_MESSAGE, Kind.USER_MESSAGE, Kind.USER_MESSAGE
        ]  # fmt: skip
        heard = await ear.hear("user_message")
        assert (heard["content"], heard["sender"], heard["metadata"]["admin_name"]) == ("Yes, me.", "admin", "Bea")


async def test_the_store_takes_no_turn_while_staff_have_the_session():
    async with world() as here:
        ear = await asked(here)
        before = await here.storage.get(ear.session_id)
        await here.takeovers.join(BEA, ear.session_id, "join")
        for fence in (None, before.fence, before.fence + 1):
            with pytest.raises(Fenced):
                await here.storage.append(turn_entry(ear.session_id, "x"), Change(takes_turn="x"), fence=fence)
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        with pytest.raises(Fenced):
            await here.storage.append(turn_entry(ear.session_id, "x"), Change(takes_turn="x"), fence=before.fence)


async def test_a_second_member_of_staff_is_refused_with_the_name_of_the_first():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        with pytest.raises(Conflict, match="Bea has this conversation"):
            await here.takeovers.join(CY, ear.session_id, "join2")
        with pytest.raises(Conflict, match="Bea has this conversation"):
            await here.takeovers.say(CY, ear.session_id, "x", "Me too")
        with pytest.raises(Conflict, match="Bea has this conversation"):
            await here.takeovers.leave(CY, ear.session_id, "y")


async def test_of_two_who_join_at_once_one_has_it():
    async with world(None, Scripted([Piece("a"), asyncio.Event()])) as here:
        ear = await here.enter()
        await here.say(ear, "Hello")
        await ear.until(lambda: ear.of("ai_response"))
        both = await asyncio.gather(
            here.takeovers.join(BEA, ear.session_id, "b"),
            here.takeovers.join(CY, ear.session_id, "c"),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in both) == ["Conflict", "Session"]
        assert (await kinds(here, ear)).count((Kind.ADMIN_JOIN, Sender.ADMIN)) == 1


async def test_joining_twice_is_joining_once():
    async with world() as here:
        ear = await asked(here)
        for message_id in ("join", "join", "again"):
            session = await here.takeovers.join(BEA, ear.session_id, message_id)
            assert session.assisting_admin_id == "bea"
        assert (await kinds(here, ear)).count((Kind.ADMIN_JOIN, Sender.ADMIN)) == 1


async def test_staff_write_only_while_they_have_the_session():
    async with world() as here:
        ear = await asked(here)
        with pytest.raises(Conflict, match="Take the conversation over first"):
            await here.takeovers.say(BEA, ear.session_id, "x", "Hello")
        with pytest.raises(Conflict, match="Take the conversation over first"):
            await here.takeovers.leave(BEA, ear.session_id, "y")
        with pytest.raises(NotFound):
            await here.takeovers.join(BEA, "nowhere", "z")


async def test_after_the_hand_back_the_model_knows_what_staff_said():
    model = Scripted()
    async with world(None, model) as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.takeovers.say(BEA, ear.session_id, "a", "The code is 42.")
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        await here.quiet()
        assert len(ear.ends) == 1
        await here.say(ear, "What is the code?")
        await ear.done(2)
        turns = [(turn.role, turn.content) for turn in model.prompts[-1].turns]
        assert ("assistant", "Bea: The code is 42.") in [(r, c.split("\n")[-1]) for r, c in turns]


async def test_what_nobody_answered_is_answered_when_the_ai_has_the_session_again():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.say(ear, "Is anybody there?")
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        await ear.done(2)
        await here.quiet()


async def test_only_an_administrator_gives_back_a_colleagues_session():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        with pytest.raises(Forbidden):
            await here.takeovers.release(CY, ear.session_id, "r1")
        session = await here.takeovers.release(DI, ear.session_id, "r2")
        assert session.assisting_admin_id is None
        frame = await ear.hear("admin_leave")
        assert frame["metadata"] == {
            "admin_id": "bea", "admin_name": "Bea", "reason": "released", "released_by": "di"
        }  # fmt: skip


async def test_a_colleague_gets_the_session_without_the_ai_between():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        session = await here.takeovers.transfer(BEA, Staff("cy", "Cy"), ear.session_id, "give")
        assert session.assisting_admin_id == "cy"
        await here.takeovers.say(CY, ear.session_id, "a", "Now it is me.")
        frame = await ear.hear("admin_join", 2)
        assert frame["metadata"] == {"admin_id": "cy", "admin_name": "Cy", "from_id": "bea", "from_name": "Bea"}
        with pytest.raises(Conflict, match="Cy has this conversation"):
            await here.takeovers.transfer(BEA, Staff("di", "Di"), ear.session_id, "give2")


async def test_a_note_is_nobodys_business_but_staffs():
    model = Scripted()
    async with world(None, model) as here:
        ear = await asked(here)
        await here.takeovers.note(BEA, ear.session_id, "n", "A difficult one.")
        await here.say(ear, "Hello again")
        await ear.done(2)
        assert "difficult" not in repr(ear.frames)
        assert "difficult" not in repr(model.prompts)
        assert ear.copy.broken == []


async def test_to_end_a_session_ends_the_takeover_and_begins_no_answer():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.say(ear, "Is anybody there?")
        session = await here.sessions.close(await here.storage.get(ear.session_id))
        await here.quiet()
        assert (session.assisting_admin_id, session.is_active, len(ear.ends)) == (None, False, 1)
        assert (await ear.hear("admin_leave"))["metadata"]["reason"] == "ended"


async def test_a_takeover_is_kept_with_who_when_and_how_much():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.takeovers.say(BEA, ear.session_id, "a", "One")
        await here.takeovers.say(BEA, ear.session_id, "b", "Two")
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        (copy,) = await here.storage.copies("", 10)
        (takeover,) = copy.takeovers
        assert (takeover.admin_id, takeover.user_id, takeover.messages) == ("bea", "ann", 2)
        assert takeover.start <= takeover.end


async def test_a_request_for_help_ends_with_the_join_and_asking_again_changes_nothing():
    async with world() as here:
        ear = await asked(here)
        await here.do(ear, AskHelp(message_id="h"))
        session = await here.takeovers.join(BEA, ear.session_id, "join")
        assert session.help_state == "joined"
        before = len(await here.log(ear.session_id))
        await here.do(ear, AskHelp(message_id="h2"))
        await here.do(ear, CancelHelp(message_id="h3"))
        assert len(await here.log(ear.session_id)) == before
        session = await here.takeovers.leave(BEA, ear.session_id, "leave")
        assert (session.help_state, session.help_requested) == ("none", True)


async def test_a_call_for_help_that_crosses_the_join_leaves_nobody_waiting():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        call = help_entry(ear.session_id, AskHelp(message_id="h"))
        session = (await here.storage.append(call, Change(help_state=Help.ASKED, active=True))).session
        assert (session.help_state, session.help_since) == (Help.NONE, None)


async def test_an_answer_can_not_be_asked_for_again_while_staff_have_the_session():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        with pytest.raises(Conflict, match="staff"):
            await here.again(ear)
        await here.quiet()
        assert len(ear.ends) == 1


async def test_a_takeover_that_fails_takes_no_question_back(monkeypatch):
    monkeypatch.setattr(takeovers, "PATIENCE", 0.1)
    async with world(None, Scripted([Piece("It is"), asyncio.Event()], WHOLE)) as here:
        ear = await here.enter()
        await here.say(ear, "What is it?")
        await ear.hear("ai_response")
        await here.say(ear, "Go on")
        reply = here.replies._running[ear.session_id]
        reply.end = lambda *_: None
        with pytest.raises(Unavailable):
            await here.takeovers.join(BEA, ear.session_id, "join")
        del reply.end
        await here.stop(ear)
        await ear.done()
        await here.quiet()
        session = await here.storage.get(ear.session_id)
        assert session.assisting_admin_id is None
        assert await here.replies.look(session)
        assert (await ear.done(2))["metadata"]["finish_reason"] == "stop"


async def test_one_id_is_one_persons():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "1")
        with pytest.raises(Conflict, match="Another message"):
            await here.takeovers.join(CY, ear.session_id, "1")
        await here.say(ear, "Hello", "2")
        with pytest.raises(Conflict, match="Another message"):
            await here.takeovers.say(BEA, ear.session_id, "2", "Hello")
        assert (await here.takeovers.join(BEA, ear.session_id, "1")).assisting_admin_id == "bea"


async def test_nobody_hands_a_session_on_to_themselves():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        with pytest.raises(Conflict, match="colleague"):
            await here.takeovers.transfer(BEA, BEA.staff, ear.session_id, "give")


async def test_a_release_that_comes_too_late_says_who_has_the_session_now():
    async with world() as here:
        ear = await asked(here)
        before = await here.takeovers.join(BEA, ear.session_id, "join")
        await here.takeovers.transfer(BEA, Staff("cy", "Cy"), ear.session_id, "give")

        async def as_it_was(session_id):
            del here.takeovers._session
            return before

        here.takeovers._session = as_it_was
        with pytest.raises(Conflict, match="Cy has this conversation"):
            await here.takeovers.release(DI, ear.session_id, "r")


async def test_a_hand_back_is_done_although_the_store_fails_right_after_it():
    failing = Failing(MemoryStorage())
    async with world(failing) as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.say(ear, "Is anybody there?")
        failing.down = {"read"}
        assert (await here.takeovers.leave(BEA, ear.session_id, "leave")).assisting_admin_id is None
        failing.down = set()
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        await ear.done(2)


async def test_a_question_is_answered_after_the_hand_back_however_much_staff_have_noted_since():
    async with world() as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        await here.say(ear, "Is anybody there?")
        for number in range(30):
            await here.takeovers.note(BEA, ear.session_id, f"n{number}", "Still looking.")
        await here.takeovers.leave(BEA, ear.session_id, "leave")
        await ear.done(2)


async def test_a_session_that_staff_join_while_it_ends_is_ended_and_nobodys():
    async with world() as here:
        ear = await asked(here)
        before = await here.storage.get(ear.session_id)
        await here.takeovers.join(BEA, ear.session_id, "join")
        session = await here.sessions.close(before)
        assert (session.assisting_admin_id, session.is_active) == (None, False)
        await here.takeovers.join(BEA, ear.session_id, "again")
        session = await here.sessions.close(await here.storage.get(ear.session_id))
        assert (session.assisting_admin_id, session.is_active) == (None, False)
        ended = [e for e in await here.log(ear.session_id) if e.metadata.get("event") == ENDED]
        assert len(ended) == 1


async def test_staff_may_be_asked_more_than_the_ai():
    async with world(answers=1) as here:
        ear = await asked(here)
        await here.takeovers.join(BEA, ear.session_id, "join")
        for number in range(5):
            await here.say(ear, f"{number}?")


def test_a_question_stands_until_the_ai_or_staff_have_answered_it():
    q, a, taken = entry("s"), entry("s", sender=Sender.ADMIN), turn("s")
    join, leave = (entry("s", kind=kind, sender=Sender.ADMIN) for kind in (Kind.ADMIN_JOIN, Kind.ADMIN_LEAVE))
    assert owed([q])
    assert not owed([q, taken])
    assert not owed([q, join])
    assert owed([q, join, leave])
    assert not owed([q, join, a, leave])
    assert owed([join, a, q, leave])
    assert not owed([a, q])
    assert owed([join, leave, q])
    assert not owed([join, leave, join, q])
    assert owed([q, join, join, leave])
