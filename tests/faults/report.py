"""What a campaign found, in Markdown."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata

from chatbox import __version__
from tests.faults.campaign import Outcome
from tests.faults.nemesis import PROGRAMS

HEAD = """# Faults

Servers, clients, stores and networks as they are, and what goes wrong with them: processes are killed and stopped,
disks fail and fill up, connections are cut at any byte, slowed down, swallowed and left half-open. Meanwhile clients
talk, and everything that they ask for and are told is written to a history. A checker that knows nothing of the
servers reads it:

- what is acknowledged is stored, as it was said, once, and at the position of the acknowledgement;
- all devices of a user are told the same in the same order, each thing once, and all of it;
- an answer is what the model said, to the byte; there is one to a question, and the model was asked once;
- what begins to load comes to one end;
- on each socket positions follow each other without a gap or a double.

The model is a server that speaks OpenAI's protocol and whose answers can be computed again.

```sh
make faults               # all of it, about {minutes} minutes; the report goes to test-results/faults.md
make faults SEED=7        # other random choices
make faults ARGS="--only kills,cuts"
make faults ARGS=--keep   # the report takes this page's place
```

A short form of every step is part of `make test`.
"""

PLANTED = """
## Planted defects

A campaign that finds nothing proves something only if it would find something. Servers with one defect each went
through the short form of a step, four times at most; the checks have to find it.

| Defect | Found |
| --- | --- |"""


def report(outcomes: Sequence[Outcome], mutants: Mapping[str, bool], seed: str) -> str:
    minutes = round(sum(outcome.seconds for outcome in outcomes) / 60)
    parts = [HEAD.format(minutes=minutes), "\n## A run\n\n", versions(seed), "\n\n", overview(outcomes)]
    parts += [section(outcome) for outcome in outcomes]
    if mutants:
        rows = [f"| {name.replace('_', ' ')} | {'yes' if found else '**no**'} |" for name, found in mutants.items()]
        parts.append("\n".join([PLANTED, *rows, ""]))
    return "".join(parts)


def overview(outcomes: Sequence[Outcome]) -> str:
    rows = [
        f"| {step.title} | {', '.join(step.cases.split())} | {verdict(outcome)} | {outcome.seconds:.0f} s |"
        for step, outcome in ((outcome.step, outcome) for outcome in outcomes)
    ]
    return "\n".join(["| Step | Cases | Violations | Time |", "| --- | --- | --: | --: |", *rows, "", ""])


def verdict(outcome: Outcome) -> str:
    return "not run" if outcome.skipped else str(len(outcome.problems))


def versions(seed: str) -> str:
    parts = [
        f"Chatbox {__version__}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *filter(
            None,
            (said("redis-server", "--version", r"v=(\S+)", "Redis"), said("haproxy", "-v", r" (\d\S+)", "HAProxy")),
        ),
        f"SecantusDB {installed('secantusdb')} in MongoDB's place",
        f"{platform.system()} with {os.cpu_count()} cores",
        f"seed {seed}",
    ]
    return ", ".join(parts) + "."


def said(program: str, option: str, pattern: str, name: str) -> str:
    """A program's name and version, as it says; empty when it is not there."""
    path = shutil.which(program, path=PROGRAMS)
    text = subprocess.run([path, option], capture_output=True, text=True, check=False).stdout if path else ""
    found = re.search(pattern, text)
    return f"{name} {found[1]}" if found else ""


def installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def section(outcome: Outcome) -> str:
    """What a step did, and its figures."""
    lines = [f"### {outcome.step.title}", "", outcome.step.about, ""]
    if outcome.skipped:
        return "\n".join([*lines, f"Not run: {outcome.skipped}.", "", ""])
    rows = [f"| {name} | {value} |" for name, value in outcome.figures.items()]
    lines += ["| Figure | Value |", "| --- | --: |", *rows, f"| violations | {len(outcome.problems)} |", ""]
    lines += [f"- {' '.join(problem.split())[:300]}" for problem in outcome.problems[:20]]
    return "\n".join([*lines, ""] if outcome.problems else lines) + "\n"
