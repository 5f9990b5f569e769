"""The short form of each step of the campaign, and defects planted in the server that it has to find."""

from __future__ import annotations

import pytest

from tests.faults.campaign import STEPS, carried_out
from tests.faults.mutants import MUTANTS
from tests.faults.steps import SHORT

pytestmark = pytest.mark.slow

SHOWN = ("send_twice", "store_a_resend_again", "store_answers_tidied", "answer_twice")
"""Mutants that take few seconds; the whole campaign has all."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [step.name for step in STEPS.values() if step.short])
async def test_nothing_is_lost_doubled_or_altered_by(name):
    outcome = await carried_out(STEPS[name], "short", SHORT)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.problems == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHOWN)
async def test_a_server_would_be_found_to(name):
    mutant = MUTANTS[name]
    outcome = await carried_out(STEPS[mutant.step], "short", SHORT, mutant=name)
    assert any(problem.startswith(mutant.kinds) for problem in outcome.problems)


def test_every_planted_defect_is_shown_by_a_step():
    assert {mutant.step for mutant in MUTANTS.values()} <= STEPS.keys()
    assert set(SHOWN) <= MUTANTS.keys()
