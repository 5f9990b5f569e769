"""All replicas are restarted, one after another, while people talk; ``python -m tests.replicas.rolling`` in full."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.talkers import Talker, until
from tests.replicas.stage import Scene, staged

TOGETHER = 25
"""People that come at once."""
ANSWER_WITHIN = 90.0
DRAINED, MOVED = "1001", "4409"
"""What a server may close with: the client did not go in time, or has gone already and had not said so."""


async def rolled(scene: Scene, sockets: int, answers: int) -> dict[str, str]:
    """Restart everything with so many sockets open, two a person, and so many answers under way, one of them longer
    than a replica waits for. Raises ``AssertionError`` when something is lost, doubled, torn or not told. Returns
    figures."""
    cluster = scene.stage.cluster
    people: list[Talker] = []
    for start in range(0, sockets // 2, TOGETHER):
        group = range(start, min(start + TOGETHER, sockets // 2))
        people += await asyncio.gather(*[scene.invite(cluster, cluster) for _ in group])
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as talking:
        for number, talker in enumerate(people[:answers]):
            talking.create_task(endless(talker, enough) if number == 0 else talk(talker, enough, number))
        await until(lambda: scene.stage.model.running >= answers, ANSWER_WITHIN, f"{answers} answers under way")
        begun = time.monotonic()
        await cluster.rolling_restart()
        seconds = time.monotonic() - begun
        enough.set()
    await asyncio.gather(*[talker.ask(3) for talker in people[answers:]])
    await scene.settled()
    counts = (await scene.verdict("stop", "stopped", "interrupted")).counts
    closed = {name.removeprefix("closed with "): n for name, n in counts.items() if name.startswith("closed with ")}
    assert closed.keys() <= {DRAINED, MOVED}, closed
    return {
        "seconds": f"{seconds:.0f}",
        "sockets at once, in all": f"{len(people) * 2}, {counts['sockets']}",
        "acknowledged": str(counts["acknowledged"]),
        "lost": "0",
        "answers whole, interrupted": f"{counts['answers stop']}, {counts['answers interrupted']}",
        "closed by servers with 1001, 4409, 1006": f"{closed.get(DRAINED, 0)}, {closed.get(MOVED, 0)}, 0",
    }


async def talk(talker: Talker, enough: asyncio.Event, number: int) -> None:
    """Ask again and again, for answers of one to four seconds."""
    device = talker.devices[0]
    while not enough.is_set():
        told = device.answers
        await talker.ask(20 + number % 4 * 20, 50)
        await until(lambda told=told: device.answers > told, ANSWER_WITHIN, f"an answer for {talker.user}")


async def endless(talker: Talker, enough: asyncio.Event) -> None:
    """Ask for what takes minutes, again when that was interrupted, and stop it in the end."""
    device = talker.devices[0]
    while not enough.is_set():
        told = device.answers
        await talker.ask(2000, 50)
        while device.answers == told and not enough.is_set():
            await asyncio.sleep(0.05)
    await device.stop()


async def main() -> None:
    options = argparse.ArgumentParser(description="Restart three replicas while people talk.")
    options.add_argument("--sockets", type=int, default=300)
    options.add_argument("--answers", type=int, default=50)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with staged(Path(folder), told, DRAIN_TIMEOUT="30s") as stage, stage.scene() as scene:
            for name, value in (await rolled(scene, chosen.sockets, chosen.answers)).items():
                print(f"{name:<34} {value}")


def told(name: str, line: str) -> None:
    print(f"{name:<8} | {line}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
