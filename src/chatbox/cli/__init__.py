"""The command line: one module a command, loaded when it is asked for."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from chatbox.cli.failure import told

SERVE = "serve"
COMMANDS = (SERVE, "chat", "token", "check", "keys", "export", "migrate")


class Commands(TyperGroup):
    """The commands by the names of their modules, each of which has an ``app``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name != SERVE:
            _default_signals()
        command = typer.main.get_command(import_module(f"chatbox.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(epilog="Exit codes: 0 done, 1 failed, 2 wrong settings or arguments.")
def chatbox() -> None:
    """Chatbox: AI chat that you host and embed yourself.

    Try it: chatbox serve --dev
    """


def main() -> None:
    """The entry point. What is expected to go wrong is told in one sentence each; exit code 1, or 2 for settings."""
    _leave_on_signals()
    with told():
        app(prog_name="chatbox")
    sys.exit(0)


def _leave_on_signals() -> None:
    """While the server is being loaded, a signal ends the process as it ends the server: with exit code 0.

    At once, since nothing is open yet, and an exception may get lost in a module that is being imported.
    """

    def leave(_number: int, _frame: object) -> NoReturn:
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def _default_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
