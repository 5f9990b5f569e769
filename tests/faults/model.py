"""The provider of a campaign: an OpenAI-compatible server whose every answer can be computed again.

A question says how it wants to be answered: ``ann 17 · 8 pieces, 5 ms apart``. What comes back depends on the question
and on how often it was asked, and on nothing else; it begins with both, so that an answer shows what it belongs to.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any, NamedTuple

from aiohttp import web

from tests.faults.history import INVOKE, OK, History
from tests.llm.standins.openai import USAGE, OpenAIServer, chunk, data

SHAPE = re.compile(r" · (\d+) pieces, (\d+) ms apart$")
HEAD = re.compile(r"^\[(?P<question>[^\[\]]+)#(?P<call>\d+)\] ")
WORDS = (
    "the", "na\u00efve", "\u65e5\u672c", "\U0001f642", "e\u0301", "\U0001f469\u200d\U0001f467", '"quoted"',
    "back\\slash", "<b>", "\n", "\t", "\u2014", "\U0001d11e", "a" * 40,
)  # fmt: skip


class Question(NamedTuple):
    """What the user says."""

    tag: str
    pieces: int
    pause: int = 0

    def __str__(self) -> str:
        return f"{self.tag} · {self.pieces} pieces, {self.pause} ms apart"


def asked(text: str) -> Question:
    """The newest question of a turn that may join several."""
    line = text.rstrip().rsplit("\n", 1)[-1]
    found = SHAPE.search(line)
    if found is None:
        raise ValueError(f"this is no question of a campaign: {line!r}")
    return Question(line[: found.start()], int(found[1]), int(found[2]))


def pieces(question: Question, call: int) -> list[str]:
    """The answer, as it is streamed."""
    chosen = Random(f"{question}#{call}")
    spoken = [" ".join(chosen.choices(WORDS, k=chosen.randint(1, 4))) + " " for _ in range(question.pieces)]
    return [f"[{question}#{call}] ", *spoken]


def answer(question: str, call: int) -> str:
    """The whole answer to a question, given as its text."""
    return "".join(pieces(asked(question), call))


class Model(OpenAIServer):
    """Notes when it is asked and how much of its answer it has sent."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history
        self._calls: Counter[str] = Counter()

    async def asked(self, request: web.Request) -> dict[str, Any]:
        return await request.json()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A server that is killed does not hear the end."""
        try:
            return await super().chat(request)
        except ConnectionResetError:
            return web.Response()

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        question = asked(body["messages"][-1]["content"])
        call = self._calls[str(question)]
        self._calls[str(question)] += 1
        self._history.note(INVOKE, "answer", who="model", text=str(question), more={"call": str(call)})
        yield data(chunk({"role": "assistant", "content": "", "refusal": None}))
        for piece in pieces(question, call):
            yield data(chunk({"content": piece}))
            await asyncio.sleep(question.pause / 1000)
        yield data(chunk({}, "stop"))
        yield data({**chunk({}), "choices": [], "usage": USAGE})
        yield "data: [DONE]\n\n"
        self._history.note(OK, "answer", who="model", text=str(question), more={"call": str(call)})
