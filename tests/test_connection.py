"""A socket's life against a real server: handshake, limits, tokens, errors, close codes."""

import asyncio
import base64
import gc
import json
import time
import tracemalloc
from contextlib import suppress

import aiohttp
import pytest

from chatbox.errors import StorageBusy
from chatbox.protocol import SUBPROTOCOL, Close, Say
from tests import mutants
from tests.live import SECRET, running, token


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path, {"RATE_LIMIT": "5", "MAX_CONNECTIONS_PER_USER": "3"}) as server:
        yield server


async def refused(live, **options):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with live.socket(**options):
            pass
    return caught.value.status


# -- the handshake -----------------------------------------------------------------------------------------------------


async def test_the_first_frame_names_session_user_models_and_position(live):
    async with live.socket() as ann:
        first = await ann.next()
    assert first["type"] == "connection_status"
    assert first["user_id"] == "ann"
    assert first["models"] == [{"id": "echo", "name": "echo"}]
    assert first["metadata"]["resumed"] == "false"
    assert (first["seq"], len(first["session_id"]), len(first["epoch"])) == (0, 22, 22)


async def test_a_browser_brings_its_token_in_the_subprotocol(live):
    async with live.socket(bearer="", protocols=(SUBPROTOCOL, f"bearer.{token()}")) as ann:
        assert ann.line.protocol == SUBPROTOCOL
        assert (await ann.next())["user_id"] == "ann"


async def test_a_token_in_the_query_counts_only_where_it_is_allowed(tmp_path):
    async with running(tmp_path / "a") as live, live.socket(bearer="", token=token()) as ann:
        assert (await ann.next())["user_id"] == "ann"
    async with running(tmp_path / "b", {"ALLOW_QUERY_TOKEN": "false"}) as live:
        assert await refused(live, bearer="", token=token()) == 401


async def test_the_header_is_preferred_to_the_subprotocol_and_that_to_the_query(live):
    offered = (SUBPROTOCOL, f"bearer.{token('bob')}")
    async with live.socket("ann", protocols=offered, token=token("eve")) as client:
        assert (await client.next())["user_id"] == "ann"
    async with live.socket(bearer="", protocols=offered, token=token("eve")) as client:
        assert (await client.next())["user_id"] == "bob"


@pytest.mark.parametrize("bad", ["", "nonsense", "a.b.c", token(secret=SECRET[::-1]), token(lifetime=-60)])
async def test_no_token_or_a_bad_one_is_401(live, bad):
    assert await refused(live, bearer="", headers={"Authorization": f"Bearer {bad}"}) == 401


@pytest.mark.readiness(issue=13)
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://evil-localhost", "file://"]
)
async def test_a_foreign_origin_is_403(live, origin):
    assert await refused(live, headers={"Origin": origin}) == 403


PRODUCTION = {
    "CHATBOX_MODE": "production",
    "DRAIN_TIMEOUT": "1s",
    "SERVER_PORT": "8080",
    "ENCRYPTION_KEY": "Zk3vQm8Rw1Xb6Nc9Tf2Yh5Lj7Pd4Gs0A",
    "ALLOWED_ORIGINS": "https://www.example.com",
}


@pytest.mark.readiness(issue=13)
async def test_production_takes_its_own_pages_and_native_clients_and_nobody_else(tmp_path):
    async with running(tmp_path, PRODUCTION) as live:
        for origin in ("null", "", "http://localhost", "http://www.example.com", "https://example.com",
                       "https://www.example.com.evil.example", "https://evilwww.example.com",
                       "https://www.example.com:8443", "https://www.example.com/"):  # fmt: skip
            assert await refused(live, headers={"Origin": origin}) == 403
        for headers in ({"Origin": "https://www.example.com"}, {}):
            async with live.socket(headers=headers) as ann:
                assert (await ann.next())["type"] == "connection_status"


@pytest.mark.readiness(issue=13)
async def test_own_origins_and_native_clients_may_connect(live):
    for headers in ({"Origin": "http://localhost:3000"}, {}):
        async with live.socket(headers=headers) as ann:
            assert (await ann.next())["type"] == "connection_status"


@pytest.mark.readiness(issue=13)
async def test_origins_may_change_while_serving(live):
    live.app.origins.replace(["https://app.example"])
    assert await refused(live, headers={"Origin": "http://localhost:3000"}) == 403
    async with live.socket(headers={"Origin": "https://app.example"}) as ann:
        assert (await ann.next())["type"] == "connection_status"


async def test_one_connection_too_many_is_429_and_says_when_to_come_back(live):
    async with live.socket(), live.socket(), live.socket():
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with live.socket():
                pass
        assert caught.value.status == 429
        assert int(caught.value.headers["Retry-After"]) > 0
        async with live.socket("bob"):
            pass
    await settled(live)
    async with live.socket():
        pass


async def test_a_full_server_is_503(tmp_path):
    async with running(tmp_path, {"MAX_CONNECTIONS": "1"}) as live, live.socket():
        assert await refused(live, user="bob") == 503


async def test_a_socket_anywhere_else_is_refused(live):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await live.session.ws_connect(f"{live.http}/nowhere")
    assert caught.value.status in (403, 404)


@pytest.mark.parametrize("request_head", [b"", b"GET /chatbox/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso"])
async def test_a_handshake_that_does_not_finish_is_closed(live, monkeypatch, request_head):
    monkeypatch.setattr("chatbox.lines.HANDSHAKE", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(request_head)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


# -- bad input ---------------------------------------------------------------------------------------------------------


async def check_frames(live):
    """A bad frame gets its error and goes no further; a good one is cleaned first. The socket stays."""
    async with live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        for number, text in enumerate(BAD_FRAMES):
            await ann.line.send_str(text)
            error = await ann.next("error")
            assert (error["error"]["code"], error["error"]["recoverable"]) == ("INVALID_FORMAT", True), text[:80]
            await ann.say("ping", message_id=f"p{number}")
            assert (await ann.next())["message_id"] == f"p{number}"
            await asyncio.sleep(0.06)
        await ann.say("user_message", message_id="m1", content=" \0hello\0 ")
        assert (await ann.next("ack"))["message_id"] == "m1"
        assert "".join(frame["content"] for frame in await ann.answer()) == "hello"
    _, body = await live.call("GET", f"/sessions/{session_id}")
    assert [message["content"] for message in body["messages"]] == ["hello", "hello"]


BAD_FRAMES = [
    "", "nonsense", "[]", "null", "5", '"text"', "\0", "{", '{"type":"ping"} ' + '{"type":"ping"}',
    '{"type":"user_message","content":"\\ud800"}',
    '{"type":"user_message","content":"x","content":"y"}',
    '{"type":"user_message","content":"x","seq":NaN}',
    '{"type":"user_message","content":"x","seq":-Infinity}',
    '{"type":"user_message","content":"x","seq":1e999}',
    '{"type":"user_message","content":"x","seq":9007199254740993}',
    '{"type":"user_message","content":"x","seq":' + "9" * 100_000 + "}",
    '{"type":"user_message","content":"x","metadata":' + '{"a":' * 40 + "1" + "}" * 40 + "}",
    "[" * 100_000,
    '{"type":"user_message","content":"x","metadata":' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"type":"user_message","content":5}',
    '{"type":"user_message","content":"' + "x" * 10_001 + '"}',
    '{"type":"user_message","message_id":"' + "m" * 65 + '","content":"x"}',
    '{"type":"user_message","sender":"root","content":"x"}',
    '{"type":"nonsense"}',
    '{"content":"x"}',
]  # fmt: skip


@pytest.mark.readiness(issue=7)
async def test_a_bad_frame_gets_its_error_and_the_socket_stays(live):
    await check_frames(live)


@pytest.mark.readiness(issue=7)
async def test_a_socket_that_handles_frames_before_they_are_validated_would_be_found(live, monkeypatch):
    def unchecked(text):
        return Say(message_id="m", content=str(json.loads(text)["content"]))

    monkeypatch.setattr("chatbox.protocol.decode", unchecked)
    with mutants.found():
        await check_frames(live)


@pytest.mark.readiness(issue=7)
async def test_a_socket_that_does_not_clean_what_it_hears_would_be_found(live, monkeypatch):
    monkeypatch.setattr("chatbox.protocol.clean", lambda text: text)
    with mutants.found():
        await check_frames(live)


async def test_an_errors_frame_is_named_by_its_id(live):
    async with live.socket() as ann:
        await ann.next()
        await ann.say("nonsense", message_id="m")
        assert (await ann.next("error"))["message_id"] == "m"


async def test_a_binary_frame_closes_with_1003(live):
    async with live.socket() as ann:
        await ann.line.send_bytes(b"{}")
        assert await ann.closed() == Close.NOT_TEXT


async def test_a_frame_that_is_too_big_closes_with_1009(tmp_path):
    async with running(tmp_path, {"MAX_MESSAGE_SIZE": "20000"}) as live:
        async with live.socket() as ann:
            await ann.line.send_str("x" * 20_001)
            assert await ann.closed() == Close.TOO_BIG
        async with live.socket() as ann:
            await ann.next()
            await ann.line.send_str("x" * 20_000)
            assert (await ann.next("error"))["error"]["code"] == "INVALID_FORMAT"


async def raw_socket(live):
    """A WebSocket by hand, for frames that no library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    key = base64.b64encode(bytes(16)).decode()
    head = (
        f"GET {live.app.config.path_prefix}/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Authorization: Bearer {token()}\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def close_code(reader):
    """The code of the close frame that ends the stream."""
    data = await asyncio.wait_for(reader.read(), 10)
    at = data.rindex(b"\x88")
    return int.from_bytes(data[at + 2 : at + 4], "big")


async def test_a_message_in_ten_thousand_fragments_is_abuse(live):
    reader, writer = await raw_socket(live)
    writer.write(b"\x01\x80\0\0\0\0" + b"\x00\x81\0\0\0\0x" * 1_000)
    await writer.drain()
    assert await close_code(reader) == Close.ABUSE
    writer.close()


async def test_a_frame_that_says_it_is_huge_is_refused_before_it_comes(live):
    reader, writer = await raw_socket(live)
    writer.write(b"\x81\xff" + (1 << 40).to_bytes(8) + bytes(4))
    assert await close_code(reader) == Close.TOO_BIG
    writer.close()


async def test_fragments_that_are_too_big_together_are_refused(live):
    reader, writer = await raw_socket(live)
    head = b"\xff" + (100_000).to_bytes(8) + bytes(4)
    part = head + b"x" * 100_000
    writer.write(b"\x01" + part + b"".join(b"\x00" + part for _ in range(9)) + b"\x00" + head)
    assert await close_code(reader) == Close.TOO_BIG
    writer.close()


async def test_a_text_frame_that_is_not_utf_8_is_refused(live):
    reader, writer = await raw_socket(live)
    writer.write(b"\x81\x84" + bytes(4) + b"\xed\xa0\x80x")
    assert await close_code(reader) == 1007
    writer.close()


async def test_frames_and_fragments_that_are_refused_leave_no_memory_behind(live):
    async def attack():
        reader, writer = await raw_socket(live)
        writer.write(b"\x01\x80\0\0\0\0" + (b"\x00\xfe\x03\xe8\0\0\0\0" + b"x" * 1000) * 1_000)
        await close_code(reader)
        writer.close()

    await attack()
    await settled(live)
    tracemalloc.start()
    try:
        for _ in range(20):
            await attack()
        await settled(live)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [100_000, 10_000_000])
async def test_a_token_of_any_size_is_refused_before_all_of_it_has_come(live, size):
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    prefix = live.app.config.path_prefix
    writer.write(f"GET {prefix}/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ".encode())
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            for _ in range(size // 10_000):
                writer.write(b"x" * 10_000)
                await writer.drain()
        with suppress(ConnectionError):
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    async with live.socket() as ann:
        assert (await ann.next())["type"] == "connection_status"


async def test_a_message_in_a_few_fragments_is_a_message(live):
    reader, writer = await raw_socket(live)
    parts = [b'{"type":', b'"ping",', b'"message_id":"p"}']
    heads = [b"\x01", b"\x00", b"\x80"]
    masked = [head + bytes([0x80 | len(part)]) + bytes(4) + part for head, part in zip(heads, parts, strict=True)]
    writer.write(b"".join(masked))
    found = b""
    async with asyncio.timeout(5):
        while b'"pong"' not in found:
            found += await reader.read(4096)
    writer.close()


async def test_compression_is_not_offered_so_that_there_is_no_bomb(live):
    async with live.session.ws_connect(
        f"{live.http}/ws", headers={"Authorization": f"Bearer {token()}"}, compress=15
    ) as line:
        assert not line.compress


async def test_a_hundred_errors_in_a_row_are_abuse(live):
    async with live.socket() as ann:
        for _ in range(101):
            await ann.line.send_str("x")
        assert await ann.closed() == Close.ABUSE


async def test_stored_frames_over_the_limit_are_refused_with_when_to_come_back_and_nothing_is_stored(live):
    async with live.socket() as ann:
        session_id = (await ann.next())["session_id"]
        for number in range(6):
            await ann.say("user_message", message_id=f"m{number}", content="/list 1")
        error = await ann.next("error")
        assert error["message_id"] == "m5"
        assert error["error"]["code"] == "TOO_MANY_REQUESTS"
        assert 0 < error["error"]["retry_after"] <= 60_001
        assert error["error"]["recoverable"] is True
        await ann.say("ping", message_id="p")
        assert (await ann.next("pong"))["message_id"] == "p"
    async with asyncio.timeout(10):
        while len(live.app.replies):
            await asyncio.sleep(0.01)
    _, body = await live.call("GET", f"/sessions/{session_id}")
    assert [m["message_id"] for m in body["messages"] if m["sender"] == "user"] == [f"m{n}" for n in range(5)]


async def test_other_frames_are_dropped_beyond_twenty_a_second_and_counted(live):
    async with live.socket() as ann:
        await ann.next()
        for number in range(60):
            await ann.say("ping", message_id=str(number))
        await asyncio.sleep(1.1)
        await ann.say("ping", message_id="after")
        seen = []
        while not seen or seen[-1] != "after":
            seen.append((await ann.next("pong"))["message_id"])
    assert 20 <= len(seen) <= 42
    assert b'limiter="other_frames"' in live.app.metrics.render()


async def test_a_failing_store_is_told_as_worth_another_try(live, monkeypatch):
    async def busy(*_args, **_options):
        raise StorageBusy("disk full")

    async with live.socket() as ann:
        await ann.next()
        monkeypatch.setattr(live.app.chat._storage, "append", busy)
        await ann.say("user_message", message_id="m1", content="hi")
        error = await ann.next("error")
        assert error["error"]["code"] == "DATABASE_ERROR"
        assert error["error"]["retry_after"]
        assert "disk" not in json.dumps(error)
        monkeypatch.undo()
        await ann.say("user_message", message_id="m1", content="hi")
        assert (await ann.next("ack"))["message_id"] == "m1"


async def test_an_unforeseen_failure_is_told_in_general_words_and_the_socket_stays(live, monkeypatch):
    async def broken(*_args):
        raise ZeroDivisionError("secret detail")

    async with live.socket() as ann:
        await ann.next()
        monkeypatch.setattr(live.app.chat, "handle", broken)
        await ann.say("ping", message_id="p")
        error = await ann.next("error")
        assert (error["error"]["code"], error["message_id"]) == ("SERVICE_ERROR", "p")
        assert "secret" not in json.dumps(error)


async def test_a_conversation_that_can_not_be_opened_is_told_and_the_client_comes_back(live, monkeypatch):
    async def busy(*_args):
        raise StorageBusy("no")

    monkeypatch.setattr(live.app.chat._storage, "find", busy)
    async with live.socket() as ann:
        assert (await ann.next())["error"]["code"] == "DATABASE_ERROR"
        assert await ann.closed() == Close.INTERNAL
    assert len(live.app.connections) == 0


# -- tokens and time ---------------------------------------------------------------------------------------------------


async def test_the_client_is_told_before_its_token_expires_and_put_out_after(live):
    async with live.socket(bearer=token(lifetime=3)) as ann:
        await ann.next()
        assert (await ann.next("notification"))["metadata"]["event"] == "token_expiring"
        error = await ann.next("error")
        assert (error["error"]["code"], error["error"]["recoverable"]) == ("EXPIRED_TOKEN", False)
        assert await ann.closed() == Close.TOKEN


async def test_a_token_is_renewed_in_band_without_losing_a_word_of_a_running_answer(live):
    async with live.socket(bearer=token(lifetime=2)) as ann:
        await ann.next()
        await ann.say("user_message", message_id="m1", content="/slow 50")
        await ann.next("loading")
        await ann.say("auth", message_id="a", content=token())
        assert (await ann.next("notification"))["metadata"]["event"] in ("auth_ok", "token_expiring")
        await asyncio.sleep(3)
        await ann.say("ping", message_id="p")
        assert (await ann.next("pong"))["message_id"] == "p"


async def test_a_bad_renewal_may_be_mended_and_another_users_may_not(live):
    async with live.socket() as ann:
        await ann.next()
        await ann.say("auth", message_id="a1", content="nonsense")
        error = await ann.next("error")
        assert (error["message_id"], error["error"]["code"], error["error"]["recoverable"]) == (
            "a1",
            "INVALID_TOKEN",
            True,
        )
        await ann.say("auth", message_id="a2", content=token("bob"))
        assert (await ann.next("error"))["error"]["recoverable"] is False
        assert await ann.closed() == Close.FORBIDDEN


async def test_a_token_within_the_leeway_is_good_for_the_rest_of_it(live):
    async with live.socket(bearer=token(lifetime=-5)) as ann:
        await ann.next()
        await asyncio.sleep(2.2)
        await ann.say("ping", message_id="p")
        assert (await ann.next("pong"))["message_id"] == "p"


@pytest.mark.readiness(issue=3)
async def test_a_tab_that_comes_back_replaces_its_old_socket_and_nothing_of_that_stays(live):
    async with live.socket(client="tab") as old:
        session_id = (await old.next())["session_id"]
        async with live.socket(client="tab") as new:
            assert (await new.next())["session_id"] == session_id
            assert await old.closed() == Close.REPLACED
            await new.say("user_message", message_id="m1", content="still here")
            assert (await new.next("ack"))["message_id"] == "m1"
            assert len(live.app.connections) == 1
    await settled(live)
    assert not live.app.hub.room(session_id).listeners


async def settled(live):
    async with asyncio.timeout(5):
        while len(live.app.connections):
            await asyncio.sleep(0.01)


async def test_200_sockets_come_and_go_and_leave_nothing_behind(live):
    before = len(asyncio.all_tasks())

    async def visit(number):
        async with live.socket(f"user{number}") as client:
            await client.next()

    for start in range(0, 200, 20):
        await asyncio.gather(*[visit(number) for number in range(start, start + 20)])
    await settled(live)
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks()) <= before + 5
    assert live.app.connections._by_user == {}


async def test_a_reader_that_never_reads_costs_the_others_nothing_and_is_dropped(live, monkeypatch):
    monkeypatch.setattr("chatbox.sockets.WRITE_DEADLINE", 0.5)
    monkeypatch.setattr("chatbox.outbox.MAX_BYTES", 200_000)
    reader, writer = await raw_socket(live)
    writer.transport.pause_reading()
    async with live.socket() as ann:
        await ann.next()
        await settled_count(live, 2)
        for number in range(2):
            await ann.say("user_message", message_id=f"m{number}", content="/long 15000")
            started = time.monotonic()
            await ann.answer()
            assert time.monotonic() - started < 20
        await settled_count(live, 1, patience=20)
    writer.close()
    del reader


async def settled_count(live, count, patience=5):
    async with asyncio.timeout(patience):
        while len(live.app.connections) != count:
            await asyncio.sleep(0.01)


async def test_other_tabs_see_typing_and_the_typist_does_not(live):
    async with live.socket() as one, live.socket() as two:
        await one.next()
        await two.next()
        await one.say("typing_indicator")
        assert (await two.next())["type"] == "typing_indicator"
        await one.say("ping", message_id="p")
        assert (await one.next())["type"] == "pong"
