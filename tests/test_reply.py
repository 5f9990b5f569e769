"""Answers: turns, deadlines, attempts, stops, and a store that fails at each point."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox import draft
from chatbox.backplane.base import Turn
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.draft import Draft, ReplyLimits
from chatbox.entries import system_entry
from chatbox.errors import Fenced, ProviderBusy, ProviderRefused, ProviderTimeout, ProviderUnreachable, StorageCorrupt
from chatbox.llm.base import End, File, Piece, Usage
from chatbox.protocol import SelectModel
from chatbox.reply import Reply
from chatbox.session import RESPONSE_TIMES, Change, Finish, Kind, Principal, Session
from chatbox.storage.memory import MemoryStorage
from chatbox.turn import ENDED, turn_entry
from tests.mutants import found
from tests.storage.values import NOON
from tests.world import QUICK, WHOLE, Around, Ear, Failing, Scripted, World, encrypted, world

SHORT = ReplyLimits(total=0.3, first_piece=0.1, between_pieces=0.1, back_off=0.001, max_back_off=0.002)


async def asked(here: World, text: str = "hi") -> Ear:
    ear = await here.enter()
    await here.say(ear, text)
    return ear


async def ended(here: World) -> tuple[Ear, dict]:
    ear = await asked(here)
    end = await ear.done()
    await here.quiet()
    return ear, end


def test_an_answer_may_be_told_to_end_only_once():
    one = Draft("s", None)
    one.end(Finish.STOPPED)
    one.end(Finish.INTERRUPTED)
    assert one.finish is Finish.STOPPED


# -- how an answer ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason", "text", "code"),
    [
        (WHOLE, "stop", "Hello there", None),
        ((Piece("cut"), End("length")), "length", "cut", None),
        ((Piece("half"), ProviderUnreachable("broke off")), "error", "half", "LLM_UNAVAILABLE"),
        ((ProviderRefused("wrong key"),), "error", "", "LLM_UNAVAILABLE"),
        ((ProviderTimeout("connect"),), "timeout", "", "LLM_TIMEOUT"),
        ((Piece("a"), ValueError("a bug")), "error", "a", "LLM_UNAVAILABLE"),
        ((Piece("no end"),), "interrupted", "no end", None),
    ],
)
async def test_every_end_is_stored_with_its_reason_and_told_once(script, reason, text, code):
    model = Scripted(script)
    async with world(None, model) as here:
        ear, end = await ended(here)
        errors = [(frame["error"]["code"], frame["message_id"]) for frame in ear.of("error")]
        assert errors == ([(code, end["message_id"])] if code else [])
        assert end["metadata"]["finish_reason"] == reason
        assert ear.copy.texts[end["message_id"]] == text
        assert len(ear.copy.loading) == len(ear.ends) == 1
        log = await here.log(ear.session_id)
        assert (log[-1].content, log[-1].metadata["finish_reason"]) == (text, reason)
        assert model.open == len(here.replies) == 0


async def test_what_the_user_is_told_says_nothing_about_the_provider():
    async with world(None, Scripted((ProviderRefused("key sk-123 at https://internal"),))) as here:
        ear, _ = await ended(here)
        assert "sk-123" not in str(ear.frames)
        assert "internal" not in str(ear.frames)


async def test_an_answer_may_have_the_largest_size_and_one_byte_more_ends_it():
    limits = ReplyLimits(max_size=10)
    for text, reason, kept in [
        ("x" * 10, "stop", "x" * 10),
        ("x" * 11, "length", "x" * 10),
        ("xxxü" * 3, "length", "xxxüxxxü"),
    ]:
        async with world(None, Scripted((*map(Piece, (text[:5], text[5:])), End())), limits=limits) as here:
            ear, end = await ended(here)
            assert (end["metadata"]["finish_reason"], ear.copy.texts[end["message_id"]]) == (reason, kept)


async def test_an_answer_with_more_pieces_than_positions_ends(monkeypatch):
    monkeypatch.setattr(draft, "MAX_PIECES", 2)
    async with world(None, Scripted((Piece("a"), Piece("b"), Piece("c"), End()))) as here:
        ear, end = await ended(here)
        assert (end["metadata"]["finish_reason"], ear.copy.texts[end["message_id"]]) == ("length", "ab")


async def test_a_file_that_the_model_made_is_an_entry_of_its_own():
    file = File("https://files.example/cat.png", "cat.png", "image/png")
    async with world(None, Scripted((Piece("Here: "), file, File("https://files.example/x"), End()))) as here:
        ear, end = await ended(here)
        frame = ear.of("file_upload")[0]
        assert (frame["file_url"], frame["content"], frame["sender"]) == (file.url, "cat.png", "ai")
        assert frame["metadata"] == {"answer_id": end["message_id"], "mime_type": "image/png"}
        assert not ear.copy.broken


# -- tokens and times --------------------------------------------------------------------------------------------------


async def test_tokens_are_the_models_or_estimated_and_marked_so():
    async with world(None, Scripted(WHOLE, (Piece("unknown"), End()), (ProviderRefused("no"),))) as here:
        ear, first = await ended(here)
        assert (first["metadata"]["tokens"], first["metadata"].get("tokens_estimated")) == ("9", None)
        await here.say(ear, "again")
        second = await ear.done(2)
        assert int(second["metadata"]["tokens"]) > 3
        assert second["metadata"]["tokens_estimated"] == "true"
        await here.say(ear, "and again")
        assert (await ear.done(3))["metadata"]["tokens"] == "0"
        session = await here.storage.get(ear.session_id)
        assert session.total_tokens == 9 + int(second["metadata"]["tokens"])


@pytest.mark.readiness(issue=12)
async def test_only_answers_that_were_given_count_as_response_times():
    gate = asyncio.Event()
    async with world(None, Scripted(WHOLE, (Piece("a"), gate), (ProviderRefused("no"),))) as here:
        ear, _ = await ended(here)
        await here.say(ear, "stop this")
        await ear.hear("ai_response", 4)
        await here.stop(ear)
        await ear.done(2)
        await here.say(ear, "this fails")
        await ear.done(3)
        assert len((await here.storage.get(ear.session_id)).response_times) == 1


async def growth_of_response_times(here: World, answers: int) -> None:
    ear = await here.enter()
    for number in range(answers):
        await here.say(ear, f"question {number}")
        await ear.done(number + 1)
    times = (await here.storage.get(ear.session_id)).response_times
    assert len(times) == min(answers, RESPONSE_TIMES)


@pytest.mark.readiness(issue=12)
async def test_response_times_are_a_rolling_window_of_a_hundred(monkeypatch):
    async with world() as here:
        await growth_of_response_times(here, RESPONSE_TIMES + 20)
    monkeypatch.setattr("chatbox.session.RESPONSE_TIMES", 10**6)
    with found():
        async with world() as here:
            await growth_of_response_times(here, RESPONSE_TIMES + 20)


async def test_a_provider_that_keeps_the_conversation_itself_begins_anew_when_staff_have_spoken():
    model = Scripted((Piece("a"), End(state="1")), (ProviderRefused("no"),), (Piece("b"), End(state="2")), name="one")
    bea = Principal("bea", "Bea", frozenset({"chat_admin"}), 2e9)
    async with world(None, model) as here:
        ear, _ = await ended(here)
        await here.takeovers.join(bea, ear.session_id, "join")
        await here.takeovers.say(bea, ear.session_id, "words", "The code is 42.")
        await here.takeovers.leave(bea, ear.session_id, "leave")
        for count in (2, 3, 4):
            await here.say(ear, "What is the code?")
            await ear.done(count)
            await here.quiet()
        assert [prompt.state for prompt in model.prompts] == ["", "", "", "2"]
        assert "42" in repr(model.prompts[2].turns)


async def test_a_providers_state_is_kept_for_its_next_answer_beside_the_others_states():
    one = Scripted((Piece("a"), End(state="conversation 1")), (Piece("b"), End()), name="one")
    two = Scripted((Piece("c"), End(state="conversation 2")), name="two")
    async with world(None, one, two) as here:
        ear, _ = await ended(here)
        await here.do(ear, SelectModel(message_id="m", model_id="two"))
        await here.say(ear, "to two")
        await ear.done(2)
        await here.do(ear, SelectModel(message_id="n", model_id="one"))
        await here.say(ear, "to one")
        await ear.done(3)
        assert [prompt.state for prompt in one.prompts] == ["", "conversation 1"]
        context = (await here.storage.get(ear.session_id)).context
        assert context == {"llm:one": "conversation 1", "llm:two": "conversation 2"}


# -- attempts ----------------------------------------------------------------------------------------------------------


async def test_a_transient_failure_before_the_first_piece_is_tried_again():
    model = Scripted((ProviderUnreachable("reset"),), (ProviderBusy("429", retry_after=0.01),), WHOLE)
    async with world(None, model) as here:
        ear, end = await ended(here)
        assert end["metadata"]["finish_reason"] == "stop"
        assert ear.of("error") == []
        assert len(model.prompts) == 3


@pytest.mark.parametrize(
    "script", [(ProviderRefused("no"),), (Piece("begun"), ProviderUnreachable("reset"))], ids=["permanent", "begun"]
)
async def test_other_failures_are_not_tried_again(script):
    model = Scripted(script)
    async with world(None, model) as here:
        await ended(here)
        assert len(model.prompts) == 1


async def test_attempts_are_limited():
    model = Scripted((ProviderUnreachable("reset"),))
    async with world(None, model) as here:
        await ended(here)
        assert len(model.prompts) == QUICK.attempts


async def test_a_model_that_asks_for_more_time_than_there_is_fails_at_once_and_the_user_is_told_when_to_try():
    model = Scripted((ProviderBusy("429", retry_after=3600.0),))
    async with world(None, model) as here:
        ear, _ = await ended(here)
        assert len(model.prompts) == 1
        assert ear.of("error")[0]["error"]["retry_after"] == 3_600_000


async def test_a_stop_between_two_attempts_ends_the_answer():
    model = Scripted((ProviderBusy("429", retry_after=1.5),))
    async with world(None, model) as here:
        ear = await asked(here)
        async with asyncio.timeout(5):
            while not model.prompts or model.open:
                await asyncio.sleep(0)
        await here.stop(ear)
        assert (await ear.done())["metadata"]["finish_reason"] == "stopped"
        assert len(model.prompts) == 1


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def is_ended_in_time(here: World, model: Scripted, text: str) -> None:
    """The check of issue 8: the answer ends by its deadline, with what there was, and nothing is left."""
    ear = await asked(here)
    end = await ear.done()
    await here.quiet()
    assert end["metadata"]["finish_reason"] == "timeout"
    assert ear.copy.texts[end["message_id"]] == text
    assert [frame["error"]["code"] for frame in ear.of("error")] == ["LLM_TIMEOUT"]
    assert model.open == len(here.tasks) == 0


@pytest.mark.readiness(issue=8)
@pytest.mark.parametrize(
    ("script", "text"),
    [
        ((asyncio.Event(),), ""),
        ((Piece("a"), asyncio.Event()), "a"),
        ((Piece("a"), *[item for _ in range(20) for item in (0.05, Piece("b"))]), None),
    ],
    ids=["before the first piece", "between pieces", "in all"],
)
async def test_streaming_times_out(script, text):
    model = Scripted(script)
    async with world(None, model, limits=SHORT) as here:
        if text is not None:
            await is_ended_in_time(here, model, text)
        else:
            ear, end = await ended(here)
            assert end["metadata"]["finish_reason"] == "timeout"
            assert ear.copy.texts[end["message_id"]].startswith("ab")


@pytest.mark.readiness(issue=8)
async def test_a_stream_without_a_deadline_would_be_found():
    model = Scripted((Piece("a"), asyncio.Event()))
    endless = ReplyLimits(total=3600.0, first_piece=3600.0, between_pieces=3600.0)
    with found():
        async with asyncio.timeout(0.5), world(None, model, limits=endless) as here:
            await is_ended_in_time(here, model, "a")


@pytest.mark.readiness(issue=8)
async def test_the_streams_context_is_closed_when_the_socket_is_gone_and_the_answer_goes_on():
    gate = asyncio.Event()
    model = Scripted((Piece("a"), gate, Piece("b"), End()))
    async with world(None, model) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.leave(ear)
        gate.set()
        await here.quiet()
        assert (await here.log(ear.session_id))[-1].content == "ab"
        assert model.open == 0


pauses = st.lists(st.floats(0.0, 0.2), max_size=6)


@pytest.mark.readiness(issue=8)
@given(pauses=pauses, fails=st.booleans())
def test_however_a_model_dawdles_its_answer_has_one_end_and_nothing_leaks(pauses, fails):
    import detangle

    last = ProviderUnreachable("reset") if fails else End()
    script = [item for pause in pauses for item in (pause, Piece("x"))]

    async def run():
        model = Scripted((*script, last))
        async with world(
            None, model, limits=ReplyLimits(total=0.5, first_piece=0.1, between_pieces=0.15, attempts=1)
        ) as here:
            ear, end = await ended(here)
            assert len(ear.ends) == 1
            assert end["metadata"]["finish_reason"] in ("stop", "timeout", "error")
            assert model.open == len(here.tasks) == 0

    detangle.run(run)


@pytest.mark.readiness(issue=8)
@given(total=st.floats(0.05, 1.0), pause=st.floats(0.01, 0.04))
def test_no_answer_is_longer_than_the_whole_deadline(total, pause):
    import detangle

    async def run():
        model = Scripted([item for _ in range(1000) for item in (pause, Piece("x"))])
        async with world(None, model, limits=ReplyLimits(total=total)) as here:
            loop = asyncio.get_running_loop()
            start = loop.time()
            _, end = await ended(here)
            assert end["metadata"]["finish_reason"] == "timeout"
            assert loop.time() - start <= total + 0.05

    detangle.run(run, max_steps=1_000_000)


# -- stopping ----------------------------------------------------------------------------------------------------------


async def test_a_stop_keeps_the_text_and_is_told_to_all():
    model = Scripted((Piece("so far"), asyncio.Event()))
    async with world(None, model) as here:
        ear, other = await here.enter(), await here.enter()
        await here.say(ear, "go")
        await ear.hear("ai_response")
        await here.stop(other)
        for one in (ear, other):
            end = await one.done()
            assert end["metadata"]["finish_reason"] == "stopped"
            assert one.copy.texts[end["message_id"]] == "so far"
        assert ear.of("error") == []
        assert model.open == 0


class Slow(Failing):
    """Waits for ``gates[name]`` before it makes a call."""

    def __init__(self, inner):
        super().__init__(inner)
        self.gates: dict[str, asyncio.Event] = {}

    async def around(self, name, call):
        if name in self.gates:
            await self.gates[name].wait()
        return await super().around(name, call)


async def test_a_stop_before_the_turn_is_taken_gives_an_empty_stopped_answer_and_asks_no_model():
    model = Scripted(WHOLE)
    async with world(Slow(MemoryStorage()), model) as here:
        ear = await here.enter()
        here.storage.gates["read"] = asyncio.Event()
        await here.say(ear, "go")
        await here.stop(ear)
        here.storage.gates.pop("read").set()
        end = await ear.done()
        assert (end["content"], end["metadata"]["finish_reason"]) == ("", "stopped")
        assert end["metadata"]["tokens"] == "0"
        assert model.prompts == []


async def test_a_stop_with_a_target_spares_other_answers():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), gate, End()))) as here:
        ear = await asked(here)
        running = (await ear.hear("loading"))["message_id"]
        stopping = await here.stop(ear, "another")
        assert ear.of("ack")[-1]["message_id"] == stopping
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"
        await here.quiet()
        await here.stop(ear, running)
        assert len(ear.ends) == 1


async def test_a_stop_with_a_target_that_waits_for_its_turn_spares_the_next_answer():
    async with world(Slow(MemoryStorage())) as here:
        ear = await here.enter()
        here.storage.gates["read"] = asyncio.Event()
        await here.say(ear, "go")
        here.replies._running[ear.session_id].end(Finish.STOPPED, "an older answer")
        here.storage.gates.pop("read").set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"


async def test_a_message_said_while_an_answer_is_stopped_is_answered():
    model = Scripted((Piece("a"), asyncio.Event()), WHOLE)
    async with world(None, model) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.say(ear, "something else")
        await here.stop(ear)
        end = await ear.done(2)
        assert end["metadata"]["finish_reason"] == "stop"
        assert model.asked[-1] == "something else"


# -- regenerating ------------------------------------------------------------------------------------------------------


async def test_regenerate_replaces_the_answer_which_stays_stored_and_is_hidden_from_the_model():
    model = Scripted((Piece("old"), End()), (Piece("new"), End()))
    async with world(None, model) as here:
        ear, old = await ended(here)
        await here.again(ear)
        new = await ear.done(2)
        assert new["metadata"]["replaces"] == old["message_id"]
        assert ear.of("loading")[1]["metadata"]["replaces"] == old["message_id"]
        log = {entry.message_id: entry for entry in await here.log(ear.session_id)}
        assert log[old["message_id"]].superseded
        assert not log[new["message_id"]].superseded
        assert [turn.content for turn in model.prompts[1].turns] == ["hi"]
        await here.again(ear)
        assert (await ear.done(3))["metadata"]["replaces"] == new["message_id"]


async def test_regenerate_stops_a_running_answer_and_replaces_it():
    async with world(None, Scripted((Piece("wrong"), asyncio.Event()), WHOLE)) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.again(ear)
        new = await ear.done(2)
        old = ear.ends[0]
        assert old["metadata"]["finish_reason"] == "stopped"
        assert new["metadata"]["replaces"] == old["message_id"]


async def test_regenerate_answers_a_message_that_was_waiting_and_replaces_nothing_then():
    model = Scripted((Piece("wrong"), asyncio.Event()), WHOLE)
    async with world(None, model) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.say(ear, "wait")
        await here.again(ear)
        new = await ear.done(2)
        await here.quiet()
        assert "replaces" not in new["metadata"]
        assert model.asked[-1] == "wait"
        assert len(ear.ends) == 2


async def test_regenerate_stops_an_answer_whose_turn_was_being_taken():
    model = Scripted((Piece("first"), asyncio.Event()), WHOLE)
    async with world(Slow(MemoryStorage()), model) as here:
        ear = await here.enter()
        await here.say(ear, "go")
        again = system_entry(ear.session_id, Kind.REGENERATE, "again", {})
        here.replies._running[ear.session_id].heed(replace(again, index=10**6))
        end = await ear.done()
        assert end["metadata"]["finish_reason"] == "stopped"


async def test_regenerate_sent_twice_answers_once():
    async with world(None, Scripted(WHOLE, (Piece("slow"), 0.05, End()))) as here:
        ear, other = await here.enter(), await here.enter()
        await here.say(ear, "hi")
        await ear.done()
        await asyncio.gather(here.again(ear, "r"), here.again(other, "r"))
        await ear.hear("loading", 2)
        await here.again(ear, "r")
        assert (await ear.done(2))["metadata"]["finish_reason"] == "stop"
        await here.quiet()
        assert len(ear.ends) == 2
        assert not ear.copy.broken + other.copy.broken


async def test_regenerate_with_the_question_too_far_back_ends_with_an_error(monkeypatch):
    monkeypatch.setattr("chatbox.reply.HISTORY", 2)
    async with world() as here:
        ear, _ = await ended(here)
        await here.again(ear)
        assert (await ear.done(2))["metadata"]["finish_reason"] == "error"


# -- a store that fails ------------------------------------------------------------------------------------------------


@pytest.fixture
def failing():
    return Failing(MemoryStorage())


async def test_a_turn_that_can_not_be_taken_is_taken_when_the_store_is_back(failing):
    async with world(failing) as here:
        ear = await here.enter()
        failing.down = {"read"}
        await here.say(ear, "hi")
        async with asyncio.timeout(5):
            while failing.failures < 2:
                await asyncio.sleep(0.01)
        assert ear.copy.loading == []
        failing.down = set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"
        assert len(ear.ends) == 1


async def test_a_turn_that_can_not_be_taken_is_given_up_by_a_stop_and_the_question_is_answered_later(failing):
    async with world(failing) as here:
        ear = await here.enter()
        failing.down = {"read"}
        await here.say(ear, "hi")
        await asyncio.sleep(0.01)
        here.replies._running[ear.session_id].end(Finish.STOPPED)
        await here.quiet()
        failing.down = set()
        await here.leave(ear)
        await here.hub.forget(ear.session_id)
        assert (await (await here.enter()).done())["metadata"]["finish_reason"] == "stop"


def test_a_stop_by_name_is_heard_although_its_answer_has_not_begun_yet():
    reply = Reply(Session(id="s", user_id="ann", epoch="e"))
    reply.end(Finish.STOPPED, "a")
    for answer_id, finish in (("another", None), ("a", Finish.STOPPED)):
        draft = Draft("s", Turn(answer_id, 2, 1))
        reply.begin(draft)
        assert draft.finish is finish
        reply.rest()


async def test_a_turn_that_can_not_be_taken_is_given_up_at_once(failing):
    async with world(failing) as here:
        ear = await here.enter()
        failing.down = {"read"}
        await here.say(ear, "hi")
        async with asyncio.timeout(20):
            while failing.failures < 6:
                await asyncio.sleep(0.01)
        failing.down = set()
        begun = time.monotonic()
        await here.replies.halt(ear.session_id)
        assert time.monotonic() - begun < 1.0, "it waited for the next attempt"
        await here.quiet()


async def test_a_store_that_is_broken_for_good_is_told(failing):
    failing.error = lambda: StorageCorrupt("a damaged row")
    async with world(failing) as here:
        ear = await here.enter()
        failing.down = {"read"}
        await here.say(ear, "hi")
        await here.quiet()
        assert [frame["error"]["code"] for frame in ear.of("error")] == ["DATABASE_ERROR"]


async def test_an_answer_is_stored_when_the_store_is_back(failing):
    async with world(failing, Scripted((Piece("kept"), 0.05, End()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        failing.down = {"append"}
        async with asyncio.timeout(5):
            while not failing.failures:
                await asyncio.sleep(0.01)
        failing.down = set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"


async def unstored(here, failing):
    """An answer that could not be stored: its turn stays open."""
    ear = await asked(here)
    await ear.hear("ai_response")
    failing.down = {"append"}
    await here.quiet()
    failing.down = set()
    assert ear.of("error")[0]["error"]["code"] == "DATABASE_ERROR"
    assert (await here.storage.get(ear.session_id)).answer_id is not None
    return ear


GIVES_UP = ReplyLimits(store_patience=0.05)


PATIENT = ReplyLimits(total=10.0, first_piece=0.5, between_pieces=10.0)


@pytest.mark.parametrize("hour", [-3600, 3600])
async def test_setting_the_wall_clock_neither_ends_an_answer_nor_keeps_it(hour, monkeypatch):
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("a"), gate, Piece("b"), End()), (asyncio.Event(),)), limits=PATIENT) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        real, real_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: real() + hour)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + hour * 10**9)
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"
        await here.say(ear, "and?")
        assert (await ear.done(2))["metadata"]["finish_reason"] == "timeout"


@pytest.mark.parametrize("next_step", ["sweep", "attach", "say"])
async def test_an_answer_that_could_not_be_stored_is_closed_by_who_comes_next(failing, next_step):
    async with world(failing, Scripted((Piece("not lost"), 0.05, End()), WHOLE), limits=GIVES_UP) as here:
        ear = await unstored(here, failing)
        match next_step:
            case "sweep":
                await here.replies.settle(await here.storage.get(ear.session_id))
            case "attach":
                await here.enter()
            case "say":
                await here.say(ear, "next")
        end = await ear.done()
        assert end["metadata"]["finish_reason"] == "interrupted"
        assert ear.copy.texts[end["message_id"]] == "not lost"
        await here.quiet()
        assert (await here.storage.get(ear.session_id)).answer_id is None


async def test_the_text_so_far_is_kept_and_becomes_the_answer_of_a_process_that_died(monkeypatch):
    monkeypatch.setattr(draft, "KEEP_SECONDS", 0.01)
    storage = MemoryStorage()
    async with world(storage, Scripted((Piece("the text "), 0.05, Piece("so far"), asyncio.Event()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response", 2)
        async with asyncio.timeout(5):
            while not (kept := await storage.partial(ear.session_id)) or kept.content != "the text so far":
                await asyncio.sleep(0.01)
    async with world(storage) as here:
        back = await here.enter(session_id=ear.session_id)
        answer = (await here.log(ear.session_id))[-1]
        assert (answer.content, answer.metadata["finish_reason"]) == ("the text so far", "interrupted")
        assert int(answer.metadata["tokens"]) > 0
        await here.again(back)
        assert (await back.done())["metadata"]["replaces"] == answer.message_id


async def test_much_text_is_kept_at_once():
    storage = MemoryStorage()
    async with world(storage, Scripted((Piece("x" * 5000), asyncio.Event()))) as here:
        ear = await asked(here)
        async with asyncio.timeout(0.9):
            while not await storage.partial(ear.session_id):
                await asyncio.sleep(0.01)


async def test_text_that_can_not_be_kept_does_not_disturb_the_answer(failing, monkeypatch):
    monkeypatch.setattr(draft, "KEEP_SECONDS", 0.001)
    failing.down = {"keep"}
    async with world(failing, Scripted((Piece("a"), 0.05, Piece("b"), End()))) as here:
        _, end = await ended(here)
        assert end["metadata"]["finish_reason"] == "stop"
        assert failing.failures


async def test_a_message_whose_process_died_before_its_turn_is_answered_by_the_next_who_comes():
    storage = MemoryStorage()
    async with world(storage, Scripted((Piece("a"), asyncio.Event()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.say(ear, "still waiting")
    model = Scripted()
    async with world(storage, model) as here:
        back = await here.enter(session_id=ear.session_id)
        assert (await back.done())["metadata"]["finish_reason"] == "stop"
        assert model.asked == ["hi\nstill waiting"]


async def test_an_interrupted_regenerated_answer_replaces_the_old_one_too():
    storage = MemoryStorage()
    async with world(storage, Scripted(WHOLE, (asyncio.Event(),))) as here:
        ear, old = await ended(here)
        await here.again(ear)
        await ear.hear("loading", 2)
    async with world(storage) as here:
        await here.enter(session_id=ear.session_id)
        log = await here.log(ear.session_id)
        assert log[-1].metadata["replaces"] == old["message_id"]
        assert next(entry for entry in log if entry.message_id == old["message_id"]).superseded


async def test_a_late_writer_is_refused_and_says_nothing():
    gate = asyncio.Event()
    async with world(None, Scripted((Piece("late"), gate, End()))) as here:
        ear = await asked(here)
        running = await ear.hear("loading")
        await here.storage.append(turn_entry(ear.session_id, "thief"), Change(ends_turn=True))
        await here.storage.append(turn_entry(ear.session_id, "next"), Change(takes_turn="next"))
        gate.set()
        await here.quiet()
        assert ear.ends == ear.of("error") == []
        assert running["message_id"] not in [entry.message_id for entry in await here.log(ear.session_id)]


async def test_a_late_piece_is_refused_and_says_nothing():
    gate = asyncio.Event()
    async with world(None, Scripted((gate, Piece("late"), End()))) as here:
        ear = await asked(here)
        running = await ear.hear("loading")
        await here.backplane.finish(ear.session_id, running["message_id"])
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] == "interrupted"
        assert ear.of("error") == []


async def test_settling_twice_is_settling_once():
    storage = MemoryStorage()
    async with world(storage, Scripted((asyncio.Event(),))) as here:
        ear = await asked(here)
        await ear.hear("loading")
    async with world(storage) as here:
        unfinished = await storage.get(ear.session_id)
        one = await here.replies.settle(unfinished)
        two = await here.replies.settle(unfinished)
        assert one.answer_id is two.answer_id is None
        assert one.last_index == two.last_index


async def test_a_turn_that_was_closed_and_taken_again_meanwhile_is_not_settled():
    storage = MemoryStorage()
    async with world(storage, Scripted((asyncio.Event(),))) as here:
        ear = await asked(here)
        await ear.hear("loading")
    async with world(storage) as here:
        unfinished = await storage.get(ear.session_id)
        closing = Change(ends_turn=True)
        await storage.append(turn_entry(ear.session_id, "someone"), closing, fence=unfinished.fence)
        await storage.append(turn_entry(ear.session_id, "next"), Change(takes_turn="next"))
        assert (await here.replies.settle(unfinished)).answer_id == "next"
        assert unfinished.answer_id not in [entry.message_id for entry in await here.log(ear.session_id)]


class StandsStill(Around):
    """``meanwhile`` happens before a turn is appended, as when the process stands still with the lease."""

    meanwhile = None

    async def append(self, entry, change=None, *, fence=None):
        if entry.kind is Kind.TURN and self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return await super().append(entry, change, fence=fence)


async def test_who_stood_still_with_a_lease_does_not_end_the_turn_of_the_next_holder():
    gate, bus, storage = asyncio.Event(), MemoryBus(), MemoryStorage()
    one = World(StandsStill(storage), Scripted(WHOLE), backplane=MemoryBackplane(bus))
    two = World(storage, Scripted((Piece("a"), gate, End())), backplane=MemoryBackplane(bus))
    async with one.tasks, two.tasks:
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)

        async def the_lease_runs_out_and_the_other_answers():
            del bus.leases[ear.session_id]
            two.replies.wake(await storage.get(ear.session_id))
            await other.hear("ai_response")
            asyncio.get_running_loop().call_later(0.2, gate.set)

        one.storage.meanwhile = the_lease_runs_out_and_the_other_answers
        await one.say(ear, "hi")
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"
        await one.quiet()
        assert len(ear.ends) == 1


async def test_a_session_that_ends_while_the_turn_is_taken_gets_an_empty_stopped_answer_and_asks_no_model():
    storage, model = StandsStill(MemoryStorage()), Scripted(WHOLE)
    async with world(storage, model) as here:
        ear = await here.enter()

        async def the_session_ends():
            end = system_entry(ear.session_id, Kind.NOTIFICATION, "end", {"event": ENDED})
            await storage.append(end, Change(active=False))

        storage.meanwhile = the_session_ends
        await here.say(ear, "hi")
        end = await ear.done()
        assert (end["content"], end["metadata"]["finish_reason"]) == ("", "stopped")
        assert model.prompts == []


async def test_a_turn_that_runs_here_is_not_settled():
    gate = asyncio.Event()
    async with world(None, Scripted((gate, *WHOLE))) as here:
        ear = await asked(here)
        await ear.hear("loading")
        await here.replies.settle(await here.storage.get(ear.session_id))
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] == "stop"


async def test_a_session_that_is_deleted_under_its_answer_leaves_nothing():
    async with world(None, Scripted((Piece("a"), 0.02, Piece("b"), End()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.storage.delete(ear.session_id)
        await here.quiet()
        assert here.tasks.failed == 0
        assert await here.backplane.running(ear.session_id, 0) is None
        here.replies.wake(session_of(ear))
        await here.quiet()
        assert here.tasks.failed == 0


def session_of(ear):
    from tests.storage.values import session

    return session(id=ear.session_id, user_id="ann", last_activity=NOON)


# -- draining ----------------------------------------------------------------------------------------------------------


@pytest.mark.readiness(issue=15)
async def test_a_drain_lets_answers_finish_and_begins_no_more():
    async with world(None, Scripted((Piece("a"), 0.05, End()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        await here.say(ear, "next")
        await here.replies.drain(time.monotonic() + 5)
        await here.quiet()
        assert [end["metadata"]["finish_reason"] for end in ear.ends] == ["stop"]
        await here.say(ear, "too late")
        assert len(here.replies) == 0


@pytest.mark.readiness(issue=15)
async def test_a_drain_interrupts_what_is_not_finished_by_its_deadline():
    async with world(None, Scripted((Piece("a"), asyncio.Event()))) as here:
        ears = []
        for user in ("ann", "bob", "cem"):
            ears.append(await here.enter(user))
            await here.say(ears[-1], "hi", user=user)
            await ears[-1].hear("ai_response")
        start = time.monotonic()
        await here.replies.drain(start + 0.05)
        assert time.monotonic() - start < 1.0
        assert {ear.ends[0]["metadata"]["finish_reason"] for ear in ears} == {"interrupted"}


@pytest.mark.readiness(issue=15)
async def test_a_drain_does_not_wait_for_a_store_that_fails(failing, monkeypatch):
    monkeypatch.setattr("chatbox.reply.GRACE", 0.05)
    async with world(failing, Scripted((Piece("a"), asyncio.Event()))) as here:
        ear = await asked(here)
        await ear.hear("ai_response")
        failing.down = {"append"}
        async with asyncio.timeout(2):
            await here.replies.drain(time.monotonic())
        here.replies.wake(await here.storage.get(ear.session_id))


async def test_an_empty_drain_is_at_once():
    async with world() as here:
        await here.replies.drain(time.monotonic() + 60)


async def test_the_real_store_carries_all_of_this(tmp_path):
    async with world(encrypted(tmp_path), Scripted((Piece("ü👋"), Usage(1, 1), End()))) as here:
        _, end = await ended(here)
        stored = (await here.log((await here.enter()).session_id))[-1]
        assert (stored.kind, stored.content) == (Kind.AI_RESPONSE, "ü👋")
        assert end["metadata"]["tokens"] == "2"
        with pytest.raises(Fenced):
            await here.storage.append(turn_entry(stored.session_id, "x"), fence=1)
