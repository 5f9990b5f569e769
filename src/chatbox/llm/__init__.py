"""Models: the contract (``base``) and one module a vendor."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from chatbox.errors import ConfigError
from chatbox.llm.base import Provider, ProviderSettings

CLASSES = {
    "anthropic": "Anthropic",
    "dify": "Dify",
    "echo": "Echo",
    "local": "Local",
    "openai": "OpenAI",
}
"""``LLM_PROVIDER_<n>_TYPE`` and the class in the module of that name; a module is imported when it is asked for."""


def open_provider(settings: ProviderSettings) -> Provider:
    """The provider of these settings, to be opened by ``async with``. Raises ``ConfigError`` for an unknown type."""
    name = CLASSES.get(settings.type)
    if name is None:
        known = ", ".join(CLASSES)
        raise ConfigError([f"the type of model {settings.id!r} is {settings.type!r}; it has to be one of {known}"])
    make: Callable[[ProviderSettings], Provider] = getattr(import_module(f"chatbox.llm.{settings.type}"), name)
    return make(settings)
