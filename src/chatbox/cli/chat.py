"""``chatbox chat``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chatbox.auth import mint
from chatbox.cli.failure import Failed
from chatbox.cli.options import ConfigFile, load
from chatbox.cli.screen import PlainScreen, Screen, TerminalScreen
from chatbox.cli.serve import DEMO_USER
from chatbox.cli.talk import Talk
from chatbox.client import ChatClient
from chatbox.client.tokens import TokenSource
from chatbox.config import Config

Background = Callable[[Coroutine[Any, Any, Any]], Future[Any]]

HOUR = 3600.0
STARTING = 30.0
LOG = "chat-server.log"

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Examples: chatbox chat --dev · echo Hello | chatbox chat --dev · chatbox chat --url https://… --token …"
)
def chat(
    config: ConfigFile = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Talk to the development server here; starts one if none runs.")
    ] = False,
    url: Annotated[str, typer.Option(help="Address of a Chatbox, path prefix included.", envvar="CHAT_URL")] = "",
    token: Annotated[str, typer.Option(help="Your token there.", envvar="CHAT_TOKEN")] = "",
    user: Annotated[str, typer.Option(help="Who to be, with --dev.")] = DEMO_USER,
    session: Annotated[str, typer.Option(help="A session's id, or new; else the active one.")] = "",
) -> None:
    """Talk in the terminal. /help shows the commands.

    Reconnects by itself and loses nothing. Without a terminal it reads a message a line and prints the answers.
    """
    if dev:
        chosen = load(config, dev=True)
        with _development_server(chosen, config) as base:
            _talk(base, _development_token(chosen, user), session)
    elif url and token:
        _talk(url, token, session)
    else:
        raise typer.BadParameter("say where: --dev, or --url and --token (or CHAT_URL and CHAT_TOKEN)")


def _talk(base: str, token: TokenSource, session: str) -> None:
    """The loop of typing and answering. It has the main thread, the client another one: typing blocks."""
    screen: Screen = TerminalScreen(Console()) if sys.stdin.isatty() and sys.stdout.isatty() else PlainScreen()
    with _background() as background:
        talk = Talk(lambda session_id: ChatClient(base, token=token, session_id=session_id), screen)
        background(talk.enter(session)).result()
        try:
            while (line := _typed(screen)) is not None and _done(background, talk, line):
                pass
        finally:
            background(talk.leave()).result()


def _typed(screen: Screen) -> str | None:
    try:
        return screen.ask()
    except EOFError:
        return None
    except KeyboardInterrupt:
        screen.note("Ctrl-D leaves")
        return ""


def _done(background: Background, talk: Talk, line: str) -> bool:
    """Wait until what was typed is done; false when that was to leave. Ctrl-C stops the answer, twice stops waiting."""
    doing: Future[bool] = background(talk.take(line))
    try:
        return doing.result()
    except KeyboardInterrupt:
        background(talk.take("/stop"))
    try:
        return doing.result()
    except KeyboardInterrupt:
        doing.cancel()
        return True


@contextmanager
def _background() -> Iterator[Background]:
    """A thread with an event loop; gives a function that starts coroutines there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="chat", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop)
    finally:
        asyncio.run_coroutine_threadsafe(_let_go(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _let_go() -> None:
    """Cancel whatever still runs in this loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _development_token(config: Config, user: str) -> TokenSource:
    secret = config.jwt_secret.get_secret_value() if config.jwt_secret else ""

    async def fresh() -> str:
        return mint(secret, user, user.capitalize(), [], HOUR)

    return fresh


@contextmanager
def _development_server(config: Config, file: Path | None) -> Iterator[str]:
    """The address of a development server: the one that runs, or one that runs as long as the block."""
    base = f"http://{config.server_host}:{config.server_port}{config.path_prefix}"
    if _healthy(config):
        yield base
        return
    log = config.data_dir / LOG
    command = [sys.executable, "-m", "chatbox", "serve", "--dev", *(["--config", str(file)] if file else [])]
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True) as server:  # noqa: S603 - ourselves
        try:
            _await_start(server, config, log)
            yield base
        finally:
            server.terminate()


def _await_start(server: subprocess.Popen[bytes], config: Config, log: Path) -> None:
    typer.echo(f"Starting a development server; its log is {log}", err=True)
    due = time.monotonic() + STARTING
    while not _healthy(config):
        if server.poll() is not None:
            raise Failed(log.read_text("utf-8", "replace").strip().rpartition("\n")[2] or "The server did not start")
        if time.monotonic() > due:
            raise Failed(f"The server does not answer; see {log}")
        time.sleep(0.05)


def _healthy(config: Config) -> bool:
    connection = HTTPConnection(config.server_host, config.server_port, timeout=2.0)
    try:
        connection.request("GET", f"{config.path_prefix}/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
