"""What becomes of a call for help, told truthfully."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from chatbox.commits import Commits
from chatbox.helpdesk import AGAIN, Calls, Helpdesk
from chatbox.hours import Hours
from chatbox.protocol import AskHelp, CancelHelp, rfc3339
from chatbox.session import Help, Kind, Principal, now_ms
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.sqlite import SqliteStorage
from chatbox.storage.telling import TellingStorage
from tests.notify.telling import Clock, Office, busy
from tests.world import world

BEA = Principal("bea", "Bea", frozenset({"chat_admin"}), 2e9)
ESCALATION = 300.0
NEVER_CLOSED = ""


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, now_ms())


class Desk:
    """A Chatbox with a help desk, whose alerts are at work."""

    def __init__(self, here, opening=NEVER_CLOSED):
        commits = Commits(here.storage, here.backplane, here.hub)
        self.here = here
        self.storage = here.storage
        self.desk = Helpdesk(here.storage, commits, Hours(opening))
        self.office = Office(here.storage, desk=self.desk)
        self.online = []
        self.calls = Calls(here.storage, self.desk, self.office.alerts, self._online, escalation=ESCALATION)
        if isinstance(here.storage, TellingStorage):
            here.storage.follow(self.calls.heard)

    async def _online(self):
        return self.online

    @asynccontextmanager
    async def open(self):
        looking = asyncio.create_task(self.calls.run())
        try:
            async with self.office.working():
                yield self
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def states(self, session_id):
        """The help states that the log tells, in their order."""
        log = await self.here.log(session_id)
        return [e.metadata["state"] for e in log if e.metadata.get("event") == "help_state"]


@asynccontextmanager
async def helpdesk(storage=None, **options):
    async with world(TellingStorage(storage or MemoryStorage())) as here:
        yield Desk(here, **options)


async def heard(ear, field):
    """What the user's socket is told about a call, once that has this field."""
    await ear.until(lambda: any(field in frame["metadata"] for frame in ear.of("notification")))
    return next(frame["metadata"] for frame in ear.of("notification") if field in frame["metadata"])


async def test_a_call_is_asked_until_staff_were_told_and_then_says_when(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        desk.office.box.gate = desk.office.phone.gate = asyncio.Event()
        async with desk.open():
            await desk.here.do(ear, AskHelp(message_id="h"))
            await desk.office.until(lambda: desk.office.box.tries)
            assert await desk.states(ear.session_id) == ["asked"]
            clock.passes(7)
            desk.office.box.gate.set()
            at = (await heard(ear, "at"))["at"]
        session = await desk.storage.get(ear.session_id)
        assert session.help_state is Help.TOLD
        [reached] = [r.data["reached"] for r in await desk.office.records.find("alert") if r.data["event"] == "help"]
        assert at == rfc3339(reached)
        assert ear.copy.broken == []


async def test_nobody_is_said_to_be_told_while_nothing_can_be_delivered(clock):
    async with helpdesk() as desk, desk.open():
        desk.office.box.always = desk.office.phone.always = busy()
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        await desk.office.until(lambda: desk.office.box.tries and desk.office.phone.tries)
        await asyncio.sleep(0.05)
        assert await desk.states(ear.session_id) == ["asked"]


async def test_who_has_the_dashboard_open_has_been_told(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        await desk.calls.look()
        assert await desk.states(ear.session_id) == ["asked"]
        desk.online = [BEA.staff]
        await desk.calls.look()
        assert await desk.states(ear.session_id) == ["asked", "told"]
        assert (await heard(ear, "at"))["at"] == rfc3339(clock.at)


async def test_a_call_that_was_stored_before_the_process_died_is_found_by_the_next(clock, tmp_path):
    async with world(SqliteStorage(tmp_path / "chatbox.db")) as here:
        ear = await here.enter()
        await here.do(ear, AskHelp(message_id="h"))
    async with helpdesk(SqliteStorage(tmp_path / "chatbox.db")) as desk, desk.open():
        await desk.office.until(lambda: _said(desk, ear, ["asked", "told"]))
        await desk.calls.look()
        await asyncio.sleep(0.05)
    assert len(desk.office.box.got) == 1
    async with helpdesk(SqliteStorage(tmp_path / "chatbox.db")) as desk, desk.open():
        await desk.calls.look()
        await asyncio.sleep(0.05)
        assert desk.office.box.got == []


async def _said(desk, ear, states):
    return await desk.states(ear.session_id) == states


async def test_several_replicas_raise_one_alert_and_tell_the_user_once(clock):
    async with world(TellingStorage(MemoryStorage())) as here:
        desks = [Desk(here) for _ in range(3)]
        ear = await here.enter()
        async with desks[0].open(), desks[1].open(), desks[2].open():
            await here.do(ear, AskHelp(message_id="h"))
            await desks[0].office.until(lambda: _said(desks[0], ear, ["asked", "told"]))
            await asyncio.sleep(0.05)
        assert sum(len(desk.office.box.got) for desk in desks) == 1
        assert await desks[0].states(ear.session_id) == ["asked", "told"]


async def test_who_has_been_joined_is_not_told_that_staff_were_told(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        desk.office.box.gate = desk.office.phone.gate = asyncio.Event()
        async with desk.open():
            await desk.here.do(ear, AskHelp(message_id="h"))
            await desk.office.until(lambda: desk.office.box.tries)
            await desk.here.takeovers.join(BEA, ear.session_id, "join")
            desk.office.box.gate.set()
            await desk.office.until(lambda: desk.office.box.got)
            await asyncio.sleep(0.05)
        assert await desk.states(ear.session_id) == ["asked"]


async def test_a_call_taken_back_in_the_moment_of_telling_stays_taken_back(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        session = await desk.storage.get(ear.session_id)
        get = desk.storage._inner.get

        async def late(session_id):
            found = await get(session_id)
            desk.storage._inner.get = get
            await desk.here.do(ear, CancelHelp(message_id="c"))
            return found

        desk.storage._inner.get = late
        await desk.desk.told(session.id, session.help_since, clock.at)
        assert (await desk.states(ear.session_id))[-1] == "none"
        assert (await desk.storage.get(ear.session_id)).help_state is Help.NONE


async def test_after_the_escalation_time_more_is_said_once_unless_somebody_came(clock):
    async with helpdesk() as desk, desk.open():
        ann, ben = await desk.here.enter("ann"), await desk.here.enter("ben")
        await desk.here.do(ann, AskHelp(message_id="h"))
        await desk.here.do(ben, AskHelp(message_id="h"), "ben")
        await desk.office.until(lambda: len(desk.office.box.got) == 2)
        await desk.here.takeovers.join(BEA, ben.session_id, "join")
        clock.passes(ESCALATION - 5)
        await asyncio.sleep(0.05)
        assert len(desk.office.box.got) == 2
        clock.passes(6)
        await desk.office.until(lambda: len(desk.office.box.got) == 4)
        clock.passes(10_000)
        await asyncio.sleep(0.05)
        assert desk.office.box.subjects[2:] == ["Ann is still waiting for help"] * 2
        assert [address for _, address in desk.office.box.got[2:]] == ["ops@example.com", "boss@example.com"]


async def test_asking_again_and_again_makes_no_flood(clock):
    async with helpdesk() as desk, desk.open():
        ear = await desk.here.enter()
        for number in range(20):
            await desk.here.do(ear, AskHelp(message_id=f"h{number}"))
            await desk.calls.look()
            await desk.here.do(ear, CancelHelp(message_id=f"c{number}"))
        await desk.here.do(ear, AskHelp(message_id="last"))
        await desk.calls.look()
        await asyncio.sleep(0.1)
        assert len(desk.office.box.got) <= 1
        clock.passes(20 * AGAIN)
        await desk.office.until(lambda: _told_last(desk, ear))
        asked = [subject for subject in desk.office.box.subjects if subject.endswith("asks for help")]
        assert len(asked) <= 2


async def test_who_asks_again_soon_is_told_of_when_five_minutes_have_passed(clock):
    async with helpdesk() as desk, desk.open():
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h1"))
        await desk.office.until(lambda: _said(desk, ear, ["asked", "told"]))
        await desk.here.do(ear, CancelHelp(message_id="c1"))
        await desk.here.do(ear, AskHelp(message_id="h2"))
        await desk.calls.look()
        await asyncio.sleep(0.1)
        assert len(desk.office.box.got) == 1
        clock.passes(AGAIN + 1)
        await desk.office.until(lambda: _told_last(desk, ear))


async def test_news_of_an_old_call_says_nothing_about_a_new_one(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h1"))
        old = (await desk.storage.get(ear.session_id)).help_since
        await desk.here.do(ear, CancelHelp(message_id="c1"))
        await asyncio.sleep(0.005)
        await desk.here.do(ear, AskHelp(message_id="h2"))
        await desk.desk.told(ear.session_id, old, clock.at)
        assert await desk.states(ear.session_id) == ["asked", "none", "asked"]


async def _told_last(desk, ear):
    return (await desk.states(ear.session_id))[-1] == "told"


CLOSED = "Mo-Su 00:00-00:01"
"""Open for one minute a day."""


async def test_out_of_hours_the_user_learns_when_somebody_is_there_and_staff_are_reminded_then(clock):
    async with helpdesk(opening=CLOSED) as desk, desk.open():
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        since = (await desk.storage.get(ear.session_id)).help_since
        told = await heard(ear, "open")
        assert (told["open"], told["opens_at"]) == ("false", rfc3339(desk.desk.opens(since)))
        await desk.office.until(lambda: desk.office.box.got)
        assert desk.office.phone.got == []
        clock.at = desk.desk.opens(since) + 1000
        await desk.office.until(lambda: desk.office.phone.got)
        assert desk.office.phone.subjects == ["Ann asked for help while nobody was there"]
        clock.passes(ESCALATION)
        await desk.office.until(lambda: len(desk.office.phone.got) == 2)
        assert desk.office.phone.subjects[1] == "Ann is still waiting for help"


async def test_in_opening_hours_nothing_is_said_about_them(clock):
    async with helpdesk(opening="00:00-24:00") as desk, desk.open():
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        await desk.office.until(lambda: _said(desk, ear, ["asked", "told"]))
        log = await desk.here.log(ear.session_id)
        assert all("open" not in entry.metadata for entry in log)
        assert desk.office.phone.got


async def test_a_deleted_conversation_asks_no_more(clock):
    async with helpdesk() as desk:
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        await desk.calls.look()
        await desk.storage.delete(ear.session_id)
        async with desk.open():
            [record] = [r for r in await desk.office.records.find("alert") if r.data["event"] == "help"]
            await desk.office.settled(record.id, state="void")
        assert desk.office.box.got == []


async def test_a_call_of_this_process_waits_for_no_look_and_costs_none(clock, monkeypatch):
    monkeypatch.setattr("chatbox.helpdesk.SCAN", 1000.0)
    async with helpdesk() as desk, desk.open():
        await asyncio.sleep(0.05)
        monkeypatch.setattr(desk.calls, "look", None)
        ear = await desk.here.enter()
        await desk.here.do(ear, AskHelp(message_id="h"))
        await desk.office.until(lambda: _said(desk, ear, ["asked", "told"]))


async def test_all_who_wait_are_found_however_many(clock, monkeypatch):
    monkeypatch.setattr("chatbox.storage.paging.BATCH", 7)
    monkeypatch.setattr("chatbox.helpdesk.AT_ONCE", 3)
    async with helpdesk() as desk:
        for number in range(40):
            ear = await desk.here.enter(f"user{number}")
            await desk.here.do(ear, AskHelp(message_id="h"), f"user{number}")
        await desk.calls.look()
        assert len([r for r in await desk.office.records.find("alert", limit=500) if r.data["event"] == "help"]) == 40


async def test_an_alert_holds_no_word_of_the_conversation(clock):
    async with helpdesk() as desk, desk.open():
        ear = await desk.here.enter()
        await desk.here.say(ear, "my secret is canary-7")
        await ear.done()
        await desk.here.do(ear, AskHelp(message_id="h", content="canary-8", email="ann@example.com"))
        await desk.office.until(lambda: desk.office.box.got and desk.office.phone.got)
        everything = repr(desk.office.box.got) + repr(await desk.office.records.find("alert"))
        assert "canary" not in everything
        [(message, _)] = desk.office.box.got
        assert message.link.endswith(f"/staff/c/{ear.session_id}")
        assert ("User", "Ann (ann)") in message.facts
        kinds = [entry.kind for entry in await desk.here.log(ear.session_id)]
        assert Kind.NOTIFICATION in kinds
