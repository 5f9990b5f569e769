"""``python -m tests.faults``: the whole campaign, or some of its steps, with a progress line and a report."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.campaign import STEPS, Outcome, carried_out, mutants_found
from tests.faults.report import report
from tests.faults.steps import FULL, SHORT

ROOT = Path(__file__).parents[2]
WIDTH = 100
LIMIT = 24 * 60.0
"""Seconds after which no other step is begun: the machine is busy with something else."""


async def campaign(
    names: Sequence[str], seed: str, *, short: bool, planted: bool
) -> tuple[list[Outcome], dict[str, bool]]:
    outcomes: list[Outcome] = []
    end = time.monotonic() + LIMIT
    for number, name in enumerate(names, 1):
        tell = progress(f"[{number:2}/{len(names)}] {name}")
        tell("")
        if time.monotonic() > end:
            outcome = Outcome(STEPS[name], {}, [f"not begun within {LIMIT / 60:.0f} minutes"], 0.0)
        else:
            outcome = await carried_out(STEPS[name], f"{seed} {name}", SHORT if short else FULL, tell)
        outcomes.append(outcome)
        done(outcome)
    return outcomes, await mutants_found(seed, progress("")) if planted else {}


def progress(label: str) -> Callable[[str], None]:
    """A line that is written over again and again, where somebody looks."""
    begun = time.monotonic()

    def tell(text: str) -> None:
        if sys.stdout.isatty():
            print(f"\r{label} · {time.monotonic() - begun:.0f} s · {text}".ljust(WIDTH)[:WIDTH], end="", flush=True)

    return tell


def done(outcome: Outcome) -> None:
    verdict = outcome.skipped or (f"{len(outcome.problems)} PROBLEMS" if outcome.problems else "ok")
    figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
    start = "\r" if sys.stdout.isatty() else ""
    print(f"{start}{outcome.step.name:<14} {verdict:<8} {outcome.seconds:4.0f} s  {figures}".ljust(WIDTH), flush=True)
    for problem in outcome.problems[:10]:
        print(f"    {problem}", flush=True)


def main() -> int:
    options = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Faults of all kinds, and their report."
    )
    options.add_argument("--seed", default="1", help="of all random choices")
    options.add_argument("--only", default="", help="steps, with commas: " + ", ".join(STEPS))
    options.add_argument("--short", action="store_true", help="little of everything")
    options.add_argument("--no-mutants", action="store_true", help="plant no defects")
    options.add_argument("--keep", action="store_true", help="write the report to docs/reference/faults.md")
    chosen = options.parse_args()
    names = chosen.only.split(",") if chosen.only else list(STEPS)
    if unknown := set(names) - STEPS.keys():
        options.error(f"no such step: {', '.join(sorted(unknown))}")
    planted = not chosen.no_mutants and not chosen.only
    outcomes, mutants = asyncio.run(campaign(names, chosen.seed, short=chosen.short, planted=planted))
    path = ROOT / ("docs/reference/faults.md" if chosen.keep else "test-results/faults.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(report(outcomes, mutants, chosen.seed))
    missed = [name for name, found in mutants.items() if not found]
    print(
        f"\nReport: {path.relative_to(ROOT)}" + (f". Planted defects not found: {', '.join(missed)}" if missed else "")
    )
    return 1 if missed or any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
