"""Which alerts go out at once, which together, and which not at all."""

import asyncio

import pytest

from chatbox.notify.alerts import MOST
from chatbox.notify.base import Alert, Event
from chatbox.storage.sqlite import SqliteStorage
from tests.notify.telling import MINUTE, NOON, Clock, Office, busy, crash, gone, help_for, office


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def mailed(here):
    return [message.id for message, _ in here.box.got]


async def held(here, alert_id):
    record = await here.record(alert_id)
    return record is not None and record.key.startswith("digest:")


async def test_of_one_event_five_go_out_in_five_minutes_and_the_rest_together(clock):
    async with office() as here, here.working():
        for number in range(12):
            await here.alerts.raise_(crash(number, NOON + number))
        await here.until(lambda: len(here.box.got) == MOST)
        await here.until(lambda: _all_held(here, 7))
        clock.passes(300)
        await here.until(lambda: len(here.box.got) == MOST + 1)
        digest, _ = here.box.got[-1]
        assert digest.subject == "7 alerts were held back"
        assert len(digest.lines) == 7
        await here.settled(*[f"crashed:{number}" for number in range(12)])
        assert len(here.box.got) == len(here.phone.got) == MOST + 1


async def _all_held(here, count):
    return sum([await held(here, f"crashed:{number}") for number in range(12)]) == count


async def test_events_do_not_count_against_each_other(clock):
    async with office() as here, here.working():
        for number in range(6):
            await here.alerts.raise_(crash(number))
        await here.until(lambda: len(here.box.got) == MOST)
        await here.alerts.raise_(help_for())
        await here.settled(f"help:s1:{NOON}")


async def test_the_window_slides(clock):
    async with office() as here, here.working():
        for number in range(5):
            await here.alerts.raise_(crash(number))
            await here.settled(f"crashed:{number}")
            clock.passes(60)
        await here.alerts.raise_(crash(5))
        await here.settled("crashed:5")
        await here.alerts.raise_(crash(6))
        await here.until(lambda: held(here, "crashed:6"))


async def test_a_server_that_crashes_again_and_again_is_told_of_five_times(clock, tmp_path):
    sent = 0
    for number in range(8):
        async with office(SqliteStorage(tmp_path / "chatbox.db")) as here, here.working():
            await here.alerts.raise_(crash(number))
            await here.until(lambda number=number: _seen_to(here, f"crashed:{number}"))
            sent += len(here.box.got)
        clock.passes(10)
    assert sent == MOST


async def _seen_to(here, alert_id):
    return (await here.state(alert_id)) not in ("open", "new")


async def test_all_who_are_in_a_digest_are_told_when_it_is_delivered(clock):
    async with office() as here, here.working():
        here.box.always = here.phone.always = busy()
        for number in range(8):
            await here.alerts.raise_(help_for(f"s{number}"))
        await here.until(lambda: _held_helps(here, 3))
        assert here.desk.heard == []
        clock.passes(300)
        here.box.always = here.phone.always = None
        await here.until(lambda: _later(here, clock, 8))
        assert {session for session, _, _ in here.desk.heard} == {f"s{number}" for number in range(8)}


async def _held_helps(here, count):
    return sum([await held(here, f"help:s{number}:{NOON}") for number in range(8)]) == count


async def _later(here, clock, count):
    clock.passes(1)
    return len(here.desk.heard) == count


async def test_an_alert_about_help_is_not_sent_when_nobody_waits_any_more(clock):
    async with office() as here, here.working():
        here.desk.gone = {"s1"}
        await here.alerts.raise_(help_for("s1"))
        await here.settled(f"help:s1:{NOON}", state="void")
        assert here.box.got == here.desk.heard == []


async def test_a_digest_leaves_out_who_waits_no_more_and_is_not_sent_without_anyone(clock):
    async with office() as here, here.working():
        for number in range(7):
            await here.alerts.raise_(help_for(f"s{number}"))
        await here.until(lambda: _held_helps(here, 2))
        waiting = [number for number in range(7) if await held(here, f"help:s{number}:{NOON}")]
        here.desk.gone = {f"s{number}" for number in waiting}
        clock.passes(300)
        await here.settled(f"digest:{NOON + 5 * MINUTE}", state="void")
        assert len(here.box.got) == MOST
        clock.passes(601)
        await here.settled(*[f"help:s{number}:{NOON}" for number in waiting], state="void")


async def test_in_quiet_hours_everything_but_help_waits_for_their_end(clock):
    async with office(quiet="11:00-13:30") as here, here.working():
        await here.alerts.raise_(crash(1))
        await here.alerts.raise_(Alert(id="traffic:1", event=Event.TRAFFIC, at=NOON))
        await here.alerts.raise_(help_for())
        await here.settled(f"help:s1:{NOON}")
        await here.until(lambda: held(here, "crashed:1"))
        await here.until(lambda: held(here, "traffic:1"))
        assert mailed(here) == [f"help:s1:{NOON}"]
        clock.passes(5400)
        await here.settled("crashed:1", "traffic:1")
        assert here.box.subjects[1:] == ["2 alerts were held back"]


async def test_what_is_held_back_shortly_before_quiet_hours_waits_for_their_end(clock):
    async with office(quiet="12:04-13:00") as here, here.working():
        for number in range(6):
            await here.alerts.raise_(crash(number))
        await here.until(lambda: _any_held(here))
        clock.passes(300)
        await asyncio.sleep(0.05)
        assert len(here.box.got) == MOST
        clock.passes(3300)
        await here.until(lambda: len(here.box.got) == MOST + 1)


async def _any_held(here):
    return any([await held(here, f"crashed:{number}") for number in range(6)])


async def test_a_digest_that_can_not_be_delivered_keeps_what_it_holds(clock):
    async with office() as here, here.working():
        for number in range(6):
            await here.alerts.raise_(crash(number))
        await here.until(lambda: _any_held(here))
        here.box.always = here.phone.always = busy()
        digest = f"digest:{NOON + 5 * MINUTE}"
        for _ in range(40):
            clock.passes(60)
            await asyncio.sleep(0.01)
        assert (await here.record(digest)).data["attempts"] > 3
        assert await _any_held(here)
        here.box.always = here.phone.always = None
        await here.until(lambda: _sent_later(here, clock, digest))
        assert here.box.subjects.count("1 alert was held back") == 1
        assert here.box.subjects.count("A server has crashed") == MOST


async def _sent_later(here, clock, digest):
    clock.passes(30)
    return (await here.state(digest)) == "sent"


async def test_what_a_dead_digest_holds_stays_with_it(clock):
    async with office() as here, here.working():
        for number in range(6):
            await here.alerts.raise_(crash(number))
        await here.until(lambda: _any_held(here))
        here.box.always = here.phone.always = gone()
        clock.passes(300)
        digest = f"digest:{NOON + 5 * MINUTE}"
        await here.settled(digest, state="dead")
        here.box.always = here.phone.always = None
        clock.passes(10_000)
        await asyncio.sleep(0.1)
        assert len(here.box.got) == MOST
        assert await _any_held(here)


async def test_an_alert_that_its_digest_missed_gets_out_by_itself(clock):
    async with office() as here:
        digest = f"digest:{NOON - 5 * MINUTE}"
        await here.alerts.raise_(crash(1))
        record = await here.record("crashed:1")
        missed = record.__class__(
            **{name: getattr(record, name) for name in record.__struct_fields__} | {"key": digest, "due": NOON}
        )
        assert await here.records.replace(missed)
        async with here.working():
            await here.settled("crashed:1")
        assert mailed(here) == ["crashed:1"]


async def test_a_clock_that_is_set_back_lets_no_count_stand_in_the_way(clock):
    async with office() as here, here.working():
        for number in range(5):
            await here.alerts.raise_(crash(number))
        await here.until(lambda: len(here.box.got) == MOST)
        clock.passes(-86_400)
        await here.alerts.raise_(crash(5, clock.at))
        await here.settled("crashed:5")


async def test_several_replicas_keep_the_limit_together(clock, tmp_path):
    async with SqliteStorage(tmp_path / "chatbox.db") as opened:
        offices = [Office(opened) for _ in range(3)]
        async with offices[0].working(), offices[1].working(), offices[2].working():
            for number in range(12):
                await offices[number % 3].alerts.raise_(crash(number))
            await offices[0].until(lambda: _all_held(offices[0], 7))
            clock.passes(300)
            await offices[0].settled(*[f"crashed:{number}" for number in range(12)])
        assert sum(len(one.box.got) for one in offices) == MOST + 1


async def test_of_many_counted_at_once_five_are_let_through(clock):
    async with office() as here:
        get = here.records.get

        async def late(*place):
            found = await get(*place)
            await asyncio.sleep(0.002)
            return found

        here.records.get = late
        verdicts = await asyncio.gather(*[here.alerts.admit(crash(number), NOON) for number in range(20)])
        assert sum(isinstance(verdict, Alert) for verdict in verdicts) == MOST


async def test_who_counts_a_moment_late_forgets_nobody(clock):
    async with office() as here:
        verdicts = [await here.alerts.admit(crash(number), NOON - number) for number in range(20)]
        assert sum(isinstance(verdict, Alert) for verdict in verdicts) == MOST


async def test_thousands_of_calls_at_once_are_five_alerts_and_a_digest_and_everyone_is_told(clock, tmp_path):
    count = 2000
    async with office(SqliteStorage(tmp_path / "chatbox.db")) as here, here.working():
        await asyncio.gather(*[here.alerts.raise_(help_for(f"s{number}")) for number in range(count)])
        held_back = here.metrics.alerts_held_total.labels(Event.HELP)
        await here.until(lambda: held_back._value.get() == count - MOST, patience=100)
        clock.passes(300)
        await here.until(lambda: len(here.desk.heard) >= count, patience=100)
        assert {session for session, _, _ in here.desk.heard} == {f"s{number}" for number in range(count)}
        assert len(here.box.got) == len(here.phone.got) == MOST + 1
        assert here.box.subjects[-1] == f"{count - MOST} alerts were held back"


async def test_without_a_store_an_alert_is_sent_directly_unless_it_is_quiet(clock):
    async with office() as here:
        assert await here.alerts.shout(crash(1))
        assert mailed(here) == ["crashed:1"]
    async with office(quiet="00:00-24:00") as here:
        assert not await here.alerts.shout(crash(1))
        assert mailed(here) == []
