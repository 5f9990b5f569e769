"""What a campaign does to three replicas, to Redis and to their store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from cluster_parts import Failed, Replica
from tests.faults.checker import WHOLE
from tests.faults.cluster import Together, together
from tests.faults.staff import Member
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
from tests.proxy import TO_CLIENT, TO_SERVER
from tests.replicas.rolling import rolled
from tests.replicas.stage import staged

TOLD_WITHIN = 15.0
STARTS = 20
DEAF_WITHIN = 10.0


async def replicas_killed(run: Run) -> None:
    """Replicas are killed at any moment while people talk through a balancer and to each of them."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        async with talking(run, scene, talkers):
            for number in range(run.amounts.replica_kills):
                run.tell(f"{number} kills, {acknowledged(talkers)} acknowledged")
                await said_more(run, talkers, 30)
                await asyncio.sleep(scene.chance.uniform(0, 0.5))
                await killed(scene, scene.chance.choice(scene.servers))
            await said_more(run, talkers, 30)
        await scene.settled(run.amounts.patience)
    judged(run)


async def killed(scene: Together, replica: Replica) -> None:
    await replica.kill()
    scene.fault("SIGKILL", replica.name)
    await started(replica)


async def started(replica: Replica) -> None:
    """Start a replica, again and again, as a supervisor does: without Redis it does not start."""
    for _ in range(STARTS):
        with suppress(Failed):
            return await replica.start()
    raise Failed(f"{replica.name} does not start: {replica.text}")


async def answers_taken_over(run: Run) -> None:
    """The replica that writes an answer is killed, or stopped and continued: everyone is told of the answer's end,
    another one can be had, and the replica that wakes up writes nothing."""
    amounts = run.amounts
    async with together(run.folder, run.seed, run.mutant) as scene:
        one, two, three = scene.servers
        places = [[replica.http, three.http] for replica in (one, two) for _ in range(amounts.talkers)]
        talkers = await scene.invite_to(*places)
        far = [talker.devices[1] for talker in talkers]
        await asyncio.gather(*(talker.ask(1000, 50) for talker in talkers))
        await until(lambda: all(device.pieces > 2 for device in far), 60, "answers under way")
        begun = time.monotonic()
        await one.kill()
        scene.fault("SIGKILL", one.name)
        two.pause()
        scene.fault("SIGSTOP", two.name)
        await until(lambda: all(device.answers for device in far), run.amounts.patience, "everyone is told of the end")
        told = time.monotonic() - begun
        before = [device.pieces for device in far]
        await asyncio.gather(*(device.regenerate() for device in far))
        await until(lambda: all(d.pieces > n for d, n in zip(far, before, strict=True)), 60, "other answers")
        await asyncio.gather(*(device.stop() for device in far))
        run.tell("waiting for the replica that is stopped")
        await asyncio.sleep(max(0.0, amounts.stopped - (time.monotonic() - begun)))
        two.resume()
        stood = time.monotonic() - begun
        scene.fault("SIGCONT", two.name)
        await one.start()
        await scene.settled(run.amounts.patience)
    run.figures |= {
        "answers under way": str(len(talkers)),
        "everyone told of their end within": f"{told:.1f} s",
        "stopped for": f"{stood:.0f} s",
    }
    run.expect(told <= TOLD_WITHIN, f"told too late: after {told:.1f} s")
    judged(run, ends=INTERRUPTED | {"stopped"})


async def staff_come_and_go(run: Run) -> None:
    """Staff take conversations over, speak and give them back, through any replica, while users talk, replicas are
    killed and stopped, and messages between them are lost: meanwhile the AI is silent."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        bases = [server.http for server in scene.servers]
        staff = [Member(name, bases, scene.history, scene.chance) for name in ("bea", "cy", "di")]
        scene.bus.lost = scene.bus.doubled = 0.05
        async with talking(run, scene, talkers), asyncio.TaskGroup() as group:
            faults = group.create_task(faults_for(run, scene))
            for member in staff:
                group.create_task(visits(run, scene, member, talkers, faults))
        scene.bus.lost = scene.bus.doubled = 0.0
        await asyncio.gather(*(talker.ask(3) for talker in talkers))
        await scene.settled(run.amounts.patience)
    counts = judged(run, ends=INTERRUPTED | {"stopped"})
    run.figures |= {
        "takeovers": str(sum(member.taken for member in staff)),
        "words of staff acknowledged": str(counts["staff user_message"]),
        "said by the AI meanwhile": count(run, "the AI during a takeover"),
        "owners at once": count(run, "two owners"),
    }
    run.expect(counts["staff admin_join"] >= run.amounts.visits, "too few takeovers")


async def visits(
    run: Run, scene: Together, member: Member, talkers: Sequence[Talker], faults: asyncio.Task[None]
) -> None:
    """One takeover after another, as long as there are faults and until there were enough."""
    while member.taken < run.amounts.visits or not faults.done():
        await asyncio.sleep(scene.chance.expovariate(5))
        await member.visit(scene.chance.choice(talkers), scene.chance.randint(0, 2))
        run.tell(f"{member.taken} takeovers by {member.user}, {acknowledged(scene.talkers)} acknowledged")


async def faults_for(run: Run, scene: Together) -> None:
    """Replicas are killed and stopped, one after another."""
    for _ in range(run.amounts.replica_kills):
        await asyncio.sleep(scene.chance.uniform(0.5, 2))
        await scene.chance.choice((kill_a_replica, stop_a_replica))(scene)


async def rolling_restart(run: Run) -> None:
    """All replicas are restarted, one after another, with sockets open and answers under way."""
    async with staged(run.folder, lambda *_: None) as stage, stage.scene() as scene:
        run.figures |= await rolled(scene, run.amounts.sockets, run.amounts.answers)


# -- Redis -----------------------------------------------------------------------------------------------------------


async def redis_killed(run: Run) -> None:
    """Redis is killed, and comes back empty: meanwhile each replica goes on alone."""
    async with outage(run) as scene:
        await scene.cluster.redis.kill()
        scene.fault("SIGKILL", "redis")
        await without(run, scene)
        await scene.cluster.redis.start()


async def redis_stopped(run: Run) -> None:
    """Redis is stopped and continued: it takes connections, and answers nothing."""
    async with outage(run) as scene:
        scene.cluster.redis.pause()
        scene.fault("SIGSTOP", "redis")
        await without(run, scene)
        scene.cluster.redis.resume()


async def redis_deaf(run: Run) -> None:
    """Redis answers commands and delivers no messages."""
    async with outage(run) as scene:
        scene.bus.deaf = True
        scene.fault("deaf", "redis")
        seconds = await without(run, scene)
        scene.bus.deaf = False
    run.expect(seconds <= DEAF_WITHIN, f"deafness found too late: after {seconds:.1f} s")


@asynccontextmanager
async def outage(run: Run) -> AsyncIterator[Together]:
    """People talk before, while and after something is away; in the end all replicas are ready again."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 30)
            yield scene
            green = max(await asyncio.gather(*(turns(run, replica, 200) for replica in scene.servers)))
            await said_more(run, talkers, 30)
        await scene.settled(run.amounts.patience)
    run.figures["green again after"] = f"{green:.1f} s"
    judged(run)


async def without(run: Run, scene: Together) -> float:
    """People go on while Redis is away. Returns how long it took until the last replica was not ready."""
    begun = time.monotonic()
    red = max(await asyncio.gather(*(turns(run, replica, 503) for replica in scene.servers)))
    live = await asyncio.gather(*(status(replica, "/healthz") for replica in scene.servers))
    run.expect(live == [200] * len(scene.servers), "liveness depends on Redis")
    before = acknowledged(scene.talkers)
    await said_more(run, scene.talkers, 30)
    await asyncio.sleep(max(0.0, run.amounts.outage / 2 - (time.monotonic() - begun)))
    run.figures |= {
        "outage": f"{time.monotonic() - begun:.0f} s",
        "readiness red after": f"{red:.1f} s",
        "acknowledged meanwhile": str(acknowledged(scene.talkers) - before),
    }
    return red


async def messages_lost(run: Run) -> None:
    """Of the messages between replicas a tenth is lost, a tenth comes twice, a tenth comes late."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        scene.bus.lost = scene.bus.doubled = scene.bus.late = 0.1
        async with talking(run, scene, talkers):
            await said_more(run, talkers, run.amounts.bus)
        run.tell("waiting for what was lost")
        await scene.settled(run.amounts.patience)
        counts = scene.bus.counts
    run.figures["messages between replicas"] = f"{counts['messages']:,}"
    run.figures["of them lost, doubled, late"] = ", ".join(str(counts[name]) for name in ("lost", "doubled", "late"))
    run.expect(counts["lost"] > 0, "no message was lost")
    judged(run, ends=WHOLE)


# -- the store -------------------------------------------------------------------------------------------------------


async def store_killed(run: Run) -> None:
    """The store is killed and comes back: meanwhile nothing is acknowledged."""
    async with outage(run) as scene:
        await scene.cluster.peer.kill()
        scene.fault("SIGKILL", "the store")
        begun = scene.history.now
        red = max(await asyncio.gather(*(turns(run, replica, 503) for replica in scene.servers)))
        live = await asyncio.gather(*(status(replica, "/healthz") for replica in scene.servers))
        run.expect(live == [200] * len(scene.servers), "liveness depends on the store")
        await asyncio.sleep(run.amounts.outage)
        over = scene.history.now
        await scene.cluster.peer.start()
    acks = acknowledged_between(run.history, begun, over)
    run.figures |= {
        "outage": f"{over - begun:.0f} s",
        "readiness red after": f"{red:.1f} s",
        "acknowledged meanwhile": str(acks),
    }
    run.expect(acks == 0, f"acknowledged in vain: {acks} messages while nothing could be stored")


async def store_lines_cut(run: Run) -> None:
    """Lines to the store break after a random number of bytes, in either direction: a write may have happened."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        store = scene.cluster.store
        async with talking(run, scene, talkers):
            goal = run.amounts.store_cuts
            while store.cuts < goal:
                way = scene.chance.choice((TO_CLIENT, TO_SERVER))
                before = store.cuts
                store.cut_in(scene.chance.randint(1, 3000), way)
                await until(lambda n=before: store.cuts > n, run.amounts.patience, "a line to the store is cut")
                run.tell(f"{store.cuts} cuts, {acknowledged(talkers)} acknowledged")
                await asyncio.sleep(scene.chance.uniform(0.05, 0.5))
            await said_more(run, talkers, 30)
        await scene.settled(run.amounts.patience)
    run.figures["cuts"] = str(store.cuts)
    judged(run)


# -- all of it -------------------------------------------------------------------------------------------------------


async def everything(run: Run) -> None:
    """All of these at once, at random: replicas killed and stopped, Redis killed, stopped, deaf and losing messages,
    the store killed, lines cut."""
    async with together(run.folder, run.seed, run.mutant) as scene:
        talkers = await scene.invite_all(run.amounts.spread)
        begun = time.monotonic()
        async with talking(run, scene, talkers):
            await said_more(run, talkers, 20)
            async with asyncio.TaskGroup() as group:
                for faults in (REPLICA_FAULTS, BUS_FAULTS, STORE_FAULTS):
                    group.create_task(again_and_again(run, scene, faults, begun + run.amounts.everything))
            for replica in scene.servers:
                await turns(run, replica, 200, 60)
            await said_more(run, talkers, 20)
        await scene.settled(run.amounts.patience)
    counts = judged(run)
    run.figures |= {name: str(n) for name, n in sorted(counts.items()) if name in FAULTS}


Fault = Callable[[Together], Awaitable[None]]


async def again_and_again(run: Run, scene: Together, faults: Sequence[tuple[str, Fault]], end: float) -> None:
    while time.monotonic() < end:
        await asyncio.sleep(scene.chance.uniform(0.5, 4))
        name, fault = scene.chance.choice(faults)
        run.tell(f"{name}, {acknowledged(scene.talkers)} acknowledged")
        scene.fault(name)
        await fault(scene)


async def kill_a_replica(scene: Together) -> None:
    replica = scene.chance.choice(scene.servers)
    await replica.kill()
    await asyncio.sleep(scene.chance.uniform(0, 3))
    await started(replica)


async def stop_a_replica(scene: Together) -> None:
    replica = scene.chance.choice(scene.servers)
    replica.pause()
    await asyncio.sleep(scene.chance.uniform(0.5, 15))
    replica.resume()


async def kill_redis(scene: Together) -> None:
    await scene.cluster.redis.kill()
    await asyncio.sleep(scene.chance.uniform(0, 4))
    await scene.cluster.redis.start()


async def stop_redis(scene: Together) -> None:
    scene.cluster.redis.pause()
    await asyncio.sleep(scene.chance.uniform(0.5, 6))
    scene.cluster.redis.resume()


async def cut_redis(scene: Together) -> None:
    scene.bus.cut()


async def deafen(scene: Together) -> None:
    scene.bus.deaf = True
    await asyncio.sleep(scene.chance.uniform(0.5, 12))
    scene.bus.deaf = False


async def lose_messages(scene: Together) -> None:
    scene.bus.lost = scene.bus.doubled = scene.bus.late = 0.2
    await asyncio.sleep(scene.chance.uniform(0.5, 6))
    scene.bus.lost = scene.bus.doubled = scene.bus.late = 0.0


async def kill_the_store(scene: Together) -> None:
    await scene.cluster.peer.kill()
    await asyncio.sleep(scene.chance.uniform(0, 3))
    await scene.cluster.peer.start()


async def cut_the_store(scene: Together) -> None:
    scene.cluster.store.cut_in(scene.chance.randint(1, 2000), scene.chance.choice((TO_CLIENT, TO_SERVER)))


async def slow_the_store(scene: Together) -> None:
    scene.cluster.store.delay = 0.1
    await asyncio.sleep(scene.chance.uniform(0.5, 4))
    scene.cluster.store.delay = 0.0


REPLICA_FAULTS = (("replica killed", kill_a_replica), ("replica stopped", stop_a_replica))
BUS_FAULTS = (
    ("Redis killed", kill_redis), ("Redis stopped", stop_redis), ("lines to Redis cut", cut_redis),
    ("Redis deaf", deafen), ("messages lost", lose_messages),
)  # fmt: skip
STORE_FAULTS = (
    ("store killed", kill_the_store), ("line to the store cut", cut_the_store), ("store slow", slow_the_store),
)  # fmt: skip
FAULTS = {name for name, _ in (*REPLICA_FAULTS, *BUS_FAULTS, *STORE_FAULTS)}


def judged(run: Run, ends: frozenset[str] = INTERRUPTED) -> Counter[str]:
    counts = run.judge(ends=ends).counts
    run.figures |= {
        "acknowledged": str(counts["acknowledged"]),
        "lost": count(run, "lost"),
        "doubled": count(run, "stored twice", "told twice"),
        "answers whole, interrupted": f"{counts['answers stop']}, {counts['answers interrupted']}",
    }
    return counts
