"""The message path under many interleavings, on a deterministic scheduler with simulated time.

Each check is shown to bite: a planted defect makes the same check fail.
"""

import asyncio

import detangle
import pytest
from msgspec.structs import replace

from chatbox.backplane.base import Stored
from chatbox.chat import Chat
from chatbox.commits import Commits
from chatbox.errors import NotFound
from chatbox.housekeeping import Housekeeping, Periods
from chatbox.hub import Hub, Position
from chatbox.llm.base import End, Piece
from chatbox.reply import Replies
from chatbox.session import MESSAGES, Change, Kind, apply
from chatbox.sessions import NEW, Sessions
from chatbox.storage.base import Appended, SessionQuery, admit
from chatbox.storage.memory import Log, MemoryStorage
from tests.mutants import found
from tests.storage.values import entry, session, turn
from tests.world import Around, Ear, Scripted, world

pytestmark = pytest.mark.slow

RUNS = 60


class Slow(Around):
    """Each call takes explored time, before and after it has happened."""

    async def around(self, name, call):
        await asyncio.sleep(detangle.uniform(0, 0.05))
        outcome = await call()
        await asyncio.sleep(detangle.uniform(0, 0.05))
        return outcome


def explored(check, *, runs=RUNS, **parts):
    """Run a check over many schedules; ``parts`` replace parts of the world by defective ones."""
    detangle.explore(lambda: check(**parts), runs=runs, seed=1, database=False, shrink=False, patch_time=True)


def talking():
    pieces = [item for letter in "abc" for item in (0.01, Piece(letter))]
    return Scripted((*pieces, End()))


def slow(*providers, store=MemoryStorage, **parts):
    return world(Slow(store()), *providers or [talking()], **parts)


async def whole(here, *ears):
    """Everyone has the log, each message is answered, each answer was announced and ended once."""
    await here.quiet()
    session_id = ears[0].session_id
    log = await here.storage.inner.read(session_id, limit=1000)
    said = [(e.message_id, e.content) for e in log if e.kind in (Kind.USER_MESSAGE, Kind.AI_RESPONSE)]
    late = await here.enter(session_id=session_id, at=Position(ears[0].copy.epoch, 0))
    for ear in [*ears, late]:
        assert not ear.copy.broken
    assert late.copy.conversation == said
    last_question = max((e.index for e in log if e.kind is Kind.USER_MESSAGE), default=0)
    last_turn = max((e.index for e in log if e.kind is Kind.TURN), default=0)
    assert last_turn > last_question, "a message was not answered"
    assert (await here.storage.inner.get(session_id)).answer_id is None
    return log


# -- two sockets attach at once, and while things are said -------------------------------------------------------------


async def everyone_gets_everything(**parts):
    async with slow(**parts) as here:
        first = await here.enter()
        talk = asyncio.gather(here.say(first, "one", "m1"), here.say(first, "two", "m2"))
        ears = await asyncio.gather(*[here.enter(session_id=first.session_id) for _ in range(2)])
        back = await here.enter(session_id=first.session_id, at=Position(first.copy.epoch, 0))
        await talk
        log = await whole(here, first, back, *ears)
        assert back.copy.conversation == first.copy.conversation
        assert {e.message_id for e in log if e.kind is Kind.USER_MESSAGE} == {"m1", "m2"}


class ReadsOnce(Hub):
    """What is stored while the replay is read is lost."""

    async def _entries(self, room, after):
        return await self._storage.read(room.session_id, after=after, limit=500) if after < room.index else []


class JoinsLate(Hub):
    """What comes while the socket is greeted is lost."""

    async def attach(self, session, listener, at, greet):
        room = await self.open(session.id)
        answer, (replay, missed) = room.answer, await self._replay(room, session, at)
        listener.send(greet(replay))
        await asyncio.sleep(0)
        room.answer, answer = answer, room.answer
        room.join(listener, replay.seq, missed)
        room.answer = answer


def test_two_sockets_that_attach_while_things_are_said_get_everything():
    explored(everyone_gets_everything)


@pytest.mark.parametrize("hub", [ReadsOnce, JoinsLate])
def test_a_snapshot_that_does_not_meet_the_live_events_would_be_found(hub):
    with found():
        explored(everyone_gets_everything, hub=hub, runs=400)


# -- one session id ----------------------------------------------------------------------------------------------------


async def one_session(**parts):
    async with slow(**parts) as here:
        ears = await asyncio.gather(*[here.enter() for _ in range(3)])
        ids = {ear.session_id for ear in ears} | {ear.frames[0]["session_id"] for ear in ears}
        await asyncio.gather(*[here.say(ear, "hi", f"m{n}") for n, ear in enumerate(ears)])
        await here.quiet()
        ids |= {one.id for one in await here.storage.inner.find(SessionQuery(empty=None))}
        assert len(ids) == 1
        assert {frame["session_id"] for ear in ears for frame in ear.frames} == ids


class MakesAnother(MemoryStorage):
    """Makes an empty session for a user who has one."""

    async def create(self, session):
        self._logs[session.id] = Log(session)
        return session


@pytest.mark.readiness(issue=4)
def test_sockets_that_come_at_once_have_one_session_and_every_schedule_gives_the_same_id():
    explored(one_session)


@pytest.mark.readiness(issue=4)
def test_a_session_that_is_made_twice_would_be_found():
    with found():
        explored(one_session, store=MakesAnother)


async def own_frames_only(**parts):
    """Concurrent access to several sessions: what is said in one never shows in another."""
    async with slow(answers=10, **parts) as here:
        ears = [await here.enter("ann", NEW)]
        await here.say(ears[0], "in session 0")
        ears.append(await here.enter("ann", NEW))
        await asyncio.gather(*[here.say(ear, f"in session {n}") for n, ear in enumerate(ears)])
        await here.quiet()
        for ear in ears:
            assert {frame.get("session_id") for frame in ear.frames} == {ear.session_id}
        for n, ear in enumerate(ears):
            texts = {e.content for e in await here.storage.inner.read(ear.session_id) if e.kind is Kind.USER_MESSAGE}
            assert texts == {f"in session {n}"}


class Shared(Chat):
    """The seed's defect: the session that a command goes to is kept in one place and set by whoever came last."""

    current = ""

    async def _say(self, caller, command):
        self.current = caller.session_id
        await self._sessions.own(caller.principal, caller.session_id)
        await super()._say(replace(caller, session_id=self.current), command)


@pytest.mark.readiness(issue=4)
def test_concurrent_access_keeps_sessions_apart():
    explored(own_frames_only)


@pytest.mark.readiness(issue=4)
def test_a_session_id_that_several_tasks_write_would_be_found():
    with found():
        explored(own_frames_only, chat=Shared)


# -- acknowledged is stored --------------------------------------------------------------------------------------------


class Witness(Ear):
    """Looks into the store at each ack."""

    def __init__(self, storage):
        super().__init__()
        self.storage = storage

    def send(self, frame, piece=None):
        super().send(frame, piece)
        heard = self.frames[-1]
        if heard["type"] in ("ack", "user_message"):
            places = self.storage.inner._logs[heard["session_id"]].places
            assert heard["message_id"] in places, "told before it was stored"


async def told_is_stored(**parts):
    from chatbox.chat import Asked
    from tests.world import principal

    async with slow(**parts) as here:
        ears = [Witness(here.storage), Witness(here.storage)]
        for ear in ears:
            await here.chat.attach(principal(), ear, Asked())
        await asyncio.gather(*[here.say(ear, "hi", f"m{n}") for n, ear in enumerate(ears)])
        await here.quiet()


class TellsFirst(Commits):
    """Publishes before the commit."""

    async def commit(self, listener, entry, change, fence=None):
        session = await self._storage.get(entry.session_id)
        listener.sending.add(entry.message_id)
        early = replace(entry, index=session.last_index + 1)
        await self._backplane.publish(entry.session_id, Stored(early))
        return await self._storage.append(entry, change, fence=fence)


def test_what_is_told_is_stored():
    explored(told_is_stored)


def test_telling_before_the_commit_would_be_found():
    with found():
        explored(told_is_stored, commits=TellsFirst)


# -- every message gets its answer, exactly one ------------------------------------------------------------------------


async def each_is_answered_once(**parts):
    async with slow(**parts) as here:
        ear, other = await here.enter(), await here.enter()

        async def later(who, text):
            await asyncio.sleep(detangle.uniform(0, 0.6))
            await here.say(who, text)

        await asyncio.gather(here.say(ear, "one"), later(other, "two"), later(ear, "three"))
        log = await whole(here, ear, other)
        for before, after in zip(questions(log), [*questions(log)[1:], 10**9], strict=True):
            turns = [e for e in log if e.kind is Kind.TURN and before < e.index < after]
            assert len(turns) <= 1, "one question, two answers"
        assert all(e.metadata["finish_reason"] == "stop" for e in log if e.kind is Kind.AI_RESPONSE)


def questions(log):
    return [e.index for e in log if e.kind is Kind.USER_MESSAGE]


class Forgets(Replies):
    """What is asked while an answer runs is forgotten."""

    def wake(self, session):
        if session.id not in self._running:
            super().wake(session)


class AnswersTwice(Replies):
    """Answers whenever it is woken, whatever the log says."""

    def wake(self, session):
        super().wake(session)
        self._running[session.id].woken = True

    async def _try_turn(self, reply):
        from chatbox import turn as rules

        owed, rules.owed = rules.owed, lambda entries: True
        try:
            return await super()._try_turn(reply)
        finally:
            rules.owed = owed


class Settles(Replies):
    """Closes turns without looking whether they are running here."""

    async def settle(self, session):
        return session if session.answer_id is None else await self._settle(session, session.answer_id)


def test_every_message_is_answered_and_no_question_twice():
    explored(each_is_answered_once)


@pytest.mark.parametrize("replies", [Forgets, AnswersTwice])
def test_messages_without_an_answer_or_with_two_would_be_found(replies):
    with found():
        explored(each_is_answered_once, replies=replies, runs=200)


async def attaching_disturbs_no_answer(**parts):
    async with slow(Scripted((Piece("ab"), 1.0, Piece("c"), End())), **parts) as here:
        ear = await here.enter()

        async def visit():
            await asyncio.sleep(detangle.uniform(0, 0.3))
            await here.enter(session_id=ear.session_id)

        await asyncio.gather(here.say(ear, "hi"), visit(), visit())
        log = await whole(here, ear)
        assert [e.metadata["finish_reason"] for e in log if e.kind is Kind.AI_RESPONSE] == ["stop"]


def test_an_answer_is_not_disturbed_by_those_who_come():
    explored(attaching_disturbs_no_answer)


def test_closing_a_turn_that_runs_here_would_be_found():
    with found():
        explored(attaching_disturbs_no_answer, replies=Settles, runs=200)


async def regenerate_gives_an_answer(**parts):
    async with slow(**parts) as here:
        ear, other = await here.enter(), await here.enter()
        await here.say(ear, "one")

        async def again(who, message_id):
            await asyncio.sleep(detangle.uniform(0, 0.4))
            await here.again(who, message_id)

        await asyncio.gather(again(ear, "r"), again(other, "r"), here.say(other, "two"))
        log = await whole(here, ear, other)
        answers = [e for e in log if e.kind is Kind.AI_RESPONSE]
        assert answers[-1].metadata["finish_reason"] == "stop"
        current = [e for e in answers if not e.superseded and e.metadata["finish_reason"] == "stop"]
        assert current[-1] is answers[-1]


def test_regenerate_ends_in_an_answer_however_often_it_is_sent():
    explored(regenerate_gives_an_answer)


# -- what is cut off in the middle -------------------------------------------------------------------------------------


async def cancelled_is_whole_or_absent(**parts):
    async with slow(**parts) as here:
        ear, other = await here.enter(), await here.enter()
        saying = asyncio.ensure_future(here.say(ear, "hi", "m1"))
        detangle.inject_cancellation(saying)
        await asyncio.gather(saying, return_exceptions=True)
        await asyncio.sleep(1)
        await here.quiet()
        log = await here.storage.inner.read(ear.session_id)
        if log:
            await whole(here, ear, other)
            assert [text for _, text in other.copy.conversation] == ["hi", "abc"]


class Unshielded(Chat):
    async def handle(self, caller, command):
        await self._change(caller, command)


def test_a_command_that_is_cancelled_anywhere_is_carried_out_or_never_was():
    explored(cancelled_is_whole_or_absent, runs=150)


def test_a_command_that_stops_half_way_would_be_found():
    with found():
        explored(cancelled_is_whole_or_absent, chat=Unshielded, runs=400)


# -- deleting and sweeping beside those who come -----------------------------------------------------------------------


async def restored_or_told(keeper=Housekeeping, **parts):
    async with slow(reconnect_timeout=0.0, **parts) as here:
        ear = await here.enter()
        await here.leave(ear)
        periods = Periods(interval=1, session_ttl=0.0, reconnect_timeout=-1.0)
        sweeping = keeper(here.storage, here.hub, here.sessions, here.replies, periods).sweep()

        async def come_back():
            await asyncio.sleep(detangle.uniform(0, 0.4))
            return await here.enter(session_id=ear.session_id)

        back, _ = await asyncio.gather(come_back(), sweeping)
        try:
            await here.say(back, "hi")
        except NotFound:
            assert back.closed == 1000, "a ghost of a session"
            return
        await whole(here, back)


class Quietly(Sessions):
    """Deletes without telling those who are attached."""

    async def _gone(self, session_id):
        pass


def test_who_comes_back_during_a_sweep_has_a_session_that_lives_or_is_told():
    explored(restored_or_told, runs=150)


def test_a_deletion_that_nobody_is_told_of_would_be_found():
    with found():
        explored(restored_or_told, sessions=Quietly, runs=400)


# -- what is stored is one state ---------------------------------------------------------------------------------------


async def each_reading_is_one_state(store=MemoryStorage):
    """Writers and readers at once: every session read is the sum of some first part of its log."""
    storage = Slow(store())
    made = session(user_id="ann")
    await storage.create(made)

    async def write(number):
        await storage.append(entry(made.id, message_id=f"m{number}"), Change(tokens=1, first_name=f"n{number}"))

    async def read():
        seen = await storage.get(made.id)
        log = await storage.read(made.id)
        told = [e for e in log if e.index <= seen.last_index]
        assert [e.index for e in told] == list(range(1, seen.last_index + 1))
        assert seen.message_count == seen.total_tokens == len([e for e in told if e.kind in MESSAGES])

    await asyncio.gather(*[write(n) for n in range(3)], *[read() for _ in range(3)])
    last = await storage.get(made.id)
    assert (last.last_index, last.message_count, last.total_tokens) == (3, 3, 3)


class Torn(MemoryStorage):
    """The seed's defect: others read and write between two halves of a change."""

    async def append(self, entry, change=None, *, fence=None):
        log, change = self._log(entry.session_id), change or Change()
        admit(log.session, change, fence)
        before = log.session
        entry = replace(entry, index=before.last_index + 1)
        await asyncio.sleep(detangle.uniform(0, 0.05))
        log.places[entry.message_id] = len(log.entries)
        log.entries.append(entry)
        await asyncio.sleep(detangle.uniform(0, 0.05))
        log.session = apply(before, entry, change)
        return Appended(entry, log.session, fresh=True)


@pytest.mark.readiness(issue=10)
def test_what_is_read_beside_writers_is_one_state():
    explored(each_reading_is_one_state)


@pytest.mark.readiness(issue=10)
def test_a_change_in_two_halves_would_be_found():
    with found():
        explored(each_reading_is_one_state, store=Torn)


async def one_turn_at_a_time(store=MemoryStorage):
    """Of several who take the turn, one gets it, and a late writer is refused."""
    from chatbox.errors import Fenced

    storage = Slow(store())
    made = session(user_id="ann")
    await storage.create(made)

    async def take(name):
        try:
            taken = await storage.append(turn(made.id, message_id=name), Change(takes_turn=name))
        except Fenced:
            return None
        return taken.session.fence

    fences = [fence for fence in await asyncio.gather(*map(take, "abc")) if fence]
    assert fences == [1]


class Unfenced(MemoryStorage):
    async def append(self, entry, change=None, *, fence=None):
        log = self._log(entry.session_id)
        admit(log.session, change or Change(), fence)
        await asyncio.sleep(detangle.uniform(0, 0.05))
        log.session = replace(log.session, answer_id=None)
        return await super().append(entry, change)


@pytest.mark.readiness(issue=10)
def test_one_at_a_time_has_the_turn():
    explored(one_turn_at_a_time)


@pytest.mark.readiness(issue=10)
def test_a_turn_that_is_looked_at_and_taken_in_two_steps_would_be_found():
    with found():
        explored(one_turn_at_a_time, store=Unfenced)
