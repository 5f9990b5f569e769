"""Models that misbehave, each behind a server that goes on: every answer comes to a typed end in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

from chatbox.client import Answer, ChatClient, Event
from tests.faults.cluster import Scene, Server, alone
from tests.faults.model import Question, answer
from tests.faults.steps import Run
from tests.live import token
from tests.llm.standins.server import KEY
from tests.llm.standins.wire import HEAD, Play, Wire, says

TIMEOUT = 4.0
LATE = 10.0
"""Seconds that an end may be late on a busy machine."""
LARGEST = 1 << 14
DONE = b"data: [DONE]\n\n"
REFUSED = b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n%s\r\n{}"


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


class Misbehaviour(NamedTuple):
    """What a model does, the ends that its answer may have, and the text that is kept of it, if that is certain."""

    play: Play
    ends: set[str]
    text: str | None


SMILING = "a \U0001f642 b"
SMILE = event(SMILING, "stop")
AT = SMILE.index("\U0001f642".encode()) + 2

MISBEHAVIOURS: Mapping[str, Misbehaviour] = {
    "no byte": Misbehaviour(says(hold=True), {"timeout"}, ""),
    "a trickle": Misbehaviour(says(HEAD, *[event("x")] * 1000, pause=0.1), {"timeout"}, None),
    "a stall": Misbehaviour(says(HEAD, event("so far"), hold=True), {"timeout"}, "so far"),
    "a reset": Misbehaviour(says(HEAD, event("so far"), pause=0.1, reset=True), {"error"}, "so far"),
    "429 for long": Misbehaviour(says(REFUSED % (429, b"Retry-After: 3600\r\n")), {"error"}, ""),
    "500 always": Misbehaviour(says(REFUSED % (500, b"")), {"error", "timeout"}, ""),
    "a malformed event": Misbehaviour(says(HEAD, event("so far"), b"data: {no\n\n", hold=True), {"error"}, "so far"),
    "a character in halves": Misbehaviour(says(HEAD + SMILE[:AT], SMILE[AT:] + DONE, pause=0.1), {"stop"}, SMILING),
    "endless output": Misbehaviour(says(HEAD, *[event("y" * 100)] * 10**5), {"length"}, "y" * LARGEST),
    "a huge line": Misbehaviour(says(HEAD + b"data: ", *[b"z" * 65536] * 40, hold=True), {"error"}, ""),
}  # fmt: skip


async def models(run: Run) -> None:
    """Models say nothing, trickle, stall, reset, refuse, send nonsense, never end; after each, a good one is asked."""
    async with AsyncExitStack() as stack:
        wires = {name: await stack.enter_async_context(Wire(bad.play)) for name, bad in MISBEHAVIOURS.items()}
        settings = dict(configured(wires)) | {"LLM_STREAM_TIMEOUT": f"{TIMEOUT:g}s", "MAX_ANSWER_SIZE": str(LARGEST)}
        scene = await stack.enter_async_context(alone(run.folder, run.seed, run.mutant, **settings))
        results = await asyncio.gather(*(asked(scene, name, bad) for name, bad in MISBEHAVIOURS.items()))
    run.problems += [problem for result in results for problem in result.problems]
    run.figures |= {result.name: f"{result.finish} after {result.seconds:.1f} s" for result in results}


class Result(NamedTuple):
    name: str
    finish: str
    seconds: float
    problems: list[str]


async def asked(scene: Scene[Server], name: str, bad: Misbehaviour) -> Result:
    """Ask a bad model, then the good one, in one conversation."""
    user, begun = name.replace(" ", "-"), time.monotonic()
    async with ChatClient(scene.server.http, token=token(user), history=True) as chat:
        events = chat.events()
        await chat.say("Hello?", model_id=name)
        first = await ended(events)
        seconds = time.monotonic() - begun
        question = str(Question(user, 5))
        await chat.say(question, model_id="scripted")
        second = await ended(events)
        stored = await chat.api.messages(chat.position.session_id)
    wrong = {
        f"ended with {first.finish_reason}": first.finish_reason not in bad.ends,
        f"took {seconds:.1f} s": seconds > TIMEOUT + LATE,
        f"was kept as {first.content[:50]!r}": bad.text not in (None, first.content),
        "the good model's answer is not whole": second.content != answer(question, 0),
        "the store has other answers": [m.content for m in stored if m.sender == "ai"]
        != [first.content, second.content],
    }
    return Result(name, first.finish_reason, seconds, [f"{name}: {what}" for what, is_so in wrong.items() if is_so])


async def ended(events: AsyncIterator[Event]) -> Answer:
    """The next answer. Raises ``TimeoutError``."""
    async with asyncio.timeout(60):
        while not isinstance(found := await anext(events), Answer):
            pass
    return found


def configured(wires: Mapping[str, Wire]) -> Iterator[tuple[str, str]]:
    """The settings of the bad models; the good one is the first."""
    for number, (name, wire) in enumerate(wires.items(), 2):
        values = {"ID": name, "TYPE": "openai", "MODEL": "bad", "API_KEY": KEY, "ENDPOINT": wire.url}
        yield from ((f"LLM_PROVIDER_{number}_{key}", value) for key, value in values.items())
