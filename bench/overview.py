"""What staff see of a million sessions: how long the list and the figures take in SQLite.

Every order in both directions with every set of filters, as ``QUERIES`` makes them: the first page and the exact total,
one after the other, over a database that was just made by ``bench.seed``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median

from bench.figures import Figure, Result, shown
from bench.seed import BUSY_USER, DAY, UNTIL, Shape, fill
from bench.sizes import Sizes
from bench.tally import percentile
from chatbox.storage.overview import HOUR, Overview, SortBy, StaffQuery
from chatbox.storage.sqlite import SqliteStorage

SPANS = {
    "": (None, None),
    "last day": (UNTIL - DAY, None),
    "one day, half a year ago": (UNTIL - 180 * DAY, UNTIL - 179 * DAY),
    "a quarter, half a year ago": (UNTIL - 270 * DAY, UNTIL - 180 * DAY),
    "before the last half year": (None, UNTIL - 180 * DAY),
    "the last half year": (UNTIL - 180 * DAY, None),
}
USERS = (None, "user-7", BUSY_USER)
ANY = (None, True, False)

PERIODS = {
    "last day": (UNTIL - DAY, UNTIL, 5 * 60_000),
    "last month": (UNTIL - 30 * DAY, UNTIL, 6 * HOUR),
    "a week, half a year ago": (UNTIL - 187 * DAY, UNTIL - 180 * DAY, HOUR),
    "all": (UNTIL - 365 * DAY, UNTIL, DAY),
}


async def overview(sizes: Sizes) -> Result:
    """Make the sessions, then ask."""
    with tempfile.TemporaryDirectory(prefix="chatbox-bench-") as folder:
        path = Path(folder, "chat.db")
        begun = time.monotonic()
        fill(path, Shape(sizes.sessions), lambda line: None)
        made = f"{sizes.sessions:,} sessions made in {time.monotonic() - begun:.0f} s"
        async with SqliteStorage(path) as store:
            pages = await timed(pages_of(store.overview), sizes.overview_rounds)
            figures = await timed(figures_of(store.overview), max(20, sizes.overview_rounds))
        size = f"{path.stat().st_size / 2**20:,.0f} MiB"
    return Result(
        [
            Figure("overview.list", [percentile([ms for times in pages.values() for ms in times], 0.95)]),
            Figure("overview.slowest", [max(map(median, pages.values()))]),
            Figure("overview.figures", [percentile(times, 0.95) for times in figures.values()]),
        ],
        [],
        [f"{made}, {size}; {len(pages):,} sets of filters and orders", *slowest(pages), *each(figures)],
    )


Ask = Callable[[], Awaitable[object]]
Times = dict[str, list[float]]


async def timed(asks: dict[str, Ask], rounds: int) -> Times:
    """Milliseconds of each, so many times."""
    times: Times = {name: [] for name in asks}
    for _ in range(rounds):
        for name, ask in asks.items():
            begun = time.perf_counter()
            await ask()
            times[name].append((time.perf_counter() - begun) * 1000)
    return times


def pages_of(overview: Overview) -> dict[str, Ask]:
    def ask(query: StaffQuery) -> Ask:
        async def page_and_total() -> None:
            await overview.sessions(query, UNTIL)
            await overview.count(query)

        return page_and_total

    return {name: ask(query) for name, query in queries()}


def queries() -> Iterator[tuple[str, StaffQuery]]:
    filters = product(USERS, ANY, ANY, ANY, SPANS, SortBy, (True, False))
    for user_id, active, assisted, asked, span, by, descending in filters:
        start, end = SPANS[span]
        flags = {"active": active, "assisted": assisted, "asked": asked}
        words = [user_id, span, *(name if on else f"not {name}" for name, on in flags.items() if on is not None)]
        order = f"{by.value} {'desc' if descending else 'asc'}"
        query = StaffQuery(
            user_id=user_id,
            active=active,
            admin_assisted=assisted,
            help_requested=asked,
            start_from=start,
            start_to=end,
            sort_by=by,
            descending=descending,
        )
        yield ", ".join([*filter(None, words), order]), query


def figures_of(overview: Overview) -> dict[str, Ask]:
    asks: dict[str, Ask] = {}
    for name, (start, end, step) in PERIODS.items():
        asks[f"figures, {name}"] = lambda start=start, end=end: overview.figures(start, end, UNTIL)
        asks[f"series, {name}"] = lambda start=start, end=end, step=step: overview.series(start, end, step, UNTIL)
    return asks


def slowest(times: Times, shown_ones: int = 5) -> list[str]:
    worst = sorted(times, key=lambda name: median(times[name]), reverse=True)[:shown_ones]
    every = [ms for one in times.values() for ms in one]
    spread = " / ".join(shown(percentile(every, part)) for part in (0.5, 0.95, 0.99))
    return [
        f"page and total, p50 / p95 / p99 of all: {spread} ms",
        *(f"slow: {name}: {shown(median(times[name]))} ms" for name in worst),
    ]


def each(times: Times) -> list[str]:
    return [
        f"{name}: p50 {shown(percentile(one, 0.5))}, p95 {shown(percentile(one, 0.95))} ms"
        for name, one in times.items()
    ]
