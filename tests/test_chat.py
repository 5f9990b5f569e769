"""Commands: each is stored once, acknowledged in its place and has its effect; what is not allowed is refused."""

import asyncio
from contextlib import nullcontext

import pytest

from chatbox.allowance import Allowance
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.entries import system_entry
from chatbox.errors import Conflict, NotFound, StorageBusy, TooMany
from chatbox.hub import Hub, Position
from chatbox.llm.base import End, Piece
from chatbox.protocol import (
    AskHelp,
    Authenticate,
    CancelHelp,
    Close,
    Ping,
    Regenerate,
    Say,
    SelectModel,
    SendFile,
    Stop,
    Typing,
)
from chatbox.session import Change, Help, Kind, Principal
from chatbox.sessions import NEW
from chatbox.storage.base import SessionQuery
from chatbox.storage.memory import MemoryStorage
from tests.mutants import found
from tests.world import Around, Ear, Failing, Scripted, Yielding, encrypted, principal, world


@pytest.fixture
async def here(tmp_path):
    async with world(encrypted(tmp_path)) as opened:
        yield opened


# -- which session -----------------------------------------------------------------------------------------------------


@pytest.mark.readiness(issue=2)
async def test_a_session_has_one_id_everywhere(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    end = await ear.done()
    ids = {ear.session_id, ear.frames[0]["session_id"], end["session_id"], here.hub.room(ear.session_id).session_id}
    ids |= {entry.session_id for entry in await here.log(ear.session_id)}
    ids |= {session.id for session in await here.storage.find(SessionQuery(user_id="ann"))}
    assert ids == {ear.session_id}


async def no_session_without_storage(here):
    """The check of issue 2: when it can't be stored, a session exists nowhere and no id is told."""
    here.storage.down = {"create"}
    ear = Ear()
    with pytest.raises(StorageBusy):
        await here.chat.attach(principal(), ear, asked(""))
    assert (ear.session_id, ear.frames, len(here.hub)) == ("", [], 0)
    here.storage.down = set()
    assert await here.storage.find(SessionQuery(empty=None)) == []
    assert here.metrics.sessions_created_total._value.get() == 0


def asked(session_id, at=None):
    from chatbox.chat import Asked

    return Asked(session_id, at)


@pytest.mark.readiness(issue=2)
async def test_a_session_that_can_not_be_stored_does_not_exist_anywhere():
    async with world(Failing(MemoryStorage())) as here:
        await no_session_without_storage(here)


@pytest.mark.readiness(issue=2)
async def test_a_session_told_before_it_is_stored_would_be_found():
    from chatbox.sessions import Sessions

    class Hasty(Sessions):
        async def _create(self, principal):
            self._metrics.sessions_created_total.inc()
            return await super()._create(principal)

    with found():
        async with world(Failing(MemoryStorage()), sessions=Hasty) as here:
            await no_session_without_storage(here)


async def test_a_new_session_is_in_no_list_until_something_is_said(here):
    ear = await here.enter()
    assert await here.storage.find(SessionQuery(user_id="ann")) == []
    await here.say(ear, "hi")
    assert [s.id for s in await here.storage.find(SessionQuery(user_id="ann"))] == [ear.session_id]


async def test_two_tabs_that_connect_at_once_share_one_empty_session(here):
    ears = await asyncio.gather(*[here.enter() for _ in range(4)])
    assert len({ear.session_id for ear in ears}) == 1
    again = await here.enter(session_id=NEW)
    assert again.session_id == ears[0].session_id


async def test_the_active_session_is_found_again_and_a_new_one_on_request(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    assert (await here.enter()).session_id == ear.session_id
    fresh = await here.enter(session_id=NEW)
    assert fresh.session_id not in (ear.session_id, NEW)


async def test_a_strangers_session_behaves_as_one_that_does_not_exist(here):
    ear = await here.enter("ann")
    await here.say(ear, "secret")
    for name in (ear.session_id, "never-existed"):
        stranger = await here.enter("bob", name, Position(ear.copy.epoch, 0))
        assert stranger.session_id != ear.session_id
        assert stranger.frames[0]["metadata"] == {"resumed": "false", "help_state": "none", "reason": "unknown"}


async def test_an_ended_session_can_be_attached_to_and_the_first_write_reopens_it(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    await ear.done()
    await here.sessions.close(await here.storage.get(ear.session_id))
    back = await here.enter(session_id=ear.session_id)
    assert not (await here.storage.get(ear.session_id)).is_active
    await here.say(back, "again")
    assert (await here.storage.get(ear.session_id)).is_active


async def test_after_reconnect_timeout_a_new_session_begins_and_the_old_one_is_ended():
    async with world(None, reconnect_timeout=0.0) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        await here.quiet()
        assert (await here.enter()).session_id == ear.session_id
        for listener in list(here.hub.room(ear.session_id).listeners.values()):
            await here.leave(listener)
        assert (await here.enter()).session_id != ear.session_id
        assert not (await here.storage.get(ear.session_id)).is_active


async def test_writing_in_a_session_makes_it_the_active_one_and_leaves_sockets_and_answers_of_the_other():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), gate, End()))) as here:
        one = await here.enter()
        await here.say(one, "hi")
        await one.hear("ai_response")
        two = await here.enter(session_id=NEW)
        await here.say(two, "hello")
        assert not (await here.storage.get(one.session_id)).is_active
        gate.set()
        assert (await one.done())["metadata"]["finish_reason"] == "stop"
        assert one.closed is None


async def test_the_first_frame_says_what_a_client_has_to_know():
    async with world(None, Scripted(name="one"), Scripted(name="two")) as here:
        ear = await here.enter()
        assert ear.frames[0]["models"] == [{"id": "one", "name": "One"}, {"id": "two", "name": "Two"}]
        assert (ear.frames[0]["user_id"], ear.frames[0]["seq"]) == ("ann", 0)
        await here.do(ear, SelectModel(message_id="m", model_id="two"))
        await here.do(ear, AskHelp(message_id="h"))
        assert (await here.enter()).frames[0]["metadata"] == {
            "resumed": "false",
            "help_state": "asked",
            "model_id": "two",
        }


# -- messages ----------------------------------------------------------------------------------------------------------


async def test_a_resend_is_acknowledged_with_the_first_position_and_does_nothing_else(here):
    ear = await here.enter()
    await here.say(ear, "hi", "m1")
    await ear.done()
    await here.say(ear, "hi", "m1")
    first, second = ear.of("ack")
    assert first["seq"] == second["seq"]
    assert "prev" not in second
    await here.quiet()
    assert len(ear.ends) == 1
    assert len(await here.log(ear.session_id)) == 3
    assert not ear.copy.broken


async def test_the_same_id_with_other_content_is_a_conflict_and_nothing_is_stored(here):
    ear = await here.enter()
    await here.say(ear, "hi", "m1")
    await ear.done()
    for other in (Say(message_id="m1", content="other"), SelectModel(message_id="m1", model_id="scripted")):
        with pytest.raises(Conflict):
            await here.do(ear, other)
    assert len(await here.log(ear.session_id)) == 3
    assert ear.sending == set()


async def test_the_same_message_from_two_sockets_at_once_is_one_message(here):
    ear, other = await here.enter(), await here.enter()
    await asyncio.gather(here.say(ear, "hi", "m1"), here.say(other, "hi", "m1"))
    await asyncio.gather(ear.done(), other.done())
    await here.quiet()
    assert {frame["seq"] for one in (ear, other) for frame in one.of("ack")} == {2**20}
    assert len(await here.log(ear.session_id)) == 3
    assert not ear.copy.broken + other.copy.broken


async def test_a_message_can_not_take_the_id_of_the_running_answer():
    gate = asyncio.Event()
    async with world(None, Scripted((gate, End()))) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        running = await ear.hear("loading")
        with pytest.raises(Conflict):
            await here.say(ear, "I am the answer", running["message_id"])
        gate.set()
        assert (await ear.done())["message_id"] == running["message_id"]


async def test_a_store_that_fails_stores_nothing_and_the_same_frame_may_come_again():
    async with world(Failing(MemoryStorage())) as here:
        ear = await here.enter()
        here.storage.down = {"append"}
        with pytest.raises(StorageBusy):
            await here.say(ear, "hi", "m1")
        assert (ear.of("ack"), ear.sending) == ([], set())
        here.storage.down = set()
        await here.say(ear, "hi", "m1")
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"


async def test_a_command_whose_socket_is_gone_is_carried_out_to_its_end():
    gate = asyncio.Event()

    class Waits(Failing):
        async def around(self, name, call):
            found = await call()
            if name == "append":
                await gate.wait()
            return found

    async with world(Waits(MemoryStorage())) as here:
        ear, other = await here.enter(), await here.enter()
        saying = asyncio.ensure_future(here.say(ear, "hi"))
        await asyncio.sleep(0.01)
        saying.cancel()
        gate.set()
        assert (await other.done())["metadata"]["finish_reason"] == "stop"
        assert [frame["content"] for frame in other.of("user_message")] == ["hi"]


async def test_a_socket_belongs_to_one_session(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    other = await here.enter(session_id=NEW)
    for name in ("unknown", ear.session_id):
        await here.do(ear, Ping(message_id="p", session_id=name))
    stranger = await here.enter("bob")
    await here.do(stranger, Ping(message_id="p", session_id=ear.session_id), "bob")
    with pytest.raises(Conflict):
        await here.do(other, Ping(message_id="p", session_id=ear.session_id))
    assert [len(one.of("pong")) for one in (ear, stranger, other)] == [2, 1, 0]


async def test_typing_is_seen_by_the_users_other_sockets(here):
    ear, other = await here.enter(), await here.enter()
    await here.do(ear, Typing(message_id="t"))
    assert (len(ear.of("typing_indicator")), len(other.of("typing_indicator"))) == (0, 1)


async def test_files_are_not_there_yet_and_tokens_are_the_sockets_business(here):
    ear = await here.enter()
    with pytest.raises(NotFound):
        await here.do(ear, SendFile(message_id="f", file_id="x"))
    with pytest.raises(Conflict):
        await here.do(ear, Authenticate(message_id="a", token="t"))


# -- models, help, stop, regenerate ------------------------------------------------------------------------------------


async def test_a_chosen_model_answers_and_everyone_is_told():
    one, two = Scripted(name="one"), Scripted(name="two")
    async with world(None, one, two) as here:
        ear, other = await here.enter(), await here.enter()
        await here.do(ear, SelectModel(message_id="m", model_id="two"))
        for listener in (ear, other):
            assert listener.of("notification")[0]["metadata"] == {"event": "model_changed", "model_id": "two"}
        await here.say(ear, "hi")
        assert (await ear.done())["model_id"] == "two"
        await here.do(ear, Say(message_id="s", content="back", model_id="one"))
        assert (await ear.done(2))["model_id"] == "one"
        for command in (Say(message_id="x", content="hi", model_id="three"), SelectModel(message_id="y", model_id="3")):
            with pytest.raises(NotFound):
                await here.do(ear, command)
        assert not ear.copy.broken + other.copy.broken


async def test_help_is_asked_for_once_and_taken_back_once(here):
    ear, other = await here.enter(), await here.enter()
    await here.do(ear, AskHelp(message_id="h1", content="please"))
    for number in range(5):
        await here.do(other, AskHelp(message_id=f"h2{number}"))
    await here.do(ear, AskHelp(message_id="h1", content="please"))
    session = await here.storage.get(ear.session_id)
    assert (session.last_index, session.help_state, session.is_active) == (1, Help.ASKED, True)
    assert [frame["message_id"] for frame in other.of("ack")] == [f"h2{number}" for number in range(5)]
    assert [frame["seq"] for frame in ear.of("ack")] == [2**20, 2**20]
    await here.do(ear, CancelHelp(message_id="c1"))
    await here.do(ear, CancelHelp(message_id="c2"))
    session = await here.storage.get(ear.session_id)
    assert (session.last_index, session.help_state, session.help_requested) == (2, Help.NONE, True)
    told = [frame["metadata"] for frame in other.of("notification")]
    assert told == [{"event": "help_state", "state": "asked"}, {"event": "help_state", "state": "none"}]
    with pytest.raises(Conflict):
        await here.do(ear, CancelHelp(message_id="h1"))
    assert not ear.copy.broken + other.copy.broken


async def test_an_address_for_an_answer_is_kept_for_staff_and_told_to_every_tab(here):
    ear, other = await here.enter(), await here.enter()
    for _ in range(2):
        await here.do(ear, AskHelp(message_id="h1", content="please", email="ann@example.com"))
    session = await here.storage.get(ear.session_id)
    assert (session.last_index, session.help_state, session.context) == (
        1,
        Help.ASKED,
        {"help_email": "ann@example.com"},
    )
    assert other.of("notification")[0]["metadata"] == {
        "event": "help_state",
        "state": "asked",
        "email": "ann@example.com",
    }
    assert (await here.enter()).frames[0]["metadata"]["help_email"] == "ann@example.com"


async def test_an_address_that_comes_later_asks_nobody_again(here):
    ear, other = await here.enter(), await here.enter()
    await here.do(ear, AskHelp(message_id="h1"))
    asked = await here.storage.get(ear.session_id)
    told = system_entry(ear.session_id, Kind.NOTIFICATION, "told", {"event": "help_state", "state": "told"})
    await here.storage.append(told, Change(help_state=Help.TOLD))
    for message_id in ("h2", "h2", "h3"):
        await here.do(ear, AskHelp(message_id=message_id, email="ann@example.com"))
    session = await here.storage.get(ear.session_id)
    assert (session.help_state, session.help_since) == (Help.TOLD, asked.help_since)
    assert (session.last_index, session.context["help_email"]) == (3, "ann@example.com")
    await here.do(other, AskHelp(message_id="h4", email="work@example.com"))
    assert (await here.storage.get(ear.session_id)).context == {"help_email": "work@example.com"}
    await here.do(ear, AskHelp(message_id="h2", email="ann@example.com"))
    assert (await here.storage.get(ear.session_id)).context == {"help_email": "work@example.com"}
    assert not ear.copy.broken + other.copy.broken


async def test_while_a_person_is_there_only_a_new_address_is_news(here):
    ear = await here.enter()
    await here.do(ear, AskHelp(message_id="h1"))
    bea = Principal("bea", "Bea", frozenset({"admin"}), 2e9)
    await here.takeovers.join(bea, ear.session_id, "join")
    assert (await here.enter()).frames[0]["metadata"] == {
        "resumed": "false",
        "help_state": "joined",
        "admin_id": "bea",
        "admin_name": "Bea",
    }
    for command in (AskHelp(message_id="h2"), CancelHelp(message_id="c")):
        await here.do(ear, command)
    assert len(await here.log(ear.session_id)) == 2
    await here.do(ear, AskHelp(message_id="h3", email="ann@example.com"))
    session = await here.storage.get(ear.session_id)
    assert (session.help_state, session.context) == (Help.JOINED, {"help_email": "ann@example.com"})


class Late(Around):
    """Somebody else is quicker: ``first`` is called before the next append."""

    first = None

    async def around(self, name, call):
        if name == "append" and self.first:
            first, self.first = self.first, None
            await first()
        return await call()


async def test_staff_who_come_while_help_is_asked_for_are_not_asked_for_again():
    store = Late(MemoryStorage())
    async with world(store) as here:
        ear = await here.enter()
        bea = Principal("bea", "Bea", frozenset({"admin"}), 2e9)
        store.first = lambda: here.takeovers.join(bea, ear.session_id, "join")
        await here.do(ear, AskHelp(message_id="h1"))
        session = await store.get(ear.session_id)
        assert (session.help_state, session.assisting_admin_id, session.last_index) == (Help.NONE, "bea", 1)


async def test_two_tabs_that_ask_for_help_at_once_wait_since_the_first_one():
    store = Late(MemoryStorage())
    async with world(store) as here:
        ear, other = await here.enter(), await here.enter()
        waits = []

        async def ask():
            await asyncio.sleep(0.01)  # the other one has a time of its own
            await here.do(other, AskHelp(message_id="h1"))
            waits.append(await store.get(ear.session_id))

        store.first = ask
        await here.do(ear, AskHelp(message_id="h2"))
        session = await store.get(ear.session_id)
        assert (session.last_index, session.help_state) == (2, Help.ASKED)
        assert session.help_since == waits[0].help_since


async def test_nothing_to_stop_is_acknowledged_and_not_stored(here):
    ear = await here.enter()
    message_id = await here.stop(ear)
    assert ear.of("ack")[0]["message_id"] == message_id
    assert await here.log(ear.session_id) == []
    assert not ear.copy.broken


async def test_a_stop_sent_again_does_not_stop_the_next_answer():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), asyncio.Event()), (Piece("b"), gate, End()))) as here:
        ear = await here.enter()
        await here.say(ear, "one")
        await ear.hear("ai_response")
        await here.do(ear, Stop(message_id="s"))
        await ear.done()
        await here.say(ear, "two")
        await ear.hear("loading", 2)
        await here.do(ear, Stop(message_id="s"))
        gate.set()
        assert (await ear.done(2))["metadata"]["finish_reason"] == "stop"


async def test_regenerate_where_nothing_was_asked_is_a_conflict(here):
    ear = await here.enter()
    with pytest.raises(Conflict):
        await here.do(ear, Regenerate(message_id="r"))
    assert await here.log(ear.session_id) == []


async def test_regenerate_reopens_an_ended_session(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    await ear.done()
    await here.sessions.close(await here.storage.get(ear.session_id))
    await here.again(ear)
    await ear.done(2)
    assert (await here.storage.get(ear.session_id)).is_active


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_over_the_rate_nothing_is_stored_and_the_user_is_told_when_to_come_back():
    async with world(None, rate=3) as here:
        ear = await here.enter()
        for number in range(3):
            await here.say(ear, "hi", f"m{number}")
        with pytest.raises(TooMany) as refused:
            await here.say(ear, "hi", "m3")
        assert 0 < refused.value.retry_after <= 60_001
        await here.quiet()
        assert len([e for e in await here.log(ear.session_id) if e.kind is Kind.USER_MESSAGE]) == 3
        await here.say(ear, "hi", "m2")
        assert ear.of("ack")[-1] == {k: v for k, v in ear.of("ack")[2].items() if k != "prev"}
        with pytest.raises(Conflict):
            await here.say(ear, "other", "m2")
        await here.say(await here.enter("bob"), "hi", user="bob")


async def test_frames_that_store_nothing_or_little_do_not_count():
    async with world(None, rate=1) as here:
        ear = await here.enter()
        for number in range(3):
            await here.stop(ear)
            await here.do(ear, SelectModel(message_id=f"m{number}", model_id="scripted"))
            await here.do(ear, CancelHelp(message_id=f"c{number}"))
        await here.do(ear, AskHelp(message_id="h"))
        for number in range(3):
            await here.do(ear, AskHelp(message_id=f"h{number}"))
        with pytest.raises(TooMany):
            await here.say(ear, "hi")
        with pytest.raises(TooMany):
            await here.do(ear, CancelHelp(message_id="c"))


async def test_a_user_has_so_many_answers_at_once_and_others_are_not_affected():
    gate = asyncio.Event()
    async with world(None, Scripted((gate, Piece("a"), End())), answers=2) as here:
        ears = []
        for _ in range(2):
            ears.append(await here.enter(session_id=NEW))
            await here.say(ears[-1], "hi")
        third = await here.enter(session_id=NEW)
        with pytest.raises(TooMany):
            await here.say(third, "hi")
        await here.say(ears[0], "one more here")
        await here.say(await here.enter("bob"), "hi", user="bob")
        gate.set()
        await here.quiet()
        await here.say(third, "now")
        await third.done()


async def fifty_prompts_at_once():
    gate = asyncio.Event()
    async with world(Yielding(MemoryStorage()), Scripted((gate, End())), answers=3) as here:
        ears = []
        for _ in range(10):
            ears.append(await here.enter(session_id=NEW))
            await here.do(ears[-1], SelectModel(message_id="m", model_id="scripted"))
        tries = await asyncio.gather(*[here.say(ears[n % 10], "hi") for n in range(50)], return_exceptions=True)
        sessions = {ears[n % 10].session_id for n, outcome in enumerate(tries) if isinstance(outcome, str)}
        assert len(sessions) == len(here.replies) == 3
        assert all(isinstance(outcome, str | TooMany) for outcome in tries)
        gate.set()


async def test_fifty_prompts_at_once_do_not_slip_through():
    await fifty_prompts_at_once()


async def test_answers_that_are_counted_only_when_they_run_would_be_found(monkeypatch):
    monkeypatch.setattr(Allowance, "answer", lambda *_: nullcontext())
    with found():
        await fifty_prompts_at_once()


async def test_the_days_tokens_are_limited():
    async with world(None, tokens=9) as here:
        ear = await here.enter()
        await here.say(ear, "hi", "m1")
        await ear.done()
        for refused in (Say(message_id="m2", content="more"), Regenerate(message_id="r")):
            with pytest.raises(TooMany) as error:
                await here.do(ear, refused)
            assert 0 < error.value.retry_after <= 86_400_000
        await here.say(ear, "hi", "m1")
        assert len(ear.of("ack")) == 2


# -- the life of a session ---------------------------------------------------------------------------------------------


async def test_everyone_is_told_of_a_new_name(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    await ear.done()
    renamed = await here.sessions.rename(await here.storage.get(ear.session_id), "A trip")
    assert renamed.name == "A trip"
    assert ear.frames[-1]["metadata"] == {"event": "session_renamed", "name": "A trip"}


async def test_ending_stops_the_answer_and_leaves_sockets_open_and_what_waits_unanswered():
    model = Scripted((Piece("a"), asyncio.Event()))
    async with world(None, model) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.hear("ai_response")
        await here.say(ear, "and this?")
        ended = await here.sessions.close(await here.storage.get(ear.session_id))
        again = await here.sessions.close(ended)
        assert (ended.is_active, again.last_index) == (False, ended.last_index)
        assert [end["metadata"]["finish_reason"] for end in ear.ends] == ["stopped"]
        assert ear.frames[-1]["metadata"] == {"event": "session_ended"}
        assert ear.closed is None
        await here.hub.forget(ear.session_id)
        await here.enter(session_id=ear.session_id)
        await here.quiet()
        assert len(model.prompts) == 1
        assert here.metrics.sessions_ended_total._value.get() == 1


async def test_ending_a_session_that_is_not_the_active_one_stops_its_answer_too():
    async with world(None, Scripted((Piece("a"), asyncio.Event()))) as here:
        one = await here.enter()
        await here.say(one, "hi")
        await one.hear("ai_response")
        two = await here.enter(session_id=NEW)
        await here.do(two, AskHelp(message_id="h"))
        await here.sessions.close(await here.storage.get(one.session_id))
        assert one.ends[0]["metadata"]["finish_reason"] == "stopped"


async def test_deleting_stops_the_answer_and_is_final():
    model = Scripted((Piece("a"), asyncio.Event()))
    async with world(None, model) as here:
        ear = await here.enter()
        await here.say(ear, "hi")
        await ear.hear("ai_response")
        await here.sessions.delete(await here.storage.get(ear.session_id))
        assert ear.closed == 1000
        assert await here.storage.get(ear.session_id) is None
        with pytest.raises(NotFound):
            await here.say(ear, "still there?")
        await here.quiet()
        assert model.open == 0


async def test_a_share_token_is_one_until_it_is_revoked_also_when_asked_for_at_once(here):
    ear = await here.enter()
    await here.say(ear, "hi")
    await here.quiet()
    session = await here.storage.get(ear.session_id)
    tokens = await asyncio.gather(*[here.sessions.share(session) for _ in range(5)])
    assert len(set(tokens)) == 1
    assert len(tokens[0]) >= 22
    await asyncio.gather(*[here.sessions.unshare(session) for _ in range(3)])
    assert await here.sessions.share(session) != tokens[0]
    assert len([e for e in await here.log(session.id) if e.kind is Kind.SHARE]) == 3


async def test_another_users_session_is_not_found(here):
    ear = await here.enter()
    assert (await here.sessions.own(principal("ann"), ear.session_id)).id == ear.session_id
    for user, name in (("bob", ear.session_id), ("ann", "unknown")):
        with pytest.raises(NotFound):
            await here.sessions.own(principal(user), name)


# -- one socket a tab --------------------------------------------------------------------------------------------------


async def tab(here, client="tab", user="ann", session_id=""):
    """A socket of this tab that has attached."""
    ear = Ear()
    ear.client = client
    await here.chat.attach(principal(user), ear, asked(session_id))
    return ear


@pytest.mark.readiness(issue=3)
async def test_a_newer_socket_of_the_same_tab_replaces_the_older_with_its_code(here):
    old = await tab(here)
    new = await tab(here, session_id=old.session_id)
    assert (old.closed, new.closed) == (Close.REPLACED, None)


@pytest.mark.readiness(issue=3)
async def test_a_newer_socket_replaces_the_older_on_another_replica():
    bus = MemoryBus()
    async with (
        world(None, backplane=MemoryBackplane(bus)) as here,
        world(Around(here.storage), backplane=MemoryBackplane(bus)) as there,
    ):
        old, other = await tab(here), await tab(here, "tab2")
        new = await tab(there, session_id=old.session_id)
        assert new.session_id == old.session_id
        assert (old.closed, other.closed, new.closed) == (Close.REPLACED, None, None)


@pytest.mark.parametrize("other", [{"client": "tab2"}, {"session_id": NEW}, {"user": "bob"}, {"client": ""}])
async def test_nothing_else_replaces_a_socket(here, other):
    old = await tab(here)
    await here.say(old, "hi")
    newer = await tab(here, **other)
    await here.quiet()
    assert (old.closed, newer.closed) == (None, None)


async def test_sockets_that_name_no_tab_replace_nobody(here):
    first = await tab(here, "")
    await tab(here, "", session_id=first.session_id)
    assert first.closed is None


async def late_cleanup_keeps_the_newer_socket(here):
    old = await tab(here)
    new = await tab(here)
    await here.leave(old)
    await here.leave(old)
    await here.say(new, "hi")
    await new.done()
    newest = await tab(here)
    assert (new.closed, newest.closed, new.copy.broken) == (Close.REPLACED, None, [])


@pytest.mark.readiness(issue=3)
async def test_the_late_clean_up_of_a_replaced_socket_does_not_remove_the_new_one(here):
    await late_cleanup_keeps_the_newer_socket(here)


class CleanupWithoutCompare(Hub):
    """The defect of old: whoever leaves removes whatever is registered under its name."""

    def leave(self, session_id, listener):
        for other in list(self.room(session_id).listeners.values()):
            if other.client == listener.client:
                super().leave(session_id, other)


@pytest.mark.readiness(issue=3)
async def test_a_clean_up_that_does_not_compare_would_be_found():
    async with world(hub=CleanupWithoutCompare) as here:
        with found():
            async with asyncio.timeout(0.5):
                await late_cleanup_keeps_the_newer_socket(here)


async def test_of_two_sockets_that_a_tab_opens_at_once_one_stays():
    """However the store's answers to the one and to the other lie in time."""
    for delay in range(60):
        async with world(Yielding(MemoryStorage())) as here:
            first = await tab(here, "another")
            await here.say(first, "hi")
            await here.quiet()
            await here.leave(first)
            await here.hub.evict(first.session_id)
            attaching = asyncio.create_task(tab(here))
            for _ in range(delay):
                await asyncio.sleep(0)
            both = [await tab(here), await attaching]
            assert sorted(ear.closed is None for ear in both) == [False, True], f"begun {delay} steps later"
