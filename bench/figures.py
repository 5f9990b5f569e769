"""What is measured: each figure with its marks, and what several runs of it say."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Mark(NamedTuple):
    """A figure's place in the table. ``reach`` and ``then`` are the marks, None where there is none; ``less`` tells
    whether a small figure is a good one."""

    work: str
    name: str
    unit: str
    reach: float | None = None
    then: float | None = None
    less: bool = True


IDLE = "W1: 1,000 idle, authenticated, attached"
STREAMS = "W2: 200 answers of 200 tokens at 20/s"
POUR = "W3: 100 answers of 500 tokens, unthrottled"
MOST = "W4: most answers at 20 tokens/s"
RATIO = "Ratio to the bare stack"
TIME = "Time"
OVERVIEW = "Staff's view of 1,000,000 sessions in SQLite"
REPLICAS = "Replicas, with Redis and a MongoDB peer"

MARKS = {
    "w1.rss": Mark(IDLE, "memory a connection", "KiB", 40, 25),
    "w1.rate": Mark(IDLE, "connects", "1/s", 800, 1500, less=False),
    "w2.cpu": Mark(STREAMS, "CPU a token", "µs", 70, 45),
    "w2.first.p50": Mark(STREAMS, "first token added, p50", "ms", 5, 2),
    "w2.first.p99": Mark(STREAMS, "first token added, p99", "ms", 25, 8),
    "w2.delay.p99": Mark(STREAMS, "token delay, p99", "ms", 10, 3),
    "w3.rate": Mark(POUR, "tokens", "1/s", 30_000, 71_000, less=False),
    "w4.answers": Mark(MOST, "answers with token delay p99 < 100 ms", "", 700, 1250, less=False),
    "w4.rss": Mark(MOST, "memory an active answer, over idle", "KiB", 100, 60),
    "fanout": Mark(RATIO, "fan-out: one event to 1,000 sockets", "", 0.5, 0.7, less=False),
    "durable.store": Mark(RATIO, "durable messages, 64 callers: the store", "", 0.3, 0.5, less=False),
    "durable.service": Mark(RATIO, "durable messages, 64 callers: over sockets", "", 0.3, 0.5, less=False),
    "resume": Mark(TIME, "resume: 2,000 come back at once mid-answer", "s", 10, 4),
    "replicas.price": Mark(REPLICAS, "price: CPU a token ÷ the same alone", "", 1.6, 1.3),
    "replicas.share": Mark(REPLICAS, "load of the busier of two, clients changing mid-answer", "", 0.55),
    "overview.list": Mark(OVERVIEW, "first page and total, p95 of all filters and orders", "ms", 100, 30),
    "overview.slowest": Mark(OVERVIEW, "the slowest of these, median of its rounds", "ms", 100, 30),
    "overview.figures": Mark(OVERVIEW, "figures and series of a period, p95 of each", "ms"),
    "start": Mark(TIME, "start: `chatbox serve` to healthy", "s", 1.5, 0.7),
}


@dataclass
class Figure:
    """Repeated measurements of one thing."""

    key: str
    values: list[float] = field(default_factory=list)

    @property
    def mark(self) -> Mark:
        return MARKS[self.key]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def range(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def reaches(self, mark: float | None) -> bool | None:
        """Whether the median is as good as the mark; None without one."""
        if mark is None:
            return None
        return self.median <= mark if self.mark.less else self.median >= mark


@dataclass
class Result:
    """What one piece of work gave: figures, ``problems`` (wrong results) and ``remarks`` (what to know beside)."""

    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def shown(value: float) -> str:
    """A number with three significant digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ranged(values: Sequence[float]) -> str:
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f"{low} to {high}"
