"""Results as people and programs read them: a table in the terminal, JSON, and RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from bench.figures import Figure, Result, ranged, shown
from chatbox import __version__

FOLDER = Path(__file__).parent
SHORTFALLS = FOLDER / "shortfalls.md"

LIBRARIES = ("uvicorn", "uvloop", "websockets", "starlette", "aiohttp", "msgspec", "cryptography", "picows", "orjson")
SHARED = ("redis", "hiredis", "pymongo")


@dataclass(frozen=True)
class Setting:
    """Where and how it was measured."""

    date: str
    command: str
    machine: str
    pinned: bool
    versions: Mapping[str, str]


def setting(command: str, *, pinned: bool) -> Setting:
    versions = {"chatbox": __version__, "Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    return Setting(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=command,
        machine=_machine(),
        pinned=pinned,
        versions=versions | {name: version(name) for name in (*LIBRARIES, *SHARED)},
    )


def table(results: Mapping[str, Result], *, marks: bool) -> Table:
    """For the terminal."""
    drawn = Table("Figure", "Median", "Range", *(("Reach", "Then") if marks else ()), box=None, pad_edge=False)
    work = ""
    for figure in _figures(results):
        mark = figure.mark
        if mark.work != work:
            work = mark.work
            drawn.add_row(f"[bold]{work}")
        drawn.add_row(f"  {mark.name}", _with_unit(figure), ranged(figure.values), *(_reached(figure) if marks else ()))
    return drawn


def as_json(results: Mapping[str, Result], where: Setting) -> str:
    return json.dumps({"setting": asdict(where), "results": {k: asdict(r) for k, r in results.items()}}, indent=1)


def markdown(results: Mapping[str, Result], where: Setting) -> str:
    """RESULTS.md as a whole."""
    lines = [*_head(where), *_rows(results), "", *_remarks(results), "", SHORTFALLS.read_text().rstrip()]
    return "\n".join(lines) + "\n"


def _head(where: Setting) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield f"Written by `{where.command}` on {where.date}. [README.md](README.md) says what is measured and how."
    yield ""
    yield f"- Machine: {where.machine}."
    yield f"- {_cores(where)}"
    yield f"- {', '.join(f'{name} {number}' for name, number in where.versions.items())}."
    yield ""
    yield "Median of the runs, and their range. *Reach* and *Then* are the marks; ✓ and ✗ tell whether the median is"
    yield "as good. Times on a shared machine drift by 40 % within minutes: ratios say more. Below stands what other"
    yield "programs used of the machine meanwhile: with more than a few percent, distrust the times."
    yield ""


def _cores(where: Setting) -> str:
    if where.pinned:
        return "The server on one core; the load, the model and the clients on another."
    return "The processes could not be pinned to cores: server and load may have shared one."


def _rows(results: Mapping[str, Result]) -> Iterator[str]:
    yield "| Work | Figure | Median | Range | Reach | Then |"
    yield "|---|---|---|---|---|---|"
    work = ""
    for figure in _figures(results):
        mark = figure.mark
        first, work = mark.work if mark.work != work else "", mark.work
        reach, then = _reached(figure)
        yield f"| {first} | {mark.name} | {_with_unit(figure)} | {ranged(figure.values)} | {reach} | {then} |"


def _remarks(results: Mapping[str, Result]) -> Iterator[str]:
    for name, result in results.items():
        for problem in result.problems:
            yield f"- **{name}: wrong: {problem}.**"
        for remark in result.remarks:
            yield f"- {name}: {remark}."


def _figures(results: Mapping[str, Result]) -> Iterator[Figure]:
    return (figure for result in results.values() for figure in result.figures)


def _with_unit(figure: Figure) -> str:
    return f"{shown(figure.median)} {figure.mark.unit}".rstrip()


def _reached(figure: Figure) -> tuple[str, str]:
    return _verdict(figure, figure.mark.reach), _verdict(figure, figure.mark.then)


def _verdict(figure: Figure, mark: float | None) -> str:
    if mark is None:
        return "-"
    sign = "≤" if figure.mark.less else "≥"
    return f"{sign}{shown(mark)} {'✓' if figure.reaches(mark) else '✗'}"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
