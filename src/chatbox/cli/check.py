"""``chatbox check``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chatbox.cli.options import ConfigFile, Dev, load, with_settings
from chatbox.config import Row

app = typer.Typer(add_completion=False)


@app.command(epilog="Examples: chatbox check · chatbox check --config chatbox.toml --changed")
@with_settings
def check(
    config: ConfigFile = None,
    dev: Dev = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what was set somewhere.")] = False,
    settings: Mapping[str, object] = {},
) -> None:
    """Show the settings in force, secrets masked, and where each came from.

    When some are wrong, lists every problem instead; exit code 2.
    """
    rows = [row for row in load(config, dev, settings).rows() if not changed or row.source != "default"]
    if sys.stdout.isatty():
        Console().print(_table(rows))
    else:
        for row in rows:
            typer.echo(f"{row.name}={row.value}  # {row.source}")


def _table(rows: list[Row]) -> Table:
    table = Table("Setting", "Value", "From", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(row.name, row.value, row.source, style="" if row.source != "default" else "dim")
    return table
