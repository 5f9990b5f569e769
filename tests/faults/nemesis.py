"""Faults done to processes and their disks."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

FLUSH, SEND = "fdatasync", "write,writev,sendto,sendmsg"
BALLAST = "ballast"
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])


def can_trace() -> bool:
    return shutil.which("strace") is not None


def can_mount() -> bool:
    """Whether a small file system can be mounted here."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def can_cluster() -> bool:
    """Whether there is all that many replicas need."""
    return all(shutil.which(name, path=PROGRAMS) for name in ("redis-server", "haproxy", "secantusd-py"))


@asynccontextmanager
async def traced(pid: int, calls: str, injection: str) -> AsyncIterator[None]:
    """While inside, a running process's system calls go wrong. The tracer is killed: asked to go, it waits for the
    process."""
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-f", "-p", str(pid), "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={calls}:{injection}",
        stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while line := await tracer.stderr.readline():
                if b"attached" in line:
                    break
        yield
    finally:
        with suppress(ProcessLookupError):
            tracer.kill()
        await tracer.communicate()


async def kill_in(process: asyncio.subprocess.Process, calls: str, number: int, patience: float = 1.5) -> bool:
    """Kill a process as it enters the nth of these system calls from now; false when it made too few, and lives."""
    async with traced(process.pid, calls, f"signal=SIGKILL:when={number}"):
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), patience)
    return process.returncode is not None


@asynccontextmanager
async def failing_flushes(pid: int) -> AsyncIterator[None]:
    """Every fdatasync of the process fails with EIO."""
    async with traced(pid, FLUSH, "error=EIO"):
        yield


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process is stopped, as by a debugger or a frozen virtual machine."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def on_small_disk(folder: Path, size: str) -> tuple[str, ...]:
    """A command prefix under which the folder is a file system of that size, of its own."""
    mount = f'mount -t tmpfs -o size={size} none "{folder}" && exec "$@"'
    return ("unshare", "-rm", "sh", "-c", mount, "sh")


@contextmanager
def full_disk(pid: int, folder: Path) -> Iterator[None]:
    """The disk of a process that was started ``on_small_disk`` has no room left, until the end."""
    ballast = Path(f"/proc/{pid}/root{folder}") / BALLAST
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Another program holds the database's lock."""
    other = sqlite3.connect(database, isolation_level=None, timeout=30, check_same_thread=False)
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
