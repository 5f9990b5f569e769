"""One conversation over several replicas in one process: one store, one bus, several of everything else."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from chatbox.allowance import FRAMES
from chatbox.backplane.base import Pool, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryBus, MemoryQuotas
from chatbox.errors import Conflict, NotFound, TooMany
from chatbox.housekeeping import Housekeeping, Periods
from chatbox.hub import Position
from chatbox.llm.base import End, Piece
from chatbox.reply import ANSWERS
from chatbox.session import Kind, Principal
from chatbox.sessions import LISTENERS, NEW
from chatbox.storage.memory import MemoryStorage
from tests.world import WHOLE, Failing, Scripted, World, principal

BEA, CY = (Principal(name.lower(), name, frozenset({"chat_admin"}), 2e9) for name in ("Bea", "Cy"))
HOUR = Periods(interval=3600.0, session_ttl=3600.0, reconnect_timeout=3600.0)


class Cluster:
    """Replicas by number, their store and their bus. ``kill`` ends one without a word."""

    def __init__(self, count, *providers, **options):
        self.storage = Failing(MemoryStorage())
        self.bus = MemoryBus()
        self.quotas = MemoryQuotas({FRAMES: Window(1000, 60.0)}, {LISTENERS: Pool(linger=900.0), ANSWERS: Pool()})
        self.model = Scripted(*providers)
        self.replicas = [self._replica(**options) for _ in range(count)]
        self._alive = AsyncExitStack()

    def _replica(self, **options):
        return World(self.storage, self.model, backplane=MemoryBackplane(self.bus), quotas=self.quotas, **options)

    async def kill(self, number):
        here = self.replicas[number]
        here.storage = here.replies._storage = here.replies._writer._storage = Gone(self.storage)
        await here.backplane.__aexit__(None, None, None)
        await here.tasks.__aexit__(None, None, None)

    async def see_to(self, number):
        """One look of a replica at what no process sees to."""
        here = self.replicas[number]
        keeping = Housekeeping(here.storage, here.hub, here.sessions, here.replies, HOUR)
        for room in here.hub.rooms():
            await keeping._see_to(room)

    async def quiet(self):
        for here in self.replicas:
            await here.quiet()


class Gone(Failing):
    """The store as a dead process reaches it."""

    def __init__(self, inner):
        super().__init__(inner)
        self.down = {"append", "keep", "read", "get"}


@asynccontextmanager
async def cluster(count, *scripts, **options):
    made = Cluster(count, *scripts, **options)
    async with AsyncExitStack() as stack:
        for here in made.replicas:
            await stack.enter_async_context(here.tasks)
        yield made


def slow_answer():
    gate = asyncio.Event()
    return gate, (Piece("one "), Piece("two "), gate, Piece("three"), End())


def texts(ear):
    return [text for _, text in ear.copy.conversation]


async def kinds(cluster, session_id):
    return [entry.kind for entry in await cluster.storage.read(session_id)]


async def test_everyone_sees_the_answer_wherever_their_socket_and_the_model_are():
    gate, script = slow_answer()
    async with cluster(3, script) as here:
        one, two, three = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        late = await three.enter(session_id=ear.session_id)
        gate.set()
        for listener in (ear, other, late):
            await listener.done()
            assert texts(listener)[-1] == "one two three"
            assert not listener.copy.broken
        await here.quiet()


async def test_a_stop_reaches_the_replica_that_answers():
    _, script = slow_answer()
    async with cluster(3, script) as here:
        one, two, three = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response", 2)
        stopper = await three.enter(session_id=ear.session_id)
        await three.stop(stopper)
        for listener in (ear, stopper):
            assert (await listener.done())["metadata"]["finish_reason"] == "stopped"
        await here.quiet()
        assert len(two.hub) == 0
        assert (await here.storage.get(ear.session_id)).answer_id is None


async def test_what_is_said_through_another_replica_while_an_answer_runs_gets_one_answer():
    gate, script = slow_answer()
    async with cluster(2, script, WHOLE) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        await two.say(other, "and?")
        await two.say(other, "and?!")
        gate.set()
        await ear.done(2)
        await other.done(2)
        await here.quiet()
        assert len(here.model.prompts) == 2
        assert ear.copy.conversation == other.copy.conversation
        assert len(ear.ends) == 2


async def test_regenerate_through_another_replica_stops_the_answer_and_gives_a_new_one():
    _, script = slow_answer()
    async with cluster(2, script, WHOLE) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        await two.again(other)
        assert [end["metadata"]["finish_reason"] for end in (await ear.done(), await ear.done(2))] == [
            "stopped",
            "stop",
        ]
        await other.done(2)
        await here.quiet()
        assert ear.ends[1]["metadata"]["replaces"] == ear.ends[0]["message_id"]
        assert not ear.copy.broken + other.copy.broken


async def test_the_answer_of_a_dead_replica_is_closed_with_all_that_was_shown():
    _, script = slow_answer()
    async with cluster(2, script, WHOLE) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        await here.see_to(1)
        assert other.ends == []
        await here.kill(0)
        await here.see_to(1)
        end = await other.done()
        assert end["metadata"]["finish_reason"] == "interrupted"
        assert texts(other)[-1] == "one two "
        await two.again(other)
        assert (await other.done(2))["metadata"]["finish_reason"] == "stop"


async def test_a_question_that_a_dead_replica_had_not_taken_up_is_answered():
    async with cluster(2) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        one.replies._draining = True
        await one.say(ear, "hi")
        await here.see_to(1)
        assert (await other.done())["metadata"]["finish_reason"] == "stop"
        assert (await ear.done())["content"] == other.ends[0]["content"]
        await here.quiet()


async def test_a_replica_that_lost_its_lease_adds_nothing_more():
    gate, script = slow_answer()
    async with cluster(2, script) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        here.bus.leases.clear()
        await here.see_to(1)
        gate.set()
        await here.quiet()
        log = await here.storage.read(ear.session_id)
        assert [entry.content for entry in log if entry.kind is Kind.AI_RESPONSE] == ["one two "]
        for listener in (ear, other):
            assert texts(listener)[-1] == "one two "
            assert len(listener.ends) == 1
            assert not listener.copy.broken


async def test_a_lease_that_ran_out_while_nobody_looked_interrupts_the_answer():
    gate, script = slow_answer()
    async with cluster(2, script) as here:
        one, _ = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response", 2)
        here.bus.leases.clear()
        gate.set()
        assert (await ear.done())["metadata"]["finish_reason"] == "interrupted"
        assert texts(ear)[-1] == "one two three"


@pytest.mark.parametrize("way", ["close", "delete"])
async def test_an_answer_ends_with_its_session_on_whichever_replica_that_is_ended(way):
    _, script = slow_answer()
    async with cluster(2, script) as here:
        one, two = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await one.say(ear, "still there?")
        await ear.hear("ai_response", 2)
        await getattr(two.sessions, way)(await here.storage.get(ear.session_id))
        await here.quiet()
        assert len(here.model.prompts) == 1
        if way == "delete":
            assert ear.closed == 1000
            with pytest.raises(NotFound):
                await one.say(ear, "hello?")
        else:
            assert ear.ends[0]["metadata"]["finish_reason"] == "stopped"
            assert (await here.storage.get(ear.session_id)).is_active is False


async def test_the_session_of_a_dead_replica_can_be_ended_when_its_lease_is_over():
    _, script = slow_answer()
    async with cluster(2, script) as here:
        one, two = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response", 2)
        ending = asyncio.create_task(two.sessions.close(await here.storage.get(ear.session_id)))
        await here.kill(0)
        await ending
        log = await kinds(here, ear.session_id)
        assert log[-2:] == [Kind.AI_RESPONSE, Kind.NOTIFICATION]


async def test_a_takeover_through_another_replica_stops_the_answer_and_the_ai_is_silent_everywhere():
    _, script = slow_answer()
    async with cluster(3, script, WHOLE) as here:
        one, two, three = here.replicas
        ear = await one.enter()
        others = [await replica.enter(session_id=ear.session_id) for replica in (two, three)]
        await one.say(ear, "hi")
        for listener in (ear, *others):
            await listener.hear("ai_response", 2)
        await two.takeovers.join(BEA, ear.session_id, "join")
        await three.say(others[1], "is anybody there?")
        await three.takeovers.say(BEA, ear.session_id, "words", "It is me.")
        await here.quiet()
        for listener in (ear, *others):
            await listener.until(lambda by=listener: any(f["content"] == "It is me." for f in by.of("user_message")))
            (end,) = listener.ends
            assert end["metadata"]["finish_reason"] == "stopped"
            assert listener.frames.index(end) < listener.frames.index(listener.of("admin_join")[0])
            assert texts(listener) == ["hi", "one two ", "is anybody there?", "It is me."]
            assert not listener.copy.broken
        assert len(here.model.prompts) == 1
        await one.takeovers.leave(BEA, ear.session_id, "leave")
        await here.quiet()
        assert len(here.model.prompts) == 1


async def test_what_was_asked_while_another_replica_was_stopped_by_a_takeover_is_answered_after_it():
    _, script = slow_answer()
    async with cluster(2, script, WHOLE) as here:
        one, two = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response", 2)
        await one.say(ear, "and another thing")
        await two.takeovers.join(BEA, ear.session_id, "join")
        await here.quiet()
        assert len(ear.ends) == 1
        await two.takeovers.leave(BEA, ear.session_id, "leave")
        assert (await ear.done(2))["metadata"]["finish_reason"] == "stop"
        assert here.model.asked[-1] == "and another thing"


async def test_of_two_members_of_staff_on_two_replicas_one_has_the_session_and_the_other_hears_the_name():
    _, script = slow_answer()
    async with cluster(3, script) as here:
        one, two, three = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.hear("ai_response", 2)
        both = await asyncio.gather(
            two.takeovers.join(BEA, ear.session_id, "b"),
            three.takeovers.join(CY, ear.session_id, "c"),
            return_exceptions=True,
        )
        (refused,) = [one for one in both if isinstance(one, Conflict)]
        (session,) = [one for one in both if not isinstance(one, Conflict)]
        assert str(refused) == f"{session.assisting_admin_name} has this conversation."
        assert (await kinds(here, ear.session_id)).count(Kind.ADMIN_JOIN) == 1


async def test_the_answer_of_a_dead_replica_can_be_taken_over_when_its_lease_is_over():
    _, script = slow_answer()
    async with cluster(2, script) as here:
        one, two = here.replicas
        ear = await one.enter()
        other = await two.enter(session_id=ear.session_id)
        await one.say(ear, "hi")
        await other.hear("ai_response", 2)
        joining = asyncio.create_task(two.takeovers.join(BEA, ear.session_id, "join"))
        await here.kill(0)
        assert (await joining).assisting_admin_id == "bea"
        assert (await other.done())["metadata"]["finish_reason"] in ("stopped", "interrupted")
        assert (await kinds(here, ear.session_id))[-2:] == [Kind.AI_RESPONSE, Kind.ADMIN_JOIN]


async def test_a_question_is_answered_although_the_replica_that_gave_the_session_back_is_gone():
    async with cluster(2) as here:
        one, two = here.replicas
        asker = await one.enter()
        await one.say(asker, "hi")
        await asker.done()
        await two.takeovers.join(BEA, asker.session_id, "join")
        await one.say(asker, "is anybody there?")
        await one.leave(asker)
        await one.hub.forget(asker.session_id)
        ear = await one.enter(session_id=asker.session_id)
        two.replies._draining = True
        await two.takeovers.leave(BEA, ear.session_id, "leave")
        await ear.hear("admin_leave")
        assert one.hub.room(ear.session_id).owing.asked_at
        await here.see_to(0)
        await ear.done()
        await here.quiet()
        await two.takeovers.join(BEA, ear.session_id, "again")
        await two.takeovers.leave(BEA, ear.session_id, "bye")
        await ear.hear("admin_leave", 2)
        await here.see_to(0)
        assert one.hub.room(ear.session_id).owing.asked_at is None
        assert len(here.model.prompts) == 2


async def test_sockets_that_come_to_several_replicas_at_once_have_one_session():
    async with cluster(3) as here:
        ears = await asyncio.gather(*[replica.enter() for replica in here.replicas for _ in range(3)])
        assert len({ear.session_id for ear in ears}) == 1
        ears = await asyncio.gather(*[replica.enter("bob", NEW) for replica in here.replicas])
        assert len({ear.session_id for ear in ears}) == 1


async def test_ending_or_sharing_through_several_replicas_at_once_is_done_once():
    async with cluster(3) as here:
        ear = await here.replicas[0].enter()
        await here.replicas[0].say(ear, "hi")
        await ear.done()
        session = await here.storage.get(ear.session_id)
        tokens = await asyncio.gather(*[replica.sessions.share(session) for replica in here.replicas])
        assert len(set(tokens)) == 1
        assert (await here.storage.get(ear.session_id)).share_token == tokens[0]
        await asyncio.gather(*[replica.sessions.close(session) for replica in here.replicas])
        log = await kinds(here, ear.session_id)
        assert log.count(Kind.NOTIFICATION) == log.count(Kind.SHARE) == 1


async def test_a_tab_that_comes_back_to_another_replica_replaces_its_old_socket_there():
    async with cluster(2) as here:
        one, two = here.replicas
        ears = [await one.enter(client="tab"), await one.enter(client="other")]
        new = await two.enter(session_id=ears[0].session_id, client="tab")
        assert [ear.closed for ear in (*ears, new)] == [4409, None, None]


async def test_a_users_answers_at_once_are_counted_over_all_replicas():
    _, script = slow_answer()
    async with cluster(2, script, answers=1) as here:
        one, two = here.replicas
        ear = await one.enter("ann", NEW)
        await one.say(ear, "hi")
        await ear.hear("loading")
        other = await two.enter("ann", NEW)
        assert other.session_id != ear.session_id
        with pytest.raises(TooMany):
            await two.say(other, "me too")
        await one.stop(ear)
        await one.quiet()
        await two.say(other, "now?")
        await two.stop(other)


async def test_a_session_is_not_abandoned_while_someone_listens_on_another_replica():
    async with cluster(2, reconnect_timeout=0.0) as here:
        one, two = here.replicas
        ear = await one.enter()
        await one.say(ear, "hi")
        await ear.done()
        await here.quiet()
        session = await here.storage.get(ear.session_id)
        assert not await two.sessions.abandoned(session)
        here.quotas._pools[LISTENERS]._pool = Pool()
        await one.leave(ear)
        assert await two.sessions.abandoned(session)


async def test_a_socket_that_comes_to_a_replica_which_missed_something_gets_it_all():
    async with cluster(2) as here:
        one, two = here.replicas
        early = await two.enter()
        ear = await one.enter(session_id=early.session_id)
        two.backplane._receiver = lambda *_: None
        await one.say(ear, "hi")
        await ear.done()
        await one.quiet()
        back = await two.enter(session_id=ear.session_id, at=Position(ear.copy.epoch, 0))
        assert back.copy.conversation == ear.copy.conversation
        assert back.frames[0]["metadata"]["resumed"] == "true"


async def test_other_users_conversations_stay_apart():
    async with cluster(2) as here:
        one, two = here.replicas
        ann, bob = await one.enter("ann"), await two.enter("bob")
        await one.say(ann, "I am Ann")
        await two.say(bob, "I am Bob", user="bob")
        await ann.done()
        await bob.done()
        await here.quiet()
        assert "Bob" not in str(ann.frames)
        assert "Ann" not in str(bob.frames)
        with pytest.raises(NotFound):
            await two.sessions.own(principal("bob"), ann.session_id)
