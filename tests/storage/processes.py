"""Real processes for tests: started, read line by line, killed."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from chatbox.storage.mongo import MongoSettings

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def program(task: str, place: Path | MongoSettings, *prefix: str) -> AsyncIterator[Process]:
    """``tests.storage.program`` doing its task on a store, under the command in ``prefix``; killed at the end."""
    store = [place.url, place.database] if isinstance(place, MongoSettings) else [str(place)]
    async with process(*prefix, sys.executable, "-m", "tests.storage.program", task, *store) as started:
        yield started


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=DEVNULL, stdout=PIPE, limit=2**24)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def line(running: Process) -> list[str]:
    """The words of the next line; none at the end."""
    assert running.stdout
    return (await running.stdout.readline()).decode().split()


async def until(running: Process, word: str, times: int = 1) -> list[list[str]]:
    """The lines up to the one that begins with the word for the given time."""
    lines: list[list[str]] = []
    while times > 0:
        words = await line(running)
        assert words, f"the program ended before it said {word!r}"
        lines.append(words)
        times -= words[0] == word
    return lines


async def rest(running: Process) -> list[list[str]]:
    """The lines up to the end."""
    lines = []
    while words := await line(running):
        lines.append(words)
    return lines


def said(word: str, lines: list[list[str]]) -> set[str]:
    """What was said after this word."""
    return {words[1] for words in lines if words[0] == word}
