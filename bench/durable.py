"""The ratio of durable messages: acknowledged user messages a second, beside a raw writer with group commit."""

from __future__ import annotations

import asyncio
import time

from bench.client import Client
from bench.figures import Figure, Result, ranged
from bench.process import SERVER_CORE, first_line, started
from bench.server import SECRET, Server, chatbox, model
from bench.sizes import Sizes
from bench.tally import Tally
from bench.write import CALLERS, TEXT

SLOW = 0.1
"""Tokens a second of the model: while an answer runs, messages are only stored."""


async def durable(sizes: Sizes) -> Result:
    """The raw writer, the store and the whole service take turns."""
    seconds = sizes.durable_seconds
    raw, store, service = [], [], []
    patient = {"LLM_STREAM_TIMEOUT": "1h", "DRAIN_TIMEOUT": "1s"}
    async with model(tokens=100, rate=SLOW) as speaker, chatbox(speaker.port, **patient) as server:
        for _ in range(sizes.pairs):
            raw.append(await _written("raw", seconds))
            store.append(await _written("store", seconds))
            service.append(await _acknowledged(server, seconds))
    figures = [
        Figure("durable.store", [mine / bare for mine, bare in zip(store, raw, strict=True)]),
        Figure("durable.service", [mine / bare for mine, bare in zip(service, raw, strict=True)]),
    ]
    rates = f"messages/s: raw writer {ranged(raw)}, store {ranged(store)}, over sockets {ranged(service)}"
    return Result(figures, [], [rates])


async def _written(kind: str, seconds: float) -> float:
    async with started(SERVER_CORE, "-m", "bench.write", kind, str(seconds)) as process:
        return float(await first_line(process))


async def _acknowledged(server: Server, seconds: float) -> float:
    """Each caller has a socket and sends its next message when the last one is acknowledged."""
    callers = [Client([server.socket], SECRET, f"caller-{number}", lambda _: None) for number in range(CALLERS)]
    await asyncio.gather(*[caller.connect() for caller in callers])
    begun = time.monotonic()
    counts = await asyncio.gather(*[_call(caller, begun + seconds) for caller in callers])
    rate = sum(counts) / (time.monotonic() - begun)
    for caller in callers:
        caller.leave()
    return rate


async def _call(caller: Client, until: float) -> int:
    count, tally = 0, Tally(1)
    while time.monotonic() < until:
        caller.ask(tally, TEXT)
        await caller.acknowledged()
        count += 1
    return count
