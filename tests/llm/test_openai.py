from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chatbox.errors import ProviderBusy, ProviderRefused, ProviderUnreachable
from chatbox.llm import open_provider
from chatbox.llm.base import Piece, Provider, Usage
from chatbox.llm.http import failure_of
from chatbox.llm.openai import ChatAnswer, OpenAI
from tests.llm.asking import answer, end, files, settings, text, usage
from tests.llm.standins.openai import OpenAIServer
from tests.llm.standins.server import KEY, Failure, Script


@pytest.fixture
async def provider(openai_server: OpenAIServer) -> AsyncIterator[Provider]:
    async with open_provider(settings("openai", openai_server.url)) as provider:
        yield provider


async def test_the_conversation_goes_out_as_it_is(openai_server: OpenAIServer, provider: Provider) -> None:
    await answer(provider, "Hi", "Hello!", "How are you?", system="Be kind.")
    assert openai_server.requests[0]["body"]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "How are you?"},
    ]
    assert "temperature" not in openai_server.requests[0]["body"]


async def test_the_models_own_limit_ends_an_answer_with_length(openai_server: OpenAIServer, provider: Provider) -> None:
    openai_server.script = Script(finish="length")
    assert end(await answer(provider, "Hi")).reason == "length"


async def test_a_filtered_answer_ends_as_any_other(openai_server: OpenAIServer, provider: Provider) -> None:
    openai_server.script = Script(finish="content_filter")
    assert end(await answer(provider, "Hi")).reason == "stop"


@pytest.mark.parametrize("field", ["stream_options", "max_tokens"])
async def test_a_field_that_the_server_refuses_is_left_out_from_then_on(
    openai_server: OpenAIServer, provider: Provider, field: str
) -> None:
    openai_server.unknown_fields.add(field)
    for _ in range(2):
        events = await answer(provider, "Hi")
        assert text(events) == "Paris is the capital."
    assert [field in request["body"] for request in openai_server.requests] == [True, False, False]
    assert usage(events) == (None if field == "stream_options" else Usage(12, 4))
    assert ("max_completion_tokens" in openai_server.requests[-1]["body"]) == (field == "max_tokens")


async def test_both_fields_may_be_refused(openai_server: OpenAIServer, provider: Provider) -> None:
    openai_server.unknown_fields |= {"max_tokens", "stream_options"}
    assert text(await answer(provider, "Hi"))
    assert len(openai_server.requests) == 3


async def test_a_refusal_that_no_change_mends_is_told_once(openai_server: OpenAIServer, provider: Provider) -> None:
    openai_server.unknown_fields.add("messages")
    with pytest.raises(ProviderRefused, match="messages"):
        await answer(provider, "Hi")
    assert len(openai_server.requests) == 1


async def test_a_missing_model_is_refused(openai_server: OpenAIServer) -> None:
    async with open_provider(settings("openai", openai_server.url, model="missing")) as provider:
        with pytest.raises(ProviderRefused, match="does not exist"):
            await answer(provider, "Hi")


async def test_without_a_model_or_a_key_none_is_sent(openai_server: OpenAIServer) -> None:
    async with open_provider(settings("openai", openai_server.url, model="", api_key="")) as provider:
        with pytest.raises(ProviderRefused, match="401"):
            await answer(provider, "Hi")
    assert "Authorization" not in openai_server.requests[0]["headers"]
    assert "model" not in openai_server.requests[0]["body"]


async def test_a_query_in_the_endpoint_stays_behind_the_path_as_azure_wants_it(openai_server: OpenAIServer) -> None:
    endpoint = f"{openai_server.url}/?api-version=2026-01-01"
    async with open_provider(settings("openai", endpoint)) as provider:
        assert text(await answer(provider, "Hi"))
    asked = openai_server.requests[0]
    assert asked["query"] == "api-version=2026-01-01"
    assert asked["headers"]["api-key"] == KEY


def test_azure_gets_the_key_in_its_own_header_too_and_nobody_else_does() -> None:
    azure = OpenAI(settings("openai", "https://us.openai.azure.com/openai/v1")).headers()
    other = OpenAI(settings("openai", "https://api.openai.com/v1?x=y")).headers()
    assert azure["api-key"] == KEY
    assert "api-key" not in other


async def test_a_server_that_ignores_the_stream_is_understood(openai_server: OpenAIServer, provider: Provider) -> None:
    openai_server.ignores_stream = True
    events = await answer(provider, "Hi")
    assert text(events) == "Paris is the capital."
    assert end(events).reason == "stop"
    assert usage(events) == Usage(12, 4)


async def test_images_become_files_if_a_browser_can_fetch_them(openai_server: OpenAIServer, provider: Provider) -> None:
    urls = ("https://example.com/a/cat.png?size=2", "data:image/png;base64,AAAA", "https://x/" + "y" * 2048)
    openai_server.script = Script(files=urls)
    (file,) = files(await answer(provider, "A cat, please"))
    assert (file.url, file.name) == (urls[0], "cat.png")


def test_all_text_that_came_together_is_one_piece() -> None:
    chunk = b'{"choices":[{"delta":{"content":"%s"}}]}'
    taken = ChatAnswer(failure_of).take([chunk % b"a", chunk % b"b", chunk % b"c"])
    assert taken == [Piece("abc")]


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (b'{"refusal":"I will not."}', "I will not."),
        (b'{"content":"","refusal":"Nor I."}', "Nor I."),
        (b'{"content":"Look:","images":[{"type":"image_url","image_url":{"url":"data:x"}}]}', "Look:"),
        (b'{"reasoning_content":"Hmm."}', ""),
        (b'{"content":[{"type":"text","text":"in parts"}]}', "in parts"),
        (b'{"content":null}', ""),
        (b"{}", ""),
        (b"null", ""),
    ],
)
def test_what_counts_as_text(delta: bytes, said: str) -> None:
    assert text(ChatAnswer(failure_of).take([b'{"choices":[{"delta":%s}]}' % delta])) == said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (b'"the model crashed"', ProviderUnreachable),
        (b'{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}', ProviderBusy),
        (b'{"message":"too much","type":"BadRequestError","code":400}', ProviderRefused),
        (b'{"message":"slow down","code":"429"}', ProviderBusy),
        (b'{"message":"no","type":"invalid_request_error","code":null}', ProviderRefused),
        (b'{"message":null}', ProviderUnreachable),
    ],
)
def test_errors_inside_the_stream_are_told_apart(error: bytes, kind: type[Exception]) -> None:
    taken = ChatAnswer(failure_of)
    assert taken.take([b'{"choices":[{"delta":{"content":"Well"}}]}', b'{"error":%s}' % error]) == [Piece("Well")]
    with pytest.raises(kind):
        taken.end()


def test_an_end_needs_done_or_a_finish_reason() -> None:
    done, finished, neither = ChatAnswer(failure_of), ChatAnswer(failure_of), ChatAnswer(failure_of)
    done.take([b"[DONE]", b"never read"])
    finished.take([b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'])
    assert done.end() == finished.end()
    with pytest.raises(ProviderUnreachable):
        neither.end()


async def test_a_refusal_inside_the_stream_is_not_taken_for_one_of_a_field(
    openai_server: OpenAIServer, provider: Provider
) -> None:
    openai_server.script = Script(error=Failure(400, "invalid_request_error", "stream_options went wrong"))
    with pytest.raises(ProviderRefused):
        await answer(provider, "Hi")
    assert len(openai_server.requests) == 1
