"""Reading settings from their sources, collecting every problem on the way."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from chatbox.errors import ConfigError
from chatbox.settings import Provider, Settings, Spec, specs
from chatbox.vault import FILE, development_secrets

NUMBERED = re.compile(r"LLM_PROVIDER_([1-9][0-9]{0,2})_([A-Z_]+)")
OURS = ("CHATBOX_", "LLM_PROVIDER_")

# What Kubernetes tells every pod about services that are named chatbox or chatbox-…
SERVICE_LINK = re.compile(r"CHATBOX(_\w+)?_(SERVICE_(HOST|PORT)\w*|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)")

FAULTS = {
    "missing": "missing",
    "literal_error": "not one of those",
    "bool_parsing": "neither true nor false",
    "bool_type": "neither true nor false",
    "string_type": "not text",
    "path_type": "not a folder's name",
    "tuple_type": "not a list",
    "float_parsing": "not a number",
    "float_type": "not a number",
    "greater_than_equal": "too small",
    "less_than_equal": "too big",
    "string_too_long": "too long",
    "string_too_short": "empty",
}
"""What pydantic finds, in words that do not repeat the value."""

Model = TypeVar("Model", bound=BaseModel)


class Given(NamedTuple):
    """A value as found, before it is looked at."""

    value: object
    source: str


class Reading:
    """What the sources say, each over those read before it, and what is wrong with it.

    Both are keyed by the setting's name in the environment.
    """

    def __init__(self) -> None:
        self.given: dict[str, Given] = {}
        self.problems: dict[str, list[str]] = {}

    def file(self, file: Path) -> None:
        """A TOML file: settings by their small names, models as ``[[provider]]`` tables."""
        try:
            tables = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            self.problem(str(file), f"can't be read ({error.strerror}); give the path of a TOML file")
            return
        except ValueError as error:
            self.problem(str(file), f"is not TOML ({error}); correct it")
            return
        models = tables.pop("provider", [])
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            self.problem("provider", f"(file {file}) not a list of tables; begin each model with [[provider]]")
            models = []
        self._named(tables, specs(), f"file {file}")
        for number, model in enumerate(models, start=1):
            self._named(model, specs(Provider, f"LLM_PROVIDER_{number}_"), f"file {file}")

    def environment(self, env: Mapping[str, str]) -> None:
        """Variables of ours; other programs' are none of our business."""
        known = dict.fromkeys(spec.env for spec in specs().values())
        for name, value in env.items():
            if name in known or is_numbered(name):
                self.given[name] = Given(value, "environment")
            elif name.startswith(OURS) and not is_service_link(name, value):
                suffixes = [spec.env for spec in specs(Provider, numbered_prefix(name)).values()]
                self.problem(name, f"unknown{suggestion(name, [*known, *suffixes])}")

    def options(self, options: Mapping[str, object]) -> None:
        """The command line, by field name; None means not said."""
        self._named({name: value for name, value in options.items() if value is not None}, specs(), "command line")

    def settings(self) -> Settings:
        """Those that are good by themselves, over the defaults, with development's own secrets where none is given."""
        settings = self.validated(Settings, specs()) or Settings()
        missing = self._secrets_to_make(settings)
        if not missing:
            return settings
        try:
            made = development_secrets(settings.data_dir)
        except ConfigError as error:
            self.problem("CHATBOX_DATA_DIR", error.problems[0].removeprefix("CHATBOX_DATA_DIR: "))
            return settings
        for name in missing:
            self.given[name.upper()] = Given(made[name], f"file {settings.data_dir / FILE}")
        return self.validated(Settings, specs()) or settings

    def _secrets_to_make(self, settings: Settings) -> list[str]:
        if settings.mode != "development":
            return []
        wanted = {
            "jwt_secret": not settings.jwt_secret and not settings.jwks_url,
            "encryption_key": not settings.encryption_key and not settings.encryption_keys,
        }
        bad = {name for name in ("jwt_secret", "encryption_key", "encryption_keys") if name.upper() in self.problems}
        return [] if bad else [name for name, needed in wanted.items() if needed]

    def providers(self) -> dict[int, Provider]:
        """The models by number, ascending."""
        numbers = sorted({int(match[1]) for name in self.given if (match := NUMBERED.fullmatch(name))})
        read = {number: self.validated(Provider, specs(Provider, f"LLM_PROVIDER_{number}_")) for number in numbers}
        return {number: provider for number, provider in read.items() if provider}

    def validated(self, model: type[Model], table: Mapping[str, Spec]) -> Model | None:
        """The model of what is good, its problems noted; None when something needed is bad or missing."""
        values = {name: self.given[spec.env].value for name, spec in table.items() if spec.env in self.given}
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                if fault["type"] != "default_factory_not_called":
                    self._fault(table[str(fault["loc"][0])], fault)
        good = {name: value for name, value in values.items() if table[name].env not in self.problems}
        with suppress(ValidationError):
            return model.model_validate(good)
        return None

    def problem(self, name: str, text: str) -> None:
        """Note what is wrong with a setting."""
        self.problems.setdefault(name, []).append(f"{name}: {text}")

    def _named(self, values: Mapping[str, object], table: Mapping[str, Spec], source: str) -> None:
        for name, value in values.items():
            if name in table:
                self.given[table[name].env] = Given(value, source)
            else:
                self.problem(name, f"({source}) unknown{suggestion(name, table)}")

    def _fault(self, spec: Spec, fault: Any) -> None:
        given = self.given.get(spec.env, Given("", "default"))
        shown = f"{given.value!r} is " if spec.plain and len(str(given.value)) <= 20 and given.value != "" else ""
        what = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else FAULTS.get(fault["type"], fault["msg"])
        entry = f"entry {fault['loc'][1] + 1}: " if len(fault["loc"]) > 1 and isinstance(fault["loc"][1], int) else ""
        example = f", for example {spec.example}" if spec.example else ""
        self.problem(spec.env, f"({given.source}) {entry}{shown}{what}; give {spec.kind}{example}")


def is_numbered(name: str) -> bool:
    """Whether a name is ``LLM_PROVIDER_<n>_`` and one of a model's settings."""
    match = NUMBERED.fullmatch(name)
    return bool(match) and match[2].lower() in specs(Provider) if match else False


def numbered_prefix(name: str) -> str:
    match = re.match(r"LLM_PROVIDER_[1-9][0-9]{0,2}_", name)
    return match[0] if match else "LLM_PROVIDER_1_"


def is_service_link(name: str, value: str) -> bool:
    return bool(SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and value.startswith(("tcp://", "udp://")))


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` when something known is near."""
    known = list(known)
    bare = re.sub(r"^chatbox_", "", name, flags=re.IGNORECASE)
    tails = [other for other in known if other.endswith(f"_{bare}")]
    near = tails or difflib.get_close_matches(bare, known, 1, 0.75) or difflib.get_close_matches(name, known, 1, 0.6)
    return f"; did you mean {near[0]}?" if near else "; remove it, or look its name up in the reference of settings"
