"""The wheel, in an empty environment on a machine without Node, is a whole server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from chatbox.auth import mint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).parent / "uv"
SECRET = "k7Jq2vXw9RzT4mYb8NcLdPfHs5Ga3EuQ"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, ROOT]
    done = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    return next(distributions.glob("*.whl"))


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs from the wheel, with nothing on its path but its environment."""
    environment = tmp_path_factory.mktemp("environment")
    python = environment / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, "--constraint", ROOT / "requirements" / "run.lock", wheel], check=True)
    port = free_port()
    settings = {
        "PATH": str(environment / "bin"),
        "CHATBOX_MODE": "development",
        "CHATBOX_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "SERVER_PORT": str(port),
        "JWT_SECRET": SECRET,
        "LLM_PROVIDER_1_TYPE": "echo",
        "LLM_PROVIDER_1_ID": "echo",
    }
    process = subprocess.Popen([environment / "bin" / "chatbox", "serve"], env=settings, cwd=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/chatbox/healthz", process)
        yield f"127.0.0.1:{port}/chatbox"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server did not start")


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def test_it_serves_the_pages_and_all_that_they_load(server: str) -> None:
    page = fetch(f"http://{server}/")
    loaded = re.findall(r'(?:src|href)="(?:\./|/chatbox/)?(assets/[^"]+)"', page)
    assert any(name.endswith(".js") for name in loaded)
    assert all(fetch(f"http://{server}/{name}") for name in loaded)


def test_it_answers_a_message(server: str) -> None:
    token = mint(SECRET, "someone", "Someone", [], 600)
    with connect(f"ws://{server}/ws", additional_headers={"Authorization": f"Bearer {token}"}) as chat:
        assert json.loads(chat.recv(timeout=10))["type"] == "connection_status"
        chat.send(json.dumps({"type": "user_message", "message_id": "one", "content": "hello from the wheel"}))
        frames: list[dict[str, object]] = []
        while not (frames and frames[-1].get("metadata", {}).get("done") == "true"):
            frames.append(json.loads(chat.recv(timeout=10)))
    answer = "".join(frame.get("content", "") for frame in frames if frame["type"] == "ai_response")
    assert "hello from the wheel" in answer


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"chatbox"}
    assert not [name for name in names if name.endswith((".map", ".lock", ".gguf"))]
    assert any(name.startswith("chatbox/pages/assets/") for name in names)
    assert "chatbox/py.typed" in names


def test_the_sdist_holds_all_that_the_wheel_is_built_from(distributions: Path) -> None:
    names = subprocess.run(
        ["tar", "tzf", next(distributions.glob("*.tar.gz"))], check=True, capture_output=True, text=True
    ).stdout
    for needed in ("hatch_build.py", "tools/pages.py", "web/package-lock.json", "web/.npmrc", "web/src/", "LICENSE"):
        assert f"/{needed}" in names
    assert "/node_modules/" not in names
    assert "/pages/" not in names
