"""The proxies do to lines what they say, and nothing else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.bus import Bus
from tests.proxy import TO_CLIENT, TO_SERVER, Link, Proxy


@asynccontextmanager
async def echo(prefix=b""):
    """A server that says everything again."""

    async def serve(reader, writer):
        while data := await reader.read(1000):
            writer.write(prefix + data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def line(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said(reader, writer, data, count):
    writer.write(data)
    async with asyncio.timeout(10):
        return await reader.readexactly(count)


async def silent(reader):
    """Whether nothing comes, not even an end."""
    try:
        await asyncio.wait_for(reader.read(1), 0.1)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("place", [0, 1, 5, 9])
async def test_a_gentle_cut_passes_so_many_bytes_and_not_one_more(place):
    async with echo() as port, Proxy(port) as proxy, line(proxy) as (reader, writer):
        assert await said(reader, writer, b"hello", 5) == b"hello"
        proxy.gentle = True
        proxy.cut_in(place)
        writer.write(b"0123456789")
        assert await asyncio.wait_for(reader.read(), 10) == b"0123456789"[:place]
        assert proxy.cuts == 1


async def test_a_cut_of_what_is_sent_reaches_the_server_with_so_many_bytes():
    async with echo() as port, Proxy(port) as proxy:
        proxy.cut_sent_after = [3]
        proxy.gentle = True
        async with line(proxy) as (reader, writer):
            writer.write(b"0123456789")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(10), 10)
        assert proxy.carried[TO_SERVER] == 3


async def test_a_half_open_line_says_nothing_and_new_lines_do():
    async with echo() as port, Proxy(port) as proxy, line(proxy) as (reader, writer):
        assert await said(reader, writer, b"a", 1) == b"a"
        proxy.freeze()
        writer.write(b"b")
        assert await silent(reader)
        async with line(proxy) as (other, sink):
            assert await said(other, sink, b"c", 1) == b"c"
        assert proxy.frozen == 1


@pytest.mark.parametrize(("way", "heard"), [(TO_SERVER, 1), (TO_CLIENT, 2)])
async def test_one_direction_may_be_lost(way, heard):
    async with echo() as port, Proxy(port) as proxy, line(proxy) as (reader, writer):
        assert await said(reader, writer, b"a", 1) == b"a"
        proxy.dropping = {way}
        writer.write(b"b")
        assert await silent(reader)
        assert proxy.carried[TO_SERVER] >= heard


async def test_what_a_hole_holds_comes_when_it_is_closed():
    async with echo() as port, Proxy(port) as proxy, line(proxy) as (reader, writer):
        proxy.hole = True
        writer.write(b"later")
        assert await silent(reader)
        proxy.hole = False
        assert await asyncio.wait_for(reader.readexactly(5), 10) == b"later"


async def test_lines_go_round_over_the_targets_past_those_that_do_not_answer():
    async with echo(b"1") as one, echo(b"2") as two, Proxy(one, two, free_port()) as proxy:
        heard = []
        for _ in range(6):
            async with line(proxy) as (reader, writer):
                heard.append(await said(reader, writer, b"x", 2))
        assert {b"1x", b"2x"} == set(heard)
        assert proxy.accepted == 6


def free_port():
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# -- what Redis delivers ---------------------------------------------------------------------------------------------


def array(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def subscribed(bus):
    link = Link(None, None, {})
    assert bus.passed(link, TO_SERVER, array(b"SUBSCRIBE", b"node")) == array(b"SUBSCRIBE", b"node")
    return link


PAYLOADS = st.lists(st.binary(max_size=40) | st.sampled_from([b"\r\n", b"*3\r\n$7\r\nmessage\r\n", b""]), max_size=12)


@given(payloads=PAYLOADS, cuts=st.lists(st.integers(1, 60)))
def test_messages_pass_whole_however_their_bytes_come(payloads, cuts):
    bus = Bus(Random(1))
    link = subscribed(bus)
    stream = array(b"subscribe", b"node") + b"".join(array(b"message", b"node", p) for p in payloads)
    out, at = b"", 0
    for size in [*cuts, len(stream)]:
        out += bus.passed(link, TO_CLIENT, stream[at : at + size])
        at += size
    assert out == stream
    assert bus.counts["messages"] == len(payloads)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("lost", []),
        ("doubled", [b"1", b"1", b"2", b"2", b"3", b"3"]),
        ("late", [b"1", b"2"]),
        ("none", [b"1", b"2", b"3"]),
    ],
)
def test_messages_are_lost_doubled_or_late_and_replies_and_probes_are_not(share, expected):
    bus = Bus(Random(1))
    link = subscribed(bus)
    setattr(bus, share, 1.0)
    out = b"".join(bus.passed(link, TO_CLIENT, array(b"message", b"node", text)) for text in (b"1", b"2", b"3"))
    assert out == b"".join(array(b"message", b"node", text) for text in expected)
    for other in (b":1\r\n", b"+PONG\r\n", array(b"subscribe", b"node")):
        assert bus.passed(link, TO_CLIENT, other) == other
    assert bus.passed(link, TO_CLIENT, array(b"message", b"node", b"probe")).endswith(b"probe\r\n")


def test_a_deaf_subscription_hears_replies_only_and_other_lines_are_not_touched():
    bus = Bus(Random(1))
    link, commands = subscribed(bus), Link(None, None, {})
    bus.deaf = True
    assert bus.passed(link, TO_CLIENT, array(b"message", b"node", b"probe") + b"+PONG\r\n") == b"+PONG\r\n"
    assert bus.passed(link, TO_CLIENT, array(b"message", b"node", b"1")) == b""
    assert bus.passed(commands, TO_CLIENT, array(b"message", b"node", b"1")) == array(b"message", b"node", b"1")
