"""The rules of a session: what its entries make of it, and its name."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox.session import (
    MESSAGES,
    NAME_LENGTH,
    RESPONSE_TIMES,
    STEP,
    Change,
    Entry,
    Help,
    Kind,
    Principal,
    Sender,
    Session,
    apply,
    closed,
    day_of,
    name_from,
    new_id,
    now_ms,
)

NOON = 1_790_000_000_000
SESSION = Session(id="s", user_id="ada", epoch="e", last_activity=NOON)

Apply = Callable[[Session, Entry, Change], Session]

milliseconds = st.integers(0, 10**6)
windows = st.lists(milliseconds, min_size=1, max_size=20) | st.lists(milliseconds, min_size=95, max_size=210)
"""Response times: few, or about as many and twice as many as are kept."""


def message(at: int = NOON, index: int = 1, kind: Kind = Kind.USER_MESSAGE) -> Entry:
    return Entry(session_id="s", kind=kind, message_id=new_id(), sender=Sender.USER, timestamp=at, index=index)


def after_all(times: list[int], rule: Apply = apply) -> Session:
    session = SESSION
    for index, taken in enumerate(times, start=1):
        session = rule(session, message(index=index), Change(response_ms=taken))
    return session


def check_window(times: list[int], rule: Apply = apply) -> None:
    session = after_all(times, rule)
    assert session.response_times == times[-RESPONSE_TIMES:]
    assert len(session.response_times) <= RESPONSE_TIMES


@pytest.mark.readiness(issue=12)
@given(windows)
def test_the_last_hundred_response_times_are_kept(times: list[int]) -> None:
    check_window(times)


@pytest.mark.readiness(issue=12)
@given(windows)
def test_average_and_maximum_are_those_of_the_window(times: list[int]) -> None:
    session, window = after_all(times), times[-RESPONSE_TIMES:]
    assert session.avg_response_time == round(statistics.fmean(window))
    assert session.max_response_time == max(window)


@pytest.mark.readiness(issue=12)
@given(windows, milliseconds)
def test_an_entry_without_a_response_time_leaves_the_window_alone(times: list[int], at: int) -> None:
    session = after_all(times)
    assert apply(session, message(at), Change(tokens=1)).response_times == session.response_times


@pytest.mark.readiness(issue=12)
def test_response_times_without_bound_would_be_found() -> None:
    def unbounded(session: Session, _: Entry, change: Change) -> Session:
        return replace(session, response_times=[*session.response_times, change.response_ms])

    with pytest.raises(AssertionError):
        check_window(list(range(RESPONSE_TIMES + 1)), unbounded)


def test_a_session_without_answers_has_no_response_times() -> None:
    assert (SESSION.avg_response_time, SESSION.max_response_time) == (0, 0)


def test_positions_leave_room_for_the_pieces_of_an_answer() -> None:
    session = apply(SESSION, message(index=3), Change())
    assert session.seq == message(index=3).seq == 3 * STEP


@given(st.sampled_from(Kind))
def test_only_what_belongs_to_the_conversation_is_counted(kind: Kind) -> None:
    assert apply(SESSION, message(kind=kind), Change()).message_count == (kind in MESSAGES)


@given(st.lists(st.integers(NOON - 1000, NOON + 1000), min_size=1, max_size=20))
def test_last_activity_never_goes_back(times: list[int]) -> None:
    session = SESSION
    for at in times:
        session = apply(session, message(at), Change())
    assert session.last_activity == max(NOON, *times)
    assert session.start_time == times[0]


@pytest.mark.parametrize("kind", [Kind.NOTIFICATION, Kind.SHARE, Kind.TURN])
def test_renaming_and_sharing_are_no_activity(kind: Kind) -> None:
    assert apply(SESSION, message(NOON + 5, kind=kind), Change(name="New")).last_activity == NOON


def test_a_session_that_only_had_notes_was_active_when_the_first_came() -> None:
    unused = replace(SESSION, last_activity=0)
    assert apply(unused, message(NOON, kind=Kind.NOTIFICATION), Change()).last_activity == NOON


def test_a_session_ends_at_its_last_activity_and_not_when_that_was_noticed() -> None:
    open_one = apply(apply(SESSION, message(NOON), Change(active=True)), message(NOON + 7_000), Change())
    ended = apply(open_one, message(NOON + 900_000, kind=Kind.NOTIFICATION), Change(active=False))
    assert (ended.is_active, ended.end_time, ended.opened_at) == (False, NOON + 7_000, None)
    assert ended.duration_ms == 7_000
    assert ended.duration(now=NOON + 10**9) == 7


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=10))
def test_duration_is_the_sum_of_the_periods(periods: list[tuple[int, int]]) -> None:
    session, at = replace(SESSION, last_activity=0), NOON
    for pause, length in periods:
        session = apply(session, message(at + pause), Change(active=True))
        at += pause + length
        session = apply(apply(session, message(at), Change()), message(at), Change(active=False))
    assert session.duration_ms == sum(length for _, length in periods)


def test_an_open_period_counts_up_to_now() -> None:
    session = apply(SESSION, message(NOON), Change(active=True))
    assert session.duration(now=NOON + 3_999) == 3
    assert session.duration(now=NOON - 60_000) == 0


def test_reopening_clears_the_end_and_repeating_the_mark_changes_nothing() -> None:
    ended = apply(apply(SESSION, message(NOON), Change(active=True)), message(NOON), Change(active=False))
    again = apply(ended, message(NOON + 50), Change(active=True))
    assert (again.end_time, again.opened_at) == (None, NOON + 50)
    assert apply(again, message(NOON + 90), Change(active=True)).opened_at == NOON + 50


def test_a_session_closed_without_a_period_has_no_length() -> None:
    assert closed(SESSION).duration_ms == 0


def test_the_first_name_stays_until_someone_renames() -> None:
    named = apply(SESSION, message(), Change(first_name="Paris"))
    assert apply(named, message(), Change(first_name="London")).name == "Paris"
    assert apply(named, message(), Change(name="Cities", first_name="London")).name == "Cities"


def test_a_turn_raises_the_fence_and_its_end_leaves_it() -> None:
    running = apply(SESSION, message(), Change(takes_turn="a1"))
    ended = apply(running, message(), Change(ends_turn=True))
    assert (running.fence, running.answer_id) == (1, "a1")
    assert (ended.fence, ended.answer_id) == (1, None)


def test_a_link_is_shared_and_revoked_with_its_hash() -> None:
    shared = apply(SESSION, message(), Change(share_token="token", share_hash="hash"))
    same = apply(shared, message(), Change())
    revoked = apply(shared, message(), Change(share_token=""))
    assert (same.share_token, same.share_hash) == ("token", "hash")
    assert (revoked.share_token, revoked.share_hash) == (None, None)


@pytest.mark.parametrize(
    ("before", "news", "after"),
    [
        (Help.NONE, Help.ASKED, Help.ASKED),
        (Help.ASKED, Help.ASKED, Help.ASKED),
        (Help.TOLD, Help.ASKED, Help.TOLD),
        (Help.NONE, Help.TOLD, Help.NONE),
        (Help.JOINED, Help.TOLD, Help.JOINED),
        (Help.TOLD, Help.NONE, Help.NONE),
    ],
)
def test_to_ask_is_news_once_and_that_staff_were_told_only_after_that(before: Help, news: Help, after: Help) -> None:
    session = replace(SESSION, help_state=before, help_since=5)
    found = apply(session, message(), Change(help_state=news))
    assert found.help_state is after
    assert found.help_since == (5 if after is before else message().timestamp if after is Help.ASKED else None)


def test_help_once_asked_for_stays_known() -> None:
    asked = apply(SESSION, message(), Change(help_state=Help.ASKED))
    assert apply(asked, message(), Change(help_state=Help.NONE)).help_requested
    assert not apply(SESSION, message(), Change(help_state=Help.NONE)).help_requested


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is the capital of France?", "What is the capital of France?"),
        ("Hello. I have a question about my bill.", "Hello."),
        ("Really?! Tell me more", "Really?!"),
        ("\n\n  # Plan for May  \nfirst line below", "Plan for May"),
        ("version 1.2.3 does not start", "version 1.2.3 does not start"),
        (
            "This sentence is much longer than fifty characters, so it is cut",
            "This sentence is much longer than fifty…",
        ),
        ("x" * 80, "x" * 49 + "…"),
        ("   ", ""),
        ("", ""),
    ],
)
def test_a_name_is_the_first_sentence_or_line(text: str, name: str) -> None:
    assert name_from(text) == name


@given(st.text(max_size=300))
def test_a_name_is_short_and_on_one_line(text: str) -> None:
    name = name_from(text)
    assert len(name) <= NAME_LENGTH
    assert name == name.strip()
    assert len(name.splitlines()) <= 1


@given(st.lists(st.text("abc", min_size=1, max_size=24), min_size=1, max_size=40))
def test_a_name_is_cut_between_words(words: list[str]) -> None:
    name, text = name_from(" ".join(words)), " ".join(words)
    if name != text:
        kept = name.removesuffix("…")
        assert text.startswith(kept + " ")


def test_staff_are_known_by_their_roles() -> None:
    def principal(*roles: str) -> Principal:
        return Principal("ada", "Ada", frozenset(roles), expires=0)

    assert principal("admin").is_staff
    assert principal("user", "chat_admin").is_staff
    assert not principal("user").is_staff


def test_days_are_counted_in_utc() -> None:
    assert [day_of(at) for at in (0, 86_399_999, 86_400_000)] == ["1970-01-01", "1970-01-01", "1970-01-02"]


def test_ids_are_long_enough_to_be_unguessable_and_safe_in_a_url() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 22 and one.replace("-", "a").replace("_", "a").isalnum() for one in ids)


def test_the_clock_counts_milliseconds() -> None:
    assert 1_700_000_000_000 < now_ms() < 10_000_000_000_000
