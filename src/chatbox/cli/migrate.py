"""``chatbox migrate``."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chatbox.cli.failure import Failed
from chatbox.cli.options import SEEN, ConfigFile, Dev, load
from chatbox.config import Config
from chatbox.errors import StorageLocked
from chatbox.storage import SQLITE, open_storage, open_target
from chatbox.storage.moving import Move, Moved
from chatbox.storage.moving import Progress as Done

RUNNING = "The store is in use by a running server; stop it first, and start it again with the new STORE_URL"

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: chatbox migrate --to mongodb://chat:PASSWORD@db1,db2,db3/?replicaSet=rs0")
def migrate(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help=f"The MongoDB to copy to. {SEEN}", envvar="MIGRATE_TO")
    ],
    config: ConfigFile = None,
    dev: Dev = False,
) -> None:
    """Copy everything stored at STORE_URL to MongoDB, where MONGO_DATABASE and MONGO_COLLECTION say.

    For a server that is down. The store itself is only read. What is encrypted is copied as it is: no key is used, and
    the same ENCRYPTION_KEY or ENCRYPTION_KEYS opens it there. May be interrupted and started again: it goes on where it
    was. In the end every conversation and record is compared with its copy. A target that holds other data is refused.
    """
    chosen = load(config, dev)
    target = chosen.model_copy(update={"store_url": to})
    if not to.startswith(("mongodb://", "mongodb+srv://")):
        raise Failed("What is stored can be copied to MongoDB only; give --to mongodb://…")
    if place(chosen) == place(target):
        raise Failed("The target is the store itself; give another one with --to")
    try:
        moved = asyncio.run(_moved(chosen, target))
    except StorageLocked as error:
        raise Failed(RUNNING) from error
    mended = f" {moved.mended} conversations had changed since an earlier attempt." if moved.mended else ""
    typer.echo(
        f"{moved.sessions} conversations with {moved.entries} entries, and {moved.records} records, are at "
        f"{place(target)} now, each compared with the original.{mended} Next: set STORE_URL to the new store and start "
        "the server."
    )


def place(config: Config) -> str:
    """Where a store is, without passwords."""
    if config.store_url.startswith(SQLITE):
        return SQLITE + str(Path(config.store_url.removeprefix(SQLITE)).resolve())
    servers = re.sub(r"//[^/]*@", "//", config.store_url).partition("?")[0].rstrip("/")
    return f"{servers}, database {config.mongo_database}, collection {config.mongo_collection}"


async def _moved(source: Config, target: Config) -> Moved:
    async with open_storage(source) as old, open_target(target) as new:
        total, _ = await old.sizes()
        with shown(total) as (copying, comparing):
            return await Move(old, new, copying=copying, comparing=comparing).run(place(source))


Show = Callable[[Done], None]


@contextmanager
def shown(total: int) -> Iterator[tuple[Show, Show]]:
    """Progress bars of the two passes, on a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total} conversations, {task.fields[entries]} entries"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        tasks = [progress.add_task(name, total=total, entries=0) for name in ("Copying", "Comparing")]

        def show(task: TaskID) -> Show:
            return lambda done: progress.update(task, completed=done.sessions, entries=done.entries)

        yield show(tasks[0]), show(tasks[1])
