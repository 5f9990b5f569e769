"""Alerts that wait to be delivered."""

import asyncio

import pytest

from chatbox.errors import StorageBusy
from chatbox.notify import claims
from chatbox.notify.claims import MOST_TRIES, Claim, Lost, backoff
from chatbox.notify.outbox import KEPT, Way, retry
from chatbox.session import new_id
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.mongo import MongoSettings, MongoStorage
from chatbox.storage.records import Records
from chatbox.storage.sqlite import SqliteStorage
from tests.mongo_peer import MongoPeer
from tests.notify.telling import MINUTE, NOON, Clock, Office, busy, crash, gone, help_for, office
from tests.storage.values import ring


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture(scope="module")
def peer():
    """What speaks MongoDB's protocol."""
    with MongoPeer(durable=False) as started:
        yield started


@pytest.fixture(params=["memory", "sqlite", "mongo"])
def store(request, tmp_path):
    match request.param:
        case "memory":
            inner = MemoryStorage()
        case "sqlite":
            inner = SqliteStorage(tmp_path / "chatbox.db")
        case _:
            inner = MongoStorage(MongoSettings(request.getfixturevalue("peer").url, database=f"alerts_{new_id()}"))
    return EncryptedStorage(inner, ring("new"))


async def test_an_alert_goes_through_every_channel_once(clock, store):
    async with office(store) as here, here.working():
        assert await here.alerts.raise_(help_for())
        await here.settled("help:s1:" + str(NOON))
        assert not await here.alerts.raise_(help_for())
        await here.alerts.raise_(crash(1))
        await here.settled("crashed:1")
        assert here.box.subjects == here.phone.subjects == ["Ann asks for help", "A server has crashed"]
        assert here.desk.heard == [("s1", NOON, NOON)]


async def test_what_waits_is_delivered_after_a_restart(clock, tmp_path):
    async with office(SqliteStorage(tmp_path / "chatbox.db")) as here:
        await here.alerts.raise_(help_for())
    async with office(SqliteStorage(tmp_path / "chatbox.db")) as here, here.working():
        await here.settled(f"help:s1:{NOON}")
        assert len(here.box.got) == 1


async def test_what_was_being_sent_by_a_process_that_died_is_sent_by_another(clock, store):
    async with store as opened:
        dead, alive = Office(opened), Office(opened)
        dead.box.gate = asyncio.Event()
        await dead.alerts.raise_(crash(1))
        async with dead.working():
            await dead.until(lambda: dead.box.tries)
        async with alive.working():
            await asyncio.sleep(0.1)
            assert alive.box.got == []
            clock.passes(claims.LEASE + 1)
            await alive.settled("crashed:1")
        assert len(alive.box.got) == 1


async def test_several_replicas_send_each_alert_once(clock, store, monkeypatch):
    monkeypatch.setattr("chatbox.notify.alerts.MOST", 100)
    async with store as opened:
        offices = [Office(opened) for _ in range(3)]
        for number in range(20):
            await offices[0].alerts.raise_(crash(number))
        async with offices[0].working(), offices[1].working(), offices[2].working():
            await offices[0].settled(*[f"crashed:{number}" for number in range(20)])
        sent = [message.id for one in offices for message, _ in one.box.got]
        assert sorted(sent) == sorted(f"crashed:{number}" for number in range(20))
        assert sum(len(one.phone.got) for one in offices) == 20


async def test_a_claim_is_renewed_while_a_channel_is_slow(clock, monkeypatch):
    monkeypatch.setattr(claims, "RENEWAL", 0.01)
    async with MemoryStorage() as opened:
        slow, other = Office(opened), Office(opened)
        slow.box.gate = asyncio.Event()
        await slow.alerts.raise_(crash(1))
        async with slow.working(), other.working():
            await slow.until(lambda: slow.box.tries + other.box.tries)
            for _ in range(5):
                await asyncio.sleep(0.05)
                clock.passes(claims.LEASE - 1)
            slow.box.gate.set()
            await slow.settled("crashed:1")
        assert slow.box.tries + other.box.tries == 1


async def test_a_clock_that_is_set_on_makes_no_process_send_twice_what_it_is_sending(clock):
    async with office() as here:
        here.box.gate = asyncio.Event()
        async with here.working():
            await here.alerts.raise_(crash(1))
            await here.until(lambda: here.box.tries)
            clock.passes(86_400)
            await asyncio.sleep(0.1)
            here.box.gate.set()
            await here.settled("crashed:1")
        assert here.box.tries == 1


async def test_of_two_who_claim_an_alert_at_once_one_has_it(clock):
    async with office() as here:
        await here.alerts.raise_(crash(1))
        record = await here.record("crashed:1")
        await Claim(here.records, record).renew()
        with pytest.raises(Lost):
            await Claim(here.records, record).renew()


async def test_a_failure_that_passes_is_tried_again_later_and_later(clock):
    async with office() as here, here.working():
        here.phone.always = busy()
        await here.alerts.raise_(crash(1))
        pauses = []
        for tries in range(1, 6):
            await here.until(lambda tries=tries: here.phone.tries == tries)
            await here.until(lambda tries=tries: _postponed(here, tries))
            record = await here.record("crashed:1")
            pauses.append((record.due - clock.at) / 1000)
            clock.at = record.due
        assert [round(pause / 2**n) for n, pause in enumerate(pauses)] == pytest.approx([10] * 5, abs=1)
        here.phone.always = None
        await here.settled("crashed:1")
        assert (len(here.box.got), len(here.phone.got)) == (1, 1)


async def _postponed(here, tries):
    data = (await here.record("crashed:1")).data
    return data["attempts"] == tries and data["wait"] != claims.LEASE * 1000


async def test_the_pause_that_the_other_side_asks_for_is_kept(clock):
    async with office() as here, here.working():
        here.phone.fail = [busy(900.0)]
        await here.alerts.raise_(crash(1))
        await here.until(lambda: here.phone.tries)
        await here.until(lambda: _waits(here, 900_000))


async def _waits(here, wait):
    return (await here.record("crashed:1")).data["wait"] >= wait


async def test_what_is_refused_for_good_is_dead_and_kept_with_the_reason(clock):
    async with office() as here, here.working():
        here.phone.fail = [gone()]
        await here.alerts.raise_(crash(1))
        await here.settled("crashed:1", state="dead")
        [dead] = await here.records.find("alert", key="dead")
        assert dead.data["event"] == "crashed"
        assert dead.data["attempts"] == 1
        assert dead.data["at"] == NOON
        assert dead.data["refused"] == {"sms": {"+4915112345678": "550 gone"}}
        assert dead.data["error"] == "sms +4915112345678: 550 gone"
        assert (len(here.box.got), len(here.phone.got)) == (1, 0)
        assert here.metrics.registry.get_sample_value(
            "chatbox_alerts_dead_total", {"event": "crashed", "channel": "sms"}
        ) == 1.0  # fmt: skip


async def test_a_dead_alert_can_be_tried_again_where_it_was_refused(clock):
    async with office() as here, here.working():
        here.phone.fail = [gone()]
        await here.alerts.raise_(crash(1))
        await here.settled("crashed:1", state="dead")
        assert await retry(here.records, "crashed:1")
        await here.settled("crashed:1")
        assert (len(here.box.got), len(here.phone.got)) == (1, 1)
        assert not await retry(here.records, "crashed:1")
        assert not await retry(here.records, "nothing")


async def test_an_alert_is_given_up_after_so_many_tries(clock):
    async with office() as here, here.working():
        here.phone.always = busy()
        await here.alerts.raise_(crash(1))
        async with asyncio.timeout(30):
            while (await here.state("crashed:1")) != "dead":
                await asyncio.sleep(0.002)
                clock.passes(600)
        assert here.phone.tries == MOST_TRIES
        [dead] = await here.records.find("alert", key="dead")
        assert "given up after 20 tries" in dead.data["refused"]["sms"]["+4915112345678"]


def test_twenty_tries_take_about_six_hours():
    assert 5 <= sum(backoff(tries) for tries in range(1, MOST_TRIES)) / 3600 <= 7


async def test_an_alert_that_somebody_got_is_told_though_another_address_failed(clock):
    async with office() as here, here.working():
        here.phone.always = busy()
        await here.alerts.raise_(help_for())
        await here.until(lambda: here.desk.heard)
        assert here.desk.heard == [("s1", NOON, NOON)]


async def test_a_channel_that_is_slow_holds_up_no_other_and_no_news(clock, store):
    async with office(store) as here:
        here.box.gate = asyncio.Event()
        async with here.working():
            await here.alerts.raise_(help_for())
            await here.until(lambda: here.desk.heard)
            assert (len(here.box.got), len(here.phone.got)) == (0, 1)
        here.box.gate.set()
        clock.passes(claims.LEASE + 1)
        async with here.working():
            await here.settled(f"help:s1:{NOON}")
        assert (len(here.box.got), len(here.phone.got)) == (1, 1)


async def test_who_breaks_off_while_it_passes_on_one_delivery_goes_on_with_no_other(clock):
    async with office() as here:
        telling = asyncio.Event()

        async def told(*_):
            telling.set()
            await asyncio.Event().wait()

        here.desk.told = told
        kept, outcomes = [], here.outbox._outcomes  # so that nothing ends because it was collected as garbage
        here.outbox._outcomes = lambda *given: kept.append(outcomes(*given)) or kept[-1]
        here.box.gate = asyncio.Event()
        async with here.working():
            await here.alerts.raise_(help_for())
            await telling.wait()
        here.box.gate.set()
        await asyncio.sleep(0.01)
        assert here.box.tries == 1
        assert here.box.got == []


async def test_the_log_alone_tells_nobody(clock):
    async with office() as here:
        here.outbox._channels = {"log": here.channels["log"]}
        async with here.working():
            await here.alerts.raise_(help_for())
            await here.settled(f"help:s1:{NOON}")
        assert here.desk.heard == []


async def test_what_was_sent_is_not_sent_again_when_nobody_could_be_told_of_it(clock):
    async with office() as here, here.working():
        told, here.desk.told = here.desk.told, _fails
        await here.alerts.raise_(help_for())
        await here.until(lambda: here.box.got and here.phone.got)
        await asyncio.sleep(0.05)
        assert here.desk.heard == []
        here.desk.told = told
        await here.until(lambda: _passing(here, clock))
        await here.settled(f"help:s1:{NOON}")
        assert len(here.box.got) == len(here.phone.got) == 1


async def _fails(*call):
    raise StorageBusy("no")


async def _passing(here, clock):
    clock.passes(1)
    return bool(here.desk.heard)


class Losing(Records):
    """Records whose answers get lost: what was to be replaced is, and its caller is told that nobody knows."""

    def __init__(self, inner):
        self.inner = inner
        self.lose = 0

    async def replace(self, record):
        done = await self.inner.replace(record)
        if self.lose and record.data.get("attempts"):
            self.lose -= 1
            raise StorageBusy("the answer got lost")
        return done

    async def add(self, record):
        return await self.inner.add(record)

    async def get(self, kind, id):  # noqa: A002 - the contract's name
        return await self.inner.get(kind, id)

    async def remove(self, kind, id):  # noqa: A002 - the contract's name
        return await self.inner.remove(kind, id)

    async def find(self, kind, **options):
        return await self.inner.find(kind, **options)

    async def due(self, kind, now, limit):
        return await self.inner.due(kind, now, limit)


async def test_an_answer_of_the_store_that_got_lost_sends_nothing_twice(clock):
    async with office() as here:
        here.outbox._records = losing = Losing(here.records)
        losing.lose = 2
        async with here.working():
            await here.alerts.raise_(crash(1))
            await here.settled("crashed:1")
        assert losing.lose == 0
        assert len(here.box.got) == 1


async def test_a_clock_that_is_set_back_keeps_no_alert_waiting(clock):
    async with office() as here, here.working():
        here.phone.fail = [busy()]
        await here.alerts.raise_(crash(1))
        await here.until(lambda: here.phone.tries)
        await here.until(lambda: _open_again(here))
        clock.passes(-7 * 86_400)
        await here.outbox.sweep(clock.at)
        await here.settled("crashed:1")
        assert len(here.phone.got) == 1


async def _open_again(here):
    return (await here.record("crashed:1")).data["wait"] != claims.LEASE * 1000


async def test_an_alert_for_later_is_not_taken_for_one_of_a_wrong_clock(clock):
    async with office() as here, here.working():
        await here.alerts.raise_(crash(1), due=NOON + 10 * MINUTE)
        await here.outbox.sweep(clock.at)
        await asyncio.sleep(0.05)
        assert here.box.got == []
        clock.passes(601)
        await here.settled("crashed:1")


async def test_a_channel_with_a_defect_is_a_failure_like_another(clock):
    async with office() as here, here.working():
        here.phone.send = _broken
        await here.alerts.raise_(crash(1))
        await here.until(lambda: here.box.got)
        await here.until(lambda: _waits(here, 5000))
        assert (await here.record("crashed:1")).data["error"] == "sms +4915112345678: KeyError"


async def _broken(message, to):
    raise KeyError("x")


async def test_who_is_no_address_any_more_gets_nothing(clock):
    async with office() as here:
        async with here.working():
            here.box.fail = [busy()]
            await here.alerts.raise_(crash(1))
            await here.until(lambda: _waits(here, 5000))
        here.outbox._channels = here.channels | {"email": Way(here.box, ("new@example.com",))}
        clock.passes(60)
        async with here.working():
            await here.settled("crashed:1")
        assert [address for _, address in here.box.got] == ["new@example.com"]


async def test_what_was_settled_long_ago_is_forgotten_and_the_dead_are_kept(clock):
    async with office() as here, here.working():
        await here.alerts.raise_(crash(1))
        await here.settled("crashed:1")
        here.phone.fail = [gone()]
        await here.alerts.raise_(crash(2))
        await here.settled("crashed:2", state="dead")
        await here.outbox.sweep(NOON + KEPT - 1)
        assert await here.record("crashed:1")
        await here.outbox.sweep(NOON + KEPT + 1)
        assert await here.record("crashed:1") is None
        assert await here.record("crashed:2")
