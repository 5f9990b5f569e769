"""The two buses, and how events travel on them."""

from __future__ import annotations

import asyncio

import detangle

from tests.schedules.redis_peer import Peer
from tests.schedules.surroundings import Air


async def a_while(longest):
    await asyncio.sleep(detangle.uniform(0.001, longest))


def memory(*, calm=False):
    """The bus of one process, and how events travel on it: in order, or late, out of order, doubled and lost."""
    match "calm" if calm else detangle.choice(("calm", "crossing", "doubled", "lossy", "storm")):
        case "calm":
            return Air(slow=0.0)
        case "crossing":
            return Air(ordered=False, longest=0.3)
        case "doubled":
            return Air(double=0.3, longest=0.1)
        case "lossy":
            return Air(drop=0.3)
        case _:
            return Air(drop=0.2, double=0.2, ordered=False, longest=0.5)


def redis(*, calm=False):
    """Redis, with messages that come late or are lost."""
    match "calm" if calm else detangle.choice(("calm", "slow", "lossy", "young")):
        case "calm":
            return Peer(slow=0.0)
        case "slow":
            return Peer(longest=0.2)
        case "lossy":
            return Peer(drop=0.3)
        case _:
            return Peer(drop=0.1, young=True)
