"""The works W1 to W4: the same for every server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.figures import Figure, Result
from bench.load import Crowd, Round, crowd
from bench.server import chatbox, model
from bench.sizes import Sizes
from bench.tally import percentile

RATE = 20.0
HELD_DELAY = 100.0
PATIENCE = 30.0
STEP = 50


async def idle(sizes: Sizes) -> Result:
    """W1: connections that do nothing."""
    rss, rates, problems = Figure("w1.rss"), Figure("w1.rate"), []
    for _ in range(sizes.runs):
        async with model(tokens=1, rate=RATE) as speaker, chatbox(speaker.port) as server:
            clients = Crowd([server], speaker, sizes.idle)
            before = server.process.rss()
            seconds = await clients.connect()
            await asyncio.sleep(sizes.settle)
            rss.values.append((server.process.rss() - before) / sizes.idle)
            rates.values.append(sizes.idle / seconds)
            problems += [f"{client.tally.wrong}" for client in clients.clients if client.tally.wrong]
            clients.leave()
    return Result([rss, rates], problems)


async def streams(sizes: Sizes) -> Result:
    """W2: answers at a model's pace."""
    rounds = await _rounds(sizes, clients=sizes.streams, tokens=sizes.stream_tokens, rate=RATE, ramp=1.0)
    return Result(
        [
            Figure("w2.cpu", [each.cpu * 1e6 / max(1, each.tally.tokens) for each in rounds]),
            Figure("w2.first.p50", [percentile(each.tally.first, 0.5) for each in rounds]),
            Figure("w2.first.p99", [percentile(each.tally.first, 0.99) for each in rounds]),
            Figure("w2.delay.p99", [percentile(each.tally.delays, 0.99) for each in rounds]),
        ],
        *_notes(rounds),
    )


async def pour(sizes: Sizes) -> Result:
    """W3: answers as fast as they go."""
    rounds = await _rounds(sizes, clients=sizes.pours, tokens=sizes.pour_tokens, rate=0.0, ramp=0.0)
    return Result([Figure("w3.rate", [each.tally.tokens / each.seconds for each in rounds])], *_notes(rounds))


async def most(sizes: Sizes) -> Result:
    """W4: the most answers at once that still flow; found by halving."""
    good, bad = 0, sizes.most // STEP + 1
    tried: list[Round] = []
    rss, problems = 0.0, []
    while bad - good > 1:
        trial = (good + bad + 1) // 2
        idle_rss, rounds = await _trial(sizes, trial * STEP)
        if all(map(_holds, rounds)):
            good = trial
            rss = (max(each.rss for each in rounds) - idle_rss) / (trial * STEP)
        else:
            bad = trial
        tried += rounds
        problems += [f"{trial * STEP} answers: {p}" for each in rounds for p in _lost(each)]
    remarks = _notes(tried)[1] + ([f"not more than {sizes.most} were tried"] if good == sizes.most // STEP else [])
    figures = [Figure("w4.answers", [good * STEP])] + ([Figure("w4.rss", [rss])] if good else [])
    return Result(figures, problems, remarks)


async def _trial(sizes: Sizes, answers: int) -> tuple[int, list[Round]]:
    """Idle memory and rounds of so many answers; no second round when the first did not hold."""
    ramp = sizes.most_tokens / RATE / 3
    limit = 2 * (sizes.most_tokens / RATE + ramp) + PATIENCE
    rounds: list[Round] = []
    async with crowd(answers, tokens=sizes.most_tokens, rate=RATE) as clients:
        await asyncio.sleep(sizes.settle)
        idle_rss = clients.server.process.rss()
        while len(rounds) < 2 and all(map(_holds, rounds)):
            rounds.append(await clients.round(sizes.most_tokens, ramp=ramp, limit=limit))
    return idle_rss, rounds


async def _rounds(sizes: Sizes, *, clients: int, tokens: int, rate: float, ramp: float) -> list[Round]:
    """Rounds of one crowd after another, with a fresh server each."""
    found: list[Round] = []
    limit = 3 * (tokens / rate + ramp if rate else 10) + PATIENCE
    for _ in range(sizes.runs):
        async with crowd(clients, tokens=tokens, rate=rate) as people:
            found += [await people.round(tokens, ramp=ramp, limit=limit) for _ in range(sizes.rounds)]
    return found


def _holds(each: Round) -> bool:
    return not each.problems and percentile(each.tally.delays, 0.99) < HELD_DELAY


def _lost(each: Round) -> list[str]:
    """Beyond its limit a server may be slow, but it may not lose or double anything."""
    finished = each.tally.answers and each.tally.exact < each.tally.answers
    return each.problems if finished else []


def _notes(rounds: Sequence[Round]) -> tuple[list[str], list[str]]:
    """Problems, and remarks about the load."""
    problems = [problem for each in rounds for problem in each.problems]
    busy = max((each.busy for each in rounds), default=0.0)
    late = sum(each.late for each in rounds)
    merged = sum(each.tally.tokens for each in rounds) / max(1, sum(each.tally.frames for each in rounds))
    load = f"load and model used {busy:.0%} of their core at most"
    remarks = [f"{merged:.2f} tokens a frame; {load}; the model sent {late:,} tokens late"]
    if saturated := sum(each.saturated for each in rounds):
        remarks.append(f"the load was saturated in {saturated} of {len(rounds)} rounds: the server may do more")
    if disturbed := sum(each.disturbed for each in rounds):
        remarks.append(
            f"in {disturbed} of {len(rounds)} rounds the machine was busy with something else: distrust times"
        )
    return problems, remarks
