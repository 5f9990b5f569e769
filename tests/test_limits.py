"""The sliding window: exact, bounded, and blind to the wall clock."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from array import array
from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.limits import SlidingWindow, sweep_regularly
from tests import mutants


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_hits_up_to_the_limit_are_allowed_and_the_next_one_is_told_when(clock: Clock) -> None:
    window = SlidingWindow(3, 60, clock=clock)
    for _ in range(3):
        assert window.hit("u") == 0.0
        clock.now += 10
    assert window.hit("u") == pytest.approx(30)


def test_a_refused_hit_does_not_prolong_the_wait(clock: Clock) -> None:
    window = SlidingWindow(1, 60, clock=clock)
    window.hit("u")
    for _ in range(59):
        clock.now += 1
        assert window.hit("u") > 0
    clock.now += 1
    assert window.hit("u") == 0.0


def test_users_do_not_share_a_limit(clock: Clock) -> None:
    window = SlidingWindow(1, 60, clock=clock)
    assert window.hit("a") == 0.0
    assert window.hit("b") == 0.0
    assert window.hit("a") > 0


@pytest.mark.parametrize(
    ("limit", "window", "keys"), [(0, 1, 1), (1, 0, 1), (1, -1, 1), (1, float("nan"), 1), (1, 1, 0)]
)
def test_a_limit_that_limits_nothing_is_refused(limit: int, window: float, keys: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        SlidingWindow(limit, window, max_keys=keys)


def check_sweep(make: type[SlidingWindow]) -> None:
    """A sweep forgets the keys whose hits have passed and keeps the others."""
    clock = Clock()
    window = make(5, 60, clock=clock)
    for user in "abc":
        window.hit(user)
    clock.now += 30
    window.hit("c")
    window.hit("d")
    clock.now += 30
    assert window.sweep() == 2
    assert len(window) == 2
    clock.now += 30
    assert window.sweep() == 2
    assert len(window) == 0


def check_memory(make: type[SlidingWindow], hits: int, keys: int, bound: int) -> None:
    """So many hits, each ten windows after the one before, take no more memory than ``bound`` bytes."""
    clock = Clock()
    window = make(100, 60, max_keys=1000, clock=clock)
    tracemalloc.start()
    try:
        for number in range(hits):
            window.hit(f"user-{number % keys}")
            clock.now += 600
        assert tracemalloc.get_traced_memory()[0] < bound
    finally:
        tracemalloc.stop()


@pytest.mark.readiness(issue=11)
def test_the_sweep_forgets_keys_whose_hits_have_passed_and_keeps_the_others() -> None:
    check_sweep(SlidingWindow)


@pytest.mark.readiness(issue=11)
def test_ten_thousand_events_take_no_more_memory_than_those_that_count() -> None:
    check_memory(SlidingWindow, hits=10_000, keys=1, bound=10_000)
    check_memory(SlidingWindow, hits=10_000, keys=10_000, bound=1_000_000)


class NeverSweeps(SlidingWindow):
    """Whoever came once is remembered for ever."""

    def _drop_expired(self, now: float) -> None:
        pass

    def _make_room(self, now: float) -> None:
        pass


class KeepsEvents(SlidingWindow):
    """Every hit is kept, those that count no more too."""

    def hit(self, key: str) -> float:
        now = self._clock()
        expiries = self._expiries.setdefault(key, array("d"))
        recent = expiries[bisect_right(expiries, now) :]
        if len(recent) >= self.limit:
            return recent[0] - now
        expiries.append(now + self.window)
        return 0.0


@pytest.mark.readiness(issue=11)
def test_a_limiter_that_never_forgets_who_came_would_be_found() -> None:
    with mutants.found():
        check_sweep(NeverSweeps)
    with mutants.found():
        check_memory(NeverSweeps, hits=10_000, keys=10_000, bound=1_000_000)


@pytest.mark.readiness(issue=11)
def test_a_limiter_that_keeps_every_event_would_be_found() -> None:
    with mutants.found():
        check_memory(KeepsEvents, hits=10_000, keys=1, bound=10_000)


@pytest.mark.readiness(issue=11)
def test_a_user_who_keeps_sending_is_remembered_as_long_as_it_counts_and_no_longer(clock: Clock) -> None:
    window = SlidingWindow(100, 60, clock=clock)
    for _ in range(10_000):
        window.hit("u")
        clock.now += 0.1
    clock.now += 60
    window.sweep()
    assert len(window) == 0


@pytest.mark.readiness(issue=11)
def test_a_million_keys_take_no_more_memory_than_the_keys_allowed() -> None:
    window = SlidingWindow(100, 60, max_keys=10_000)
    tracemalloc.start()
    try:
        for number in range(50_000):
            window.hit(f"user-{number}")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    for number in range(50_000, 1_000_000):
        window.hit(f"user-{number}")
    assert len(window) == 10_000


def test_when_full_the_key_counted_longest_ago_makes_room(clock: Clock) -> None:
    window = SlidingWindow(1, 60, max_keys=2, clock=clock)
    window.hit("old")
    clock.now += 1
    window.hit("new")
    window.hit("newer")
    assert window.hit("new") > 0
    assert window.hit("old") == 0.0


def test_hits_under_few_other_names_do_not_shed_ones_own_count(clock: Clock) -> None:
    window = SlidingWindow(2, 60, max_keys=100, clock=clock)
    window.hit("u")
    window.hit("u")
    for number in range(99):
        clock.now += 0.1
        window.hit(f"other {number}")
    assert window.hit("u") > 0


def test_setting_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    window = SlidingWindow(1, 3600)
    window.hit("u")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert window.hit("u") > 0


Steps = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=120)


@pytest.mark.readiness(issue=11)
@given(Steps, st.integers(1, 5), st.integers(1, 60))
@settings(max_examples=200)
def test_no_window_ever_holds_more_hits_than_the_limit_and_none_is_refused_without_need(
    steps: list[tuple[str, int]], limit: int, window: int
) -> None:
    clock = Clock()
    limiter = SlidingWindow(limit, window, clock=clock)
    allowed: dict[str, list[float]] = {}
    for key, pause in steps:
        clock.now += pause
        recent = [at for at in allowed.setdefault(key, []) if at + window > clock.now]
        wait = limiter.hit(key)
        assert (wait == 0.0) == (len(recent) < limit)
        if wait == 0.0:
            allowed[key].append(clock.now)
        else:
            assert wait == recent[0] + window - clock.now


@pytest.mark.readiness(issue=11)
@given(Steps, st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=200)
def test_keys_never_outnumber_their_bound(steps: list[tuple[str, int]], limit: int, max_keys: int) -> None:
    clock = Clock()
    limiter = SlidingWindow(limit, 30, max_keys=max_keys, clock=clock)
    for key, pause in steps:
        clock.now += pause
        limiter.hit(key)
        assert len(limiter) <= max_keys


@pytest.mark.readiness(issue=11)
@given(Steps, st.integers(1, 5), st.floats(0.001, 1000))
@settings(max_examples=200)
def test_after_a_window_of_silence_a_sweep_leaves_nothing(
    steps: list[tuple[str, int]], limit: int, window: float
) -> None:
    clock = Clock()
    limiter = SlidingWindow(limit, window, clock=clock)
    for key, pause in steps:
        clock.now += pause
        limiter.hit(key)
    clock.now += window
    limiter.sweep()
    assert len(limiter) == 0


@pytest.mark.readiness(issue=11)
@given(Steps, st.integers(1, 3), st.sets(st.integers(0, 119)))
@settings(max_examples=200)
def test_a_sweep_at_any_time_changes_no_verdict(steps: list[tuple[str, int]], limit: int, sweeps: set[int]) -> None:
    clock = Clock()
    swept = SlidingWindow(limit, 50, clock=clock)
    other = SlidingWindow(limit, 50, clock=clock)
    for number, (key, pause) in enumerate(steps):
        clock.now += pause
        if number in sweeps:
            swept.sweep()
        assert swept.hit(key) == other.hit(key)


@pytest.mark.readiness(issue=11)
async def test_the_clean_up_comes_by_itself_and_ends_when_it_is_told_to() -> None:
    window = SlidingWindow(5, 0.001)
    window.hit("ann")
    cleaning = asyncio.create_task(sweep_regularly([window], 0.002))
    async with asyncio.timeout(10):
        while len(window):
            await asyncio.sleep(0.001)
    cleaning.cancel()
    await asyncio.gather(cleaning, return_exceptions=True)
    assert cleaning.cancelled()
