"""Who of staff is there, and what becomes of the sessions of those who are gone."""

from types import SimpleNamespace

import pytest

from chatbox.errors import BackplaneDown
from chatbox.session import Kind, Staff
from chatbox.staff.presence import DESKS, EVERYONE, Away, Presence
from tests.staff.seats import office, quotas, staff
from tests.staff.test_watching import asked
from tests.storage.values import ring

BEA, CY = staff("bea"), staff("cy")


async def test_one_with_two_sockets_is_one_until_both_have_closed():
    presence = Presence(quotas(), ring("new"))
    for socket in ("one", "two"):
        await presence.arrive(BEA, socket)
    await presence.arrive(CY, "three")
    assert await presence.online() == [Staff("bea", "Bea"), Staff("cy", "Cy")]
    await presence.depart("one")
    assert len(await presence.online()) == 2
    await presence.depart("two")
    assert await presence.online() == [Staff("cy", "Cy")]


async def test_what_replicas_share_of_it_does_not_show_who_it_is():
    shared = quotas()
    await Presence(shared, ring("new")).arrive(BEA, "one")
    (member,) = await shared.members(DESKS, EVERYONE)
    assert "bea" not in member.lower()
    assert await Presence(shared, ring("new")).online() == [Staff("bea", "Bea")]
    assert await Presence(shared, ring("old")).online() == []


async def test_names_may_hold_anything():
    presence = Presence(quotas(), ring("new"))
    odd = staff('["\x1f,')
    await presence.arrive(odd, "one")
    assert (await presence.colleague(odd.user_id)).name == odd.name


class Enough(Exception):
    """A loop has gone round often enough."""


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("chatbox.staff.presence.time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def away_of(desk, seconds=300.0):
    return Away(desk.here.storage, desk.here.backplane, desk.presence, desk.here.takeovers, seconds)


async def holder(desk, session_id):
    return (await desk.here.storage.get(session_id)).assisting_admin_id


async def test_a_session_goes_back_only_after_the_whole_time(clock):
    async with office() as desk:
        ear, away = await asked(desk.here), away_of(desk)
        await desk.seat().join(ear.session_id)
        for _ in range(3):
            await away.look()
            clock.now += 100.0
            assert await holder(desk, ear.session_id) == "bea"
        await away.look()
        assert await holder(desk, ear.session_id) is None
        left = (await desk.here.log(ear.session_id))[-1]
        assert (left.kind, left.metadata["reason"]) == (Kind.ADMIN_LEAVE, "away")


async def test_who_comes_back_in_between_begins_anew(clock):
    async with office() as desk:
        ear, away = await asked(desk.here), away_of(desk)
        await desk.seat().join(ear.session_id)
        await away.look()
        clock.now += 299.0
        await desk.presence.arrive(BEA, "one")
        await away.look()
        await desk.presence.depart("one")
        clock.now += 299.0
        await away.look()
        clock.now += 299.0
        await away.look()
        assert await holder(desk, ear.session_id) == "bea"
        clock.now += 1.0
        await away.look()
        assert await holder(desk, ear.session_id) is None


async def test_who_can_not_be_read_here_is_not_gone(clock):
    async with office() as desk:
        ear = await asked(desk.here)
        await desk.seat().join(ear.session_id)
        await desk.presence.arrive(BEA, "one")
        other = Presence(desk.here.quotas, ring("old"))
        away = Away(desk.here.storage, desk.here.backplane, other, desk.here.takeovers, 300.0)
        for _ in range(2):
            await away.look()
            clock.now += 300.0
        assert await holder(desk, ear.session_id) == "bea"


async def test_two_replicas_that_look_at_once_give_it_back_once(clock):
    async with office() as desk:
        ear, replicas = await asked(desk.here), [away_of(desk), away_of(desk)]
        await desk.seat().join(ear.session_id)
        for _ in range(2):
            for away in replicas:
                await away.look()
            clock.now += 300.0
        assert [entry.kind for entry in await desk.here.log(ear.session_id)].count(Kind.ADMIN_LEAVE) == 1


async def test_while_the_other_replicas_can_not_be_asked_nobody_is_gone(clock, monkeypatch):
    async def down():
        raise BackplaneDown("Redis is away")

    async with office() as desk:
        ear, away = await asked(desk.here), away_of(desk, seconds=0.4)
        await desk.seat().join(ear.session_id)
        await away.look()
        clock.now += 300.0
        monkeypatch.setattr(desk.here.backplane, "check", down)
        naps = iter([None, None])

        async def sleep(_):
            if next(naps, "over") == "over":
                raise Enough

        monkeypatch.setattr("chatbox.staff.presence.asyncio", SimpleNamespace(sleep=sleep))
        with pytest.raises(Enough):
            await away.run()
        assert await holder(desk, ear.session_id) == "bea"
