"""The registry of open sockets: limits, replacement, draining."""

import asyncio
import time
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.connections import COME_BACK, Connections, Socket
from chatbox.errors import TooManyConnections, Unavailable
from chatbox.metrics import Metrics
from chatbox.protocol import Close
from tests import mutants


class OpenSocket(Socket):
    """A socket that keeps what it was told; ``leave`` plays its reader's end."""

    def __init__(self, user_id="u", session_id="s", client="", missed_ping=False):
        self.user_id, self.session_id, self.client = user_id, session_id, client
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


def registry(limit=100, user_limit=10):
    return Connections(limit, user_limit, Metrics())


def entered(connections, socket):
    socket.stay = ExitStack()
    socket.stay.enter_context(connections.enter(socket))
    connections.settle(socket)
    return socket.stay.close


def test_a_user_has_at_most_so_many_sockets():
    connections = registry(user_limit=2)
    leave = entered(connections, OpenSocket())
    entered(connections, OpenSocket())
    with pytest.raises(TooManyConnections) as caught:
        connections.admit("u")
    assert caught.value.retry_after
    connections.admit("another")
    leave()
    connections.admit("u")


def test_a_full_server_refuses_for_a_while():
    connections = registry(limit=1)
    leave = entered(connections, OpenSocket())
    with pytest.raises(Unavailable):
        connections.admit("another")
    leave()
    connections.admit("another")


def test_sockets_that_missed_a_ping_make_room_first():
    connections = registry(user_limit=1)
    dead = OpenSocket(missed_ping=True)
    leave = entered(connections, dead)
    connections.admit("u")
    assert dead.aborted
    fresh = OpenSocket()
    entered(connections, fresh)
    leave()
    assert len(connections) == 1
    with pytest.raises(TooManyConnections):
        connections.admit("u")


@pytest.mark.readiness(issue=3)
def test_a_newer_socket_of_the_same_tab_replaces_the_older_with_its_code():
    connections = registry()
    old, new = OpenSocket(client="tab"), OpenSocket(client="tab")
    entered(connections, old)
    entered(connections, new)
    assert old.closed_with == Close.REPLACED
    assert new.closed_with is None


@pytest.mark.parametrize("other", [{"client": "tab2"}, {"session_id": "s2"}, {"user_id": "u2"}, {"client": ""}])
def test_nothing_else_replaces_a_socket(other):
    connections = registry()
    old = OpenSocket(client="tab")
    entered(connections, old)
    entered(connections, OpenSocket(**{"client": "tab"} | other))
    assert old.closed_with is None


def late_cleanup_keeps_the_newer_socket(make=registry):
    connections = make()
    old, new, newest = (OpenSocket(client="tab") for _ in range(3))
    leave_old = entered(connections, old)
    entered(connections, new)
    leave_old()
    entered(connections, newest)
    return new.closed_with == Close.REPLACED and len(connections) == 2


@pytest.mark.readiness(issue=3)
def test_the_late_clean_up_of_a_replaced_socket_does_not_remove_the_new_one():
    assert late_cleanup_keeps_the_newer_socket()


class CleanupWithoutCompare(Connections):
    """The defect of old: whoever leaves removes whatever is registered under its name."""

    def _forget(self, socket):
        super()._forget(socket)
        self._clients.pop((socket.user_id, socket.session_id, socket.client), None)


@pytest.mark.readiness(issue=3)
def test_a_clean_up_that_does_not_compare_would_be_found():
    assert not late_cleanup_keeps_the_newer_socket(lambda: CleanupWithoutCompare(100, 10, Metrics()))


@pytest.mark.readiness(issue=3)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", ""]), st.integers(0, 5)), max_size=40))
def test_after_any_coming_and_going_only_those_who_are_there_are_counted(steps):
    connections, there = registry(), []
    for user, client, which in steps:
        if which and there:
            socket, leave = there.pop(which % len(there))
            leave()
            leave()
        else:
            socket = OpenSocket(f"u{user}", client=client)
            there.append((socket, entered(connections, socket)))
        assert len(connections) == len(there)
    for _, leave in there:
        leave()
    assert (len(connections), connections._by_user, connections._clients) == (0, {}, {})


def test_a_tick_reaches_every_socket_and_counts_what_they_sent():
    metrics = Metrics()
    connections = Connections(10, 10, metrics)
    entered(connections, OpenSocket())
    entered(connections, OpenSocket("v"))
    connections.tick()
    assert b"chatbox_messages_sent_total 6.0" in metrics.render()


async def test_the_clock_ticks_until_it_is_cancelled(monkeypatch):
    monkeypatch.setattr("chatbox.connections.TICK", 0.001)
    connections, ticked = registry(), asyncio.Event()
    socket = OpenSocket()
    socket.tick = lambda now: ticked.set() or 0
    entered(connections, socket)
    task = asyncio.create_task(connections.run())
    async with asyncio.timeout(5):
        await ticked.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


def test_draining_refuses_new_sockets_and_spreads_the_return_of_the_others():
    connections = registry(limit=1000, user_limit=1000)
    sockets = [OpenSocket() for _ in range(200)]
    for socket in sockets:
        entered(connections, socket)
    connections.warn()
    with pytest.raises(Unavailable):
        connections.admit("u")
    waits = [int(metadata["retry_after"]) for socket in sockets for event, metadata in socket.hints if event == "drain"]
    assert len(waits) == 200
    assert all(0 <= wait < COME_BACK for wait in waits)
    assert len(set(waits)) > 50


class Crowd:
    """Sockets of one registry whose clients leave together: when each of them has been told to."""

    def __init__(self, connections, count):
        self.sockets = [OpenSocket() for _ in range(count)]
        self.leave = [entered(connections, socket) for socket in self.sockets]
        for socket in self.sockets:
            socket.close = lambda code, reason, socket=socket: self.told(socket, code)

    def told(self, socket, code):
        socket.closed_with = code
        if all(other.closed_with for other in self.sockets):
            for leave in self.leave:
                leave()


async def check_side_by_side(count, make=registry):
    """All sockets are told before any has left, and nothing waits any longer than for the last of them."""
    connections = make()
    crowd = Crowd(connections, count)
    async with asyncio.timeout(30):
        await connections.close_all(time.monotonic() + 60)
    assert len(connections) == 0
    assert all(socket.closed_with == Close.DRAINING and not socket.aborted for socket in crowd.sockets)


async def check_deadline(count, seconds, make=registry, patience=10):
    """Sockets that stay are dropped at the deadline."""
    connections = make()
    sockets = [OpenSocket() for _ in range(count)]
    for socket in sockets:
        entered(connections, socket)
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
        for delay in delays:
            asyncio.get_running_loop().call_later(delay, entered(connections, OpenSocket()))
        async with asyncio.timeout(30):
            await connections.close_all(time.monotonic() + 60)
        return connections

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
    return lambda: kind(1000, 1000, Metrics())


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
