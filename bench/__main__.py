"""The command line of the benchmark: runs the works one after another, shows a table, keeps the results.

It judges answers and never a time: the exit code is 1 when a token was lost, doubled or out of place, else 0.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console

from bench import works
from bench.durable import durable
from bench.fanout import fanout
from bench.figures import Result
from bench.overview import overview
from bench.process import LOAD_CORE, Others, pin
from bench.replicas import replicas
from bench.results import FOLDER, as_json, markdown, setting, table
from bench.resume import resume
from bench.sizes import FULL, QUICK, Sizes
from bench.start import start

Work = Callable[[Sizes], Awaitable[Result]]

WORKS: dict[str, Work] = {
    "W1": works.idle,
    "W2": works.streams,
    "W3": works.pour,
    "W4": works.most,
    "fanout": fanout,
    "durable": durable,
    "resume": resume,
    "replicas": replicas,
    "overview": overview,
    "start": start,
}


def main() -> int:
    chosen = options()
    console = Console()
    pinned = (os.cpu_count() or 1) > 1 and pin(LOAD_CORE)
    allow_many_files()
    results = uvloop.run(run_all(chosen.works or list(WORKS), QUICK if chosen.quick else FULL, console))
    if chosen.quick:
        console.print("Small sizes: these figures mean nothing, only the answers were judged.")
    console.print(table(results, marks=not chosen.quick))
    where = setting(shlex.join(["python", "-m", "bench", *sys.argv[1:]]), pinned=pinned)
    if chosen.json:
        chosen.json.write_text(as_json(results, where) + "\n")
    if not chosen.quick and len(results) == len(WORKS):
        (FOLDER / "RESULTS.md").write_text(markdown(results, where))
    return report_problems(results, console)


def options() -> argparse.Namespace:
    about = "Measure Chatbox on this machine. A full run of all works writes bench/RESULTS.md."
    parser = argparse.ArgumentParser(prog="python -m bench", description=about)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], metavar="WORK", help=f"of {', '.join(WORKS)}; all")
    parser.add_argument("--quick", action="store_true", help="a short look that all of it works; its times mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value")
    return parser.parse_args()


async def run_all(names: list[str], sizes: Sizes, console: Console) -> dict[str, Result]:
    results = {}
    for number, name in enumerate(names, start=1):
        begun, others = time.monotonic(), Others()
        with console.status(f"{name} ({number} of {len(names)})"):
            results[name] = await attempt(WORKS[name], sizes)
        results[name].remarks.append(f"other programs used {others.share():.0%} of the machine meanwhile")
        console.print(f"{name} done in {time.monotonic() - begun:.0f} s", *results[name].remarks, sep="\n  ")
    return results


async def attempt(work: Work, sizes: Sizes) -> Result:
    """A work that breaks is a wrong result, and the others are still run."""
    try:
        return await work(sizes)
    except Exception as error:  # noqa: BLE001 - told with the results
        return Result(problems=[f"broke with {type(error).__name__}: {error}"])


def report_problems(results: dict[str, Result], console: Console) -> int:
    wrong = [f"{name}: {problem}" for name, result in results.items() for problem in result.problems]
    for line in wrong:
        console.print(f"[red]wrong[/red] {line}")
    return 1 if wrong else 0


def allow_many_files() -> None:
    """Thousands of sockets are open at once; programs that are started inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
