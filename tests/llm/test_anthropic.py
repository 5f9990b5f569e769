from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chatbox.errors import ProviderRefused, ProviderUnreachable
from chatbox.llm import open_provider
from chatbox.llm.anthropic import MessageAnswer
from chatbox.llm.base import Piece, Prompt, Provider, Turn, Usage
from chatbox.llm.http import failure_of
from tests.llm.asking import answer, end, events_of, settings, usage
from tests.llm.standins.anthropic import AnthropicServer
from tests.llm.standins.server import KEY, Script


@pytest.fixture
async def provider(anthropic_server: AnthropicServer) -> AsyncIterator[Provider]:
    async with open_provider(settings("anthropic", anthropic_server.url)) as provider:
        yield provider


async def test_the_system_prompt_has_its_own_field(anthropic_server: AnthropicServer, provider: Provider) -> None:
    await answer(provider, "Hi", "Hello!", "Well?", system="Be kind.")
    asked = anthropic_server.requests[0]
    assert asked["body"]["system"] == "Be kind."
    assert [turn["role"] for turn in asked["body"]["messages"]] == ["user", "assistant", "user"]
    assert asked["headers"]["x-api-key"] == KEY
    assert asked["headers"]["anthropic-version"] == "2023-06-01"


async def test_turns_alternate_and_begin_with_the_user(anthropic_server: AnthropicServer, provider: Provider) -> None:
    said = [("assistant", "Welcome!"), ("user", "One"), ("user", "two"), ("assistant", "1"), ("assistant", "2")]
    turns = tuple(Turn(role, content) for role, content in [*said, ("user", "three")])
    await events_of(provider, Prompt(turns=turns, session_id="s", user_id="u"))
    body = anthropic_server.requests[0]["body"]
    assert [turn["content"] for turn in body["messages"]] == ["One\ntwo", "1\n2", "three"]
    assert "system" not in body


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("max_tokens", "length"), ("model_context_window_exceeded", "length"), ("refusal", "stop"), ("end_turn", "stop")],
)
async def test_why_an_answer_ended(
    anthropic_server: AnthropicServer, provider: Provider, finish: str, reason: str
) -> None:
    anthropic_server.script = Script(finish=finish)
    assert end(await answer(provider, "Hi")).reason == reason


async def test_tokens_from_the_cache_are_counted(provider: Provider) -> None:
    assert usage(await answer(provider, "Hi")) == Usage(prompt_tokens=12, completion_tokens=4)


async def test_a_missing_model_is_refused(anthropic_server: AnthropicServer) -> None:
    async with open_provider(settings("anthropic", anthropic_server.url, model="missing")) as provider:
        with pytest.raises(ProviderRefused, match="not_found_error"):
            await answer(provider, "Hi")


def test_thoughts_tools_and_what_is_new_are_not_text() -> None:
    taken = MessageAnswer(failure_of).take(
        [
            b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
            b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hmm"}}',
            b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}',
            b'{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"So: "}}',
            b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"yes"}}',
            b'{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{"}}',
            b'{"type":"something_new","detail":{}}',
            b'{"type":"ping"}',
        ]
    )
    assert taken == [Piece("So: yes")]


def test_an_error_without_a_text_is_an_error_too() -> None:
    taken = MessageAnswer(failure_of)
    assert taken.take([b'{"type":"error"}']) == []
    with pytest.raises(ProviderUnreachable):
        taken.end()


def test_an_answer_without_counts_has_no_usage() -> None:
    taken = MessageAnswer(failure_of)
    taken.take([b'{"type":"message_stop"}'])
    assert [type(event).__name__ for event in taken.end()] == ["End"]
