"""What holds for every vendor's API alike, each against its own stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from chatbox.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderUnreachable
from chatbox.llm import open_provider
from chatbox.llm.base import Event, Provider, Usage
from tests.llm.asking import answer, end, heard, prompt, settings, text, usage
from tests.llm.standins.anthropic import AnthropicServer
from tests.llm.standins.dify import DifyServer
from tests.llm.standins.openai import OpenAIServer
from tests.llm.standins.server import KEY, Failure, Script, StandIn


@dataclass
class Vendor:
    server: StandIn
    provider: Provider


SERVERS = {"openai": OpenAIServer, "anthropic": AnthropicServer, "dify": DifyServer}
OVERLOAD = {"openai": "rate_limit_exceeded", "anthropic": "overloaded_error", "dify": "too_many_requests"}


@pytest.fixture(params=SERVERS)
async def vendor(request: pytest.FixtureRequest) -> AsyncIterator[Vendor]:
    async with SERVERS[request.param]() as server, open_provider(settings(request.param, server.url)) as provider:
        yield Vendor(server, provider)


async def test_an_answer_comes_in_pieces_with_its_usage(vendor: Vendor) -> None:
    vendor.server.script = Script(pause=0.01)
    events = await answer(vendor.provider, "What is the capital of France?")
    assert text(events) == "Paris is the capital."
    assert len(events) >= 4
    assert end(events).reason == "stop"
    assert usage(events) == Usage(12, 4)


async def test_many_answers_at_once_do_not_mix(vendor: Vendor) -> None:
    vendor.server.script = Script(pause=0.001)
    answers = await asyncio.gather(*[answer(vendor.provider, f"Question {n}") for n in range(150)])
    assert {text(events) for events in answers} == {"Paris is the capital."}
    assert len(vendor.server.requests) == 150


async def test_connections_are_used_again(vendor: Vendor) -> None:
    for _ in range(5):
        await answer(vendor.provider, "Again")
    assert len(vendor.server.connections) == 1


async def test_a_character_in_many_bytes_stays_whole(vendor: Vendor) -> None:
    vendor.server.script = Script(words=("Zürich ", "日本語 ", "👩‍👩‍👧 ", "\u0000\u2028"))
    assert text(await answer(vendor.provider, "Say something")) == "Zürich 日本語 👩‍👩‍👧 \u0000\u2028"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ProviderRefused),
        (401, ProviderRefused),
        (403, ProviderRefused),
        (404, ProviderRefused),
        (413, ProviderRefused),
        (422, ProviderRefused),
        (302, ProviderRefused),
        (408, ProviderUnreachable),
        (429, ProviderBusy),
        (529, ProviderBusy),
        (500, ProviderUnreachable),
        (502, ProviderUnreachable),
        (503, ProviderUnreachable),
    ],
)
async def test_a_status_says_whether_to_try_again(vendor: Vendor, status: int, error: type[ProviderError]) -> None:
    vendor.server.failures.append(Failure(status, "some_error", "for a reason"))
    with pytest.raises(error, match=f"status {status}") as caught:
        await answer(vendor.provider, "Hi")
    assert caught.value.transient == (error is not ProviderRefused)
    assert ("for a reason" in caught.value.detail) == (status != 302)


async def test_a_rate_limit_says_when_to_come_back(vendor: Vendor) -> None:
    vendor.server.failures.append(Failure(429, "rate_limit", headers={"Retry-After": "7"}))
    with pytest.raises(ProviderBusy) as caught:
        await answer(vendor.provider, "Hi")
    assert caught.value.retry_after == 7.0
    assert text(await answer(vendor.provider, "Hi"))


async def test_after_an_error_the_connection_is_good(vendor: Vendor) -> None:
    vendor.server.failures.append(Failure(500, "some_error"))
    with pytest.raises(ProviderUnreachable):
        await answer(vendor.provider, "Hi")
    await answer(vendor.provider, "Hi")
    assert len(vendor.server.connections) == 1


@pytest.mark.parametrize("status", [429, 500])
async def test_an_error_inside_the_stream_keeps_what_came_before_it(vendor: Vendor, status: int) -> None:
    kind = OVERLOAD[vendor.provider.settings.type] if status == 429 else "api_error"
    vendor.server.script = Script(pause=0.02, error=Failure(status, kind, f"trouble with {KEY}"))
    got: list[Event] = []
    with pytest.raises(ProviderBusy if status == 429 else ProviderUnreachable, match="trouble") as caught:
        await heard(vendor.provider, prompt("Hi"), got)
    assert text(got) == "Paris is the capital."
    assert KEY not in str(caught.value)


async def test_a_stream_that_breaks_off_is_an_error(vendor: Vendor) -> None:
    vendor.server.script = Script(cut=True, pause=0.02)
    got: list[Event] = []
    with pytest.raises(ProviderUnreachable):
        await heard(vendor.provider, prompt("Hi"), got)
    assert text(got) == "Paris is the capital."


async def test_a_wrong_key_is_refused_and_told_to_nobody(vendor: Vendor) -> None:
    wrong = "sk-canary-that-is-wrong"
    refused = settings(vendor.provider.settings.type, vendor.server.url, api_key=wrong)
    async with open_provider(refused) as provider:
        with pytest.raises(ProviderRefused, match="status 401") as caught:
            await answer(provider, "Hi")
        with pytest.raises(ProviderRefused, match="status 401") as checked:
            await provider.check()
    for error in (caught.value, checked.value):
        told = f"{error} {error!r} {vars(error)} {error.__cause__!r}"
        assert wrong not in told
        assert "***" in told


async def test_a_check_costs_no_tokens(vendor: Vendor) -> None:
    await vendor.provider.check()
    assert vendor.server.requests == []


async def test_a_check_tells_trouble_from_an_api_without_that_page(vendor: Vendor) -> None:
    vendor.server.failures.append(Failure(404, "not_found"))
    await vendor.provider.check()
    vendor.server.failures.append(Failure(500, "some_error"))
    with pytest.raises(ProviderUnreachable):
        await vendor.provider.check()


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_who_stops_listening_frees_the_connection_at_once(vendor: Vendor, way: str) -> None:
    vendor.server.script = Script(words=("word ",) * 10_000, pause=0.005)
    loop = asyncio.get_running_loop()
    if way == "close":
        stream = vendor.provider.stream(prompt("Go on and on"))
        await anext(stream)
        began = loop.time()
        await stream.aclose()
    else:
        task = asyncio.create_task(answer(vendor.provider, "Go on and on"))
        while not vendor.server.running:
            await asyncio.sleep(0.01)
        began = loop.time()
        task.cancel()
        await asyncio.wait({task})
    assert loop.time() - began < 0.2
    async with asyncio.timeout(2):
        while vendor.server.running:
            await asyncio.sleep(0.01)


async def test_a_silent_server_can_be_left(vendor: Vendor) -> None:
    vendor.server.script = Script(hold=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer(vendor.provider, "Hi"), 0.1)
    async with asyncio.timeout(2):
        while vendor.server.running:
            await asyncio.sleep(0.01)


async def test_the_settings_reach_the_model(vendor: Vendor) -> None:
    changed = settings(vendor.provider.settings.type, vendor.server.url, max_tokens=77, temperature=0.5, model="big")
    async with open_provider(changed) as provider:
        await answer(provider, "Hi", "Hello", "Well?", system="Be kind.")
    body = vendor.server.requests[-1]["body"]
    if vendor.provider.settings.type != "dify":
        assert (body["max_tokens"], body["temperature"], body["model"]) == (77, 0.5, "big")
        assert body["stream"] is True
