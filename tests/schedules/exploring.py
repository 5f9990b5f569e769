"""Running a scenario over many schedules."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from detangle import FIFO, PCT, Portfolio, RandomWalk, Replay, SimConfig, decode_token, encode_token, execute
from detangle.strategies import Strategy

from tests.schedules.cluster import LAST, determined
from tests.schedules.mutants import Mutant
from tests.schedules.scenarios import SCENARIOS, SKIES

SIMULATION = SimConfig(patch_time=True, max_time=400.0, max_steps=40_000)


class Run(NamedTuple):
    """One schedule. ``order`` names the interleaving of the tasks, ``history`` what could be seen of it from outside;
    ``failure`` says which promise was broken, and ``story`` how; ``token`` replays it."""

    order: int
    history: int
    failure: str
    story: str
    token: str


def runs(bus: str, scenario: str, *, seed: int, count: int, plain: bool = True) -> Iterator[Run]:
    """Different schedules of a scenario on a bus, the same ones for the same seed; first, if ``plain``, asyncio's own.
    The others leave it to chance who goes on, or to priorities that change a few times in a run."""
    others = [PCT(seed, depth=2), RandomWalk(seed), PCT(seed, depth=3), PCT(seed, depth=1)]
    strategy = Portfolio([FIFO(), *others] if plain else others)
    with determined():
        for index in range(count):
            strategy.start(index)
            yield _run(bus, scenario, strategy)


def replayed(bus: str, scenario: str, token: str) -> Run:
    """The schedule of a token again."""
    strategy = Replay(decode_token(token))
    strategy.start(0)
    with determined():
        return _run(bus, scenario, strategy)


def _run(bus: str, scenario: str, strategy: Strategy) -> Run:
    sky, _ = SKIES[bus]
    result = execute(partial(SCENARIOS[scenario], sky), config=SIMULATION, strategy=strategy)
    strategy.finish(result.decisions, result.failure is not None)
    book, failure = LAST["book"], result.failure
    if failure is None:
        return Run(result.order_hash, book.history, "", "", "")
    story = "\n".join(book.story)
    return Run(result.order_hash, book.history, failure.message, story, encode_token(result.values))


def found(mutant: Mutant, *, seed: int, count: int) -> tuple[int, Run] | None:
    """The first schedule that shows a planted defect, and its number."""
    with mutant.planted():
        for number, run in enumerate(runs("memory", mutant.scenario, seed=seed, count=count), start=1):
            if run.failure:
                return number, run
    return None
