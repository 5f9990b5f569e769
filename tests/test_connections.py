"""The registry of open sockets: limits, draining."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import count as numbers

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.access import Access, Gate
from chatbox.auth import Authenticator
from chatbox.backplane.base import Pool
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.connection import Connection
from chatbox.connections import COME_BACK, SOCKETS, Connections, Socket
from chatbox.errors import TooManyConnections, Unavailable
from chatbox.hub import Hub
from chatbox.metrics import Metrics
from chatbox.outbox import Line
from chatbox.protocol import Close
from chatbox.sockets import Accepted, Handshake
from chatbox.storage.memory import MemoryStorage
from chatbox.tasks import Tasks
from tests import mutants
from tests.live import SECRET
from tests.world import principal

ids = numbers()


class OpenSocket(Socket):
    """A socket that keeps what it was told."""

    def __init__(self, user_id="u", missed_ping=False):
        self.id = f"socket {next(ids)}"
        self.user_id = user_id
        self.silent = missed_ping
        self.closed_with = None
        self.aborted = False
        self.hints = []

    @property
    def missed_ping(self):
        return self.silent

    def close(self, code, reason):
        self.closed_with = self.closed_with or code

    def abort(self):
        self.aborted = True

    def hint(self, event, **metadata):
        self.hints.append((event, metadata))

    def tick(self, now):
        return 3


def shared(user_limit):
    return MemoryQuotas({}, {SOCKETS: Pool(user_limit)})


def registry(limit=1000, user_limit=1000, kind=Connections):
    return kind(limit, shared(user_limit), Metrics())


async def entered(connections, socket=None):
    """A socket comes in; what is returned plays its reader's end."""
    socket = socket or OpenSocket()
    async with AsyncExitStack() as stay:
        await stay.enter_async_context(connections.place(socket.user_id, socket.id))
        stay.enter_context(connections.enter(socket))
        socket.stay = stay.pop_all()
    return socket.stay.aclose


async def is_welcome(connections, user_id="u"):
    leave = await entered(connections, OpenSocket(user_id))
    await leave()


async def test_a_user_has_at_most_so_many_sockets():
    connections = registry(user_limit=2)
    leave = await entered(connections)
    await entered(connections)
    with pytest.raises(TooManyConnections) as caught:
        await entered(connections)
    assert caught.value.retry_after
    await is_welcome(connections, "another")
    await leave()
    await is_welcome(connections)


async def test_a_users_sockets_count_wherever_they_are():
    quotas = shared(2)
    here, there = (Connections(100, quotas, Metrics()) for _ in range(2))
    await entered(here)
    leave = await entered(there)
    for replica in (here, there):
        with pytest.raises(TooManyConnections):
            await entered(replica)
    await leave()
    await is_welcome(here)


async def test_a_full_server_refuses_for_a_while():
    connections = registry(limit=1)
    leave = await entered(connections)
    with pytest.raises(Unavailable):
        await entered(connections, OpenSocket("another"))
    await leave()
    await is_welcome(connections, "another")


async def test_who_is_refused_takes_no_place_and_gives_up_nobody_elses():
    connections = registry(limit=2, user_limit=1)
    leave = await entered(connections)
    for _ in range(3):
        with pytest.raises(TooManyConnections):
            await entered(connections)
    assert len(connections) == 1
    await is_welcome(connections, "another")
    await leave()
    async with asyncio.timeout(5):
        await connections.close_all(time.monotonic() + 60)


async def test_sockets_that_missed_a_ping_make_room_first():
    connections = registry(user_limit=1)
    dead = OpenSocket(missed_ping=True)
    leave_dead = await entered(connections, dead)
    leave = await entered(connections)
    assert dead.aborted
    await leave_dead()
    assert len(connections) == 1
    with pytest.raises(TooManyConnections):
        await entered(connections)
    await leave()
    await is_welcome(connections)


async def late_cleanup_keeps_the_newer_socket(kind=Connections):
    """A dead socket made room for a newer one; its reader ends only now."""
    connections = registry(user_limit=1, kind=kind)
    leave_dead = await entered(connections, OpenSocket(missed_ping=True))
    newer = OpenSocket()
    await entered(connections, newer)
    await leave_dead()
    connections.warn()
    assert len(newer.hints) == len(connections) == 1
    assert await connections._quotas.members(SOCKETS, "u") == {newer.id}


@pytest.mark.readiness(issue=3)
async def test_the_late_clean_up_of_a_dropped_socket_does_not_remove_the_new_one():
    await late_cleanup_keeps_the_newer_socket()


class CleanupWithoutCompare(Connections):
    """The defect of old: whoever leaves removes whatever is registered under its name."""

    def _forget(self, socket):
        self._by_user.pop(socket.user_id, None)


@pytest.mark.readiness(issue=3)
async def test_a_clean_up_that_does_not_compare_would_be_found():
    with mutants.found():
        await late_cleanup_keeps_the_newer_socket(CleanupWithoutCompare)


@pytest.mark.readiness(issue=3)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=40))
def test_after_any_coming_and_going_only_those_who_are_there_are_counted(steps):
    async def play():
        connections, there = registry(), []
        for user, which in steps:
            if which and there:
                _, leave = there.pop(which % len(there))
                await leave()
                await leave()
            else:
                socket = OpenSocket(f"u{user}")
                there.append((socket, await entered(connections, socket)))
            assert len(connections) == len(there)
            for one in range(3):
                own = {socket.id for socket, _ in there if socket.user_id == f"u{one}"}
                assert await connections._quotas.members(SOCKETS, f"u{one}") == own
        for _, leave in there:
            await leave()
        assert (len(connections), connections._by_user, connections._quotas._pools[SOCKETS]._keys) == (0, {}, {})

    asyncio.run(play())


async def test_a_tick_reaches_every_socket_and_counts_what_they_sent():
    metrics = Metrics()
    connections = Connections(10, shared(10), metrics)
    await entered(connections)
    await entered(connections, OpenSocket("v"))
    connections.tick()
    assert b"chatbox_messages_sent_total 6.0" in metrics.render()


async def test_the_clock_ticks_until_it_is_cancelled(monkeypatch):
    monkeypatch.setattr("chatbox.connections.TICK", 0.001)
    connections, ticked = registry(), asyncio.Event()
    socket = OpenSocket()
    socket.tick = lambda now: ticked.set() or 0
    await entered(connections, socket)
    task = asyncio.create_task(connections.run())
    async with asyncio.timeout(5):
        await ticked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_draining_refuses_new_sockets_and_spreads_the_return_of_the_others():
    connections = registry()
    sockets = [OpenSocket() for _ in range(200)]
    for socket in sockets:
        await entered(connections, socket)
    connections.warn()
    with pytest.raises(Unavailable):
        await entered(connections)
    waits = [int(metadata["retry_after"]) for socket in sockets for event, metadata in socket.hints if event == "drain"]
    assert len(waits) == 200
    assert all(0 <= wait < COME_BACK for wait in waits)
    assert len(set(waits)) > 50


class SlowQuotas(MemoryQuotas):
    """Takes its time for whoever wants to become a member."""

    def __init__(self, gate):
        super().__init__({}, {SOCKETS: Pool()})
        self.asked, self.gate = asyncio.Event(), gate

    async def enter(self, pool, key, member):
        self.asked.set()
        await self.gate.wait()
        return await super().enter(pool, key, member)


async def test_a_socket_is_told_nothing_before_its_first_frame():
    sent = []

    async def send(message):
        sent.append(message)

    async with Tasks() as tasks:
        storage, backplane = MemoryStorage(), MemoryBackplane()
        access = Access(storage.records, Hub(storage, backplane, tasks), backplane)
        request = Handshake({"headers": []}, query_token=False)
        accepted = Accepted("s", principal(), request, send, Line())
        socket = Connection(accepted, Gate(Authenticator(secret=SECRET), access), tasks)
        socket.hint("drain")
        socket.session_id = "attached"
        socket.hint("drain")
        while len(tasks):
            await asyncio.sleep(0)
    assert len(sent) == 1


async def test_a_socket_on_its_way_in_when_draining_begins_is_refused_too():
    quotas = SlowQuotas(asyncio.Event())
    connections = Connections(100, quotas, Metrics())
    entering = asyncio.create_task(entered(connections))
    await quotas.asked.wait()
    connections.warn()
    quotas.gate.set()
    with pytest.raises(Unavailable):
        await entering
    assert (len(connections), await quotas.members(SOCKETS, "u")) == (0, set())


class Crowd:
    """Sockets of one registry whose clients leave together: when each of them has been told to."""

    def __init__(self, sockets, readers):
        self.sockets, self.readers = sockets, readers
        self.leaving = []
        for socket in sockets:
            socket.close = lambda code, reason, socket=socket: self.told(socket, code)

    @classmethod
    async def of(cls, connections, count):
        sockets = [OpenSocket() for _ in range(count)]
        return cls(sockets, [await entered(connections, socket) for socket in sockets])

    def told(self, socket, code):
        socket.closed_with = code
        if all(other.closed_with for other in self.sockets):
            self.leaving = [asyncio.ensure_future(leave()) for leave in self.readers]


async def check_side_by_side(count, make=registry):
    """All sockets are told before any has left, and nothing waits any longer than for the last of them."""
    connections = make()
    crowd = await Crowd.of(connections, count)
    async with asyncio.timeout(30):
        await connections.close_all(time.monotonic() + 60)
    assert len(connections) == 0
    assert all(socket.closed_with == Close.DRAINING and not socket.aborted for socket in crowd.sockets)


async def check_deadline(count, seconds, make=registry, patience=10):
    """Sockets that stay are dropped at the deadline."""
    connections = make()
    sockets = [OpenSocket() for _ in range(count)]
    for socket in sockets:
        await entered(connections, socket)
    async with asyncio.timeout(patience):
        await connections.close_all(time.monotonic() + seconds)
    assert all(socket.closed_with == Close.DRAINING and socket.aborted for socket in sockets)


@pytest.mark.readiness(issue=15)
@settings(max_examples=100)
@given(st.integers(0, 300))
def test_all_sockets_are_closed_at_once_however_many_there_are(count):
    asyncio.run(check_side_by_side(count))


@pytest.mark.readiness(issue=15)
@settings(max_examples=100)
@given(st.lists(st.floats(0, 0.01), max_size=30))
def test_closing_is_over_when_the_last_client_has_left(delays):
    async def play():
        connections = registry()
        leaving = [asyncio.ensure_future(stay(delay, await entered(connections))) for delay in delays]
        async with asyncio.timeout(30):
            await connections.close_all(time.monotonic() + 60)
            await asyncio.gather(*leaving)
        return connections

    async def stay(delay, leave):
        await asyncio.sleep(delay)
        await leave()

    assert len(asyncio.run(play())) == 0


@pytest.mark.readiness(issue=15)
@settings(max_examples=100)
@given(st.integers(1, 20), st.floats(-1, 0.01))
def test_sockets_that_stay_are_dropped_at_the_deadline(count, seconds):
    asyncio.run(check_deadline(count, seconds))


class ClosesOneByOne(Connections):
    async def close_all(self, deadline):
        for socket in self._all():
            socket.close(Close.DRAINING, "the server is going down")
            while socket in self._all() and time.monotonic() < deadline:
                await asyncio.sleep(0.01)


class ForgetsItsDeadline(Connections):
    async def close_all(self, deadline):
        await super().close_all(deadline + 3600)


class DropsNobody(Connections):
    async def close_all(self, deadline):
        for socket in self._all():
            socket.close(Close.DRAINING, "the server is going down")


def defective(kind):
    return lambda: registry(kind=kind)


@pytest.mark.readiness(issue=15)
async def test_sockets_closed_one_by_one_would_be_found():
    with mutants.found():
        async with asyncio.timeout(0.5):
            await check_side_by_side(2, defective(ClosesOneByOne))


@pytest.mark.readiness(issue=15)
@pytest.mark.parametrize("kind", [ForgetsItsDeadline, DropsNobody])
async def test_a_shutdown_that_ignores_its_deadline_would_be_found(kind):
    with mutants.found():
        await check_deadline(2, 0.01, defective(kind), patience=0.5)
