"""Programs that the benchmark starts: pinned to a core, ready when they say so, measured through /proc."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1

Program = asyncio.subprocess.Process
NOTHING: Mapping[str, str] = {}

READY_WITHIN = 60.0
STOPPED_WITHIN = 10.0

_TICK = os.sysconf("SC_CLK_TCK")
_RSS = re.compile(r"VmRSS:\s+(\d+)")


def pin(core: int, pid: int = 0) -> bool:
    """Keep a process on one core; false where the machine does not let us, or has no second core."""
    try:
        os.sched_setaffinity(pid, {core})
    except (AttributeError, OSError):
        return False
    return True


class Process:
    """A running program with all that it has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system, of the processes that are still there."""
        return sum(_cpu(pid) for pid in family(self.pid))

    def rss(self) -> int:
        """Resident memory in KiB."""
        return sum(_rss(pid) for pid in family(self.pid))


@asynccontextmanager
async def started(core: int, *command: str, env: Mapping[str, str] = NOTHING) -> AsyncIterator[Program]:
    """A Python program of ours, ended by SIGTERM at the end of the block, and then by force."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: pin(core),
    )
    try:
        yield process
    finally:
        await stop(process)


async def stop(process: Program) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOPPED_WITHIN):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


async def first_line(process: Program) -> str:
    """What a program says when it is ready. Raises ``RuntimeError`` when it ends or is silent."""
    assert process.stdout
    try:
        async with asyncio.timeout(READY_WITHIN):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        raise RuntimeError(f"the program with pid {process.pid} did not start")
    return line.decode().strip()


class Others:
    """How much of the machine other programs use, from now on. Ours count once they have ended."""

    def __init__(self) -> None:
        self._begun = (time.monotonic(), _machine_busy(), _ours())

    def share(self) -> float:
        begun, busy, ours = self._begun
        theirs = _machine_busy() - busy - (_ours() - ours)
        return max(0.0, theirs / (time.monotonic() - begun) / (os.cpu_count() or 1))


def _machine_busy() -> float:
    """Seconds of all cores in which they were not idle and not waiting for a disk."""
    fields = _read(Path("/proc/stat")).partition("\n")[0].split()[1:]
    user, nice, system, _idle, _waiting, *interrupts = [int(field) / _TICK for field in fields[:8]] or [0.0] * 5
    return user + nice + system + sum(interrupts)


def _ours() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for member in found:
        for thread in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, _read(thread).split())
    return found


def _cpu(pid: int) -> float:
    stat = _read(Path(f"/proc/{pid}/stat"))
    if not stat:
        return 0.0
    after_name = stat.rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / _TICK


def _rss(pid: int) -> int:
    found = _RSS.search(_read(Path(f"/proc/{pid}/status")))
    return int(found[1]) if found else 0


def _read(path: Path) -> str:
    """Empty when the process is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""
