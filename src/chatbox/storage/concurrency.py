"""How many sessions were open at once, from what is known of their periods. Pure.

A period begins and ends at moments, both of which belong to it; so at one moment beginnings come before ends. How
things stood in any stretch of time follows from how many were open when it began, and from what happened in it, in its
order. Of a stretch that is not cut anywhere two numbers are enough: by how much it changed the level, and how far the
level rose in it above what it was at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Period = tuple[int, int]


class Stretch(NamedTuple):
    """From ``at`` (Unix ms) on, the level changes by ``net`` and is at most ``peak`` above what it was before."""

    at: int
    net: int
    peak: int


def begun(at: int) -> Stretch:
    return Stretch(at, 1, 1)


def ended(at: int) -> Stretch:
    return Stretch(at, -1, 0)


def in_order(stretches: Iterable[Stretch]) -> list[Stretch]:
    """By time; at one moment what begins comes before what ends."""
    return sorted(stretches, key=lambda stretch: (stretch.at, -stretch.net))


def stretches_of(periods: Iterable[Period], start: int, end: int) -> list[Stretch]:
    """What happens from ``start`` on, before ``end``."""
    moments = (stretch for first, last in periods for stretch in (begun(first), ended(last)))
    return [stretch for stretch in moments if start <= stretch.at < end]


def open_at(periods: Iterable[Period], moment: int) -> int:
    """How many that began before the moment are still open."""
    return sum(first < moment <= last for first, last in periods)


def peak_of(stretches: Iterable[Stretch]) -> int:
    """How far the level rises above what it was before."""
    level = peak = 0
    for _, net, own in in_order(stretches):
        peak = max(peak, level + own)
        level += net
    return peak


def tops(level: int, stretches: Iterable[Stretch], starts: Sequence[int]) -> list[int]:
    """The highest level in each step: from the moment at which it begins, to the next one.

    ``level`` is how many are open when the first begins. No stretch goes beyond the step in which it begins.
    """
    found, following = [level] * len(starts), [*starts[1:], None]
    waiting = iter(in_order(stretches))
    stretch = next(waiting, None)
    for place, until in enumerate(following[: len(starts)]):
        found[place] = level
        while stretch and (until is None or stretch.at < until):
            found[place] = max(found[place], level + stretch.peak)
            level += stretch.net
            stretch = next(waiting, None)
    return found


def shared_time(periods: Iterable[Period], start: int, end: int) -> int:
    """The time that all periods together spent between two moments, in ms."""
    return sum(max(0, min(last, end) - max(first, start)) for first, last in periods)
