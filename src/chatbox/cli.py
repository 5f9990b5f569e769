"""The command line."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from chatbox.auth import mint
from chatbox.config import Config
from chatbox.server import serve as run

main = typer.Typer(no_args_is_help=True, add_completion=False)


@main.callback()
def chatbox() -> None:
    """Chatbox."""


@main.command()
def serve(dev: Annotated[bool, typer.Option("--dev")] = False, port: int | None = None) -> None:
    """Serve."""
    config = Config.load(os.environ, None, {"mode": "development" if dev else None, "server_port": port})
    assert config.jwt_secret
    token = mint(config.jwt_secret.get_secret_value(), "demo", "Demo", [], 86400)
    typer.echo(f"http://127.0.0.1:{config.server_port}{config.path_prefix}/#token={token}")
    run(config)
