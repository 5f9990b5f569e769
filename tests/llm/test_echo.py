from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chatbox.errors import ProviderBusy, ProviderRefused, ProviderTimeout, ProviderUnreachable
from chatbox.llm import open_provider
from chatbox.llm.base import Event, Piece, Provider
from chatbox.llm.echo import COMMANDS, MARKDOWN
from tests.llm.asking import answer, end, files, heard, prompt, settings, text, usage


@pytest.fixture
def echo() -> Provider:
    return open_provider(settings("echo"))


@pytest.mark.parametrize(
    "said", ["Hello, world!", "  two  spaces\nand a line\n", "/nonsense 3", "/list many", "/long", "😀"]
)
async def test_it_repeats_what_was_said_word_by_word(echo: Provider, said: str) -> None:
    events = await answer(echo, said)
    assert text(events) == said
    assert end(events).reason == "stop"


async def test_a_piece_is_a_word_and_words_are_counted(echo: Provider) -> None:
    events = await answer(echo, "one two three", "fine", "four five", system="six")
    assert [event for event in events if isinstance(event, Piece)] == [Piece("four "), Piece("five")]
    counted = usage(events)
    assert counted is not None
    assert (counted.prompt_tokens, counted.completion_tokens, counted.total) == (7, 2, 9)


async def test_an_empty_message_gets_an_empty_answer(echo: Provider) -> None:
    assert text(await answer(echo, "")) == ""


async def test_lists_and_long_answers(echo: Provider) -> None:
    assert text(await answer(echo, "/list 3")) == "1. Item 1\n2. Item 2\n3. Item 3\n"
    assert text(await answer(echo, "/long 4")) == "1 2 3 4 "
    assert len(text(await answer(echo, "/long 5000")).split()) == 5000


async def test_a_slow_answer_takes_its_time(echo: Provider) -> None:
    began = asyncio.get_running_loop().time()
    assert text(await answer(echo, "/slow 20 one two three")) == "one two three"
    assert asyncio.get_running_loop().time() - began >= 0.05
    assert text(await answer(echo, "/slow 0")).startswith("1 2 3 ")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("busy", ProviderBusy),
        ("unreachable", ProviderUnreachable),
        ("refused", ProviderRefused),
        ("timeout", ProviderTimeout),
    ],
)
async def test_it_fails_as_told(echo: Provider, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await answer(echo, f"/fail {kind}")


async def test_it_breaks_off_after_some_words(echo: Provider) -> None:
    got: list[Event] = []
    with pytest.raises(ProviderUnreachable):
        await heard(echo, prompt("/fail-after 3"), got)
    assert got == [Piece("1 "), Piece("2 "), Piece("3 ")]


@pytest.mark.parametrize(("said", "words"), [("/stall", 0), ("/stall 2", 2)])
async def test_it_falls_silent(echo: Provider, said: str, words: int) -> None:
    got: list[Event] = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(heard(echo, prompt(said), got), 0.05)
    assert len(got) == words


async def test_it_is_cut_at_its_length(echo: Provider) -> None:
    assert end(await answer(echo, "/length 2")).reason == "length"


async def test_it_gives_a_file_and_a_sample_of_markdown(echo: Provider) -> None:
    (file,) = files(await answer(echo, "/file https://example.com/a/cat.png"))
    assert (file.url, file.name) == ("https://example.com/a/cat.png", "cat.png")
    assert text(await answer(echo, "/markdown")) == MARKDOWN


async def test_there_is_nothing_to_check(echo: Provider) -> None:
    async with echo:
        await echo.check()


def test_every_command_is_documented() -> None:
    page = Path("docs/reference/providers.md").read_text()
    for pattern in COMMANDS:
        assert f"`{pattern.split()[0].split('(')[0]}" in page
