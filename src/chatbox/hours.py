"""Hours of the week in a time zone: when staff are there, when nobody is to be woken. Pure; times are Unix ms.

Written as ``Mo-Fr 09:00-17:00, Sa 10:00-14:00``. Without days a span is every day's; one that ends no later than it
begins ends on the next day (``22:00-07:00``). Where the clocks change, the wall clock counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
FORM = "Mo-Fr 09:00-17:00, Sa 10:00-14:00"

_SPAN = re.compile(r"(?:([A-Z][a-z])(?:-([A-Z][a-z]))? )?([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})")
_LONGEST = 7


class Span(msgspec.Struct, frozen=True):
    """From ``start`` to ``end`` (minutes of the day) on these days, 0 being Monday."""

    days: frozenset[int]
    start: int
    end: int


class Hours:
    """Spans of a week. Without any, nothing is covered. Raises ``ValueError`` for what is not of that form."""

    def __init__(self, text: str = "", zone: str = "UTC") -> None:
        self._spans = spans_of(text)
        self._zone = zone_of(zone)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def cover(self, at: int) -> bool:
        """Whether this time lies in a span."""
        return any(start <= at < end for start, end in self._around(at))

    def begin(self, at: int) -> int | None:
        """When a span begins next: ``at`` itself inside one; None when none ever does."""
        times = [max(start, at) for start, end in self._around(at) if end > at]
        return min(times, default=None)

    def end(self, at: int) -> int:
        """When no span covers any more what one covers now: ``at`` itself outside; at most a week later."""
        until = at
        for start, end in sorted(self._around(at)):
            if start <= until < end:
                until = end
        return until

    def _around(self, at: int) -> Iterator[tuple[int, int]]:
        """The spans from the day before to a week later."""
        today = datetime.fromtimestamp(at / 1000, self._zone).date()
        for offset in range(-1, _LONGEST + 2):
            day = today + timedelta(days=offset)
            for span in self._spans:
                if day.weekday() in span.days:
                    yield self._times(day, span)

    def _times(self, day: date, span: Span) -> tuple[int, int]:
        last = day if span.end > span.start else day + timedelta(days=1)
        return self._ms(day, span.start), self._ms(last, span.end)

    def _ms(self, day: date, minutes: int) -> int:
        midnight, hours = divmod(minutes, 24 * 60)
        at = datetime.combine(day + timedelta(days=midnight), time(hours // 60, hours % 60), self._zone)
        return round(at.timestamp() * 1000)


def zone_of(name: str) -> tzinfo:
    """The time zone of a name like ``Europe/Berlin``. Raises ``ValueError``."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("not a time zone") from error


@lru_cache(maxsize=16)
def spans_of(text: str) -> tuple[Span, ...]:
    """The spans of a text. Raises ``ValueError``."""
    return tuple(_span(part.strip()) for part in text.split(",") if part.strip())


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError("not days and times")
    first, last, start, end = match.groups()
    begun, ended = _minutes(start), _minutes(end)
    if begun == ended or begun == 24 * 60:
        raise ValueError("a span that begins where it ends; a whole day is 00:00-24:00")
    return Span(_days(first, last), begun, ended)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    if first not in DAYS or (last and last not in DAYS):
        raise ValueError(f"a day that is none of {', '.join(DAYS)}")
    begun, ended = DAYS.index(first), DAYS.index(last or first)
    return frozenset(day % 7 for day in range(begun, ended + 1 if ended >= begun else ended + 8))


def _minutes(text: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise ValueError("a time that is not from 00:00 to 24:00")
    return hours * 60 + minutes
