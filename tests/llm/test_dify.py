from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatbox.errors import ProviderRefused
from chatbox.llm import open_provider
from chatbox.llm.base import Provider
from tests.llm.asking import answer, end, files, prompt, settings, text
from tests.llm.standins.dify import TASK, DifyServer
from tests.llm.standins.server import Failure, Script


@pytest.fixture
async def provider(dify_server: DifyServer) -> AsyncIterator[Provider]:
    async with open_provider(settings("dify", dify_server.url)) as provider:
        yield provider


async def test_a_conversation_goes_on_under_the_id_that_dify_gave(dify_server: DifyServer, provider: Provider) -> None:
    state = end(await answer(provider, "Hi")).state
    again = end(await answer(provider, "Hi", "Hello!", "How are you?", state=state)).state
    assert state == again == "conversation-1"
    first, second = (request["body"] for request in dify_server.requests)
    assert first == {
        "query": "Hi",
        "inputs": {},
        "response_mode": "streaming",
        "conversation_id": "",
        "user": "user-1",
    }
    assert (second["query"], second["conversation_id"]) == ("How are you?", "conversation-1")


async def test_a_new_conversation_is_told_what_was_said_before(dify_server: DifyServer, provider: Provider) -> None:
    await answer(provider, "Hi", "Hello!", "How are you?", system="Be kind.")
    query = dify_server.requests[0]["body"]["query"]
    assert query.startswith("Be kind.\n\n")
    assert query.index("User: Hi") < query.index("Assistant: Hello!") < query.index("How are you?")


async def test_a_conversation_that_dify_has_lost_begins_anew(dify_server: DifyServer, provider: Provider) -> None:
    events = await answer(provider, "Hi", "Hello!", "How are you?", state="lost")
    assert text(events) == "Paris is the capital."
    assert end(events).state == "conversation-1"
    assert "Assistant: Hello!" in dify_server.requests[1]["body"]["query"]


async def test_a_wrong_address_is_not_taken_for_a_lost_conversation(dify_server: DifyServer) -> None:
    async with open_provider(settings("dify", f"{dify_server.url}/wrong")) as provider:
        with pytest.raises(ProviderRefused, match="404"):
            await answer(provider, "Hi", state="known")


async def test_files_are_found_at_difys_own_address(dify_server: DifyServer, provider: Provider) -> None:
    dify_server.script = Script(files=("/files/tools/cat.png?sign=1", "https://cdn.example.com/dog.png"))
    found = files(await answer(provider, "Draw"))
    host = dify_server.url.removesuffix("/v1")
    assert [file.url for file in found] == [f"{host}/files/tools/cat.png?sign=1", "https://cdn.example.com/dog.png"]
    assert found[0].name == "cat.png"


async def test_an_agents_closing_message_is_not_said_twice(dify_server: DifyServer, provider: Provider) -> None:
    dify_server.agent = True
    assert text(await answer(provider, "Hi")) == "Paris is the capital."


async def test_a_replacement_follows_what_can_not_be_taken_back(dify_server: DifyServer, provider: Provider) -> None:
    dify_server.replacement = "I can't talk about that."
    assert text(await answer(provider, "Hi")) == "Paris is the capital.\n\nI can't talk about that."
    dify_server.script = Script(words=())
    assert text(await answer(provider, "Hi")) == "I can't talk about that."


async def test_an_error_inside_the_stream_ends_it_without_a_stop(dify_server: DifyServer, provider: Provider) -> None:
    dify_server.script = Script(error=Failure(400, "completion_request_error", "no luck"))
    with pytest.raises(ProviderRefused, match="completion_request_error no luck"):
        await answer(provider, "Hi")
    assert dify_server.stopped == []


async def test_dify_is_told_when_nobody_listens_any_more(dify_server: DifyServer, provider: Provider) -> None:
    dify_server.script = Script(words=("word ",) * 1000, pause=0.005)
    stream = provider.stream(prompt("Go on"))
    await anext(stream)
    await stream.aclose()
    async with asyncio.timeout(2):
        while not dify_server.stopped:
            await asyncio.sleep(0.01)
    assert dify_server.stopped == [(TASK, "user-1")]


async def test_dify_is_told_even_when_the_provider_closes_right_after(dify_server: DifyServer) -> None:
    dify_server.script = Script(words=("word ",) * 1000, pause=0.005)
    async with open_provider(settings("dify", dify_server.url)) as provider:
        stream = provider.stream(prompt("Go on"))
        await anext(stream)
        await stream.aclose()
    assert dify_server.stopped == [(TASK, "user-1")]


async def test_an_answer_that_ended_is_not_stopped(dify_server: DifyServer, provider: Provider) -> None:
    await answer(provider, "Hi")
    assert dify_server.stopped == []


async def test_without_a_key_none_is_sent(dify_server: DifyServer) -> None:
    async with open_provider(settings("dify", dify_server.url, api_key="")) as provider:
        with pytest.raises(ProviderRefused, match="401"):
            await answer(provider, "Hi")
    assert "Authorization" not in dify_server.requests[0]["headers"]
