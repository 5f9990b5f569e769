"""What changes in any session, told at most once in a while and always the newest."""

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from chatbox.backplane.memory import MemoryBackplane
from chatbox.session import Entry, Kind, Sender, Session
from chatbox.staff import news
from chatbox.staff.news import News
from chatbox.staff.view import Views
from chatbox.storage.base import Appended
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.telling import Deleted, TellingStorage
from tests.staff.seats import quotas

PERIOD = 0.02


def stored(session_id, index, content="", *, fresh=True, closed=()):
    kind = Kind.USER_MESSAGE if content else Kind.TURN
    entry = Entry(session_id=session_id, kind=kind, message_id=str(index), sender=Sender.USER, content=content)
    return Appended(entry, Session(id=session_id, user_id="ann", epoch="e", last_index=index), fresh, closed)


@asynccontextmanager
async def newsroom(monkeypatch=None):
    """News over a store, and what was published of them."""
    storage, plane, told = MemoryStorage(), MemoryBackplane(), []
    plane.connect(lambda _, event: told.append(json.loads(event.frame)))
    await plane.listen(news.TOPIC)
    if monkeypatch:
        monkeypatch.setattr(news, "PERIOD", PERIOD)
    made = News(storage, plane, Views(quotas()))
    running = asyncio.ensure_future(made.run())
    try:
        yield made, told
    finally:
        running.cancel()


async def until(true, patience=10):
    async with asyncio.timeout(patience):
        while not true():
            await asyncio.sleep(0.001)


async def test_the_first_change_is_told_at_once_and_of_those_that_follow_the_last():
    async with newsroom() as (made, told):
        made.want(True)
        made.take(stored("s", 1, "one"))
        await until(lambda: told)
        for index in range(2, 50):
            made.take(stored("s", index, f"word {index}" if index < 40 else ""))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(told) == 1
        await until(lambda: len(told) == 2)
        assert (told[1]["last_seq"] >> 20, told[1]["metadata"]["preview"]) == (49, "word 39")


async def test_sessions_do_not_wait_for_each_other():
    async with newsroom() as (made, told):
        made.want(True)
        for number in range(200):
            made.take(stored(f"s{number}", 1))
        await until(lambda: len(told) == 200)


async def test_a_session_that_another_one_closed_is_told_as_it_is_now():
    async with newsroom() as (made, told):
        made.want(True)
        made.take(stored("new", 1, closed=("gone",)))
        await until(lambda: len(told) == 2)
        assert told[1]["metadata"] == {"deleted": "true"}


async def test_what_nobody_was_there_for_is_kept_for_a_while_only(monkeypatch):
    monkeypatch.setattr(news, "KEPT", -1.0)
    async with newsroom() as (made, told):
        for number in range(100):
            made.take(stored(f"s{number}", 1))
        assert len(made._due) <= 1
        made.want(True)
        made.take(stored("end", 1))
        await until(lambda: told)
        await until(lambda: told[-1]["session_id"] == "end")
        assert len(told) <= 2


async def test_who_comes_and_goes_is_told_after_a_moment_and_only_where_there_is_something(monkeypatch):
    async with newsroom(monkeypatch) as (made, told):
        made.look("unwanted")
        made.want(True)
        made.take(stored("s", 1))
        made.look("s")
        await until(lambda: len(told) == 2)
        assert told[1]["metadata"] == {"deleted": "true"}
        empty = Session(id="empty", user_id="ben", epoch="e")
        await made._storage.create(empty)
        made.look("empty")
        made.look("s")
        await until(lambda: len(told) == 3)
        await until(lambda: not made._held and not made._visits)
        assert {update["session_id"] for update in told} == {"s"}


STEPS = st.lists(st.sampled_from(["take", "look", "old", "gone", "nap", "want", "go"]), max_size=25)


@given(STEPS)
def test_whatever_comes_the_last_thing_told_is_the_newest(steps):
    asyncio.run(play(steps))


async def play(steps):
    async with newsroom() as (made, told):
        made._storage = Fixed()
        made.want(True)
        index, gone = 1, False
        for step in steps:
            match step:
                case "take":
                    index += 1
                    made._storage.index = index
                    made.take(stored("s", index))
                case "old" if index > 1:
                    made.take(stored("s", index - 1))
                case "look":
                    made.look("s")
                case "gone":
                    gone, made._storage.index = True, None
                    made.take(Deleted("s"))
                case "nap":
                    for _ in range(5):
                        await asyncio.sleep(0)
                case "want" | "go":
                    made.want(step == "want")
        made.want(True)
        made.take(Deleted("s") if gone else stored("s", index))
        for _ in range(2):
            made._releases = deque((0.0, session_id) for _, session_id in made._releases)
            made._visits = deque((0.0, session_id) for _, session_id in made._visits)
            made._wake.set()
            for _ in range(20):
                await asyncio.sleep(0)
        last = told[-1]
        assert (last.get("metadata") == {"deleted": "true"}) if gone else (last["last_seq"] >> 20 == index)


class Fixed:
    """A store whose session is at an index; None: gone."""

    index = 1

    async def get(self, session_id):
        return None if self.index is None else stored(session_id, self.index).session


async def test_the_telling_store_tells_what_is_durable_and_nothing_else():
    told = []
    storage = TellingStorage(MemoryStorage())
    storage.follow(told.append)
    session = await storage.create(Session(id="s", user_id="ann", epoch="e"))
    entry = stored("s", 1, "hi").entry
    first = await storage.append(entry)
    again = await storage.append(entry)
    assert told == [first, again]
    assert (first.fresh, again.fresh) == (True, False)
    assert await storage.delete(session.id, last_index=0) is False
    assert len(told) == 2
    await storage.delete(session.id)
    assert told[2:] == [Deleted("s")]


async def test_what_nobody_was_there_for_is_forgotten_however_much_came_at_once(monkeypatch):
    monkeypatch.setattr(news, "KEPT", 0.05)
    async with newsroom() as (made, told):
        for number in range(1000):
            made.take(stored(f"s{number}", 1, "one"))
        await until(lambda: not made._due)
        made.want(True)
        made.take(stored("s", 1, "two"))
        await until(lambda: told)
        assert [frame["session_id"] for frame in told] == ["s"]
