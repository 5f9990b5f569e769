"""How many sessions were open at once in a period, from ``hours`` and the periods of the hours that are cut.

``hours`` has a row for each hour in which closed periods begin or end: how many of each, the sum of the moments at
which they began less that of those at which they ended (``late``, from the hour's beginning on, in ms), and ``peak``,
how far the level rises in the hour above what it is when the hour begins. So of a whole hour nothing else is looked at.
``peak`` is forgotten when the hour changes, and found again by who needs it next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chatbox.storage.concurrency import Period, Stretch, begun, ended, open_at, peak_of, shared_time, stretches_of, tops
from chatbox.storage.overview import HOUR

_HOURS = "SELECT at, opened - closed, peak, version FROM hours WHERE at >= ? AND at < ? ORDER BY at"


class Peak(NamedTuple):
    """The ``peak`` of the hour ``at`` in its ``version``."""

    at: int
    version: int
    peak: int


def average(db: sqlite3.Connection, running: Sequence[Period], start: int, end: int) -> float:
    """How many were open at once on average; ``running`` are the periods that are open."""
    if end <= start:
        return 0.0
    shared = _time_until(db, end) - _time_until(db, start) + shared_time(running, start, end)
    return shared / (end - start)


def highest(
    db: sqlite3.Connection, running: Sequence[Period], starts: Sequence[int], end: int, now: int
) -> tuple[list[int], list[Peak]]:
    """The most that were open at once in each step, and what was found out of hours that are over by now."""
    if not starts:
        return [], []
    start, of_running = starts[0], stretches_of(running, starts[0], end)
    cuts = {_hour(cut) for cut in (*starts, end) if cut % HOUR} | {_hour(stretch.at) for stretch in of_running}
    stretches, found = list(of_running), []
    hours = db.execute(_HOURS, (_hour(start), end))
    for at, net, peak, version in hours.fetchall():
        if peak is not None and at not in cuts:
            stretches.append(Stretch(at, net, peak))
            continue
        inside = _moments(db, at, at + HOUR)
        if peak is None and at + HOUR <= now:
            found.append(Peak(at, version, peak_of(inside)))
        stretches += [stretch for stretch in inside if start <= stretch.at < end]
    level = _level_at(db, start) + open_at(running, start)
    return tops(level, stretches, starts), found


def keep(db: sqlite3.Connection, peaks: Iterable[Peak]) -> None:
    """Remember peaks of hours that have not changed since."""
    sql = "UPDATE hours SET peak = ? WHERE at = ? AND version = ?"
    db.executemany(sql, [(peak.peak, peak.at, peak.version) for peak in peaks])


def _level_at(db: sqlite3.Connection, moment: int) -> int:
    """How many closed periods that began before the moment had not ended before it."""
    hour = _hour(moment)
    (level,) = db.execute("SELECT coalesce(sum(opened - closed), 0) FROM hours WHERE at < ?", (hour,)).fetchone()
    return int(level) + sum(stretch.net for stretch in _moments(db, hour, moment))


def _time_until(db: sqlite3.Connection, moment: int) -> int:
    """The time that closed periods spent together up to a moment, in ms."""
    hour = _hour(moment)
    sql = "SELECT coalesce(sum((opened - closed) * (? - at) - late), 0) FROM hours WHERE at < ?"
    (whole,) = db.execute(sql, (moment, hour)).fetchone()
    return int(whole) + sum(stretch.net * (moment - stretch.at) for stretch in _moments(db, hour, moment))


def _moments(db: sqlite3.Connection, start: int, end: int) -> list[Stretch]:
    """When closed periods begin and end."""
    begins = db.execute("SELECT start FROM periods WHERE start >= ? AND start < ?", (start, end))
    ends = db.execute("SELECT end FROM periods WHERE end >= ? AND end < ?", (start, end))
    return [begun(at) for (at,) in begins] + [ended(at) for (at,) in ends]


def _hour(moment: int) -> int:
    return moment - moment % HOUR
