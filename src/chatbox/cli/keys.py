"""``chatbox keys``."""

from __future__ import annotations

import asyncio
import base64
import secrets
import sys

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from chatbox.cli.failure import Failed
from chatbox.cli.options import ConfigFile, Dev, load
from chatbox.config import Config
from chatbox.errors import StorageLocked
from chatbox.storage import open_storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.rotate import rotate

RUNNING = (
    "The store is in use by a running server. It renews old values by itself: start it with the new key first in "
    "ENCRYPTION_KEYS and the old one behind it, and wait for the line 'keys rotated' in its log"
)

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys that protect what is stored."""


@app.command("new")
def new_key() -> None:
    """Print a new key, good for ENCRYPTION_KEY or, with an id before it, for ENCRYPTION_KEYS."""
    typer.echo(base64.b64encode(secrets.token_bytes(32)).decode())


@app.command("rotate", epilog="Example: ENCRYPTION_KEYS=2027:NEW,main:OLD chatbox keys rotate")
def rotate_keys(config: ConfigFile = None, dev: Dev = False) -> None:
    """Seal everything stored again under the first key of ENCRYPTION_KEYS.

    For a server that is down; a running one does the same by itself. May be interrupted and started again: it goes on
    where it was. When it is done, the older keys can be taken out of ENCRYPTION_KEYS.
    """
    chosen = load(config, dev)
    try:
        renewed = asyncio.run(_rotate(chosen))
    except StorageLocked as error:
        raise Failed(RUNNING) from error
    typer.echo(f"{renewed} values were renewed. Everything is sealed under key {chosen.keyring.current} now.")


async def _rotate(config: Config) -> int:
    inner = open_storage(config)
    columns = SpinnerColumn(), TextColumn("Renewing values: {task.completed}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        async with EncryptedStorage(inner, config.keyring):
            return await rotate(inner, config.keyring, lambda done: progress.update(task, completed=done))
