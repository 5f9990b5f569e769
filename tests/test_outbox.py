"""What a socket still has to send: at once, or in order, merged, bounded."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox import protocol
from chatbox.backplane.base import Piece
from chatbox.outbox import MAX_BYTES, Line, Outbox
from chatbox.protocol import Close, Frame
from chatbox.tasks import Tasks

HEAD = protocol.piece_head("s", "a")


class Socket(Line):
    """Both ways to one socket: its line and its ASGI ``send``. ``open`` lets frames pass."""

    def __init__(self, *, offers=True, broken=False):
        self.open = asyncio.Event()
        self.open.set()
        self.offers = offers
        self.broken = broken
        self.received = []

    def offer(self, frame):
        if not self.offers or not self.open.is_set():
            return False
        self.received.append(text_of(frame))
        return True

    async def send(self, message):
        await self.open.wait()
        if self.broken:
            raise ConnectionResetError
        self.received.append(message["code"] if message["type"] == "websocket.close" else message["text"])


def text_of(wire):
    return wire[{126: 4, 127: 10}.get(wire[1], 2) :].decode()


def piece(number, text="x"):
    made = Piece("a", number, text)
    return protocol.piece(HEAD, number, number - 1, text), "s", number - 1, made


async def flushed(tasks):
    async with asyncio.timeout(5):
        while len(tasks):
            await asyncio.sleep(0)


async def test_an_open_line_gets_each_frame_at_once_and_without_a_task():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        outbox.put(Frame("1"))
        outbox.put_piece(*piece(7))
        assert socket.received == ["1", piece(7)[0]]
        assert not len(tasks)
        assert outbox.sent == 2


async def test_a_server_without_lines_gets_everything_in_order_through_send():
    async with Tasks() as tasks:
        socket = Socket(offers=False)
        outbox = Outbox(socket, socket.send, tasks)
        for number in range(20):
            outbox.put(Frame(str(number)))
        outbox.close(1000, "bye")
        await flushed(tasks)
        assert socket.received == [*map(str, range(20)), 1000]


async def test_pieces_that_wait_are_merged_and_nothing_else_is_reordered():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        for number in (11, 12, 13):
            outbox.put_piece(*piece(number, str(number)))
        outbox.put(Frame('"between"'))
        outbox.put_piece(*piece(14, "14"))
        await asyncio.sleep(0)
        socket.open.set()
        await flushed(tasks)
        frames = [json.loads(frame) for frame in socket.received]
        assert frames[1] == "between"
        merged = frames[0]
        assert (merged["content"], merged["seq"], merged["prev"]) == ("111213", 13, 10)
        assert (frames[2]["content"], frames[2]["seq"]) == ("14", 14)


def piece_of(session_id, number, text="x"):
    made = Piece(f"answer of {session_id}", number, text)
    head = protocol.piece_head(session_id, made.answer_id)
    return protocol.piece(head, number, number - 1, text), session_id, number - 1, made


async def test_pieces_of_several_sessions_that_wait_are_merged_each_with_its_own():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        for number in range(10, 20):
            outbox.put_piece(*piece_of("s", number, f"s{number} "))
            outbox.put_piece(*piece_of("t", number, f"t{number} "))
            outbox.put(Frame('{"type":"pong"}'), "")
        outbox.put(Frame('{"type":"user_message"}'), "t")
        for number in range(20, 25):
            outbox.put_piece(*piece_of("s", number, f"s{number} "))
            outbox.put_piece(*piece_of("t", number, f"t{number} "))
        socket.open.set()
        await flushed(tasks)
        frames = [frame for frame in map(json.loads, socket.received) if frame["type"] != "pong"]
        assert [frame.get("session_id") for frame in frames] == ["s", "t", None, "t"]
        assert [
            frame["content"].split()[:: len(frame["content"].split()) - 1] for frame in frames if "seq" in frame
        ] == [
            ["s10", "s24"],
            ["t10", "t19"],
            ["t20", "t24"],
        ]


async def test_who_has_much_to_send_can_wait_until_less_waits():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        await outbox.below(0)
        socket.open.clear()
        for _ in range(10):
            outbox.put(Frame("x" * 100))
        waiting = tasks.start(outbox.below(500), "waiting")
        await asyncio.sleep(0)
        assert not waiting.done()
        socket.open.set()
        await waiting
        assert outbox.size <= 500
        socket.open.clear()
        outbox.put(Frame("x" * 1000))
        waiting = tasks.start(outbox.below(500), "waiting")
        await asyncio.sleep(0)
        socket.broken = True
        socket.open.set()
        await waiting
        assert outbox.closing


async def test_nobody_waits_for_a_socket_that_is_gone():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        outbox.put(Frame("x" * 1000))
        waiting = tasks.start(outbox.below(500), "waiting")
        await asyncio.sleep(0)
        outbox.leave()
        await waiting
        await outbox.below(500)
        socket.open.set()


async def test_what_was_dropped_because_the_line_was_too_slow_is_counted():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        while not outbox.closing:
            outbox.put(Frame("x" * 100_000))
        assert outbox.dropped == MAX_BYTES // 100_000 + 1
        socket.open.set()


async def test_pieces_of_two_answers_are_not_merged():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        outbox.put_piece(*piece(11))
        other = Piece("b", 12, "y")
        outbox.put_piece(protocol.piece(protocol.piece_head("s", "b"), 12, 11, "y"), "s", 11, other)
        socket.open.set()
        await flushed(tasks)
        assert [json.loads(frame)["message_id"] for frame in socket.received] == ["a", "b"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["put", "piece", "open", "shut", "turn"]), max_size=60))
def test_whatever_the_line_does_the_client_gets_every_position_once_and_in_order(steps):
    async def play():
        async with Tasks() as tasks:
            socket, position, said = Socket(), 0, ""
            outbox = Outbox(socket, socket.send, tasks)
            for step in steps:
                match step:
                    case "put":
                        position += 1
                        outbox.put(Frame(json.dumps({"seq": position, "prev": position - 1})))
                    case "piece":
                        position += 1
                        said += chr(97 + position % 26)
                        outbox.put_piece(*piece(position, chr(97 + position % 26)))
                    case "open":
                        socket.open.set()
                    case "shut":
                        socket.open.clear()
                    case "turn":
                        await asyncio.sleep(0)
            socket.open.set()
            await flushed(tasks)
            return [json.loads(frame) for frame in socket.received], position, said

    frames, position, said = asyncio.run(play())
    last = 0
    for frame in frames:
        assert frame.get("prev", frame["seq"] - 1) == last
        last = frame["seq"]
    assert last == position
    assert "".join(frame.get("content", "") for frame in frames) == said


async def test_a_socket_that_takes_nothing_is_closed_as_too_slow_and_its_queue_is_dropped():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        frame = Frame("x" * 100_000)
        for _ in range(MAX_BYTES // 100_000 + 2):
            outbox.put(frame)
        assert outbox.closing
        outbox.put(frame)
        socket.open.set()
        await flushed(tasks)
        assert socket.received[-1] == Close.TOO_SLOW
        assert len(socket.received) <= 2


async def test_merged_pieces_count_against_the_bound_too():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        number = 0
        while not outbox.closing:
            number += 1
            outbox.put_piece(*piece(number, "x" * 100_000))
        assert number <= MAX_BYTES // 100_000 + 2
        socket.open.set()
        await flushed(tasks)
        assert socket.received[-1] == Close.TOO_SLOW


async def test_the_bound_is_on_what_waits_and_not_on_what_has_ever_waited():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        for _ in range(3):
            socket.open.clear()
            for _ in range(MAX_BYTES // 2 // 100_000):
                outbox.put(Frame("x" * 100_000))
            socket.open.set()
            await flushed(tasks)
        assert not outbox.closing
        assert outbox.size == 0


@pytest.mark.parametrize("offers", [True, False])
async def test_a_line_that_breaks_ends_the_outbox_without_an_error(offers):
    async with Tasks() as tasks:
        socket = Socket(offers=offers, broken=True)
        outbox = Outbox(socket, socket.send, tasks)
        socket.open.clear()
        outbox.put(Frame("1"))
        socket.open.set()
        await flushed(tasks)
        outbox.put(Frame("2"))
        assert outbox.closing
        assert socket.received == []
        assert tasks.failed == 0


async def test_the_first_close_code_counts():
    async with Tasks() as tasks:
        socket = Socket()
        outbox = Outbox(socket, socket.send, tasks)
        outbox.close(1000, "first")
        outbox.close(1001, "second")
        await flushed(tasks)
        assert socket.received == [1000]
