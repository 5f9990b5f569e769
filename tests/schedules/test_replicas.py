"""Two replicas under many schedules: the cases of concurrency, and the defects that they have to find.

A short form of ``make schedules``; see ``scenarios`` for what happens in each, and ``book`` for what is looked at.
"""

import re

import pytest

from tests.schedules.campaign import PAGE, described
from tests.schedules.exploring import found, replayed, runs
from tests.schedules.mutants import MUTANTS
from tests.schedules.scenarios import SCENARIOS, SKIES

pytestmark = pytest.mark.slow

SCHEDULES = {"memory": 10, "Redis": 3}
SEARCH = 200


@pytest.fixture(params=SCHEDULES)
def bus(request):
    return request.param


def hold(bus, scenario):
    """Every schedule of a scenario keeps every promise."""
    for run in runs(bus, scenario, seed=1, count=SCHEDULES[bus]):
        assert not run.failure, f"{run.story}\n\n{run.failure}\n\n{bus} {scenario} {run.token}"


# -- sockets come and go -----------------------------------------------------------------------------------------------


def test_sockets_that_attach_at_once_have_everything_once(bus):
    hold(bus, "sockets_attach_at_once")


def test_who_reads_the_stored_messages_and_attaches_where_they_end_misses_nothing(bus):
    hold(bus, "a_page_and_what_comes_after_it")


@pytest.mark.readiness(issue=3)
def test_an_old_cleanup_takes_nothing_from_a_new_socket(bus):
    hold(bus, "an_old_cleanup_after_a_new_attach")


@pytest.mark.readiness(issue=3)
def test_of_a_tabs_sockets_on_two_replicas_the_newest_stays(bus):
    hold(bus, "two_sockets_of_one_tab")


@pytest.mark.readiness(issue=4)
def test_sockets_that_come_to_two_replicas_at_once_have_one_session(bus):
    hold(bus, "sessions_are_created_at_once")


def test_who_comes_back_to_one_replica_while_the_other_sweeps_has_a_session_or_is_told(bus):
    hold(bus, "someone_comes_back_during_a_sweep")


def test_an_answer_is_the_same_byte_by_byte_wherever_lines_are_cut(bus):
    hold(bus, "lines_are_cut_during_an_answer")


def test_a_message_sent_again_through_the_other_replica_is_one_message(bus):
    hold(bus, "a_message_is_sent_twice")


def test_a_slow_reader_resumes_and_costs_the_others_nothing(bus):
    hold(bus, "a_reader_is_slow")


# -- one replica answers, the other has something to say ---------------------------------------------------------------


def test_a_stop_through_the_other_replica_takes_less_than_a_second(bus):
    hold(bus, "a_stop_through_the_other_replica")


def test_a_stop_whose_news_is_lost_is_found(bus):
    hold(bus, "a_stop_that_is_lost")


def test_regenerate_through_the_other_replica_gives_an_answer_that_nobody_stops(bus):
    hold(bus, "regenerate_through_the_other_replica")


def test_messages_through_both_replicas_get_one_answer_together(bus):
    hold(bus, "messages_through_both_replicas")


def test_messages_between_the_pieces_of_answers_have_their_place(bus):
    hold(bus, "messages_between_pieces")


def test_a_session_that_one_replica_ends_while_the_other_answers_is_at_rest(bus):
    hold(bus, "an_end_through_the_other_replica")


def test_a_session_that_one_replica_deletes_while_the_other_answers_leaves_nothing(bus):
    hold(bus, "a_deletion_through_the_other_replica")


# -- what dies, stands still, leaves or fails --------------------------------------------------------------------------


def test_a_reader_that_is_cancelled_anywhere_loses_nothing(bus):
    hold(bus, "a_reader_is_cancelled")


@pytest.mark.readiness(issue=3)
def test_a_socket_that_is_cancelled_while_it_attaches_leaves_no_place_taken(bus):
    hold(bus, "a_socket_is_cancelled_while_it_attaches")


def test_what_a_dead_replica_left_is_ended_and_answered_by_the_other(bus):
    hold(bus, "a_replica_dies")


@pytest.mark.parametrize("scenario", ["a_replica_stands_still", "a_replica_stands_still_with_a_lease"])
def test_a_replica_that_stood_still_ends_and_appends_nothing_of_the_others(scenario):
    hold("memory", scenario)


@pytest.mark.readiness(issue=15)
def test_a_replica_that_leaves_by_its_deadline_leaves_nothing_open(bus):
    hold(bus, "a_replica_leaves")


@pytest.mark.readiness(issue=15)
def test_a_rolling_restart_loses_nothing(bus):
    hold(bus, "every_replica_restarts")


def test_a_task_that_fails_is_counted_and_everything_goes_on(bus):
    hold(bus, "a_task_fails")


@pytest.mark.readiness(issue=9)
def test_a_store_that_refuses_calls_loses_nothing_that_was_acknowledged(bus):
    hold(bus, "the_store_is_busy")


@pytest.mark.parametrize("scenario", ["redis_is_away", "redis_is_away_for_one"])
def test_while_redis_is_away_answers_go_on_and_then_everyone_has_everything(scenario):
    hold("Redis", scenario)


@pytest.mark.readiness(issue=4)
@pytest.mark.readiness(issue=10)
def test_whatever_is_done_at_once_every_client_has_the_log(bus):
    hold(bus, "anything_at_once")


# -- staff take over ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["a_takeover_is_quick", "a_takeover_during_an_answer"])
def test_a_takeover_stops_the_answer_and_then_the_ai_is_silent_until_staff_have_left(bus, scenario):
    hold(bus, scenario)


def test_what_staff_have_answered_while_a_turn_was_taken_gets_no_other_answer(bus):
    hold(bus, "a_takeover_between_question_and_answer")


def test_users_write_before_while_and_after_staff_are_there_and_nothing_is_passed_over(bus):
    hold(bus, "a_takeover_while_users_write")


@pytest.mark.parametrize("scenario", ["takeovers_by_two_at_once", "takeovers_one_after_another"])
def test_of_members_of_staff_who_come_at_once_one_has_the_session_and_the_other_hears_who(bus, scenario):
    hold(bus, scenario)


@pytest.mark.parametrize("scenario", ["a_takeover_is_handed_on", "a_takeover_is_released"])
def test_a_session_that_is_handed_on_or_released_has_one_owner_at_a_time(bus, scenario):
    hold(bus, scenario)


def test_a_session_that_is_ended_while_staff_join_is_ended_and_nobodys(bus):
    hold(bus, "an_end_during_a_takeover")


def test_a_session_that_is_deleted_while_staff_join_leaves_nothing(bus):
    hold(bus, "a_deletion_during_a_takeover")


def test_staff_get_the_session_of_a_replica_that_died_while_it_answered(bus):
    hold(bus, "a_takeover_of_a_dead_replicas_answer")


@pytest.mark.parametrize("scenario", ["a_takeover_by_a_replica_that_goes", "a_takeover_while_a_replica_leaves"])
def test_what_staff_do_is_done_once_whatever_becomes_of_the_replicas(bus, scenario):
    hold(bus, scenario)


@pytest.mark.parametrize(
    "scenario", ["a_takeover_of_an_answer_that_stands_still", "a_takeover_while_a_turn_stands_still"]
)
def test_a_replica_that_stood_still_says_nothing_after_staff_have_joined(scenario):
    hold("memory", scenario)


def test_while_the_store_refuses_calls_nothing_that_staff_did_is_lost(bus):
    hold(bus, "a_takeover_while_the_store_is_busy")


@pytest.mark.parametrize("scenario", ["a_takeover_while_redis_is_away", "a_takeover_while_redis_is_away_for_one"])
def test_while_redis_is_away_staff_wait_until_the_answer_has_ended(scenario):
    hold("Redis", scenario)


def test_whatever_staff_and_users_do_at_once_the_ai_is_silent_between_join_and_leave(bus):
    hold(bus, "takeovers_and_anything_at_once")


# -- that this would find it -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a run that fails is broken off
@pytest.mark.parametrize("defect", [name for name, mutant in MUTANTS.items() if not mutant.rare])
def test_a_planted_defect_would_be_found(defect):
    hit = found(MUTANTS[defect], seed=1, count=SEARCH)
    assert hit, "not found"
    assert re.search(MUTANTS[defect].complaint, hit[1].failure, re.DOTALL), hit[1].failure


@pytest.mark.parametrize("bus", SKIES)
def test_a_schedule_repeats_itself(bus):
    once, again = ([run.history for run in runs(bus, "anything_at_once", seed=5, count=3)] for _ in range(2))
    assert once == again


def test_a_failed_schedule_can_be_had_again():
    mutant = MUTANTS["a stop is heard only where it came in"]
    _, run = found(mutant, seed=1, count=SEARCH)
    with mutant.planted():
        again = replayed("memory", mutant.scenario, run.token)
    assert (again.history, again.failure) == (run.history, run.failure)
    assert replayed("memory", mutant.scenario, run.token).failure == ""


def test_the_page_has_every_scenario_and_every_defect():
    text = PAGE.read_text()
    assert [name for name in SCENARIOS if f"| {described(name)[1]} |" not in text] == []
    assert [defect for defect in MUTANTS if f"| {defect} |" not in text] == []
    assert "Problems: none." in text


def test_no_scenario_is_left_out():
    named = {scenario.__name__ for _, scenarios in SKIES.values() for scenario in scenarios}
    assert named == set(SCENARIOS)
    assert {mutant.scenario for mutant in MUTANTS.values()} <= named
