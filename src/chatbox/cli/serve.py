"""``chatbox serve``."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from chatbox.auth import mint
from chatbox.cli.failure import address_taken
from chatbox.cli.options import ConfigFile, Dev, load, with_settings
from chatbox.config import Config
from chatbox.logs import configured
from chatbox.session import ADMIN

DEMO_USER = "demo"
DEMO_STAFF = "demo-staff"
MONTH = 30 * 86400.0

app = typer.Typer(add_completion=False)


@app.command(epilog="Examples: chatbox serve --dev · chatbox serve --config chatbox.toml --port 9000")
@with_settings
def serve(
    config: ConfigFile = None,
    dev: Dev = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser (with --dev).")] = False,
    settings: Mapping[str, object] = {},
) -> None:
    """Serve the pages, the API and the chat socket until SIGTERM or Ctrl-C.

    Settings come from options, the environment, a file and defaults, in this order; chatbox check shows them. A first
    signal lets running answers finish, a second one ends at once.
    """
    chosen = load(config, dev, settings)
    with configured(chosen.log_level, chosen.log_format, chosen.log_file):
        _serve(chosen, open_page)


def _serve(config: Config, open_page: bool) -> None:
    from chatbox import server

    def ready(port: int) -> None:
        if config.development:
            link = demo_link(config, port)
            typer.echo(welcome(config, link, staff_link(config, port)))
            sys.stdout.flush()
            if open_page:
                webbrowser.open(link)

    try:
        server.serve(config, ready)
    except OSError as error:
        if error.filename:
            raise
        raise address_taken(config.server_host, config.server_port, error) from error


def demo_link(config: Config, port: int) -> str:
    """The chat page with a token of the development secret in the fragment, which browsers send to nobody."""
    return _page(config, port) + _fragment(config, DEMO_USER, "Demo", [])


def staff_link(config: Config, port: int) -> str:
    """The staff's page with a token of the same kind, whose bearer is an administrator."""
    return f"{_page(config, port)}staff{_fragment(config, DEMO_STAFF, 'Demo Staff', [ADMIN])}"


def _page(config: Config, port: int) -> str:
    host = f"[{config.server_host}]" if ":" in config.server_host else config.server_host
    return f"http://{host}:{port}{config.path_prefix}/"


def _fragment(config: Config, user_id: str, name: str, roles: list[str]) -> str:
    secret = config.jwt_secret.get_secret_value() if config.jwt_secret else ""
    return f"#token={mint(secret, user_id, name, roles, MONTH)}" if secret else ""


def welcome(config: Config, link: str, staff: str) -> str:
    """What a developer sees once the server runs."""
    model = config.providers[0]
    tiny = model.type in ("local", "echo")
    lines = [
        "",
        "  Chatbox is running. Open the chat:",
        "",
        f"    {link}",
        "",
        "  The support desk, for those who step in:",
        "",
        f"    {staff}",
        "",
        f"  Answers come from  {_described(model.type, model.name)}",
        f"  Data are in        {Path(config.data_dir).resolve()}",
        "  In the terminal    chatbox chat --dev",
        "  Stop with          Ctrl-C",
    ]
    if tiny:
        lines += [
            "",
            "  A real model takes three settings, for example:",
            "    LLM_PROVIDER_1_TYPE=openai LLM_PROVIDER_1_MODEL=gpt-5-mini LLM_PROVIDER_1_API_KEY=…",
        ]
    return "\n".join([*lines, ""])


def _described(kind: str, name: str) -> str:
    kinds = {
        "local": "a tiny demonstration model inside this process: fluent and unreliable",
        "echo": "echo, which only repeats what you say",
    }
    return kinds.get(kind, f"{name} ({kind})")
