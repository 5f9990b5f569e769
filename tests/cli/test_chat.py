"""``chatbox chat``: a conversation in a terminal and through pipes."""

from __future__ import annotations

import asyncio
import codecs
import os
import pty
import re
import signal
import sys
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.cli.blocks import Blocks
from tests.live import token
from tests.processes import command, environment, serving

pytestmark = pytest.mark.slow

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


# -- Markdown that is coming in ----------------------------------------------------------------------------------------

MARKDOWN = (
    "# A title\n\nSome *text*\nand more.\n\n```python\nx = 1\n\ny = 2\n```\nafter\n\n~~~\n```\n\n~~~\n- one\n- two\n"
)


@given(st.lists(st.integers(0, len(MARKDOWN)), max_size=12))
def test_markdown_is_divided_at_the_same_places_however_it_comes_in(cuts):
    places = [0, *sorted(cuts), len(MARKDOWN)]
    blocks, done = Blocks(), ""
    for start, end in pairwise(places):
        done += blocks.feed(MARKDOWN[start:end])
    whole = Blocks()
    assert done == whole.feed(MARKDOWN)
    assert blocks.finish() == whole.finish() == "- one\n- two\n"
    assert done + "- one\n- two\n" == MARKDOWN


def test_a_code_block_is_finished_only_when_it_is_closed():
    blocks = Blocks()
    assert blocks.feed("```\na\n\nb\n") == ""
    assert blocks.feed("````\nnext") == "```\na\n\nb\n````\n"
    assert blocks.rest == "next"


@given(st.text(alphabet="a`~\n ", max_size=60), st.integers(0, 60))
def test_nothing_of_a_text_is_lost_or_doubled(text, cut):
    blocks = Blocks()
    assert blocks.feed(text[:cut]) + blocks.feed(text[cut:]) + blocks.finish() == text
    assert blocks.rest == ""


# -- pipes -------------------------------------------------------------------------------------------------------------


async def test_lines_in_are_answers_out(tmp_path):
    async with serving(tmp_path) as service:
        env = environment(tmp_path, CHAT_URL=service.http, CHAT_TOKEN=token())
        code, out, err = await command("chat", env=env, text=b"hello there\n/nonsense\n\nand more\n")
    assert (code, out) == (0, "hello there\n/nonsense\nand more\n")
    assert "Traceback" not in err


async def test_commands_work_through_pipes_too(tmp_path):
    async with serving(tmp_path) as service:
        env = environment(tmp_path, CHAT_URL=service.http, CHAT_TOKEN=token())
        lines = ["one two", "/regenerate", "/rename Numbers", "/sessions", "/open 1", "/open 9", "/model"]
        lines += ["/model echo", "/model none", "/new", "three", "/human please", "/end", "/help", "/stop"]
        lines += ["/quit", "never said"]
        code, out, err = await command("chat", env=env, text="\n".join(lines).encode())
    assert code == 0
    assert out.splitlines()[:2] == ["one two", "one two"]
    assert "three" in out
    assert "never said" not in out
    for words in ("Numbers", "give a number", "models: echo", "does not exist", "help was asked for", "/regenerate  "):
        assert words in err


async def test_one_command_is_enough_where_no_server_runs(tmp_path):
    env = environment(tmp_path / "data", SERVER_PORT=str(free_port()))
    code, out, err = await command("chat", "--dev", env=env, text=b"hello\n")
    assert (code, out) == (0, "hello\n")
    assert "Starting a development server" in err


async def test_a_server_that_can_not_start_is_told(tmp_path):
    async with serving(tmp_path):
        env = environment(tmp_path, SERVER_PORT=str(free_port()))
        code, _, err = await command("chat", "--dev", env=env, text=b"hello\n")
    assert code == 1
    assert "in use by another process" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--dev"),
        (["--url", "http://127.0.0.1:9/chatbox"], 2, "--token"),
        (["--url", "{http}", "--token", "nonsense"], 1, "token"),
        (["--url", "{root}/elsewhere", "--token", "{token}"], 1, "no Chatbox at this address"),
    ],
)
async def test_what_keeps_a_talk_from_beginning_is_told(tmp_path, arguments, code, words):
    async with serving(tmp_path) as service:
        root = f"http://127.0.0.1:{service.port}"
        given_arguments = [a.format(http=service.http, root=root, token=token()) for a in arguments]
        found, _, err = await command("chat", *given_arguments, env=environment(tmp_path), text=b"hello\n")
    assert found == code
    assert words in err
    assert "Traceback" not in err


def free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


# -- a terminal --------------------------------------------------------------------------------------------------------


class Terminal:
    """``chatbox`` in a pseudo-terminal of 80 columns and 24 lines."""

    def __init__(self, env, *arguments):
        self.env = env | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.arguments = arguments
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def __aenter__(self):
        self.fd, theirs = pty.openpty()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chatbox", *self.arguments, env=self.env,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(self.fd, False)
        asyncio.get_running_loop().add_reader(self.fd, self._read)
        return self

    async def __aexit__(self, *_):
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def _read(self):
        with suppress(OSError):
            self.shown += ESCAPES.sub("", self._decoder.decode(os.read(self.fd, 65536)))

    def type(self, text):
        os.write(self.fd, text.encode())

    async def until(self, words, patience=60):
        """Wait for words that were not there before."""
        async with asyncio.timeout(patience):
            while words not in self.shown:
                await asyncio.sleep(0.02)
        _, _, self.shown = self.shown.partition(words)


@pytest.fixture
async def terminal(tmp_path):
    async with serving(tmp_path) as service:
        env = environment(tmp_path, CHAT_URL=service.http, CHAT_TOKEN=token())
        async with Terminal(env, "chat") as opened:
            opened.service = service
            await opened.until("you>")
            yield opened


async def test_a_conversation_in_a_terminal(terminal):
    terminal.type("/markdown\r")
    await terminal.until("A sample of Markdown")
    await terminal.until("Pear")
    await terminal.until("That was all.")
    await terminal.until("you>")
    terminal.type("first line\\\r")
    await terminal.until("…")
    terminal.type("second line\r")
    await terminal.until("second line")
    await terminal.until("you>")
    terminal.type("\x04")
    assert await asyncio.wait_for(terminal.process.wait(), 20) == 0


async def test_ctrl_c_stops_the_answer_and_not_the_talk(terminal):
    terminal.type("/slow 100 " + "word " * 100 + "\r")
    await terminal.until("word word")
    await asyncio.sleep(1)
    terminal.type("\x03")
    await terminal.until("(stopped)")
    await terminal.until("you>")
    terminal.type("\x03")
    await terminal.until("Ctrl-D leaves")
    terminal.type("still here\r")
    await terminal.until("still here")
    await terminal.until("still here")


async def test_a_lost_server_is_told_once_and_what_was_typed_is_answered_when_it_is_back(terminal):
    await terminal.service.kill()
    await terminal.until("offline: ")
    await terminal.until("nothing is lost")
    terminal.type("are you back?\r")
    await terminal.until("as soon as the connection is back")
    await terminal.service.start()
    await terminal.until("connected again")
    await terminal.until("are you back?")
    await terminal.until("you>")
    assert terminal.service.process.returncode is None
    assert "offline" not in terminal.shown


async def test_a_server_that_restarts_amid_an_answer_is_told_and_the_answer_is_whole(terminal):
    terminal.type("/slow 100 " + "word " * 20 + "end\r")
    await terminal.until("word word")
    ending = asyncio.create_task(terminal.service.signal(signal.SIGTERM))
    await terminal.until("word end")
    await terminal.until("offline: the server is restarting")
    assert await ending == 0
    await terminal.service.start()
    await terminal.until("connected again")
    terminal.type("still here\r")
    await terminal.until("still here")
    await terminal.until("still here")


async def test_a_server_that_crashes_amid_an_answer_leaves_what_there_was(terminal):
    terminal.type("/slow 100 " + "word " * 100 + "\r")
    await terminal.until("word word")
    await asyncio.sleep(2)
    await terminal.service.kill()
    await terminal.until("offline: ")
    await terminal.service.start()
    await terminal.until("connected again")
    await terminal.until("(interrupted; /regenerate")
    await terminal.until("you>")


async def test_who_comes_before_the_server_is_told_and_waits(tmp_path):
    port = free_port()
    env = environment(tmp_path, CHAT_URL=f"http://127.0.0.1:{port}/chatbox", CHAT_TOKEN=token(), SERVER_PORT=str(port))
    async with Terminal(env, "chat") as opened:
        await opened.until("offline: no answer from the server (connection refused)")
        async with serving(tmp_path, SERVER_PORT=str(port)):
            await opened.until("connected")
            await opened.until("you>")
            opened.type("hello\r")
            await opened.until("hello")
            await opened.until("hello")
            await opened.until("you>")
            opened.type("\x04")
            assert await asyncio.wait_for(opened.process.wait(), 20) == 0


async def test_ctrl_c_ends_the_wait_for_a_server(tmp_path):
    env = environment(tmp_path, CHAT_URL=f"http://127.0.0.1:{free_port()}/chatbox", CHAT_TOKEN=token())
    async with Terminal(env, "chat") as opened:
        await opened.until("offline: ")
        opened.type("\x03")
        assert await asyncio.wait_for(opened.process.wait(), 20) == 130
        assert "Traceback" not in opened.shown
        assert "Unclosed" not in opened.shown


async def test_an_answer_taller_than_the_terminal_is_shown_whole(terminal):
    terminal.type("/list 80\r")
    await terminal.until("Item 80")
    await terminal.until("you>")


async def test_a_terminal_that_is_closed_ends_the_talk(terminal):
    terminal.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(terminal.process.wait(), 20)
