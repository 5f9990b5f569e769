"""What answers add to the figures that staff see."""

import asyncio

from chatbox.errors import ProviderError
from chatbox.llm.base import End, Piece
from chatbox.session import now_ms
from chatbox.storage.overview import HOUR, Tally
from tests.world import Scripted, world


async def tally(here) -> Tally:
    """Of now."""
    return (await here.storage.overview.figures(now_ms() - HOUR, now_ms() + HOUR, now_ms())).tally


async def test_a_whole_answer_counts_with_the_time_to_its_first_piece_and_to_its_end():
    async with world(None, Scripted([0.05, Piece("Well"), 0.05, Piece("."), End("stop")])) as here:
        ear = await here.enter()
        await here.say(ear, "Hello")
        await ear.done()
        await here.quiet()
        found = await tally(here)
        assert (found.messages, found.answers, found.errors, found.responses, found.firsts) == (2, 1, 0, 1, 1)
        assert 50 <= found.first_ms <= found.response_ms - 50
        assert (found.response_max, found.first_max) == (found.response_ms, found.first_ms)
        assert found.tokens > 0


async def test_an_answer_that_fails_is_an_error_without_a_time():
    async with world(None, Scripted([ProviderError("told to fail")])) as here:
        ear = await here.enter()
        await here.say(ear, "Hello")
        await ear.done()
        await here.quiet()
        found = await tally(here)
        assert (found.answers, found.errors, found.responses, found.firsts) == (1, 1, 0, 0)


async def test_an_answer_that_somebody_stopped_is_no_error():
    async with world(None, Scripted([Piece("Well"), asyncio.Event()])) as here:
        ear = await here.enter()
        await here.say(ear, "Hello")
        await ear.until(lambda: any(frame["content"] for frame in ear.of("ai_response")))
        await here.stop(ear)
        await ear.done()
        await here.quiet()
        found = await tally(here)
        assert (found.answers, found.errors, found.responses, found.firsts) == (1, 0, 0, 1)
