"""What happens at once when staff take conversations over: more scenarios, written like those in ``scenarios``.

On the way, the book looks after each step that the AI says nothing while staff have the session, that one member of
staff has it at a time, and that nobody else speaks in it. In the end, what nobody has answered is answered.
"""

from __future__ import annotations

import asyncio

import detangle

from chatbox.protocol import Close
from chatbox.session import Kind
from tests.schedules.cluster import cluster
from tests.schedules.skies import a_while, memory, redis
from tests.schedules.surroundings import busy

LONG = "a question that takes very, very long to answer"
ENDLESS = ", ".join([LONG] * 3)


async def during_an_answer(here, **options):
    """Two sockets of a user on two replicas, of which the first one answers."""
    one = await here.enter(0, **options)
    other = await here.enter(1, session_id=one.session_id)
    one.say(LONG)
    await other.until(lambda: other.partials)
    await a_while(0.5)
    return one, other


async def perhaps_said(staff, session_id):
    """Now and then staff say something."""
    if detangle.flip(0.5):
        await staff.say(session_id, "hello")


# -- staff and the AI --------------------------------------------------------------------------------------------------


async def a_takeover_is_quick(sky=memory):
    """B5. While one replica answers, staff join through the other: within a second the answer has stopped and everyone
    is told; what was shown stays, and the AI says nothing until they have left."""
    async with cluster(sky(calm=True)) as here:
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        await bea.join(one.session_id, at=here.replicas[1])
        assert bea.took <= 1.0, "the takeover took longer than a second"
        await one.until(lambda: one.owner == "bea", patience=1.0)
        assert one.ended, "the answer has not stopped"
        other.say("is anybody there?")
        await other.until(lambda: not other.outstanding)
        await bea.say(one.session_id, "it is me")
        await bea.note(one.session_id, "a difficult one")
        await bea.leave(one.session_id)
        await here.settled()
        assert len(here.book.entries(one.session_id, Kind.TURN)) == 1, "the AI has answered what staff have answered"


async def a_takeover_during_an_answer(sky=memory):
    """B5. The same over a bus that loses, doubles and delays. What the user said while staff were there, and nobody
    answered, is answered when they have left."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        if detangle.flip(0.5):
            other.say("and another thing")
        await bea.join(one.session_id, at=here.replicas[1])
        assert bea.took <= 2 * here.air.beacon + 2, "the answer did not stop"
        if detangle.flip(0.5):
            one.say("is anybody there?")
            await a_while(0.5)
        await perhaps_said(bea, one.session_id)
        await bea.leave(one.session_id)
        await here.settled()
        here.finished(one, "stopped", "stop")


async def a_takeover_between_question_and_answer(sky=memory):
    """B5. Staff join, speak and leave while a turn is being taken: what they have answered gets no other answer."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one = await here.enter(0)
        other = await here.enter(1, session_id=one.session_id)
        one.say(detangle.choice(("one", ENDLESS)))
        await a_while(0.2)
        if detangle.flip(0.5):
            other.say("and another thing")
            await a_while(0.2)
        await bea.join(one.session_id, at=here.replicas[1])
        assert bea.took <= 2 * here.air.beacon + 2, "the answer did not stop"
        await perhaps_said(bea, one.session_id)
        await bea.leave(one.session_id, at=here.replicas[1])
        await here.settled(patience=60)


async def a_takeover_while_users_write(sky=memory):
    """B5. Users write, stop and want other answers through both replicas, before, while and after staff are there."""
    async with cluster(sky()) as here:
        here.tolerates("CONFLICT")  # another answer, while staff are there
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        takeover = asyncio.ensure_future(here_and_gone(bea, one.session_id))
        for _ in range(detangle.randint(2, 5)):
            await a_while(0.7)
            speak(detangle.choice((one, other)))
        await takeover
        await here.settled()


def speak(client):
    """Say something, or want another answer, or none."""
    match detangle.choice(("say", "say", "again", "stop")):
        case "say":
            client.say("more")
        case "again":
            client.again()
        case _:
            client.stop()


async def here_and_gone(staff, session_id):
    """Join, perhaps say something, and leave."""
    await staff.join(session_id)
    await a_while(1.0)
    await perhaps_said(staff, session_id)
    await a_while(1.0)
    await staff.leave(session_id)


# -- staff and staff ---------------------------------------------------------------------------------------------------


async def takeovers_by_two_at_once(sky=memory):
    """B5. Two members of staff join at once through two replicas, during an answer: one has the session, the other is
    told who."""
    async with cluster(sky()) as here:
        bea, cy = here.staff("bea"), here.staff("cy")
        one, _ = await during_an_answer(here)
        message_id = "join" if detangle.flip(0.3) else ""
        await asyncio.gather(
            bea.join(one.session_id, at=here.replicas[0], message_id=message_id),
            cy.join(one.session_id, at=here.replicas[1], message_id=message_id),
        )
        assert bool(bea.refused) != bool(cy.refused), f"not one owner: {bea.refused!r}, {cy.refused!r}"
        winner, loser = (cy, bea) if bea.refused else (bea, cy)
        await loser.join(one.session_id)
        assert loser.refused == f"{winner.principal.name} has this conversation."
        await loser.say(one.session_id, "me too")
        assert loser.refused
        await winner.leave(one.session_id)
        await here.settled()


async def takeovers_one_after_another(sky=memory):
    """B5. Staff come and go again and again, through both replicas, some of them at the same time."""
    async with cluster(sky()) as here:
        one, other = await during_an_answer(here)
        staff = [here.staff(name) for name in ("bea", "cy")]
        for _ in range(2):
            await asyncio.gather(*[here_and_gone(member, one.session_id) for member in staff])
            detangle.choice((one, other)).say("more")
            await a_while(0.5)
        await here.settled()


async def a_takeover_is_handed_on(sky=memory):
    """B5. A colleague gets the session while the user waits for an answer: the AI is never between."""
    async with cluster(sky()) as here:
        bea, cy, di = (here.staff(name) for name in ("bea", "cy", "di"))
        one, other = await during_an_answer(here)
        await bea.join(one.session_id)
        other.say("is anybody there?")
        await a_while(0.3)
        await asyncio.gather(
            bea.transfer(cy, one.session_id),
            bea.say(one.session_id, "a colleague will help"),
            di.join(one.session_id),
        )
        assert di.refused, "two have the session"
        await bea.say(one.session_id, "still here")
        assert bea.refused == "Cy has this conversation."
        assert not here.book.entries(one.session_id, Kind.ADMIN_LEAVE), "the AI was between"
        await cy.leave(one.session_id)
        await here.settled()


async def a_takeover_is_released(sky=memory):
    """An administrator gives the session back while its owner speaks, hands it on or leaves."""
    async with cluster(sky()) as here:
        bea, cy, di = here.staff("bea"), here.staff("cy"), here.staff("di", ("admin",))
        one, other = await during_an_answer(here)
        await bea.join(one.session_id)
        other.say("is anybody there?")
        await a_while(0.3)
        match detangle.choice(("say", "transfer", "leave")):
            case "say":
                at_once = bea.say(one.session_id, "hello")
            case "transfer":
                at_once = bea.transfer(cy, one.session_id)
            case _:
                at_once = bea.leave(one.session_id)
        await asyncio.gather(at_once, di.release(one.session_id))
        if here.book.owners[one.session_id]:
            await di.release(one.session_id)
        await here.settled()
        assert here.book.owners[one.session_id] is None


# -- the session's end -------------------------------------------------------------------------------------------------


async def an_end_during_a_takeover(sky=memory):
    """The user ends the session while staff join, or are there: they have left it then, and nothing is answered."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, _ = await during_an_answer(here)
        joining = asyncio.ensure_future(bea.join(one.session_id, at=here.replicas[1]))
        await a_while(1.0)
        assert await here.replicas[0].call("POST", f"/sessions/{one.session_id}/end") == 200
        await joining
        await perhaps_said(bea, one.session_id)
        if detangle.flip(0.5):
            one.say("one more thing")
        await here.settled()


async def a_deletion_during_a_takeover(sky=memory):
    """The user deletes the session while staff join, or are there: nothing of it is left."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        joining = asyncio.ensure_future(bea.join(one.session_id, at=here.replicas[1]))
        await a_while(1.0)
        assert await here.replicas[0].call("DELETE", f"/sessions/{one.session_id}") == 204
        await joining
        await bea.say(one.session_id, "hello?")
        assert bea.refused, "words in a session that is gone"
        await asyncio.sleep(5)
        for client in (one, other):
            assert here.air.lost or client.over == Close.DELETED, "a deleted session's socket was not closed"
        await here.nothing_left()


# -- what dies, stands still, leaves or fails --------------------------------------------------------------------------


async def a_takeover_of_a_dead_replicas_answer(sky=memory):
    """B5, A10. The replica that answers dies before, while or after staff join through the other one."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, _ = await during_an_answer(here)
        if detangle.flip(0.3):
            one.say("and another thing")
            await a_while(0.2)
        joining = asyncio.ensure_future(bea.join(one.session_id, at=here.replicas[1]))
        await a_while(0.3)
        here.replicas[0].die()
        await joining
        await perhaps_said(bea, one.session_id)
        await bea.leave(one.session_id)
        await here.settled(patience=40)
        here.finished(one, "stop", "stopped", "interrupted")


async def a_takeover_by_a_replica_that_goes(sky=memory):
    """B5. The replica through which staff act dies, leaves or stands still in the middle of it: they try again through
    the other one, and what was done is done once."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, _ = await during_an_answer(here)
        going = asyncio.ensure_future(gone_soon(here, here.replicas[1]))
        await bea.join(one.session_id, at=here.replicas[1])
        one.say("is anybody there?")
        if detangle.flip(0.5):
            await bea.say(one.session_id, "hello", at=here.replicas[1])
        await bea.leave(one.session_id, at=here.replicas[1])
        await going
        await here.settled(patience=60)


async def gone_soon(here, replica):
    """A replica dies, leaves or stands still before long."""
    await a_while(1.0)
    await here.goes(replica, detangle.choice(here.air.ends))


async def a_takeover_while_a_replica_leaves(sky=memory):
    """The replica that answers shuts down while staff come and go."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, _ = await during_an_answer(here)
        leaving = asyncio.ensure_future(here.replicas[0].shut_down(detangle.uniform(0.5, 3.0)))
        await here_and_gone(bea, one.session_id)
        one.say("and now?")
        await leaving
        await here.settled()


async def a_takeover_of_an_answer_that_stands_still(sky=memory):
    """B5, C9. The replica that answers stands still, until staff have joined, spoken and perhaps left: when it goes on,
    it adds nothing."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, _ = await during_an_answer(here)
        seconds = detangle.uniform(1.0, 25.0) if detangle.flip(0.2) else detangle.uniform(10.0, 14.0)
        takeover = asyncio.ensure_future(here_and_gone(bea, one.session_id))
        await here.stand_still(here.replicas[0], seconds)
        await takeover
        await here.settled(patience=40)
        here.finished(one, "stop", "stopped", "interrupted")


async def a_takeover_while_a_turn_stands_still(sky=memory):
    """B5, C9. A replica stands still while it takes a turn. Meanwhile staff come, answer and leave: when it goes on, it
    does not take the turn any more."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one = await here.enter(0)
        await here.enter(1, session_id=one.session_id)
        one.say("one")
        await a_while(0.4)
        still = asyncio.ensure_future(here.stand_still(here.replicas[0], detangle.uniform(0.5, 4.0)))
        await bea.join(one.session_id, at=here.replicas[1])
        await bea.say(one.session_id, "hello", at=here.replicas[1])
        await bea.leave(one.session_id, at=here.replicas[1])
        await still
        await here.settled(patience=40)


async def a_takeover_while_the_store_is_busy(sky=memory):
    """C1. A store that refuses some calls: whatever is tried again is done once, and nothing is forgotten."""
    async with cluster(sky()) as here:
        here.tolerates("DATABASE_ERROR", "SERVICE_ERROR")
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        here.trouble_with(busy(0.1))
        takeover = asyncio.ensure_future(here_and_gone(bea, one.session_id))
        await a_while(1.0)
        other.say("is anybody there?")
        await takeover
        await asyncio.sleep(1)
        here.trouble_with()
        await here.settled(patience=40)


async def a_takeover_while_redis_is_away(sky=redis):
    """B5, C5. Redis dies during an answer and comes back with nothing: staff wait until the answer has ended by itself,
    or can be stopped; nothing is lost."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        here.book.pieces_are_lost = True
        here.air.die()
        takeover = asyncio.ensure_future(here_and_gone(bea, one.session_id))
        await a_while(4.0)
        detangle.choice((one, other)).say("is anybody there?")
        await asyncio.sleep(detangle.uniform(0.5, 20.0))
        await here.air.start()
        await takeover
        await here.settled(patience=60)
        here.finished(one, "stop", "stopped", "interrupted")


async def a_takeover_while_redis_is_away_for_one(sky=redis):
    """B5, C5. The replica that answers, or the one through which staff act, is cut off from Redis."""
    async with cluster(sky()) as here:
        bea = here.staff("bea")
        one, other = await during_an_answer(here)
        here.book.pieces_are_lost = True
        here.air.cut_off(here.replicas[detangle.choice((0, 1))].name)
        takeover = asyncio.ensure_future(here_and_gone(bea, one.session_id))
        await a_while(4.0)
        detangle.choice((one, other)).say("is anybody there?")
        await asyncio.sleep(detangle.uniform(0.5, 20.0))
        here.air.heal()
        await takeover
        await here.settled(patience=60)
        here.finished(one, "stop", "stopped", "interrupted")


# -- everything at once ------------------------------------------------------------------------------------------------


async def takeovers_and_anything_at_once(sky=memory):
    """Two clients and three members of staff do anything in any order, lines are cut, a replica may die or leave."""
    async with cluster(sky()) as here:
        here.tolerates("CONFLICT")  # another answer, while staff are there or before there is one
        first = await here.enter(0)
        clients = [first, await here.enter(1, session_id=first.session_id)]
        staff = [here.staff("bea"), here.staff("cy"), here.staff("di", ("admin",))]
        first.say(LONG)
        end, under_way = detangle.choice((None, None, *here.air.ends)), []
        for _ in range(detangle.randint(4, 10)):
            await a_while(0.6)
            if detangle.flip(0.4):
                client = detangle.choice(clients)
                client.socket.cut() if detangle.flip(0.2) else speak(client)
            else:
                under_way.append(asyncio.ensure_future(anything(detangle.choice(staff), staff, first.session_id)))
            if end and detangle.flip(0.2):
                await here.goes(here.replicas[1], end)
                end = None
        await asyncio.gather(*under_way)
        for member in staff:
            await member.leave(first.session_id)
        await here.settled(patience=60)


async def anything(member, staff, session_id):
    """One thing that a member of staff can do."""
    match detangle.choice(("join", "join", "leave", "say", "say", "note", "transfer", "release")):
        case "say" | "note" as what:
            await getattr(member, what)(session_id, "something")
        case "transfer":
            await member.transfer(detangle.choice([other for other in staff if other is not member]), session_id)
        case "release":
            await staff[-1].release(session_id)
        case what:
            await getattr(member, what)(session_id)


ANYWHERE = (
    a_takeover_is_quick,
    a_takeover_during_an_answer,
    a_takeover_between_question_and_answer,
    a_takeover_while_users_write,
    takeovers_by_two_at_once,
    takeovers_one_after_another,
    a_takeover_is_handed_on,
    a_takeover_is_released,
    an_end_during_a_takeover,
    a_deletion_during_a_takeover,
    a_takeover_of_a_dead_replicas_answer,
    a_takeover_by_a_replica_that_goes,
    a_takeover_while_a_replica_leaves,
    a_takeover_while_the_store_is_busy,
    takeovers_and_anything_at_once,
)
STANDING_STILL = (a_takeover_of_an_answer_that_stands_still, a_takeover_while_a_turn_stands_still)
OUTAGES = (a_takeover_while_redis_is_away, a_takeover_while_redis_is_away_for_one)
