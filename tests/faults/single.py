"""What a campaign does to one server on SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from tests.faults.cluster import Scene, Server, alone
from tests.faults.model import Question, answer
from tests.faults.nemesis import FLUSH, SEND, failing_flushes, full_disk, kill_in, locked, on_small_disk, paused
from tests.faults.steps import (
    INTERRUPTED,
    Run,
    acknowledged,
    acknowledged_between,
    count,
    said_more,
    status,
    talking,
    turns,
)
from tests.faults.talkers import Talker, until
from tests.proxy import TO_CLIENT, TO_SERVER, Proxy


async def kills(run: Run) -> None:
    """The server is killed while people talk: at any moment, in a flush, in a write to a socket, while it starts."""
    amounts = run.amounts
    async with alone(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite(amounts.talkers)
        async with talking(run, scene, talkers):
            for number in range(amounts.kills):
                run.tell(f"{number} kills, {acknowledged(talkers)} acknowledged")
                await said_more(run, talkers, amounts.acknowledged // amounts.kills)
                await kill(scene)
            await said_more(run, talkers, max(1, amounts.acknowledged - acknowledged(talkers)))
        await scene.settled(run.amounts.patience)
    counts = run.judge(ends=INTERRUPTED).counts
    run.figures |= {
        "SIGKILLs": str(counts["SIGKILL"]),
        "acknowledged": str(counts["acknowledged"]),
        "lost": count(run, "lost"),
        "doubled": count(run, "stored twice", "told twice"),
        "answers whole, interrupted": f"{counts['answers stop']}, {counts['answers interrupted']}",
    }


async def kill(scene: Scene[Server]) -> None:
    """Kill the server at a moment of some kind, and start it again."""
    server, how = scene.server, scene.chance.random()
    if how < 0.2:
        await kill_in(server.process, FLUSH, scene.chance.randint(1, 20))
    elif how < 0.4:
        await kill_in(server.process, SEND, scene.chance.randint(1, 80))
    else:
        await asyncio.sleep(scene.chance.uniform(0, 0.3))
    await server.end()
    scene.fault("SIGKILL", server.name)
    if scene.chance.random() < 0.1:
        starting = asyncio.create_task(server.start())
        await asyncio.sleep(scene.chance.uniform(0.3, 0.9))
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await server.end()
        scene.fault("SIGKILL", server.name)
    await server.start()


# -- the network -----------------------------------------------------------------------------------------------------


async def cuts(run: Run) -> None:
    """A connection ends after a random number of bytes, in either direction, while an answer streams; what comes back
    may be cut again."""

    def places(scene: Scene[Server]) -> Iterator[tuple[str, int]]:
        for _ in range(run.amounts.cuts):
            how = scene.chance.random()
            if how < 0.2:  # in the question, or in its acknowledgement
                yield (TO_SERVER if how < 0.1 else TO_CLIENT), scene.chance.randint(0, 150)
            else:
                yield TO_CLIENT, scene.chance.randint(0, 2500)

    async with alone(run.folder, run.seed, run.mutant) as scene:
        cut = await cut_answers(scene, run, places(scene), pieces=12, again=0.2)
        await scene.settled(run.amounts.patience)
    verdict = run.judge()
    run.figures |= {
        "answers that were cut": str(len(cut)),
        "identical": str(len(cut & verdict.identical)),
        "cuts": str(verdict.counts["cut"]),
    }
    run.expect(len(cut) >= run.amounts.cuts, f"only {len(cut)} answers were cut")


async def every_byte(run: Run) -> None:
    """The connection ends after each single byte of a short answer, from its acknowledgement to its end."""
    async with alone(run.folder, run.seed, run.mutant) as scene:
        size = await measured(scene)
        step = max(1, size // run.amounts.bytes)
        places = [(TO_CLIENT, place) for place in range(0, size, step)]
        cut = await cut_answers(scene, run, iter(places), pieces=3, again=0.0)
        await scene.settled(run.amounts.patience)
    verdict = run.judge()
    run.figures |= {
        "bytes of the answer": str(size),
        "places cut": str(len(cut)),
        "identical": str(len(cut & verdict.identical)),
    }
    run.expect(len(cut) >= len(places), f"only {len(cut)} of {len(places)} places were cut")


async def measured(scene: Scene[Server]) -> int:
    """Bytes on the wire of a short answer."""
    (talker,) = await scene.invite(1, devices=1)
    before = scene.proxy.carried[TO_CLIENT]
    await talker.ask(3)
    await until(lambda: talker.devices[0].answers, 60, "the first answer")
    return scene.proxy.carried[TO_CLIENT] - before


async def cut_answers(
    scene: Scene[Server], run: Run, places: Iterator[tuple[str, int]], *, pieces: int, again: float
) -> set[str]:
    """Users ask, each behind a proxy of their own; answers that were not cut at their place are asked for again.
    Returns the questions whose answers were cut."""
    cut: set[str] = set()

    async def ask(talker: Talker, proxy: Proxy) -> None:
        device = talker.devices[0]
        for way, place in places:
            while True:
                before, answers = proxy.cuts, device.answers
                proxy.cut_after = [scene.chance.randint(1, 3000)] if scene.chance.random() < again else []
                proxy.cut_in(place, way)
                question = await talker.ask(pieces, scene.chance.randint(0, 3))
                await until(lambda n=answers: device.answers > n, run.amounts.patience, f"the answer to {question}")
                if proxy.cuts > before:
                    break
                place //= 2
            cut.add(str(question))
            for _ in range(proxy.cuts - before):
                scene.fault("cut")
            run.tell(f"{len(cut)} answers cut")

    async with asyncio.TaskGroup() as group:
        for _ in range(run.amounts.talkers):
            proxy = await scene.enter(Proxy(scene.server.port))
            proxy.gentle = True
            (talker,) = await scene.invite(1, devices=1, direct=1, proxy=proxy)
            group.create_task(ask(talker, proxy))
    return cut


async def network(run: Run) -> None:
    """Lines are slow, narrow, swallow all, lose one direction, stay half-open, are refused; the server is paused."""
    outage = run.amounts.outage / 6
    async with alone(run.folder, run.seed, run.mutant, PING_INTERVAL="5s") as scene:
        talkers = await scene.invite(run.amounts.talkers)
        sockets = sum(len(talker.devices) for talker in talkers)
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 20)
            for fault in (delayed, throttled, swallowed, deaf, dumb, refused, stopped):
                run.tell(fault.__name__)
                scene.fault(fault.__doc__ or "")
                await fault(scene, outage)
                await said_more(run, talkers, 20)
            await half_open(run, scene, sockets)
            await said_more(run, talkers, 20)
        await scene.settled(run.amounts.patience)
    counts = run.judge().counts
    run.figures |= {
        "acknowledged": str(counts["acknowledged"]),
        "lost": count(run, "lost"),
        "connections": str(counts["connections"]),
        "resumed": str(counts["resumed"]),
    }


async def delayed(scene: Scene[Server], seconds: float) -> None:
    """every chunk late"""
    scene.proxy.delay = 0.2
    await asyncio.sleep(seconds)
    scene.proxy.delay = 0.0


async def throttled(scene: Scene[Server], seconds: float) -> None:
    """few bytes a second"""
    scene.proxy.throttle = 4000
    await asyncio.sleep(seconds)
    scene.proxy.throttle = 0
    scene.proxy.cut()


async def swallowed(scene: Scene[Server], seconds: float) -> None:
    """nothing passes, then all of it"""
    scene.proxy.hole = True
    await asyncio.sleep(seconds)
    scene.proxy.hole = False


async def deaf(scene: Scene[Server], seconds: float) -> None:
    """what the server says is lost"""
    await one_way(scene, TO_CLIENT, seconds)


async def dumb(scene: Scene[Server], seconds: float) -> None:
    """what clients say is lost"""
    await one_way(scene, TO_SERVER, seconds)


async def one_way(scene: Scene[Server], way: str, seconds: float) -> None:
    scene.proxy.dropping = {way}
    await asyncio.sleep(seconds)
    scene.proxy.dropping = set()
    scene.proxy.cut()


async def refused(scene: Scene[Server], seconds: float) -> None:
    """all connections cut, new ones refused"""
    scene.proxy.refusing = True
    scene.proxy.cut()
    await asyncio.sleep(seconds)
    scene.proxy.refusing = False


async def stopped(scene: Scene[Server], seconds: float) -> None:
    """server stopped and continued"""
    with paused(scene.server.pid):
        await asyncio.sleep(seconds)


async def half_open(run: Run, scene: Scene[Server], sockets: int) -> None:
    """Leave all connections half-open: clients come back by themselves, the server gives up what nobody holds."""
    scene.proxy.freeze()
    scene.fault("connections half-open")
    if not run.amounts.half_open:
        scene.proxy.cut()
        return
    begun, awaited = time.monotonic(), scene.proxy.accepted + scene.proxy.frozen
    run.tell("half-open")
    async with asyncio.timeout(90):
        while scene.proxy.accepted < awaited:
            await asyncio.sleep(0.1)
        run.figures["half-open: clients are back after"] = f"{time.monotonic() - begun:.0f} s"
        while await open_sockets(scene) > sockets:
            await asyncio.sleep(0.5)
        run.figures["half-open: the server has given them up after"] = f"{time.monotonic() - begun:.0f} s"


async def open_sockets(scene: Scene[Server]) -> float:
    """How many sockets the server has, as its metrics say."""
    async with aiohttp.ClientSession() as http, http.get(f"{scene.server.http}/metrics/prometheus") as response:
        lines = (await response.text()).splitlines()
    (gauge,) = [line for line in lines if line.startswith("chatbox_websocket_connections_total ")]
    return float(gauge.split()[1])


# -- the disk --------------------------------------------------------------------------------------------------------


async def flush_errors(run: Run) -> None:
    """Every flush of the log fails with EIO for a while."""
    async with alone(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite(run.amounts.talkers)
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 50)
            async with failing_flushes(scene.server.pid):
                scene.fault("EIO")
                begun = scene.history.now
                red = await turns(run, scene.server, 503)
                await alive(run, scene)
                await asyncio.sleep(run.amounts.outage / 3)
                over = scene.history.now
            green = await turns(run, scene.server, 200)
            await said_more(run, talkers, 50)
        await scene.settled(run.amounts.patience)
    recovered(run, begun, over, red, green)


async def disk_full(run: Run) -> None:
    """The disk has no room for a while."""
    async with alone(run.folder, run.seed, run.mutant, prefix=on_small_disk(run.data, "16m")) as scene:
        talkers = await scene.invite(run.amounts.talkers)
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 50)
            with full_disk(scene.server.pid, run.data):
                scene.fault("disk full")
                red = await turns(run, scene.server, 503)
                begun = scene.history.now
                run.expect(
                    await status(scene.server, "/healthz") == 200, "liveness is not green while the disk is full"
                )
                await asyncio.sleep(run.amounts.outage / 3)
                over = scene.history.now
            green = await turns(run, scene.server, 200)
            await said_more(run, talkers, 50)
        await scene.settled(run.amounts.patience)
    recovered(run, begun, over, red, green)


async def lock_held(run: Run) -> None:
    """Another program holds the database's lock: reading goes on, writing does not."""
    async with alone(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite(run.amounts.talkers)
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 50)
            async with locked(scene.server.database):
                scene.fault("lock held")
                begun = scene.history.now
                red = await turns(run, scene.server, 503)
                run.expect(
                    await status(scene.server, "/healthz") == 200, "liveness is not green while the lock is held"
                )
                found = await talkers[0].devices[0].chat.api.sessions()
                run.expect(len(found.sessions) == 1, "sessions can't be read while the lock is held")
                await asyncio.sleep(run.amounts.outage)
                over = scene.history.now
            green = await turns(run, scene.server, 200)
            await said_more(run, talkers, 50)
        await scene.settled(run.amounts.patience)
    recovered(run, begun, over, red, green)


async def alive(run: Run, scene: Scene[Server]) -> None:
    run.expect(await status(scene.server, "/healthz") == 200, "liveness depends on the store")


def recovered(run: Run, begun: float, over: float, red: float, green: float) -> None:
    counts = run.judge().counts
    acks = acknowledged_between(run.history, begun, over)
    run.figures |= {
        "outage": f"{over - begun:.1f} s",
        "acknowledged meanwhile": str(acks),
        "readiness red after": f"{red:.1f} s",
        "green again after": f"{green:.1f} s",
        "acknowledged": str(counts["acknowledged"]),
        "lost": count(run, "lost"),
    }
    run.expect(acks == 0, f"acknowledged in vain: {acks} messages while nothing could be stored")


# -- the model -------------------------------------------------------------------------------------------------------


async def longest(run: Run) -> None:
    """An answer of MAX_ANSWER_SIZE is whole, one byte more ends it with ``length``; connections are cut meanwhile."""
    question = largest_question("user0 1", run.amounts.largest)
    size = len(answer(str(question), 0).encode())
    for limit, ends in ((size, "stop"), (size - 1, "length")):
        folder = run.folder / ends
        folder.mkdir()
        async with alone(folder, run.seed, run.mutant, MAX_ANSWER_SIZE=str(limit), LLM_STREAM_TIMEOUT="300s") as scene:
            (talker,) = await scene.invite(1, devices=1, direct=1)
            for _ in range(5):
                scene.proxy.cut_after.append(scene.chance.randint(size // 20, size // 4))
            scene.proxy.cut()
            await talker.ask(question.pieces)
            await until(lambda device=talker.devices[0]: device.answers, 300, "the whole answer")
            await scene.settled(run.amounts.patience)
        run.judge(folder / "history.jsonl", ends=frozenset({ends}))
        text = talker.devices[0].last
        run.figures[f"bytes of the answer that ended with {ends}"] = f"{len(text.encode()):,} of {size:,}"
        run.expect(len(text.encode()) <= limit, "the answer is longer than it may be")


def largest_question(tag: str, size: int) -> Question:
    """A question whose answer has that many bytes, or a few less."""
    low, high = 1, size
    while low < high:
        middle = (low + high + 1) // 2
        if len(answer(str(Question(tag, middle)), 0).encode()) <= size:
            low = middle
        else:
            high = middle - 1
    return Question(tag, low)
