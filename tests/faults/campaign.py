"""The steps of a campaign in their order, and how each is run and judged."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tests.faults import providers, replicas, single
from tests.faults.mutants import MUTANTS
from tests.faults.nemesis import can_cluster, can_mount, can_trace
from tests.faults.steps import INTERRUPTED, SHORT, Amounts, Run

TRIES = 4


class Step(NamedTuple):
    """``cases`` of the guarantees that it proves. ``possible`` says whether the machine allows it. ``short``: whether
    its short form is among the tests of this folder; else it is in ``tests/replicas``."""

    run: Callable[[Run], Awaitable[None]]
    cases: str
    possible: Callable[[], bool] = lambda: True
    short: bool = True

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def about(self) -> str:
        """What is done, in a sentence or two."""
        return " ".join((self.run.__doc__ or "").split())


STEPS = {
    step.name: step
    for step in (
        Step(single.kills, "A6 A8 A9 A10", can_trace),
        Step(single.cuts, "A1 A6"),
        Step(single.every_byte, "A1"),
        Step(single.network, "A11"),
        Step(single.flush_errors, "C2", can_trace),
        Step(single.disk_full, "C2", can_mount),
        Step(single.lock_held, "C1 C3"),
        Step(single.longest, "C7"),
        Step(providers.models, "C8"),
        Step(replicas.replicas_killed, "A3 A9 A10", can_cluster, short=False),
        Step(replicas.answers_taken_over, "A10 C9", can_cluster, short=False),
        Step(replicas.staff_come_and_go, "B5 C9", can_cluster),
        Step(replicas.redis_killed, "C5", can_cluster, short=False),
        Step(replicas.redis_stopped, "C5", can_cluster, short=False),
        Step(replicas.redis_deaf, "C6", can_cluster, short=False),
        Step(replicas.messages_lost, "A12", can_cluster),
        Step(replicas.store_killed, "C1", can_cluster, short=False),
        Step(replicas.store_lines_cut, "C4", can_cluster),
        Step(replicas.rolling_restart, "A3", can_cluster, short=False),
        Step(replicas.everything, "A3 A9 A12 C1 C5 C6 C9", can_cluster),
    )
}


class Outcome(NamedTuple):
    """What came of a step. ``skipped`` says why it was not run."""

    step: Step
    figures: dict[str, str]
    problems: list[str]
    seconds: float
    skipped: str = ""


async def carried_out(
    step: Step, seed: str, amounts: Amounts, tell: Callable[[str], None] = lambda _: None, mutant: str = ""
) -> Outcome:
    """Run a step in a folder of its own. A history with problems is kept."""
    if not step.possible():
        return Outcome(step, {}, [], 0.0, "this machine does not let processes be traced, or disks be mounted")
    folder = Path(tempfile.mkdtemp(prefix=f"chatbox-faults-{step.name}-"))
    run, begun = Run(folder, seed, amounts, tell, mutant), time.monotonic()
    try:
        await step.run(run)
    except Exception as error:  # noqa: BLE001 - a step that breaks off is a finding; the others go on
        run.problems.append(f"broke off: {reason(error)}")
        if run.history.exists() and run.verdict is None:
            run.judge(ends=INTERRUPTED)
    if run.problems:
        run.problems.append(f"the history is in {folder}")
    else:
        await asyncio.to_thread(remove, folder)
    return Outcome(step, run.figures, run.problems, time.monotonic() - begun)


async def mutants_found(seed: str, tell: Callable[[str], None]) -> dict[str, bool]:
    """Which of the planted defects are found by a short form of their step, in one of so many tries: some of them show
    only when two things happen at once."""
    return {name: await _found(name, seed, tell) for name in MUTANTS}


async def _found(name: str, seed: str, tell: Callable[[str], None]) -> bool:
    mutant = MUTANTS[name]
    for attempt in range(1, TRIES + 1):
        tell(f"planted defect: {name}, try {attempt}")
        amounts = replace(SHORT, patience=10, bus=150 * attempt)
        outcome = await carried_out(STEPS[mutant.step], f"{seed} {attempt}", amounts, mutant=name)
        if any(problem.startswith(mutant.kinds) for problem in outcome.problems):
            return True
    return False


def reason(error: BaseException) -> str:
    """What broke a step off, without the groups around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {error}"


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
