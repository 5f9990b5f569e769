"""``chatbox token``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chatbox.auth import mint
from chatbox.cli.failure import Failed
from chatbox.cli.options import ConfigFile, Dev, load
from chatbox.values import seconds

app = typer.Typer(add_completion=False)


def _duration(text: str) -> float:
    try:
        return float(str(seconds(text)))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; give a duration such as 30m or 12h") from None


@app.command(epilog="Examples: chatbox token --dev · chatbox token --user eve --role admin --lifetime 1h")
def token(
    config: ConfigFile = None,
    dev: Dev = False,
    user: Annotated[str, typer.Option(help="The user's id, 1 to 128 characters.")] = "demo",
    name: Annotated[str, typer.Option(help="What people see; else the id.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(help="A role, such as admin or chat_admin; may be repeated.")
    ] = None,
    lifetime: Annotated[
        float, typer.Option(metavar="DURATION", parser=_duration, help="How long it is good.")
    ] = 43200.0,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the development secrets.")] = None,
) -> None:
    """Print a token signed with JWT_SECRET, or with --dev by the development secret, for tests and trials.

    In production your own app signs tokens; this command is for trying things out.
    """
    chosen = load(config, dev, {"data_dir": str(data_dir) if data_dir else None})
    if chosen.jwt_secret is None:
        raise Failed("Tokens are signed by the owner of JWKS_URL's keys; set JWT_SECRET to sign them here")
    if not 1 <= len(user) <= 128:
        raise typer.BadParameter("a user's id has 1 to 128 characters", param_hint="--user")
    typer.echo(mint(chosen.jwt_secret.get_secret_value(), user, name or user, role or [], lifetime))
