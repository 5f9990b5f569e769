"""The report says what came of each step."""

from __future__ import annotations

from tests.faults.campaign import STEPS, Outcome
from tests.faults.report import report

KILLS, CUTS, FULL = STEPS["kills"], STEPS["cuts"], STEPS["disk_full"]


def test_figures_violations_and_what_was_not_run_are_in_the_report():
    outcomes = [
        Outcome(KILLS, {"SIGKILLs": "50", "lost": "0"}, [], 61.0),
        Outcome(CUTS, {"identical": "999"}, ["wrong answer: ann:\n  to 'x'"], 2.0),
        Outcome(FULL, {}, [], 0.0, "no disk can be mounted"),
    ]
    text = report(outcomes, {"send_twice": True, "answer_twice": False}, "7")
    assert "| Kills | A6, A8, A9, A10 | 0 | 61 s |" in text
    assert "| SIGKILLs | 50 |" in text
    assert "| Cuts | A1, A6 | 1 | 2 s |" in text
    assert "- wrong answer: ann: to 'x'" in text
    assert "| Disk full | C2 | not run | 0 s |" in text
    assert "Not run: no disk can be mounted." in text
    assert "| send twice | yes |" in text
    assert "| answer twice | **no** |" in text
    assert "seed 7" in text


def test_every_step_says_what_it_does_and_which_cases_it_proves():
    for step in STEPS.values():
        assert step.about.endswith(".")
        assert all(case[0] in "ABC" and case[1:].isdigit() for case in step.cases.split())
