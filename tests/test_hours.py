"""Hours of the week."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.hours import DAYS, Hours

BERLIN = "Europe/Berlin"
WORK = "Mo-Fr 09:00-17:00, Sa 10:00-14:00"


def ms(text, zone="UTC"):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "covered", "begins"),
    [
        ("2026-09-22 09:00", True, "2026-09-22 09:00"),
        ("2026-09-22 16:59", True, "2026-09-22 16:59"),
        ("2026-09-22 17:00", False, "2026-09-23 09:00"),
        ("2026-09-25 18:00", False, "2026-09-26 10:00"),
        ("2026-09-26 14:00", False, "2026-09-28 09:00"),
        ("2026-09-27 12:00", False, "2026-09-28 09:00"),
    ],
)
def test_days_and_times_are_those_of_the_zone(at, covered, begins):
    hours = Hours(WORK, BERLIN)
    assert hours.cover(ms(at, BERLIN)) is covered
    assert hours.begin(ms(at, BERLIN)) == ms(begins, BERLIN)


def test_a_span_that_ends_no_later_than_it_begins_goes_on_after_midnight():
    quiet = Hours("22:00-07:00")
    assert quiet.cover(ms("2026-09-22 23:30"))
    assert quiet.cover(ms("2026-09-22 06:59"))
    assert not quiet.cover(ms("2026-09-22 07:00"))
    assert quiet.end(ms("2026-09-22 23:30")) == ms("2026-09-23 07:00")
    assert quiet.end(ms("2026-09-22 12:00")) == ms("2026-09-22 12:00")


def test_spans_that_touch_are_one():
    assert Hours("Sa-Su 00:00-24:00, Mo 00:00-07:00").end(ms("2026-09-26 12:00")) == ms("2026-09-28 07:00")


def test_days_may_go_over_the_end_of_the_week():
    hours = Hours("Sa-Mo 10:00-11:00")
    assert [hours.cover(ms(f"2026-09-{day} 10:30")) for day in range(21, 28)] == [True, *[False] * 4, True, True]


def test_without_hours_nothing_is_covered():
    assert not Hours()
    assert not Hours().cover(0)
    assert Hours().begin(0) is None


def test_the_wall_clock_counts_where_clocks_change():
    hours = Hours("09:00-17:00", BERLIN)
    assert hours.begin(ms("2026-10-24 18:00", BERLIN)) == ms("2026-10-25 09:00", BERLIN)
    assert hours.begin(ms("2026-10-24 18:00", BERLIN)) - ms("2026-10-24 18:00", BERLIN) == 16 * 3_600_000


@pytest.mark.parametrize(
    "text",
    ["always", "9-17", "Mo 9:00-17:00", "Mo-Xy 09:00-17:00", "09:00-09:00", "24:00-25:00", "09:60-10:00", "Mo", "mo 1"],
)
def test_what_is_not_of_the_form_is_refused(text):
    with pytest.raises(ValueError):
        Hours(text)


@pytest.mark.parametrize("zone", ["", "Berlin", "../../etc/passwd", "Europe/Nowhere", "/etc/localtime"])
def test_what_is_no_zone_is_refused(zone):
    with pytest.raises(ValueError):
        Hours("09:00-17:00", zone)


MINUTES = st.integers(0, 24 * 60 - 1)
SPANS = st.lists(st.tuples(st.integers(0, 6), MINUTES, MINUTES).filter(lambda span: span[1] != span[2]), max_size=4)
START = datetime(2026, 9, 21, tzinfo=UTC)


@given(SPANS, st.integers(0, 14 * 24 * 60))
def test_hours_are_what_a_list_of_minutes_says(spans, minute):
    written = [f"{DAYS[d]} {s // 60:02}:{s % 60:02}-{e // 60:02}:{e % 60:02}" for d, s, e in spans]
    covered = {(d * 1440 + m) % 10080 for d, s, e in spans for m in range(s, e if e > s else e + 1440)}
    hours, at = Hours(", ".join(written)), round((START + timedelta(minutes=minute)).timestamp() * 1000)
    assert hours.cover(at) == (minute % 10080 in covered)
    ahead = [n for n in range(10081) if (minute + n) % 10080 in covered]
    assert hours.begin(at) == (at + ahead[0] * 60_000 if ahead else None)
    if len(covered) < 10080:
        rest = next(n for n in range(10081) if (minute + n) % 10080 not in covered)
        assert hours.end(at) == at + rest * 60_000
