"""With ``--readiness FILE``: what the tests of the numbered issues did, outcomes and Hypothesis examples run.

A test is one of an issue's by ``@pytest.mark.readiness(issue=N)``. One whose name ends in ``would_be_found`` keeps a
mutant: an implementation with the issue's defect, on which the checks have to fail.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis.statistics import collector

from chatbox.readiness.issues import ISSUES

NUMBERS = {issue.number for issue in ISSUES}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--readiness", metavar="FILE", help="write what the readiness tests did to FILE, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--readiness")
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Record(Path(file)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Issues travel with the reports, so that they reach the controller from xdist's workers too."""
    for item in items:
        issues = sorted({mark.kwargs["issue"] for mark in item.iter_markers("readiness")})
        if unknown := set(issues) - NUMBERS:
            raise pytest.UsageError(f"{item.nodeid} names readiness issues that do not exist: {unknown}")
        if issues:
            item.user_properties.append(("readiness", issues))
            item.user_properties.append(("mutant", item.name.partition("[")[0].endswith("would_be_found")))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Innermost, so that Hypothesis's own plugin keeps getting its statistics."""
    outer = collector.value

    def count(statistics: dict[str, Any]) -> None:
        item.user_properties.append(("examples", examples(statistics)))
        if outer is not None:
            outer(statistics)

    with collector.with_value(count):
        return (yield)


def examples(statistics: dict[str, Any]) -> int:
    """Cases that ran to their end; those that were cut off or that the property threw away are not counted."""
    cases = (case for name, phase in statistics.items() if name.endswith("-phase") for case in phase["test-cases"])
    return sum(case["status"] == "valid" for case in cases)


class Record:
    """Writes ``{test: {issues, mutant, outcome, examples}}``; ``examples`` has a number for each property that ran."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        given = dict(report.user_properties)
        if "readiness" not in given:
            return
        test = self._tests.setdefault(
            report.nodeid,
            {"issues": given["readiness"], "mutant": given["mutant"], "outcome": "passed", "examples": []},
        )
        if not report.passed:
            test["outcome"] = report.outcome
        if report.when == "call":
            test["examples"] = [value for name, value in report.user_properties if name == "examples"]

    def pytest_sessionfinish(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._tests, indent=1))
