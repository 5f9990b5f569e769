"""What a server can do wrong on the wire, and what an answer makes of it."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatbox.errors import (
    ConfigError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
)
from chatbox.llm import answer as answer_module
from chatbox.llm import http, open_provider
from chatbox.llm.base import Event, Provider
from chatbox.llm.http import error_for, failure_of, joined_url, retry_after_of
from tests.llm.asking import answer, end, heard, prompt, settings, text
from tests.llm.standins.server import KEY
from tests.llm.standins.wire import HEAD, Play, Wire, says

WORD = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def served(play: Play) -> AsyncIterator[tuple[Wire, Provider]]:
    async with Wire(play) as wire, open_provider(settings("openai", wire.url)) as provider:
        yield wire, provider


async def error_and_text(play: Play) -> tuple[ProviderError, str]:
    got: list[Event] = []
    async with served(play) as (_, provider):
        with pytest.raises(ProviderError) as caught:
            await heard(provider, prompt("Hi"), got)
    return caught.value, text(got)


async def test_a_trickle_of_single_bytes_is_read_whole() -> None:
    stream = HEAD + 'data: {"choices":[{"delta":{"content":"Zürich 👋"}}]}\r\n\r\n'.encode() + DONE
    async with served(says(*[stream[n : n + 1] for n in range(len(stream))], pause=0.001)) as (_, provider):
        assert text(await answer(provider, "Hi")) == "Zürich 👋"


@pytest.mark.parametrize("cut_at", range(1, 6))
async def test_a_character_split_over_two_reads_stays_whole(cut_at: int) -> None:
    event = 'data: {"choices":[{"delta":{"content":"👋"}}]}\n\n'.encode()
    middle = event.index("👋".encode()) + cut_at - 1
    async with served(says(HEAD + event[:middle], event[middle:] + DONE, pause=0.02)) as (_, provider):
        assert text(await answer(provider, "Hi")) == "👋"


async def test_a_server_that_says_nothing_is_waited_for_and_can_be_left() -> None:
    async with served(says(hold=True)) as (wire, provider):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer(provider, "Hi"), 0.1)
        await all_closed(wire)


async def test_a_stall_in_the_middle_can_be_left() -> None:
    async with served(says(HEAD + WORD, hold=True)) as (wire, provider):
        got: list[Event] = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heard(provider, prompt("Hi"), got), 0.2)
        assert text(got) == "word "
        await all_closed(wire)


async def all_closed(wire: Wire) -> None:
    async with asyncio.timeout(2):
        while wire.open:
            await asyncio.sleep(0.01)


async def test_a_reset_keeps_what_came_before_it() -> None:
    error, said = await error_and_text(says(HEAD + WORD + WORD, reset=True, pause=0.05))
    assert isinstance(error, ProviderUnreachable)
    assert said == "word word "


@pytest.mark.parametrize("play", [says(), says(reset=True), says(HEAD), says(b"HTTP/1.1 200 OK\r\nContent-Ty")])
async def test_a_connection_that_ends_before_the_answer_is_unreachable(play: Play) -> None:
    error, said = await error_and_text(play)
    assert isinstance(error, ProviderUnreachable)
    assert said == ""


async def test_a_chunked_body_without_its_end_is_unreachable() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    error, said = await error_and_text(says(head + b"%x\r\n%s\r\n" % (len(WORD), WORD), pause=0.05))
    assert isinstance(error, ProviderUnreachable)
    assert said == "word "


async def test_what_is_not_http_is_unreachable() -> None:
    error, _ = await error_and_text(says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"))
    assert isinstance(error, ProviderUnreachable)


@pytest.mark.parametrize(
    "event", [b"data: {nonsense}\n\n", b'data: {"choices": 7}\n\n', b"data: \xff\xfe\n\n", b"data\n\n"]
)
async def test_a_malformed_event_is_refused_after_the_text_before_it(event: bytes) -> None:
    error, said = await error_and_text(says(HEAD + WORD + event + WORD, hold=True))
    assert isinstance(error, ProviderRefused)
    assert "malformed" in error.detail
    assert said == "word "


async def test_one_huge_line_is_refused_before_it_is_whole() -> None:
    error, _ = await error_and_text(says(HEAD + b"data: ", *[b"x" * 65536] * 40, hold=True))
    assert isinstance(error, ProviderRefused)
    assert "more than 1048576 bytes" in error.detail


async def test_an_endless_answer_is_read_no_faster_than_it_is_heard() -> None:
    sent = 0

    async def forever(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD)
        while True:
            writer.write(WORD * 1000)
            sent += len(WORD) * 1000
            await writer.drain()

    async with served(forever) as (wire, provider):
        stream = provider.stream(prompt("Hi"))
        await anext(stream)
        await asyncio.sleep(0.3)
        held_back = sent
        await asyncio.sleep(0.2)
        assert sent == held_back
        await stream.aclose()
        await all_closed(wire)


async def test_an_answer_that_is_no_stream_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n"
    error, _ = await error_and_text(says(head + b"hello"))
    assert isinstance(error, ProviderRefused)
    assert "text/html" in error.detail


@pytest.mark.parametrize(
    ("body", "kind"), [(b"", ProviderUnreachable), (b"[]", ProviderRefused), (b"{}", ProviderUnreachable)]
)
async def test_a_whole_answer_that_is_none(body: bytes, kind: type[ProviderError]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    error, _ = await error_and_text(says(head + body))
    assert isinstance(error, kind)


async def test_a_whole_answer_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_module, "MAX_BODY", 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    error, _ = await error_and_text(says(head, *[b" " * 10_000] * 20, hold=True))
    assert isinstance(error, ProviderRefused)
    assert "more than 100000 bytes" in error.detail


async def test_a_compressed_answer_is_refused() -> None:
    error, _ = await error_and_text(says(HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n" + b"\x1f\x8b"))
    assert isinstance(error, ProviderRefused)
    assert "compressed" in error.detail


async def test_a_redirect_is_not_followed() -> None:
    async with Wire(says(HEAD + WORD + DONE)) as elsewhere:
        head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        error, _ = await error_and_text(says(head.encode(), hold=True))
        assert isinstance(error, ProviderRefused)
        assert "redirects are not followed" in error.detail
        assert elsewhere.accepted == 0


async def test_the_body_of_an_error_is_read_to_a_limit_and_told_in_short() -> None:
    head = b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    error, _ = await error_and_text(says(head, *[b"many  words\n" * 1000] * 100, hold=True))
    assert isinstance(error, ProviderUnreachable)
    assert error.detail.startswith("status 500: many words many words")
    assert len(error.detail) < 400


async def test_what_follows_the_end_is_not_waited_for() -> None:
    async with served(says(HEAD + WORD + DONE, hold=True)) as (wire, provider):
        async with asyncio.timeout(1):
            assert end(await answer(provider, "Hi")).reason == "stop"
        await all_closed(wire)


async def test_a_reset_after_the_end_is_no_error() -> None:
    async with served(says(HEAD + WORD + DONE, reset=True)) as (_, provider):
        assert text(await answer(provider, "Hi")) == "word "


async def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced() -> None:
    keep = HEAD.replace(b"Connection: close", b"Content-Length: %d" % len(WORD + DONE))
    async with served(says(keep + WORD + DONE, pause=0.01)) as (wire, provider):
        for _ in range(3):
            assert text(await answer(provider, "Hi")) == "word "
            await all_closed(wire)
        assert wire.accepted == 3


async def test_a_kept_connection_that_was_closed_is_replaced_at_once() -> None:
    keep = HEAD.replace(b"Connection: close", b"Content-Length: %d" % len(WORD + DONE))
    async with served(says(keep + WORD + DONE, pause=0.3)) as (wire, provider):
        assert text(await answer(provider, "Hi")) == "word "
        assert text(await answer(provider, "Hi")) == "word "
        assert wire.accepted == 2


async def test_a_new_connection_that_is_closed_is_not_tried_twice() -> None:
    async with served(says(reset=True)) as (wire, provider):
        with pytest.raises(ProviderUnreachable):
            await answer(provider, "Hi")
        assert wire.accepted == 1


async def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    async with open_provider(settings("openai", url)) as provider:
        with pytest.raises(ProviderUnreachable, match="Cannot connect"):
            await answer(provider, "Hi")
        with pytest.raises(ProviderUnreachable):
            await provider.check()


async def test_a_host_without_an_address_is_unreachable() -> None:
    async with open_provider(settings("openai", "http://chatbox-test.invalid/v1")) as provider:
        with pytest.raises(ProviderUnreachable):
            await answer(provider, "Hi")


@pytest.mark.parametrize("type_", ["openai", "anthropic", "dify"])
@pytest.mark.parametrize("endpoint", ["", "nonsense", "http://", "http://[::1", "ftp://127.0.0.1/v1", "http://x:99999"])
def test_an_endpoint_that_is_no_url_is_a_wrong_setting(type_: str, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="the endpoint of model 'm' has to be a URL"):
        open_provider(settings(type_, endpoint))


@pytest.mark.parametrize("key", ["sk-1\r\nX-Evil: b", "sk-1\n", "sk-é", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_a_wrong_setting_and_not_told(key: str) -> None:
    with pytest.raises(ConfigError, match="the API key of model 'm'") as caught:
        open_provider(settings("openai", "https://api.openai.com/v1", api_key=key))
    assert key not in str(caught.value)


def test_what_is_wrong_with_a_request_is_refused() -> None:
    assert isinstance(error_for(ValueError("canary")), ProviderRefused)
    assert "canary" not in str(error_for(ValueError("canary")))


@asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """A port whose queue of connections is full: the system answers no further one."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}/v1"
        finally:
            for one in waiting:
                one.close()


async def test_a_connection_that_never_stands_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.3)
    async with full_backlog() as url, open_provider(settings("openai", url)) as provider:
        with pytest.raises(ProviderTimeout, match="no connection within"):
            await answer(provider, "Hi")


async def test_a_check_that_gets_no_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.3)
    async with served(says(hold=True)) as (_, provider):
        with pytest.raises(ProviderTimeout, match="no answer within"):
            await provider.check()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2", *files],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, open_provider(settings("openai", url)) as provider:
        with pytest.raises(ProviderRefused, match="no trusted connection"):
            await answer(provider, "Hi")


async def test_proxies_of_the_environment_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Wire(says()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with served(says(HEAD + WORD + DONE)) as (_, provider):
            assert text(await answer(provider, "Hi")) == "word "
        assert proxy.accepted == 0


async def test_the_key_is_in_no_error_wherever_the_server_repeats_it() -> None:
    body = f"x{KEY}y {KEY}".encode() * 50
    for status in (400, 429, 500):
        head = b"HTTP/1.1 %d No\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        error, _ = await error_and_text(says(head + body))
        assert KEY not in f"{error!r} {vars(error)} {error.__cause__!r}"
        assert error.__suppress_context__ or error.__context__ is None


def test_retry_after_is_seconds_or_a_date() -> None:
    later = email.utils.format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30), True)
    assert retry_after_of({"Retry-After": "1.5"}) == 1.5
    assert 25 < (retry_after_of({"Retry-After": later}) or 0) <= 30
    assert retry_after_of({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_of({"Retry-After": "-3"}) == 0
    for nonsense in ({}, {"Retry-After": "soon"}, {"Retry-After": "inf"}, {"Retry-After": "nan"}, {"Retry-After": ""}):
        assert retry_after_of(nonsense) is None


def test_the_path_goes_before_the_query() -> None:
    assert joined_url("https://x/v1", "/chat") == "https://x/v1/chat"
    assert joined_url("https://x/v1/", "/chat") == "https://x/v1/chat"
    assert joined_url("https://x?api-version=1", "/chat") == "https://x/chat?api-version=1"


def test_what_may_be_tried_again_says_when() -> None:
    busy = failure_of(529, "overloaded", 3.0)
    assert isinstance(busy, ProviderBusy)
    assert busy.retry_after == 3.0
    assert failure_of(503, "", 2.0).retry_after == 2.0
    assert failure_of(400, "", 2.0).retry_after is None


async def test_a_thousand_answers_cost_little_time() -> None:
    """Far from a benchmark: it fails only when reading has become a hundred times slower."""
    body = WORD * 1000 + DONE
    async with served(says(HEAD, body)) as (_, provider):
        began = time.process_time()
        assert text(await answer(provider, "Hi")) == "word " * 1000
        assert time.process_time() - began < 2
