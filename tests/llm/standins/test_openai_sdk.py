"""The stand-in for OpenAI serves OpenAI's own client library."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from tests.llm.standins.openai import OpenAIServer
from tests.llm.standins.server import KEY, Failure, Script

ASKED = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
async def client(openai_server: OpenAIServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=openai_server.url, api_key=KEY, max_retries=0) as client:
        yield client


async def test_it_streams_an_answer_with_its_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="small", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Paris is the capital."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 16


async def test_it_answers_whole_when_no_stream_is_asked_for(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="small", messages=ASKED)
    assert answer.choices[0].message.content == "Paris is the capital."


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure(400, "invalid_request_error"), openai.BadRequestError),
        (Failure(403, "permission_error"), openai.PermissionDeniedError),
        (Failure(429, "rate_limit_exceeded", headers={"Retry-After": "7"}), openai.RateLimitError),
        (Failure(500, "server_error"), openai.InternalServerError),
    ],
)
async def test_it_fails_with_the_errors_of_the_api(
    client: openai.AsyncOpenAI, openai_server: OpenAIServer, failure: Failure, error: type[openai.APIStatusError]
) -> None:
    openai_server.failures.append(failure)
    with pytest.raises(error, match="told to fail") as caught:
        await client.chat.completions.create(model="small", messages=ASKED, stream=True)
    assert caught.value.response.headers.get("Retry-After") == failure.headers.get("Retry-After")


async def test_it_knows_keys_and_models(openai_server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="missing", messages=ASKED)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()
    assert [model.id async for model in client.models.list()] == ["small"]


async def test_a_rate_limit_passes_when_the_client_waits(
    openai_server: OpenAIServer, client: openai.AsyncOpenAI
) -> None:
    openai_server.failures.append(Failure(429, "rate_limit_exceeded", headers={"Retry-After": "0.01"}))
    patient = client.with_options(max_retries=1)
    answer = await patient.chat.completions.create(model="small", messages=ASKED)
    assert answer.choices[0].message.content


async def test_an_error_inside_the_stream_reaches_the_client(
    openai_server: OpenAIServer, client: openai.AsyncOpenAI
) -> None:
    openai_server.script = Script(error=Failure(500, "server_error", "the engine fell over"))
    stream = await client.chat.completions.create(model="small", messages=ASKED, stream=True)
    with pytest.raises(openai.APIError, match="the engine fell over"):
        [chunk async for chunk in stream]
