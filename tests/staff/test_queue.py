"""The waiting queue, against the store: whatever happens and however the news of it come."""

import asyncio
import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.backplane.base import Behind
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.entries import staff_entry, system_entry
from chatbox.errors import Fenced
from chatbox.hub import Hub
from chatbox.session import Change, Help, Kind, Session, Staff
from chatbox.staff import news
from chatbox.staff.board import Board
from chatbox.staff.news import News
from chatbox.staff.presence import Presence
from chatbox.staff.view import Views
from chatbox.storage.base import SessionQuery
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.telling import TellingStorage
from chatbox.tasks import Tasks
from tests import mutants
from tests.staff.seats import quotas, staff
from tests.storage.values import ring

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["ask", "ask", "told", "cancel", "join", "leave", "say", "delete", "nap"])
    ),
    max_size=25,
)


class Screen:
    """A staff socket that only looks."""

    id = "screen"
    principal = staff("bea")

    def __init__(self):
        self.frames = []

    def send(self, frame):
        self.frames.append(frame)

    def hint(self, event):
        self.frames.append(event)


class Unsure(MemoryBackplane):
    """News come late, twice, in another order, and where it is ``lossy`` not at all: then that is said at the end."""

    def __init__(self, bus, seed, lossy):
        super().__init__(bus)
        self.random = random.Random(seed)
        self.lossy = lossy
        self.late = []
        self.steady = False

    def connect(self, receiver):
        def heard(topic, event):
            if self.steady or topic != news.TOPIC:
                receiver(topic, event)
                return
            self.late += [event] * self.random.choice([1 - self.lossy, 1, 1, 1, 2])
            self.random.shuffle(self.late)
            while self.late and self.random.random() < 0.6:
                receiver(topic, self.late.pop())

        super().connect(heard)

    def settle(self):
        self.steady = True
        for event in self.late:
            self._receiver(news.TOPIC, event)
        if self.lossy:
            self._receiver(news.TOPIC, Behind())


@given(STEPS, st.integers(0, 10_000), st.booleans())
def test_the_queue_is_what_the_store_says(steps, seed, lossy):
    asyncio.run(play(steps, seed, lossy))


async def play(steps, seed, lossy):
    bus, numbers = MemoryBus(), count()
    storage = TellingStorage(MemoryStorage())
    ours, theirs, shared = MemoryBackplane(bus), Unsure(bus, seed, lossy), quotas()
    async with Tasks() as tasks:
        told = News(storage, ours, Views(shared))
        storage.follow(told.take)
        Hub(storage, ours, tasks)
        hub, views = Hub(storage, theirs, tasks), Views(shared)
        board = Board(storage, theirs, hub, Presence(shared, ring("new")), views, News(storage, theirs, views), tasks)
        for work in (told.run, board.run_queue):
            tasks.keep(work, "work")
        screen = Screen()
        for number in range(3):
            await storage.create(Session(id=f"s{number}", user_id=f"u{number}", epoch="e"))
        await board.enter(screen)
        told.want(True)
        for who, what in steps:
            await once(storage, f"s{who}", what, f"m{next(numbers)}")
            await rest(told)
        await rest(told, 30)
        theirs.settle()
        await rest(told, 30)
        waiting = await storage.find(SessionQuery(waiting=True))
        assert {view["id"] for view in board.waiting.sessions} == {session.id for session in waiting}
        since = [view["help_since"] for view in board.waiting.sessions]
        assert since == sorted(since)


async def rest(told, turns=3):
    """Let everything run; what is held back is released."""
    for _ in range(turns):
        told._releases = type(told._releases)((0.0, session_id) for _, session_id in told._releases)
        told._wake.set()
        await asyncio.sleep(0)


async def once(storage, session_id, what, message_id):
    note = system_entry(session_id, Kind.NOTIFICATION, message_id, {"event": "help_state"})
    if await storage.get(session_id) is None:
        return
    try:
        match what:
            case "ask":
                await storage.append(note, Change(help_state=Help.ASKED, active=True, by=""))
            case "told":
                await storage.append(note, Change(help_state=Help.TOLD, by=""))
            case "cancel":
                await storage.append(note, Change(help_state=Help.NONE, by=""))
            case "join":
                entry = staff_entry(Staff("cy", "Cy"), session_id, Kind.ADMIN_JOIN, message_id)
                await storage.append(entry, Change(joins="cy", admin_name="Cy"))
            case "leave":
                entry = staff_entry(Staff("cy", "Cy"), session_id, Kind.ADMIN_LEAVE, message_id)
                await storage.append(entry, Change(leaves=True, by="cy"))
            case "say":
                await storage.append(system_entry(session_id, Kind.USER_MESSAGE, message_id, {}), Change())
            case "delete":
                await storage.delete(session_id)
    except Fenced:
        pass


@given(st.integers(0, 40), st.integers(0, 40))
def test_who_enters_while_somebody_asks_for_help_has_them_in_the_queue(before, after):
    asyncio.run(enter_while_asking(before, after))


async def enter_while_asking(before, after):
    storage, plane, shared = TellingStorage(Slow()), MemoryBackplane(), Slowly(quotas())
    async with Tasks() as tasks:
        hub, views = Hub(storage, plane, tasks), Views(shared)
        told = News(storage, plane, views)
        storage.follow(told.take)
        board = Board(storage, plane, hub, Presence(shared, ring("new")), views, told, tasks)
        tasks.keep(told.run, "news")
        await storage.create(Session(id="s", user_id="ann", epoch="e"))
        told.want(True)
        entering = asyncio.ensure_future(board.enter(Screen()))
        for _ in range(before):
            await asyncio.sleep(0)
        await once(storage, "s", "ask", "m1")
        await rest(told, after)
        if after % 2:
            await once(storage, "s", "cancel", "m2")
        await entering
        await rest(told, 30)
        assert board.waiting.total == (after + 1) % 2


class Slow(MemoryStorage):
    """Takes a few turns of the loop to find sessions."""

    async def find(self, query):
        for _ in range(3):
            await asyncio.sleep(0)
        found = await super().find(query)
        for _ in range(3):
            await asyncio.sleep(0)
        return found


class Slowly:
    """Counts that take a few turns of the loop."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        async def call(*args):
            await asyncio.sleep(0)
            found = await getattr(self._inner, name)(*args)
            await asyncio.sleep(0)
            return found

        return call


def test_a_board_that_believes_whatever_comes_last_would_be_found(monkeypatch):
    monkeypatch.setattr(Board, "_remember", lambda self, told: self._seen.clear())
    steps = [(0, "ask"), (0, "join"), (1, "ask"), (0, "leave"), (1, "cancel"), (0, "ask"), (0, "cancel")] * 2
    with mutants.found():
        for seed in range(200):
            asyncio.run(play(steps, seed, False))


def test_a_board_that_does_not_look_again_would_be_found(monkeypatch):
    async def nothing(self):
        pass

    monkeypatch.setattr(Board, "_read_again", nothing)
    with mutants.found():
        for seed in range(200):
            asyncio.run(play([(0, "ask"), (1, "ask"), (0, "cancel")], seed, True))


@pytest.mark.parametrize("lossy", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_many_seeds_of_one_long_story(seed, lossy):
    story = [
        (number % 3, what) for number, what in enumerate(["ask", "say", "told", "join", "leave", "ask", "cancel"] * 4)
    ]
    asyncio.run(play(story, seed, lossy))
