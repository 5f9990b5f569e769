"""How much of everything: for figures, and for a quick look that all of it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """``runs`` are with a fresh server each, ``rounds`` are answers a client in a run, ``pairs`` are alternating runs.

    ``settle`` is seconds before memory is read, ``most`` the most answers that are tried.
    """

    runs: int = 3
    rounds: int = 3
    pairs: int = 5
    settle: float = 3.0
    idle: int = 1000
    streams: int = 200
    stream_tokens: int = 200
    pours: int = 100
    pour_tokens: int = 500
    most: int = 1500
    most_tokens: int = 300
    fanout_sockets: int = 1000
    fanout_events: int = 200
    durable_callers: int = 64
    durable_seconds: float = 2.0
    resumed: int = 2000
    resume_tokens: int = 60
    starts: int = 7
    sessions: int = 1_000_000
    overview_rounds: int = 5


FULL = Sizes()

QUICK = Sizes(
    runs=1,
    rounds=1,
    pairs=1,
    settle=0.2,
    idle=50,
    streams=20,
    stream_tokens=20,
    pours=10,
    pour_tokens=100,
    most=50,
    most_tokens=20,
    fanout_sockets=50,
    fanout_events=20,
    durable_seconds=0.3,
    resumed=50,
    resume_tokens=12,
    starts=1,
    sessions=2_000,
    overview_rounds=1,
)
