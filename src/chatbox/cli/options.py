"""The options that commands share: every setting, derived from its one definition, and where to read the others."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from chatbox.config import Config
from chatbox.settings import SECTIONS, Spec, specs

SHORT = {"server_port": "--port", "server_host": "--host"}
"""Names for what is typed most."""

SEEN = "Better in the environment: the command line can be seen by others on this machine."

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings.", dir_okay=False),
]
Dev = Annotated[bool, typer.Option("--dev", help="Development: makes its own secrets and serves this machine only.")]


def load(config: Path | None, dev: bool, options: Mapping[str, object] | None = None) -> Config:
    """The configuration of a command. Raises ``ConfigError``."""
    mode = {"mode": "development"} if dev else {}
    return Config.load(os.environ, config, {**(options or {}), **mode})


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes every setting as an option; it gets those that were given as ``settings``."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
    names = list(specs())

    def wrapped(**given: Any) -> None:
        settings = {name: given.pop(name) for name in names}
        command(**given, settings={name: value for name, value in settings.items() if value is not None})

    parameters = [*own, *_parameters()]
    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _parameters() -> list[inspect.Parameter]:
    found, section = [], ""
    for name, spec in specs().items():
        section = SECTIONS.get(name, section)
        annotation = Annotated[str | None, _option(spec, section)]
        found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return found


def _option(spec: Spec, section: str) -> Any:
    default = spec.shown or spec.default
    notes = [spec.help, f"Default: {default}." if default else "", SEEN if spec.secret else ""]
    flags = [spec.flag, *([SHORT[spec.name]] if spec.name in SHORT else [])]
    return typer.Option(*flags, metavar="VALUE", help=" ".join(filter(None, notes)), rich_help_panel=section)
