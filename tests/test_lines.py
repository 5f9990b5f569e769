"""What one peer may take of the server: in time, in bytes, in frames. And that nobody else notices."""

import asyncio
import gc
import json
import time
import tracemalloc

import pytest

from chatbox import lines
from chatbox.protocol import Close
from tests import mutants
from tests.live import running
from tests.rawsocket import (
    CLOSE,
    CONTINUATION,
    FIN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    UPGRADE,
    connection,
    frame,
    head,
    upgraded,
)  # fmt: skip

PROTOCOL_ERROR, NOT_UTF8 = 1002, 1007
ASK = frame(TEXT, b'{"type":"ping","message_id":"p"}')
PLAIN = {"Accept": "*/*"}


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path) as server:
        yield server


async def still_serves(live):
    async with live.socket("bob") as bob:
        await bob.next()
        await bob.say("ping", message_id="p")
        assert (await bob.next("pong"))["message_id"] == "p"


async def settled(live, sockets=0):
    async with asyncio.timeout(20):
        while len(live.app.connections) != sockets:
            await asyncio.sleep(0.01)


# -- the handshake -----------------------------------------------------------------------------------------------------

WITHOUT_KEY = {name: value for name, value in UPGRADE.items() if name != "Sec-WebSocket-Key"}
BODY = ("Content-Length: 3",)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head("/chatbox/ws", version="HTTP/1.0"), 400),
        (head("/chatbox/ws", method="POST"), 405),
        (head("/chatbox/ws", *BODY, method="POST") + b"abc", 400),
        (head("/chatbox/ws", *BODY) + b"abc", 400),
        (head("/chatbox/ws", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n", 400),
        (head("/chatbox/ws", fields=WITHOUT_KEY), 400),
        (head("/chatbox/ws", fields=UPGRADE | {"Sec-WebSocket-Key": "short"}), 400),
        (head("/chatbox/ws", f"Sec-WebSocket-Key: {UPGRADE['Sec-WebSocket-Key']}"), 400),
        (head("/chatbox/ws", fields=UPGRADE | {"Sec-WebSocket-Version": "8"}), 400),
        (head("/chatbox/ws", fields=PLAIN), 404),
        (head("/chatbox/ws", user=None), 401),
        (head("/chatbox/healthz", fields=PLAIN) + head("/chatbox/ws"), 400),
        (head("/chatbox/ws?session_id=\xff"), 400),
        (frame(TEXT, b"hello"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=[
        "HTTP/1.0", "POST", "POST with a body", "with a body", "with chunks", "no key", "a short key", "two keys",
        "version 8", "no upgrade", "no token", "before the last answer", "bytes beyond ASCII", "a frame", "TLS",
    ],
)  # fmt: skip
async def test_what_is_no_handshake_is_answered_and_nothing_is_left_of_it(live, sent, status):
    async with connection(live) as raw:
        raw.write(sent)
        found, text = await raw.response()
        assert found == status, text
        if status != 404:
            await raw.ended()
    await settled(live)
    await still_serves(live)


async def test_another_upgrade_is_not_taken_and_the_request_is_answered(live):
    async with connection(live) as raw:
        raw.write(head("/chatbox/healthz", "Upgrade: h2c", "Connection: Upgrade", fields=PLAIN))
        assert (await raw.response())[0] == 200


async def test_a_frame_right_behind_the_handshake_is_heard_however_it_is_cut(live):
    for cut in range(0, len(ASK) + 1, 3):
        async with connection(live) as raw:
            raw.write(head("/chatbox/ws"), ASK[:cut])
            await asyncio.sleep(0.01)
            raw.write(ASK[cut:])
            assert (await raw.response())[0] == 101
            while json.loads(await raw.next(TEXT))["type"] != "pong":
                pass
        await settled(live)


async def test_what_comes_with_the_handshake_is_answered_after_it(live):
    async with connection(live) as raw:
        raw.write(head("/chatbox/ws"), frame(PING, b"early"), b"".join(frame(PING, b"%d" % n) for n in range(100)))
        assert (await raw.response())[0] == 101
        assert [await raw.next(PONG) for _ in range(101)] == [b"early", *(b"%d" % n for n in range(100))]


async def test_a_handshake_with_a_long_head_is_a_handshake(live):
    async with upgraded(live, "/ws", *[f"X-{n}: {'x' * 4000}" for n in range(10)]) as raw:
        assert json.loads(await raw.next(TEXT))["type"] == "connection_status"


# -- time --------------------------------------------------------------------------------------------------------------

QUICK = 0.3
DONE = head("/chatbox/healthz", fields=PLAIN)


def rename(size, user="ann", length="Content-Length: {}"):
    more = ("Content-Type: application/json", length.format(size))
    return head("/chatbox/sessions/x", *more, user=user, method="PATCH", fields=PLAIN)


async def check_patience(live, *parts):
    """What arrives in parts and then not at all is given up."""
    async with connection(live) as raw:
        for part in parts:
            raw.write(part)
            await asyncio.sleep(0.05)
        await raw.ended(patience=10)


UNFINISHED = {
    "nothing": [],
    "half a head": [b"GET /chatbox/ws HTTP/1.1\r\nHost: local"],
    "half the second head": [DONE, b"GET /cha"],
    "half the tenth head": [*[DONE] * 9, b"G"],
    "half a body": [rename(12), b'{"na'],
    "no body": [rename(12)],
    "half a body and no token": [rename(12, user=None), b'{"na'],
    "half the second body": [DONE, rename(12), b'{"na'],
    "half a chunk": [
        head("/chatbox/sessions/x", "Transfer-Encoding: chunked", method="PATCH", fields=PLAIN),
        b"5\r\nab",
    ],
}


@pytest.mark.parametrize("parts", UNFINISHED.values(), ids=UNFINISHED)
async def test_a_request_that_does_not_come_to_its_end_is_given_up(live, monkeypatch, parts):
    monkeypatch.setattr(lines, "HANDSHAKE", QUICK)
    await check_patience(live, *parts)


async def test_a_server_that_waits_for_the_second_request_as_long_as_it_likes_would_be_found(live, monkeypatch):
    monkeypatch.setattr(lines, "HANDSHAKE", QUICK)
    monkeypatch.setattr(lines.Request, "on_message_begin", lines.HttpToolsProtocol.on_message_begin)
    with mutants.found():
        await asyncio.wait_for(check_patience(live, DONE, b"GET /cha"), 5 * QUICK)


async def test_a_body_that_trickles_is_given_up_and_one_that_keeps_coming_is_not(live, monkeypatch):
    monkeypatch.setattr(lines, "HANDSHAKE", QUICK)
    async with connection(live) as raw:
        raw.write(rename(1000))
        ended = asyncio.create_task(raw.ended())
        while not ended.done():
            raw.write(b" ")
            await asyncio.sleep(0.02)
    monkeypatch.setattr(lines, "BODY_RATE", 1)
    body = json.dumps({"name": "x" * 100}).encode()
    async with connection(live) as raw:
        raw.write(rename(len(body)))
        for at in range(0, len(body), 10):
            await asyncio.sleep(QUICK / 5)
            raw.write(body[at : at + 10])
        assert (await raw.response())[0] == 404


async def test_the_body_of_someone_unknown_is_not_waited_for(live):
    async with connection(live) as raw:
        raw.write(rename(1_000_000, user=None), b'{"name":')
        assert (await raw.response())[0] == 401


async def test_an_answer_that_takes_long_is_waited_for(live, monkeypatch):
    monkeypatch.setattr(lines, "HANDSHAKE", QUICK)
    find = live.app.storage.find

    async def slow(*args, **options):
        await asyncio.sleep(3 * QUICK)
        return await find(*args, **options)

    monkeypatch.setattr(live.app.storage, "find", slow)
    assert (await live.call("GET", "/sessions"))[0] == 200


HUGE = 30_000_000


@pytest.fixture
async def download(live, monkeypatch):
    """The head of a request for more than the system keeps for a client that does not read."""
    monkeypatch.setattr("chatbox.transcript.as_json", lambda *_: "x" * HUGE)
    async with live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        await ann.say("user_message", message_id="m", content="hi")
        await ann.answer()
    return head(f"/chatbox/sessions/{session_id}/export", "Connection: close", fields=PLAIN)


async def test_an_answer_that_nobody_takes_is_dropped(live, monkeypatch, download):
    monkeypatch.setattr(lines, "WRITE_DEADLINE", QUICK)
    async with connection(live, room=4096) as raw:
        raw.writer.transport.pause_reading()
        raw.write(download)
        await asyncio.sleep(5 * QUICK)
        raw.writer.transport.resume_reading()
        assert len(await raw.ended()) < HUGE


async def test_an_answer_that_is_taken_slowly_is_given_whole(live, monkeypatch, download):
    monkeypatch.setattr(lines, "WRITE_DEADLINE", 4.0)
    async with connection(live, room=1 << 16) as raw:
        raw.write(download)
        await raw.response()
        got, start = 0, time.monotonic()
        while time.monotonic() - start < 5:
            got += len(await raw.reader.readexactly(10_000))
            await asyncio.sleep(0.05)
        assert got + len(await raw.ended()) == HUGE


async def test_a_socket_that_begins_while_an_answer_is_still_on_its_way_stays(live, monkeypatch, download):
    monkeypatch.setattr(lines, "WRITE_DEADLINE", QUICK)
    async with connection(live, room=1 << 16) as raw:
        raw.write(download.replace(b"Connection: close\r\n", b""))
        await raw.response()
        raw.write(head("/chatbox/ws"))
        await raw.reader.readexactly(HUGE)
        assert (await raw.response())[0] == 101
        await asyncio.sleep(5 * QUICK)
        raw.write(ASK)
        while json.loads(await raw.next(TEXT))["type"] != "pong":
            pass


# -- frames ------------------------------------------------------------------------------------------------------------

BROKEN = {
    "not masked": frame(TEXT, b"{}", masked=False),
    "compressed": frame(TEXT, b"\xaa\x56\xaa\x05\x00", first=FIN | RSV1),
    "reserved bit 2": frame(TEXT, b"{}", first=FIN | RSV2),
    "reserved bit 3": frame(PING, b"", first=FIN | RSV3),
    "reserved kind": frame(3, b""),
    "reserved control": frame(11, b""),
    "a control frame in parts": frame(PING, b"a", first=0),
    "a long control frame": frame(PING, b"x" * 126),
    "nothing to continue": frame(CONTINUATION, b"x"),
    "a message inside a message": frame(TEXT, b"a", first=0) + frame(TEXT, b"b"),
    "half a close code": frame(CLOSE, b"\x03"),
    "a close code that nobody may send": frame(CLOSE, (1006).to_bytes(2)),
}


async def test_a_frame_against_the_protocol_closes_with_1002(live):
    for name, sent in BROKEN.items():
        async with upgraded(live) as raw:
            raw.write(sent)
            assert await raw.close_code() == PROTOCOL_ERROR, name
        await settled(live)


async def test_text_that_is_not_utf_8_closes_with_1007_and_is_nothing_to_report(live, caplog):
    for text in (b"\xff", b"\xed\xa0\x80", b"\xc3", b'{"type":"\xf8"}'):
        async with upgraded(live) as raw:
            raw.write(frame(TEXT, text))
            assert await raw.close_code() == NOT_UTF8
        async with upgraded(live) as raw:
            raw.write(frame(TEXT, text), frame(CLOSE, (1000).to_bytes(2)))
            assert await raw.close_code() in (NOT_UTF8, 1000)
    await settled(live)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_character_cut_by_fragments_is_whole(live):
    text = json.dumps({"type": "ping", "message_id": "é"}, ensure_ascii=False).encode()
    cut = text.index("é".encode()) + 1
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, text[:cut], first=0), frame(CONTINUATION, text[cut:]))
        while (found := json.loads(await raw.next(TEXT)))["type"] != "pong":
            pass
        assert found["message_id"] == "é"


async def test_control_frames_between_fragments_are_answered_at_once(live):
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, b'{"type":', first=0), frame(PING, b"one"))
        assert await raw.next(PONG) == b"one"
        raw.write(frame(CONTINUATION, b'"ping"', first=0), frame(PONG), frame(PING, b"two"))
        assert await raw.next(PONG) == b"two"
        raw.write(frame(CONTINUATION, b"}"))
        while json.loads(await raw.next(TEXT))["type"] != "pong":
            pass


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "of a byte"])
async def test_a_message_in_ten_thousand_fragments_closes_with_1008(live, payload):
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, b"", first=0), frame(CONTINUATION, payload, first=0) * 10_000)
        assert await raw.close_code() == Close.ABUSE
    await settled(live)


async def test_a_message_in_a_thousand_fragments_is_a_message(live):
    text = b'{"type":"ping","message_id":"p"}'.ljust(999)
    parts = [text[n : n + 1] for n in range(len(text))]
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, b"", first=0), *[frame(CONTINUATION, part, first=0) for part in parts[:-1]])
        raw.write(frame(CONTINUATION, parts[-1]))
        while json.loads(await raw.next(TEXT))["type"] != "pong":
            pass


async def test_a_message_of_the_largest_size_is_heard_and_a_byte_more_closes_with_1009(live):
    size = live.app.config.max_message_size
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, b'{"type":"ping"}'.ljust(size)))
        while json.loads(await raw.next(TEXT))["type"] != "pong":
            pass
        raw.write(frame(TEXT, b'{"type":"ping"}'.ljust(size + 1)))
        assert await raw.close_code() == Close.TOO_BIG


async def test_an_offer_to_compress_is_not_taken_whoever_offers_it(live):
    for offer in ("permessage-deflate", "permessage-deflate; client_max_window_bits", "x-webkit-deflate-frame"):
        async with connection(live) as raw:
            raw.write(head("/chatbox/ws", f"Sec-WebSocket-Extensions: {offer}"))
            status, text = await raw.response()
            assert status == 101
            assert "sec-websocket-extensions" not in text.lower()


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_what_was_said_before_half_the_line_was_closed_is_stored_and_answered(live):
    async with upgraded(live) as raw:
        session_id = json.loads(await raw.next(TEXT))["session_id"]
        raw.write(frame(TEXT, b'{"type":"user_message","message_id":"m","content":"still said"}'))
        raw.writer.write_eof()
        await raw.ended()
    await settled(live)
    async with asyncio.timeout(20):
        while len((await live.call("GET", f"/sessions/{session_id}"))[1]["messages"]) < 2:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_line_that_ends_anywhere_leaves_nothing(live, reset):
    for rest in (b"", b"\x81", frame(TEXT, b"x" * 1000)[:500], frame(TEXT, b"x", first=0)):
        async with upgraded(live) as raw:
            raw.write(rest)
            await raw.writer.drain()
            (raw.writer.transport.abort if reset else raw.writer.close)()
        await settled(live)


async def test_the_servers_goodbye_is_answered_and_then_the_line_ends(live):
    async with upgraded(live) as raw:
        raw.write(frame(CLOSE, (1000).to_bytes(2) + b"bye"))
        assert await raw.close_code() == 1000
    await settled(live)


async def test_a_peer_that_does_not_answer_the_goodbye_is_not_waited_for(live, monkeypatch):
    monkeypatch.setattr("chatbox.sockets.MAX_ERRORS", 0)
    async with upgraded(live) as raw:
        raw.write(frame(TEXT, b"nonsense"))
        while (await raw.frame())[0] != CLOSE:
            pass
        await settled(live)


async def test_a_server_that_stops_waits_for_the_answer_to_its_goodbye(tmp_path):
    stop, up = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def serve():
        async with running(tmp_path) as live:
            up.set_result(live)
            await stop.wait()

    serving = asyncio.create_task(serve())
    async with upgraded(await up) as raw:
        stop.set()
        while (await raw.frame())[0] != CLOSE:
            pass
        with pytest.raises(TimeoutError):
            await raw.ended(patience=0.5)
        raw.write(frame(CLOSE, Close.DRAINING.to_bytes(2)))
        await raw.ended()
    await serving


# -- floods ------------------------------------------------------------------------------------------------------------


async def test_pings_are_answered_in_order_and_too_many_are_abuse(live):
    async with upgraded(live) as raw:
        pings = [b"%d" % number for number in range(lines.MAX_PINGS)]
        for ping in pings:
            raw.write(frame(PING, ping))
        assert [await raw.next(PONG) for _ in pings] == pings
        raw.write(frame(PING) * 10_000)
        assert await raw.close_code() == Close.ABUSE
    await settled(live)


async def test_pongs_that_nobody_asked_for_are_counted_too(live):
    async with upgraded(live) as raw:
        raw.write(frame(PONG) * 10_000)
        assert await raw.close_code() == Close.ABUSE


async def test_a_ping_in_the_next_window_is_answered(live, monkeypatch):
    monkeypatch.setattr(lines, "PING_WINDOW", 0.1)
    async with upgraded(live) as raw:
        for _ in range(5):
            raw.write(frame(PING) * (lines.MAX_PINGS // 2))
            for _ in range(lines.MAX_PINGS // 2):
                await raw.next(PONG)
            await asyncio.sleep(0.11)


FLOODS = {
    "typing": frame(TEXT, b'{"type":"typing_indicator"}') * 5_000,
    "bad JSON": frame(TEXT, b"x") * 10_000,
    "empty": frame(TEXT, b"") * 10_000,
    "pings": frame(PING) * 10_000,
    "fragments": (frame(TEXT, b"", first=0) + frame(CONTINUATION, b"", first=0) * 900 + frame(CONTINUATION, b"x")) * 8,
}


AT_ONCE = 2 * lines.SLICE // len(frame(PING))
"""Frames: one slice in the turn that reads it, and another one that was begun before."""


async def check_turns(live, flood):
    """Between two turns of the loop only so many frames of a flood are dealt with."""
    heard, turns = 0, []

    def count(handle):
        def counted(*args):
            nonlocal heard
            heard += 1
            return handle(*args)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("handle_text", "handle_cont", "handle_ping"):
            patch.setattr(lines.SocketLine, name, count(getattr(lines.SocketLine, name)))
        async with upgraded(live) as raw:
            raw.write(flood)
            ended = asyncio.create_task(raw.ended(patience=60))
            async with asyncio.timeout(60):
                while heard < 3000 and len(live.app.connections):
                    before = heard
                    await asyncio.sleep(0)
                    turns.append(heard - before)
            ended.cancel()
    assert heard > 200
    assert max(turns) <= AT_ONCE


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_dealt_with_a_little_at_a_time(live, flood):
    await check_turns(live, flood)
    await still_serves(live)


async def test_a_line_that_parses_whatever_has_come_would_be_found(live, monkeypatch):
    monkeypatch.setattr(lines, "SLICE", 1 << 20)
    with mutants.found():
        await check_turns(live, FLOODS["typing"])


async def test_a_flood_leaves_no_memory_behind(live):
    async def attack(flood):
        async with upgraded(live) as raw:
            raw.write(flood)
            await asyncio.sleep(0.1)

    floods = [FLOODS["typing"], FLOODS["fragments"], FLOODS["pings"]]
    for flood in floods:
        await attack(flood)
    await settled(live)
    tracemalloc.start()
    try:
        for flood in floods:
            await attack(flood)
        await settled(live)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 3_000_000
    finally:
        tracemalloc.stop()


async def test_a_thousand_requests_at_once_are_too_many(live):
    async with connection(live) as raw:
        raw.write(DONE * 1000)
        answers = (await raw.ended()).count(b"HTTP/1.1 ")
        assert 1 <= answers <= lines.MAX_PIPELINED + 2
    async with connection(live) as raw:
        raw.write(DONE * 10)
        for _ in range(10):
            status, text = await raw.response()
            assert status == 200
            await raw.reader.readexactly(int(text.lower().partition("content-length: ")[2].split()[0]))
    await still_serves(live)
