"""The ratio of fan-out: one prepared event to 1,000 sockets of one session, beside the bare stack."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.figures import Figure, Result, shown
from bench.load import AT_ONCE, uninterrupted
from bench.process import SERVER_CORE, Process, first_line, started
from bench.server import SECRET, environment
from bench.sizes import Sizes
from bench.tally import percentile
from chatbox.auth import mint

WITHIN = 120.0
MARK = b"typing_indicator"


class Run(NamedTuple):
    """Frames a second by the clock, and CPU of the server in µs a frame."""

    rate: float
    cpu: float


class Ear(WSListener):
    """One socket of an audience."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self.count = 0
        self.session_id = ""
        self.greeted = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._text(frame.get_payload_as_bytes())

    def leave(self) -> None:
        self._transport.disconnect(graceful=False)

    def _text(self, payload: bytes) -> None:
        if MARK in payload:
            self.count += 1
            self._heard()
        elif not self.session_id:
            self.session_id = orjson.loads(payload)["session_id"]
            self.greeted.set()


class Audience:
    """All sockets of one server: one user's, in one session."""

    def __init__(self, port: int, process: Process) -> None:
        self._address = f"127.0.0.1:{port}/chatbox"
        self._process = process
        self._ears: list[Ear] = []
        self._missing = 0
        self._done = asyncio.Event()

    async def connect(self, sockets: int) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        await self._connect(gate)
        await asyncio.gather(*[self._connect(gate) for _ in range(sockets - 1)])

    async def run(self, events: int) -> Run:
        """Raises ``RuntimeError`` when a socket does not get every event once."""
        frames = self._missing = events * len(self._ears)
        self._done.clear()
        for ear in self._ears:
            ear.count = 0
        with uninterrupted():
            cpu, begun = self._process.cpu(), time.monotonic()
            await self._start(events)
            async with asyncio.timeout(WITHIN):
                await self._done.wait()
            seconds, cpu = time.monotonic() - begun, self._process.cpu() - cpu
        if any(ear.count != events for ear in self._ears):
            raise RuntimeError("a socket lost or doubled an event")
        return Run(frames / seconds, cpu * 1e6 / frames)

    def leave(self) -> None:
        for ear in self._ears:
            ear.leave()

    async def _connect(self, gate: asyncio.Semaphore) -> None:
        ear = Ear(self._heard)
        headers = {"Authorization": f"Bearer {mint(SECRET, 'audience', 'Audience', [], 3600)}"}
        async with gate:
            await ws_connect(lambda: ear, f"ws://{self._address}/ws", extra_headers=headers)
            await ear.greeted.wait()
        self._ears.append(ear)

    async def _start(self, events: int) -> None:
        query = {"session_id": self._ears[0].session_id, "events": str(events)}
        async with aiohttp.request("POST", f"http://{self._address}/fan", params=query) as response:
            response.raise_for_status()

    def _heard(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._done.set()


async def fanout(sizes: Sizes) -> Result:
    """Both servers are there all the time, each with its sockets; they take turns."""
    async with audience("bare", sizes.fanout_sockets) as bare, audience("chatbox", sizes.fanout_sockets) as whole:
        await _pair(bare, whole, max(1, sizes.fanout_events // 10))
        pairs = [await _pair(bare, whole, sizes.fanout_events) for _ in range(sizes.pairs)]
    rates = [percentile([run.rate for run in side], 0.5) for side in zip(*pairs, strict=True)]
    costs = [percentile([run.cpu for run in side], 0.5) for side in zip(*pairs, strict=True)]
    remark = (
        f"Chatbox {shown(rates[1])} frames/s at {shown(costs[1])} µs of CPU each, "
        f"the bare stack {shown(rates[0])} at {shown(costs[0])} µs"
    )
    return Result([Figure("fanout", [whole.rate / bare.rate for bare, whole in pairs])], [], [remark])


@asynccontextmanager
async def audience(kind: str, sockets: int) -> AsyncIterator[Audience]:
    """The sockets of a fresh server of this kind; see ``bench.fan``."""
    with tempfile.TemporaryDirectory(prefix="chatbox-bench-") as folder:
        env = environment(Path(folder), 0, 9)
        async with started(SERVER_CORE, "-m", "bench.fan", kind, env=env) as process:
            people = Audience(int(await first_line(process)), Process(process.pid))
            await people.connect(sockets)
            try:
                yield people
            finally:
                people.leave()


async def _pair(bare: Audience, whole: Audience, events: int) -> tuple[Run, Run]:
    return await bare.run(events), await whole.run(events)
