"""What happens at once, on two replicas: the cases of concurrency, each a coroutine for the scheduler.

Each ends with ``settled``: everyone has the whole log, nothing is owed, open or running, no background task has failed.
On the way, the book looks after each step whether a promise was broken.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from unittest.mock import patch

import detangle

from chatbox import outbox
from chatbox.protocol import Close
from chatbox.session import Kind
from tests.schedules import takeovers
from tests.schedules.cluster import cluster
from tests.schedules.skies import a_while, memory, redis
from tests.schedules.surroundings import Illustrator, Once, busy

FAR = 10**9


def turns_per_question(here, session_id):
    """How many turns lie between each question and the next."""
    log = here.book.logs[session_id]
    asked = [entry.index for entry in log if entry.kind is Kind.USER_MESSAGE]
    return [
        len([entry for entry in log if entry.kind is Kind.TURN and begin < entry.index < end])
        for begin, end in pairwise([*asked, FAR])
    ]


# -- sockets come and go -----------------------------------------------------------------------------------------------


async def sockets_attach_at_once(sky=memory):
    """B1. Two sockets attach at once, on one replica and on two, while things are said."""
    async with cluster(sky()) as here:
        first = await here.enter(0)
        first.say("one")
        await a_while(0.5)
        first.say("two")
        await asyncio.gather(*[here.enter(number, session_id=first.session_id) for number in (0, 1, 1)])
        await here.settled()
        here.finished(first, "stop")


async def a_page_and_what_comes_after_it(sky=memory):
    """B1 over HTTP. Who reads the stored messages first and attaches where they end misses nothing."""
    async with cluster(sky()) as here:
        first = await here.enter(0)
        first.say("one")
        await a_while(1.0)
        first.say("two")
        reader = here.client(session_id=first.session_id)
        await reader.read(here.replicas[1])
        await a_while(0.5)
        await reader.enter(here.replicas[detangle.choice((0, 1))])
        here.staying(reader)
        await here.settled()


async def an_old_cleanup_after_a_new_attach(sky=memory):
    """B2. A tab comes back while the replica does not know yet that its old line is gone."""
    async with cluster(sky()) as here:
        tab = await here.enter(0, tab="t")
        tab.say("one")
        for _ in range(2):
            await a_while(0.3)
            await tab.enter(here.replicas[detangle.choice((0, 1))])
            tab.say("more")
        await here.settled()
        assert tab.over is None
        assert await here.sockets_of("ann") == 1


async def two_sockets_of_one_tab(sky=memory):
    """B2. Of a tab's sockets the newest stays, wherever they are, and the older one is told."""
    async with cluster(sky()) as here:
        old = await here.enter(0, tab="t")
        old.say("one")
        await a_while(0.3)
        new = await here.enter(1, tab="t", session_id=old.session_id)
        new.say("two")
        await here.settled()
        assert new.over is None
        assert here.air.lost or old.over == Close.REPLACED


async def sessions_are_created_at_once(sky=memory):
    """B3. Sockets that name no session come at once to two replicas: they get the same one."""
    async with cluster(sky()) as here:
        everyone = await asyncio.gather(*[here.enter(number) for number in (0, 1, 0)])
        for number, one in enumerate(everyone):
            one.say(f"hi {number}")
        await here.settled()
        assert len({one.session_id for one in everyone} | here.book.logs.keys()) == 1, "not one session"


async def someone_comes_back_during_a_sweep(sky=memory):
    """B4. A session that was left is swept by one replica while its user comes back to the other."""
    async with cluster(sky(), RECONNECT_TIMEOUT="1s", SESSION_CLEANUP_INTERVAL="1s") as here:
        here.tolerates("NOT_FOUND")  # what is said while the session is deleted
        one = await here.client().enter(here.replicas[0])
        if detangle.flip(0.5):
            one.say("one")
            await here.settled()
        one.socket.cut()
        await asyncio.sleep(detangle.uniform(0.5, 4.0))
        one.connect(here.replicas[1])
        await one.told()
        one.say("two")
        here.staying(one)
        await here.settled()
        if one.session_id in here.book.deleted:
            assert one.over == Close.DELETED, "a session of which only its ghost is left"


async def lines_are_cut_during_an_answer(sky=memory):
    """A1, A3. Whatever is cut and wherever the client comes back: the text is the model's, byte by byte."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a long question")
        for _ in range(3):
            await a_while(0.6)
            detangle.choice((one, other)).socket.cut()
        await here.settled()
        here.finished(one, "stop")


async def a_message_is_sent_twice(sky=memory):
    """A6. A message whose ack was lost is sent again through another replica while the first is still on its way."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        one.say("one")
        one.say("two")
        await a_while(0.2)
        one.connect(here.replicas[1])
        await here.settled()
        assert len(here.book.entries(one.session_id, Kind.USER_MESSAGE)) == 2
        assert max(turns_per_question(here, one.session_id)) == 1


# -- one replica answers, the other has something to say ---------------------------------------------------------------


async def a_stop_through_the_other_replica(sky=memory):
    """B6. The answer stops within a second, whichever replica writes it; what was shown stays."""
    async with cluster(sky(calm=True)) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a question that takes a while")
        await other.until(lambda: other.partials)
        await a_while(0.5)
        other.stop()
        begun = asyncio.get_running_loop().time()
        await one.until(lambda: one.ended)
        assert asyncio.get_running_loop().time() - begun <= 1.0, "the stop took longer than a second"
        await here.settled()
        here.finished(one, "stopped", "stop")


async def a_stop_that_is_lost(sky=memory):
    """B6, A12. A stop of which the bus loses the news is found by the beacon."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a question that takes very, very, very, very, very long to answer")
        await other.until(lambda: other.partials)
        other.stop()
        begun = asyncio.get_running_loop().time()
        await one.until(lambda: one.ended)
        assert asyncio.get_running_loop().time() - begun <= 2 * here.air.beacon + 1, "the stop was not found"
        await here.settled()


async def regenerate_through_the_other_replica(sky=memory):
    """B6. The running answer stops, and one follows that is not stopped by what asked for it."""
    async with cluster(sky()) as here:
        here.tolerates("CONFLICT")  # a regenerate that overtakes the message
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.0)
        other.again()
        await a_while(0.5)
        one.again()
        await here.settled()
        here.finished(one, "stop", "stopped", last="stop")
        if not {*one.refused, *other.refused}:
            assert here.book.entries(one.session_id, Kind.AI_RESPONSE)[-1].content == "«one»"


async def messages_through_both_replicas(sky=memory):
    """B6. What is said through one replica while the other answers gets one answer, all of it together."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.0)
        other.say("two")
        await a_while(0.2)
        one.say("three")
        await here.settled()
        here.finished(one, "stop")
        assert max(turns_per_question(here, one.session_id)) == 1


async def messages_between_pieces(sky=memory):
    """B6. Messages come between the pieces of short answers, until their very end, and some news of that is lost."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        for _ in range(3):
            await other.until(lambda: other.partials or not other.lacks())
            await a_while(0.2)
            one.say("more")
        await here.settled()
        here.finished(one, "stop")


async def an_end_through_the_other_replica(sky=memory):
    """A session is ended by one replica while the other answers in it; writing opens it again."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        one.say("one")
        await a_while(1.0)
        assert await here.replicas[1].call("POST", f"/sessions/{one.session_id}/end") == 200
        if detangle.flip(0.5):
            one.say("two")
        await here.settled()


async def a_deletion_through_the_other_replica(sky=memory):
    """A session is deleted by one replica while the other answers in it: its sockets are told and close."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.0)
        assert await here.replicas[1].call("DELETE", f"/sessions/{one.session_id}") == 204
        await asyncio.sleep(5)
        for client in (one, other):
            assert here.air.lost or client.over == Close.DELETED, "a deleted session's socket was not closed"
        await here.nothing_left()


# -- what dies, stands still or leaves ---------------------------------------------------------------------------------


async def a_reader_is_cancelled(sky=memory):
    """B7. The task of a connection is cancelled at any await; its client comes back, and nothing is lost."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(0.3)
        detangle.inject_cancellation(one.socket.task, points=12)
        one.say("two")
        await here.settled()
        here.finished(other, "stop")


async def a_socket_is_cancelled_while_it_attaches(sky=memory):
    """B7. A connection is cancelled at any await of its first moments: no place of it stays taken."""
    async with cluster(sky()) as here:
        first = await here.enter(0)
        first.say("one")
        late = here.client(session_id=first.session_id, tab="t")
        detangle.inject_cancellation(late.connect(here.replicas[detangle.choice((0, 1))]).task, points=20)
        here.staying(late)
        await here.settled()
        assert await here.sockets_of("ann") == 2


async def a_replica_dies(sky=memory):
    """B7, A10. A replica is gone at any moment: what it showed stays, the user is told, the question is answered."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.2)
        if detangle.flip(0.5):
            one.say("two")
            await a_while(0.2)
        here.replicas[0].die()
        await here.settled()
        here.finished(one, "stop", "interrupted")
        one.again()
        await here.settled()
        here.finished(one, "stop", "interrupted", last="stop")


async def a_replica_stands_still(sky=memory):
    """C9. A replica stands still and goes on: it can append nothing to an answer that others have ended."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.0)
        seconds = detangle.uniform(1.0, 25.0) if detangle.flip(0.5) else detangle.uniform(9.0, 12.0)
        await here.stand_still(here.replicas[0], seconds, during=lambda: other.say("two"))
        await here.settled()
        here.finished(one, "stop", "interrupted")


async def a_replica_stands_still_with_a_lease(sky=memory):
    """C9. A replica stands still while it takes a turn, until another one has taken it: it ends nothing that lives."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a question with a long answer")
        await a_while(0.4)
        await here.stand_still(here.replicas[0], detangle.uniform(8.0, 14.0))
        await here.settled()
        here.finished(other, "stop", "interrupted")


async def a_replica_leaves(sky=memory):
    """Drain. A replica shuts down while it answers; its clients go on at the other one."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(1.0)
        seconds = detangle.uniform(0.5, 3.0)
        leaving = asyncio.ensure_future(here.replicas[0].shut_down(seconds))
        await a_while(1.0)
        one.say("two")
        other.say("three")
        async with asyncio.timeout(seconds + 5):
            await leaving
        await here.settled()
        here.finished(one, "stop", "interrupted")


async def every_replica_restarts(sky=memory):
    """A rolling restart: each replica leaves, and a new one comes, while people talk."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        for replica in here.replicas[:2]:
            detangle.choice((one, other)).say("more")
            await here.more()
            await a_while(1.0)
            await replica.shut_down(2.0)
        await here.settled()


# -- parts that fail ---------------------------------------------------------------------------------------------------


async def a_task_fails(sky=memory):
    """B9. A task raises what nobody foresaw: it is counted or told, and everything goes on."""
    once = Once()
    async with cluster(sky(), trouble=once) as here:
        here.tolerates("SERVICE_ERROR")
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        once.arm(40)
        one.say("one")
        await a_while(1.0)
        other.say("two")
        await asyncio.sleep(2)
        once.left = None
        await asyncio.sleep(2)
        here.counted(once.struck)
        await here.settled()


async def the_store_is_busy(sky=memory):
    """C1. A store that refuses some calls: what was acknowledged is stored, the rest is sent again."""
    async with cluster(sky()) as here:
        here.tolerates("DATABASE_ERROR", "SERVICE_ERROR")
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        here.trouble_with(busy(0.1))
        one.say("one")
        await a_while(1.0)
        other.say("two")
        await asyncio.sleep(3)
        here.trouble_with()
        await here.settled(patience=40)


async def a_reader_is_slow(sky=memory):
    """D4 in small. A client reads slowly: its pieces are merged, and when even that is too much, it is closed with 4408
    and resumes; the other one does not notice."""
    with patch.object(outbox, "MAX_BYTES", 1500):
        async with cluster(sky()) as here:
            one = await here.enter(0)
            await here.enter(0, session_id=one.session_id, pace=1.0)
            one.say("a question with a long answer")
            await one.until(lambda: one.ended)
            one.say("and another one")
            await here.settled(patience=40)
            here.finished(one, "stop")


async def redis_is_away(sky=redis):
    """C5. Redis dies and comes back with nothing: each replica goes on alone, and then everyone catches up."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a question with a long answer")
        await a_while(2.0)
        here.book.pieces_are_lost = True
        here.air.die()
        await a_while(4.0)
        detangle.choice((one, other)).say("two")
        await a_while(4.0)
        await here.air.start()
        await here.settled(patience=60)
        here.finished(one, "stop", "interrupted")


async def redis_is_away_for_one(sky=redis):
    """C5. One replica is cut off from Redis: no living answer is ended, and in the end everyone has everything."""
    async with cluster(sky()) as here:
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say("a question with a long answer")
        await a_while(2.0)
        here.book.pieces_are_lost = True
        here.air.cut_off(here.replicas[detangle.choice((0, 1))].name)
        await a_while(4.0)
        detangle.choice((one, other)).say("two")
        await a_while(12.0)
        here.air.heal()
        await here.settled(patience=60)
        here.finished(one, "stop", "interrupted")


# -- everything at once ------------------------------------------------------------------------------------------------


async def anything_at_once(sky=memory):
    """Three clients on two replicas do anything in any order, lines are cut, a replica may die or leave."""
    async with cluster(sky(), typist=Illustrator) as here:
        here.tolerates("CONFLICT")  # a regenerate before there is anything to answer
        first = await here.enter(0)
        everyone = [first, *[await here.enter(1, session_id=first.session_id) for _ in range(2)]]
        end = detangle.choice((None, None, *here.air.ends))
        for _ in range(detangle.randint(3, 8)):
            await a_while(0.6)
            one = detangle.choice(everyone)
            match detangle.choice(("say", "say", "stop", "again", "cut", "move")):
                case "say":
                    one.say("something")
                case "stop":
                    one.stop()
                case "again":
                    one.again()
                case "cut":
                    one.socket.cut()
                case "move":
                    one.connect(detangle.choice(here.alive))
            if end and detangle.flip(0.3):
                await here.goes(here.replicas[1], end)
                end = None
        await here.settled(patience=40)


ANYWHERE = (
    sockets_attach_at_once,
    a_page_and_what_comes_after_it,
    an_old_cleanup_after_a_new_attach,
    two_sockets_of_one_tab,
    sessions_are_created_at_once,
    someone_comes_back_during_a_sweep,
    lines_are_cut_during_an_answer,
    a_message_is_sent_twice,
    a_stop_through_the_other_replica,
    a_stop_that_is_lost,
    regenerate_through_the_other_replica,
    messages_through_both_replicas,
    messages_between_pieces,
    an_end_through_the_other_replica,
    a_deletion_through_the_other_replica,
    a_reader_is_cancelled,
    a_socket_is_cancelled_while_it_attaches,
    a_replica_dies,
    a_replica_leaves,
    every_replica_restarts,
    a_task_fails,
    the_store_is_busy,
    a_reader_is_slow,
    anything_at_once,
    *takeovers.ANYWHERE,
)
"""On either bus."""
STANDING_STILL = (a_replica_stands_still, a_replica_stands_still_with_a_lease, *takeovers.STANDING_STILL)
"""What needs a bus that knows of processes which stand still."""
OUTAGES = (redis_is_away, redis_is_away_for_one, *takeovers.OUTAGES)
"""What needs a bus that can be away."""
SCENARIOS = {scenario.__name__: scenario for scenario in (*ANYWHERE, *STANDING_STILL, *OUTAGES)}
SKIES = {"memory": (memory, (*ANYWHERE, *STANDING_STILL)), "Redis": (redis, (*ANYWHERE, *OUTAGES))}
"""Each bus, and what can happen on it."""
