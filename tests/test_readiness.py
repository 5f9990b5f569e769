"""The numbered issues: how their tests are counted, when the table is red, and what its page says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import readiness_table
from chatbox.readiness.issues import ISSUES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "readiness.md").read_text()


@pytest.fixture(autouse=True)
def leave_the_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPDATE_REFERENCE", raising=False)


def good() -> dict[str, dict[str, Any]]:
    """A run in which everything holds."""
    ran: dict[str, dict[str, Any]] = {}
    for issue in ISSUES:
        test = {"issues": [issue.number], "mutant": False, "outcome": "passed", "examples": []}
        ran[f"{issue.number}"] = test
        ran[f"{issue.number}-mutant"] = {**test, "mutant": True, "examples": [3]}
        for number in range(max(2, issue.properties)):
            ran[f"{issue.number}-property-{number}[sqlite]"] = {**test, "examples": [100]}
    return ran


def table(folder: Path, ran: dict[str, dict[str, Any]]) -> tuple[int, dict[str, Any], str]:
    file = folder / "run.json"
    file.write_text(json.dumps(ran))
    code = readiness_table.main([file])
    return code, json.loads((folder / "readiness.json").read_text()), (folder / "readiness.md").read_text()


def test_a_run_in_which_everything_holds_is_green(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, page = table(tmp_path, good())
    assert code == 0
    assert found["passed"]
    assert [row["n"] for row in found["issues"]] == [issue.number for issue in ISSUES]
    assert {row["status"] for row in found["issues"]} == {"passed"}
    assert found["all"]["mutants"] == len(ISSUES)
    assert found["all"]["examples"] == 100 * found["all"]["properties"]
    for issue in ISSUES:
        assert issue.title in page
    assert "Production readiness" in capsys.readouterr().out


BROKEN: dict[str, tuple[dict[str, dict[str, Any] | None], str]] = {
    "a test that failed": ({"3": {"outcome": "failed"}}, "Issue 3: 3 failed."),
    "a test that was skipped": ({"3": {"outcome": "skipped"}}, "Issue 3: 3 skipped."),
    "a mutant that was not found": ({"5-mutant": {"outcome": "failed"}}, "Issue 5: 5-mutant failed."),
    "no mutant": ({"5-mutant": None}, "Issue 5: no mutant shows that its tests would fail."),
    "a property with few examples": (
        {"12-property-1[sqlite]": {"examples": [99]}},
        "Issue 12: fewer than 100 examples in 12-property-1.",
    ),
    "two properties in one test, one with few examples": (
        {"12-property-1[sqlite]": {"examples": [200, 50]}},
        "Issue 12: fewer than 100 examples in 12-property-1.",
    ),
    "a property too few": ({"1-property-6[sqlite]": None}, "Issue 1: 6 properties, and it takes 7."),
    "no tests": (
        dict.fromkeys(("6", "6-mutant", "6-property-0[sqlite]", "6-property-1[sqlite]")),
        "Issue 6: no tests.",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_run_in_which_one_thing_is_missing_is_red_and_says_which(tmp_path: Path, case: str) -> None:
    changes, problem = BROKEN[case]
    ran = good()
    for name, change in changes.items():
        test = ran.pop(name)
        if change is not None:
            ran[name] = {**test, **change}
    code, found, _ = table(tmp_path, ran)
    assert code == 1
    assert found["problems"] == [problem]


def test_a_property_that_runs_over_several_stores_counts_once(tmp_path: Path) -> None:
    ran = good()
    _, before, _ = table(tmp_path, ran)
    ran["1-property-0[memory]"] = ran["1-property-0[sqlite]"]
    _, after, _ = table(tmp_path, ran)
    assert after["all"]["properties"] == before["all"]["properties"]
    assert after["all"]["examples"] == before["all"]["examples"] + 100


def test_a_test_of_two_issues_counts_once_in_all(tmp_path: Path) -> None:
    ran = good()
    ran["3"]["issues"] = [3, 4]
    _, found, _ = table(tmp_path, ran)
    assert found["all"]["tests"] == len(ran)


def test_too_few_properties_in_all_are_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_table, "LEAST_PROPERTIES", 1000)
    code, found, _ = table(tmp_path, good())
    assert code == 1
    assert found["problems"] == ["There are fewer than 1000 properties in all."]


def test_the_page_gets_the_table_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Readiness\n\n| N | old |\n| --: | --- |\n| 1 | old |\n\nThe rest.\n")
    monkeypatch.setattr(readiness_table, "PAGE", page)
    monkeypatch.setenv("UPDATE_REFERENCE", "1")
    _, _, rows = table(tmp_path, good())
    assert page.read_text() == f"# Readiness\n\n{rows}\nThe rest.\n"


SAMPLE = """
    import pytest
    from hypothesis import given, settings, strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, rule

    @pytest.mark.readiness(issue=3)
    def test_plain(): pass

    @pytest.mark.readiness(issue=3)
    @settings(max_examples=120)
    @given(st.integers())
    def test_property(number): pass

    @pytest.mark.readiness(issue=3)
    @given(st.booleans())
    def test_few(flag): pass

    @pytest.mark.readiness(issue=3)
    def test_a_defect_would_be_found(): pass

    @pytest.mark.readiness(issue=3)
    def test_failing(): assert False

    @pytest.mark.readiness(issue=3)
    @pytest.mark.skip
    def test_skipped(): pass

    @pytest.mark.readiness(issue=3)
    def test_machine():
        class Machine(RuleBasedStateMachine):
            @rule(number=st.integers())
            def go(self, number): pass
        Machine.TestCase.settings = settings(max_examples=110, stateful_step_count=3)
        Machine.TestCase("runTest").runTest()

    def test_other(): pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_ran_is_recorded_as_it_was(tmp_path: Path, workers: str) -> None:
    sample, record = tmp_path / "test_sample.py", tmp_path / "record.json"
    sample.write_text(dedent(SAMPLE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.readiness_plugin", "-p", "no:cacheprovider"]
    arguments = ["-n", workers, "--readiness", record, "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, sample]
    subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, check=False)
    ran = {name.partition("::")[2]: test for name, test in json.loads(record.read_text()).items()}
    assert {name: test["outcome"] for name, test in ran.items() if test["outcome"] != "passed"} == {
        "test_failing": "failed",
        "test_skipped": "skipped",
    }
    assert {name: test["examples"] for name, test in ran.items() if test["examples"]} == {
        "test_property": [120],
        "test_few": [2],
        "test_machine": [110],
    }
    assert [name for name, test in ran.items() if test["mutant"]] == ["test_a_defect_would_be_found"]
    assert "test_other" not in ran


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: str(issue.number))
def test_the_page_tells_every_issue_as_it_is(issue: Any) -> None:
    assert f"## {issue.number}. {issue.title}" in PAGE
    assert issue.holds in " ".join(PAGE.split())


def test_the_pages_table_lists_every_issue_with_its_severity() -> None:
    listed = [[cell.strip() for cell in line.split("|")[1:4]] for line in PAGE.splitlines() if line.startswith("| ")]
    assert [[str(issue.number), issue.severity, issue.title] for issue in ISSUES] == [
        row for row in listed if row[0].isdigit()
    ]
