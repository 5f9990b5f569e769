"""Compare the coverage just measured with its marks: lines and branches together, in per cent."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import coverage

WHOLE = 90.0
PATH = 97.0
PATH_FILES = [f"src/chatbox/{name}.py" for name in ("connection", "protocol", "chat", "reply", "hub", "session")]


def main() -> int:
    measured = coverage.Coverage()
    measured.load()
    measured.report(file=sys.stdout, skip_covered=True, show_missing=True)
    with tempfile.TemporaryDirectory() as folder:
        measured.json_report(outfile=f"{folder}/coverage.json")
        figures = json.loads(Path(folder, "coverage.json").read_text())
    short = list(shortfalls(figures))
    for line in short:
        print(line)
    return 1 if short else 0


def shortfalls(figures: dict[str, Any]) -> list[str]:
    found = {name: file["summary"]["percent_covered"] for name, file in figures["files"].items()}
    marks = [("the whole", figures["totals"]["percent_covered"], WHOLE)]
    marks += [(name, found.get(name, 0.0), PATH) for name in PATH_FILES]
    return [f"{name}: {have:.1f} % covered, {mark:.0f} are needed" for name, have, mark in marks if have < mark]


if __name__ == "__main__":
    sys.exit(main())
