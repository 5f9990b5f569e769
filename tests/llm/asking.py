"""How tests ask a provider, and what they look at."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from chatbox.llm.base import End, Event, File, Piece, Prompt, Provider, ProviderSettings, Turn, Usage
from tests.llm.standins.server import KEY


def settings(type_: str, endpoint: str = "", **changes: object) -> ProviderSettings:
    fields = {"id": "m", "name": "M", "type": type_, "endpoint": endpoint, "api_key": KEY, "model": "small", **changes}
    return ProviderSettings(**fields)


def prompt(*said: str, system: str = "", state: str = "") -> Prompt:
    """The user and the assistant speak in turn, the user last."""
    first = (len(said) + 1) % 2
    turns = [Turn("assistant" if (index + first) % 2 else "user", text) for index, text in enumerate(said)]
    before = [Turn("system", system)] if system else []
    return Prompt(turns=(*before, *turns), session_id="session", user_id="user-1", state=state)


async def events_of(provider: Provider, asked: Prompt) -> list[Event]:
    async with aclosing(provider.stream(asked)) as stream:
        return [event async for event in stream]


async def answer(provider: Provider, *said: str, system: str = "", state: str = "") -> list[Event]:
    return await events_of(provider, prompt(*said, system=system, state=state))


async def heard(provider: Provider, asked: Prompt, into: list[Event]) -> None:
    """Listen until the end or an error, and keep what came before it."""
    async with aclosing(provider.stream(asked)) as stream:
        async for event in stream:
            into.append(event)  # noqa: PERF401 - what came before an error is kept


def text(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def files(events: Sequence[Event]) -> list[File]:
    return [event for event in events if isinstance(event, File)]


def usage(events: Sequence[Event]) -> Usage | None:
    found = [event for event in events if isinstance(event, Usage)]
    assert len(found) <= 1
    return found[0] if found else None


def end(events: Sequence[Event]) -> End:
    assert isinstance(events[-1], End)
    assert sum(isinstance(event, End) for event in events) == 1
    return events[-1]
