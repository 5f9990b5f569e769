"""Print the readiness table: python tools/readiness_table.py FILE... (what `pytest --readiness FILE` wrote)

Beside the first file it leaves the table as readiness.json and readiness.md; with UPDATE_REFERENCE=1 it goes into
docs/reference/readiness.md too. Exits with 1 unless each issue has tests, all of them passed, its properties ran their
examples, and a mutant with its defect was found.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chatbox.readiness.issues import ISSUES, Issue

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "readiness.md"

LEAST_EXAMPLES = 100
LEAST_PROPERTIES = 25
"""In all."""

HEADINGS = ("N", "Severity", "Issue", "Tests", "Properties", "Examples", "Mutants", "Status")
STYLES = {"passed": "green"}

Test = dict[str, Any]


def main(files: Sequence[Path]) -> int:
    rows = rows_of(files)
    problems = [f"Issue {row.issue.number}: {row.problem}." for row in rows if row.problem]
    if sum(row.properties for row in rows) < LEAST_PROPERTIES:
        problems.append(f"There are fewer than {LEAST_PROPERTIES} properties in all.")
    write(rows, problems, files[0].parent)
    Console(width=None if sys.stdout.isatty() else 120).print(drawn(rows))
    for line in problems:
        print(line)
    return 1 if problems else 0


def rows_of(files: Sequence[Path]) -> list[Row]:
    tests: dict[str, Test] = {}
    for file in files:
        tests.update(json.loads(file.read_text()))
    return [
        Row(issue, {name: test for name, test in tests.items() if issue.number in test["issues"]}) for issue in ISSUES
    ]


class Row:
    """One issue and the tests that ran for it, by their names.

    A test with parameters counts once for each of them, a property once in all.
    """

    def __init__(self, issue: Issue, tests: dict[str, Test]) -> None:
        self.issue = issue
        self.tests = tests
        self._mutants = [test for test in tests.values() if test["mutant"]]
        self._properties = {name: test for name, test in tests.items() if test["examples"] and not test["mutant"]}

    @property
    def properties(self) -> int:
        return len({function(name) for name in self._properties})

    @property
    def counts(self) -> tuple[int, ...]:
        """Tests, properties, examples, mutants found."""
        examples: int = sum(sum(test["examples"]) for test in self._properties.values())
        return len(self.tests), self.properties, examples, sum(test["outcome"] == "passed" for test in self._mutants)

    @property
    def status(self) -> str:
        return "failed" if self.problem else "passed"

    @cached_property
    def problem(self) -> str:
        """Why the issue is not shown to be settled; empty when it is."""
        outcomes = {name: test["outcome"] for name, test in self.tests.items() if test["outcome"] != "passed"}
        short = [function(name) for name, test in self._properties.items() if min(test["examples"]) < LEAST_EXAMPLES]
        if not self.tests:
            return "no tests"
        if outcomes:
            return "; ".join(f"{name} {outcome}" for name, outcome in outcomes.items())
        if short:
            return f"fewer than {LEAST_EXAMPLES} examples in {', '.join(sorted(set(short)))}"
        if self.properties < self.issue.properties:
            return f"{self.properties} properties, and it takes {self.issue.properties}"
        return "" if self._mutants else "no mutant shows that its tests would fail"

    @property
    def cells(self) -> tuple[object, ...]:
        return (self.issue.number, self.issue.severity, self.issue.title, *self.counts, self.status)


def function(name: str) -> str:
    """A test's name without its parameters."""
    return name.partition("[")[0]


def totals(rows: Sequence[Row]) -> tuple[object, ...]:
    """All issues together; a test of two of them counts once."""
    everything = Row(rows[0].issue, {name: test for row in rows for name, test in row.tests.items()})
    return ("", "", "all", *everything.counts, "")


def drawn(rows: Sequence[Row]) -> Table:
    table = Table(title="Production readiness: standing issues")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place in (0, 3, 4, 5, 6) else "left", no_wrap=heading != "Issue")
    for row in rows:
        *cells, status = map(str, row.cells)
        table.add_row(*cells, f"[{STYLES.get(status, 'red')}]{status}[/]")
    table.add_section()
    table.add_row(*map(str, totals(rows)))
    return table


def write(rows: Sequence[Row], problems: Sequence[str], folder: Path) -> None:
    keys = [heading.lower() for heading in HEADINGS]
    found = {
        "passed": not problems,
        "problems": problems,
        "issues": [dict(zip(keys, row.cells, strict=True)) for row in rows],
        "all": dict(zip(keys[3:7], totals(rows)[3:7], strict=True)),
    }
    (folder / "readiness.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = (
        HEADINGS,
        ("--:", "---", "---", "--:", "--:", "--:", "--:", "---"),
        *(row.cells for row in rows),
        totals(rows),
    )
    text = "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
    (folder / "readiness.md").write_text(text)
    if os.environ.get("UPDATE_REFERENCE"):
        PAGE.write_text(re.sub(r"(?m)^\| N \|.*\n(?:\|.*\n)*", lambda _: text, PAGE.read_text()))


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
