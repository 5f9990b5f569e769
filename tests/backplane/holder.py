"""A replica in a process of its own, to be stopped and continued: python -m tests.backplane.holder URL LEASE

It takes the lease of the session ``s`` for the answer ``a``, begins it and pushes pieces until it is refused.
"""

from __future__ import annotations

import asyncio
import sys

from chatbox.backplane.base import Turn
from chatbox.backplane.redis import RedisBackplane, Timing
from chatbox.errors import Fenced
from tests.backplane.replicas import KEYRING


async def main(url: str, lease: float) -> None:
    async with RedisBackplane(url, KEYRING, timing=Timing(lease=lease)) as plane:
        print(await plane.acquire("s", "a"), flush=True)
        await plane.begin("s", Turn("a", 2, 1))
        try:
            while True:
                await plane.push("s", "a", "x")
                print("pushed", flush=True)
                await asyncio.sleep(0.01)
        except Fenced:
            print("fenced", flush=True)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
