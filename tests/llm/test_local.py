from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from chatbox.errors import ConfigError, ProviderRefused
from chatbox.llm import local, open_provider
from chatbox.llm.base import Piece, Provider
from tests.llm.asking import answer, end, prompt, settings, text, usage

pytestmark = [pytest.mark.model, pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the extra local")]


@pytest.fixture(scope="module", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sockets have short paths, and other tests may have a model running."""
    tmp_path_factory.getbasetemp()  # made now, it is not in the folder that goes away
    folder = tempfile.mkdtemp(prefix="m")
    before, tempfile.tempdir = tempfile.tempdir, folder
    yield
    tempfile.tempdir = before
    shutil.rmtree(folder)


@pytest.fixture
async def model() -> AsyncIterator[Provider]:
    async with open_provider(settings("local", model="", max_tokens=40)) as provider:
        yield provider


async def test_it_knows_the_capital_of_france(model: Provider) -> None:
    events = await answer(model, "What is the capital of France?")
    assert "Paris" in text(events)
    assert sum(isinstance(event, Piece) for event in events) >= 3
    assert end(events).reason == "stop"
    counted = usage(events)
    assert counted is not None
    assert counted.prompt_tokens > 5
    assert counted.completion_tokens > 3


async def test_the_whole_conversation_reaches_the_model(model: Provider) -> None:
    short, long = await answer(model, "Hi"), await answer(model, "Hi", "Hello!", "Hi", system="You are a poet.")
    counted, more = usage(short), usage(long)
    assert counted is not None
    assert more is not None
    assert more.prompt_tokens > counted.prompt_tokens + 5


async def test_its_limit_ends_an_answer_with_length() -> None:
    async with open_provider(settings("local", model="", max_tokens=5)) as model:
        events = await answer(model, "Count to a hundred.")
    assert end(events).reason == "length"


async def test_emoji_and_other_scripts_come_whole(model: Provider) -> None:
    assert "\ufffd" not in text(await answer(model, "Repeat: 👋🏽 Grüße 日本語"))


async def test_two_at_once_are_answered_in_turn(model: Provider) -> None:
    order: list[str] = []

    async def ask(name: str) -> None:
        order.extend([name for event in await answer(model, "Tell me a story.") if isinstance(event, Piece)])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask("first"))
        tasks.create_task(ask("second"))
    assert set(order) == {"first", "second"}
    assert order == sorted(order)


async def test_the_loop_is_never_blocked(model: Provider) -> None:
    """But for loading, which the library does without giving Python's lock away."""
    await answer(model, "Hi")
    loop, gaps = asyncio.get_running_loop(), []

    async def heartbeat() -> None:
        last = loop.time()
        while True:
            await asyncio.sleep(0.005)
            gaps.append(loop.time() - last)
            last = loop.time()

    beating = asyncio.create_task(heartbeat())
    assert text(await answer(model, "long " * 100 + "What do you say?"))
    beating.cancel()
    assert len(gaps) > 50
    assert sorted(gaps)[int(len(gaps) * 0.95)] < 0.25
    assert max(gaps) < 2


@pytest.mark.parametrize("when", ["while it reads", "while it writes"])
async def test_a_stopped_answer_frees_the_worker(when: str) -> None:
    """Unstopped, reading takes over 4 s and writing over 6 s on any machine that tests run on."""
    loop = asyncio.get_running_loop()
    async with open_provider(settings("local", model="", max_tokens=1000)) as model:
        await anext(model.stream(prompt("Hi")))
        stream = model.stream(
            prompt("word " * (2000 if when == "while it reads" else 0) + "Tell me a very long story.")
        )
        first = asyncio.ensure_future(anext(stream))
        await asyncio.wait({first}, timeout=0.5 if when == "while it reads" else 60)
        assert first.done() == (when == "while it writes")
        began = loop.time()
        first.cancel()
        await asyncio.wait({first})
        await stream.aclose()
        assert loop.time() - began < 0.2
        await loop.run_in_executor(model._worker, lambda: None)
        assert loop.time() - began < 2


async def test_a_question_can_be_taken_back_while_it_waits(model: Provider) -> None:
    stream = model.stream(prompt("Tell me a very long story."))
    await anext(stream)
    waiting = asyncio.create_task(answer(model, "Hi"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    await stream.aclose()
    assert text(await answer(model, "Hi"))


async def test_a_long_conversation_is_trimmed_to_what_the_model_holds() -> None:
    async with open_provider(settings("local", model="", context=256, max_tokens=20)) as model:
        said = [f"Sentence number {number} of many." for number in range(400)]
        assert text(await answer(model, *said, "Say hello."))


async def test_text_with_more_tokens_than_estimated_is_trimmed_further() -> None:
    async with open_provider(settings("local", model="", context=256, max_tokens=20)) as model:
        events = await answer(model, "q9!" * 1000)
    assert end(events)


async def test_no_port_is_opened_and_the_socket_is_ours_alone(model: Provider) -> None:
    before = listening()
    await answer(model, "Hi")
    assert listening() == before
    (folder,) = Path(tempfile.gettempdir()).glob("chatbox-model-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.name for file in folder.iterdir()] == ["l.sock"]
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(folder / "l.sock"))
        stranger.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert b" 401 " in stranger.recv(100)


def listening() -> set[str]:
    """The TCP sockets of this process that listen, by what the kernel says."""
    mine = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}  # noqa: PTH115 - not a path
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine}


async def test_closing_ends_its_threads_and_removes_its_folder() -> None:
    before = threading.active_count()
    async with open_provider(settings("local", model="")) as model:
        stream = model.stream(prompt("Tell me a very long story."))
        await anext(stream)
        assert list(Path(tempfile.gettempdir()).glob("chatbox-model-*"))
    assert list(Path(tempfile.gettempdir()).glob("chatbox-model-*")) == []
    await stream.aclose()
    gc.collect()
    assert threading.active_count() <= before


async def test_nothing_is_loaded_before_the_first_question() -> None:
    async with open_provider(settings("local", model="")):
        assert list(Path(tempfile.gettempdir()).glob("chatbox-model-*")) == []


async def test_folders_of_killed_processes_are_removed_and_those_of_others_stay(model: Provider) -> None:
    left, young, busy = (Path(tempfile.mkdtemp(prefix="chatbox-model-")) / "l.sock" for _ in range(3))
    servers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for server, path in zip(servers, (left, young, busy), strict=True):
        server.bind(str(path))
    servers[2].listen()
    for path in (left, busy):
        os.utime(path, (0, 0))
    servers[0].close()
    servers[1].close()
    await answer(model, "Hi")
    assert [path.exists() for path in (left, young, busy)] == [False, True, True]
    servers[2].close()
    for path in (young, busy):
        path.unlink()
        path.parent.rmdir()


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    async with open_provider(settings("local", model=str(tmp_path / "no.gguf"))) as model:
        for _ in range(2):
            with pytest.raises(ProviderRefused, match="can't be loaded"):
                await answer(model, "Hi")
    assert list(Path(tempfile.gettempdir()).glob("chatbox-model-*")) == []


def test_a_file_that_is_not_there_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"no file /nowhere/x\.gguf"):
        open_provider(settings("local", model="/nowhere/x.gguf"))


async def test_a_model_may_be_named_by_its_path() -> None:
    path = local.demo_model()
    async with open_provider(settings("local", model=str(path), context=1024, max_tokens=20)) as model:
        assert text(await answer(model, "Hi"))


def test_without_the_extra_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'chatbox\[local\]'"):
        open_provider(settings("local", model=""))


def test_without_the_demonstration_model_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: find_spec(name) if name == "xllamacpp" else None)
    with pytest.raises(ConfigError, match="there is no demonstration model"):
        open_provider(settings("local", model=""))


async def test_a_system_without_a_library_that_the_engine_needs_is_told_what_to_install(monkeypatch) -> None:
    def lacking(_name: str) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    async with open_provider(settings("local", model="")) as model:
        monkeypatch.setattr(local, "import_module", lacking)
        with pytest.raises(ProviderRefused, match="apt-get install libgomp1"):
            await answer(model, "hello")
