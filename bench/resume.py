"""The time until everybody is back: 2,000 clients lose their lines mid-answer and return at once."""

from __future__ import annotations

import asyncio
import time

from bench.client import Client
from bench.figures import Figure, Result
from bench.load import Crowd, crowd
from bench.sizes import Sizes

RATE = 2.0
AWAY = 1.0
WITHIN = 120.0
POLL = 0.01


async def resume(sizes: Sizes) -> Result:
    """A client is whole again with the first token that was sent after its return: by then it has all before."""
    seconds, problems = Figure("resume"), []
    tokens = sizes.resume_tokens
    ramp = tokens / RATE / 6
    for _ in range(sizes.runs):
        async with crowd(sizes.resumed, tokens=tokens, rate=RATE) as clients:
            tally = clients.ask(tokens, ramp)
            await asyncio.sleep(ramp + 2 / RATE)
            clients.leave()
            await asyncio.sleep(AWAY)
            seconds.values.append(await _all_back(clients))
            await clients.finished(time.monotonic() + tokens / RATE + WITHIN)
            problems += tally.problems(len(clients.clients))
    return Result([seconds], problems)


async def _all_back(clients: Crowd) -> float:
    begun, sent = time.monotonic(), time.time_ns()
    async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
        for client in clients.clients:
            group.create_task(_back(client, sent))
    return time.monotonic() - begun


async def _back(client: Client, sent: int) -> None:
    await client.connect()
    if not client.resumed:
        client.tally.wrong["resume refused"] += 1
    while client.answering and client.newest < sent:
        await asyncio.sleep(POLL)
