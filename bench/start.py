"""The time from `chatbox serve` to a healthy server, with byte code and a data folder in place."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Result
from bench.process import SERVER_CORE, started
from bench.server import environment, free_port, healthy
from bench.sizes import Sizes


async def start(sizes: Sizes) -> Result:
    """A first start, which may have byte code and the database to make, is not counted."""
    with tempfile.TemporaryDirectory(prefix="chatbox-bench-") as folder:
        seconds = [await _start(Path(folder)) for _ in range(sizes.starts + 1)]
    return Result([Figure("start", seconds[1:])], [], [f"the first start took {seconds[0]:.2f} s"])


async def _start(folder: Path) -> float:
    port = free_port()
    begun = time.monotonic()
    async with started(SERVER_CORE, "-m", "chatbox", "serve", "--dev", env=environment(folder, port, 9)):
        return await healthy(port) - begun
