"""The model as an assistant of staff."""

import asyncio
from contextlib import aclosing

import pytest

from chatbox.assist import SUGGEST, Assist, asked
from chatbox.errors import Conflict, ModelTooSlow, ModelUnavailable, ProviderRefused
from chatbox.llm.base import End, Piece, ProviderSettings, Usage
from chatbox.llm.history import cost
from chatbox.session import Kind, Principal, Sender
from tests.storage.values import entry
from tests.world import WHOLE, Scripted, world

BEA = Principal("bea", "Bea", frozenset({"chat_admin"}), 2e9)


async def conversation(here):
    ear = await here.enter()
    await here.say(ear, "Where is my parcel?")
    await ear.done()
    await here.takeovers.join(BEA, ear.session_id, "j")
    await here.takeovers.say(BEA, ear.session_id, "a", "I am looking.")
    await here.takeovers.note(BEA, ear.session_id, "n", "Third time this week.")
    await here.quiet()
    return ear, await here.storage.get(ear.session_id)


async def whole(pieces):
    async with aclosing(pieces):
        return "".join([piece async for piece in pieces])


async def test_a_suggestion_comes_from_the_conversation_and_is_kept_nowhere():
    model = Scripted(WHOLE, [Piece("It will "), Piece("come."), Usage(5, 2), End()])
    async with world(None, model) as here:
        ear, session = await conversation(here)
        before, heard = await here.log(ear.session_id), len(ear.frames)
        assist = Assist(here.storage, {"scripted": model}, here.metrics)
        assert await whole(assist.suggestion(session)) == "It will come."
        assert (await here.log(ear.session_id), len(ear.frames)) == (before, heard)
        system, quoted = model.prompts[-1].turns
        assert system.content == SUGGEST
        assert quoted.content.startswith("User: Where is my parcel?\nSupport: ")
        assert quoted.content.endswith("Support: Bea: I am looking.")


async def test_notes_never_reach_the_model():
    model = Scripted()
    async with world(None, model) as here:
        _, session = await conversation(here)
        assist = Assist(here.storage, {"scripted": model}, here.metrics)
        await whole(assist.summary(session))
        assert "Third time" not in repr(model.prompts)


async def test_a_model_that_fails_is_told_in_general_words(monkeypatch):
    model = Scripted(WHOLE, [ProviderRefused("the key sk-123 is wrong")], [asyncio.Event()])
    async with world(None, model) as here:
        _, session = await conversation(here)
        assist = Assist(here.storage, {"scripted": model}, here.metrics)
        with pytest.raises(ModelUnavailable, match="Try again") as told:
            await whole(assist.suggestion(session))
        assert "sk-123" not in told.value.message
        monkeypatch.setattr("chatbox.assist.LONGEST", 0.05)
        with pytest.raises(ModelTooSlow):
            await whole(assist.suggestion(session))
        assert model.open == 0


def test_of_a_long_conversation_the_newest_is_asked_about():
    settings = ProviderSettings(id="m", name="M", type="x", context=300, max_tokens=100)
    entries = [entry("s", content=f"Message {number}. " * 5) for number in range(100)]
    system, quoted = asked(entries, "Task.", settings)
    assert cost(system) + cost(quoted) <= 200
    assert quoted.content.endswith("Message 99.")
    assert quoted.content.startswith("User: Message ")
    long = [entry("s", content="word " * 5000)]
    assert sum(map(cost, asked(long, "Task.", settings))) <= 200


def test_before_anything_was_said_there_is_nothing_to_ask_about():
    settings = ProviderSettings(id="m", name="M", type="x")
    with pytest.raises(Conflict, match="Nothing was said"):
        asked([entry("s", kind=Kind.ADMIN_JOIN, sender=Sender.ADMIN)], "Task.", settings)
