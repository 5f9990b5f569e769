"""The ``openai`` provider in conversation with a real OpenAI-compatible server: llama.cpp's own, with a small model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.util import find_spec

import openai
import pytest

from chatbox.errors import ProviderRefused
from chatbox.llm import open_provider
from chatbox.llm.base import Piece, Provider
from chatbox.llm.local import demo_model
from tests.llm.asking import answer, end, prompt, settings, text, usage
from tests.llm.standins.server import KEY

pytestmark = [pytest.mark.model, pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the extra local")]

SYSTEM = "You are a helpful assistant. Answer briefly and plainly."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    xllamacpp = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(demo_model())
    params.api_keys = [KEY]
    params.n_ctx = 1024
    params.n_batch = params.n_ubatch = 16
    params.verbosity = -1
    params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture
async def provider(url: str) -> AsyncIterator[Provider]:
    async with open_provider(settings("openai", url, max_tokens=40, temperature=0.2)) as provider:
        yield provider


async def test_it_is_a_server_that_openais_own_client_understands(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        asked = [{"role": "user", "content": "Hi"}]
        stream = await client.chat.completions.create(model="any", messages=asked, stream=True, max_tokens=10)
        assert [chunk async for chunk in stream]


async def test_a_conversation(provider: Provider) -> None:
    events = await answer(provider, "What is the capital of France?", system=SYSTEM)
    assert "Paris" in text(events)
    assert end(events).reason == "stop"
    counted = usage(events)
    assert counted is not None
    assert counted.prompt_tokens > 10
    again = await answer(provider, "What is the capital of France?", text(events), "And of Italy?", system=SYSTEM)
    assert text(again)


async def test_its_limit_and_its_errors(provider: Provider, url: str) -> None:
    assert end(await answer(provider, "Tell me a long story.")).reason in ("length", "stop")
    with pytest.raises(ProviderRefused, match="exceed"):
        await answer(provider, "word " * 3000)
    async with open_provider(settings("openai", url, api_key="wrong")) as stranger:
        with pytest.raises(ProviderRefused, match="401"):
            await answer(stranger, "Hi")
    await provider.check()


async def test_an_answer_that_is_left_makes_room_for_the_next(provider: Provider) -> None:
    stream = provider.stream(prompt("Tell me a long story."))
    async for event in stream:
        if isinstance(event, Piece):
            break
    await stream.aclose()
    async with asyncio.timeout(30):
        assert text(await answer(provider, "Hi"))
