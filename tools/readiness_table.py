"""Print the readiness table: python tools/readiness_table.py FILE... (what `pytest --readiness FILE` wrote)

Exits with 1 unless every issue has tests, all of them passed, and every property ran its examples.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chatbox.readiness.issues import ISSUES, Issue

LEAST_EXAMPLES = 100

LATER = {18: "staff endpoints do not exist yet"}

STYLES = {"passed": "green", "failed": "red", "no tests": "red", "too few examples": "red", "not yet": "yellow"}

Test = dict[str, Any]


def main(files: list[Path]) -> int:
    tests: dict[str, Test] = {}
    for file in files:
        tests.update(json.loads(file.read_text()))
    rows = [Row(issue, [test for test in tests.values() if issue.number in test["issues"]]) for issue in ISSUES]
    Console(width=None if sys.stdout.isatty() else 120).print(table(rows))
    for row in rows:
        if row.status == "not yet":
            print(f"Issue {row.issue.number}: {LATER[row.issue.number]}.")
    return 0 if all(row.status in ("passed", "not yet") for row in rows) else 1


class Row:
    """One issue and the tests that ran for it."""

    def __init__(self, issue: Issue, tests: list[Test]) -> None:
        self.issue = issue
        self.tests = tests
        self.properties = [test for test in tests if test["examples"] is not None]

    @property
    def counts(self) -> tuple[int, int, int]:
        return len(self.tests), len(self.properties), sum(test["examples"] for test in self.properties)

    @property
    def status(self) -> str:
        if not self.tests:
            return "not yet" if self.issue.number in LATER else "no tests"
        if any(test["outcome"] != "passed" for test in self.tests):
            return "failed"
        if any(test["examples"] < LEAST_EXAMPLES and not test["exhausted"] for test in self.properties):
            return "too few examples"
        return "passed"


def table(rows: list[Row]) -> Table:
    drawn = Table(title="Production readiness: standing issues")
    for heading, justify in COLUMNS.items():
        drawn.add_column(heading, justify=justify, no_wrap=heading != "Issue")
    for row in rows:
        status = f"[{STYLES[row.status]}]{row.status}[/]"
        drawn.add_row(str(row.issue.number), row.issue.severity, row.issue.title, *map(str, row.counts), status)
    drawn.add_section()
    totals = (str(sum(column)) for column in zip(*(row.counts for row in rows), strict=True))
    drawn.add_row("", "", "all", *totals, "")
    return drawn


COLUMNS: dict[str, Any] = {
    "N": "right",
    "Severity": "left",
    "Issue": "left",
    "Tests": "right",
    "Properties": "right",
    "Examples": "right",
    "Status": "left",
}

if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
