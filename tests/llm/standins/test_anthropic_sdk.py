"""The stand-in for Anthropic serves Anthropic's own client library."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest

from tests.llm.standins.anthropic import AnthropicServer
from tests.llm.standins.server import KEY, Failure, Script

ASKED = {
    "model": "small",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


@pytest.fixture
async def client(anthropic_server: AnthropicServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    base = anthropic_server.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0) as client:
        yield client


async def test_it_streams_an_answer_with_its_usage(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(**ASKED) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == "Paris is the capital."
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (10, 2, 4)


async def test_it_answers_whole_when_no_stream_is_asked_for(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(**ASKED)
    assert answer.content[0].text == "Paris is the capital."


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure(400, "invalid_request_error"), anthropic.BadRequestError),
        (Failure(403, "permission_error"), anthropic.PermissionDeniedError),
        (Failure(429, "rate_limit_error", headers={"Retry-After": "7"}), anthropic.RateLimitError),
        (Failure(500, "api_error"), anthropic.InternalServerError),
        (Failure(529, "overloaded_error"), anthropic.InternalServerError),
    ],
)
async def test_it_fails_with_the_errors_of_the_api(
    client: anthropic.AsyncAnthropic,
    anthropic_server: AnthropicServer,
    failure: Failure,
    error: type[anthropic.APIStatusError],
) -> None:
    anthropic_server.failures.append(failure)
    with pytest.raises(error, match="told to fail") as caught:
        await client.messages.create(**ASKED, stream=True)
    assert caught.value.response.headers.get("Retry-After") == failure.headers.get("Retry-After")


async def test_it_knows_keys_and_models(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(**{**ASKED, "model": "missing"})
    with pytest.raises(anthropic.AuthenticationError):
        await client.with_options(api_key="wrong").messages.create(**ASKED)


async def test_it_refuses_turns_that_do_not_alternate(client: anthropic.AsyncAnthropic) -> None:
    twice = [*ASKED["messages"], {"role": "user", "content": "Well?"}]
    with pytest.raises(anthropic.BadRequestError, match="alternate"):
        await client.messages.create(**{**ASKED, "messages": twice})


async def test_an_error_inside_the_stream_reaches_the_client(
    anthropic_server: AnthropicServer, client: anthropic.AsyncAnthropic
) -> None:
    anthropic_server.script = Script(error=Failure(529, "overloaded_error", "Overloaded"))
    stream = await client.messages.create(**ASKED, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        [event async for event in stream]
