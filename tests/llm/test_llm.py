from __future__ import annotations

import pytest

from chatbox.errors import ConfigError
from chatbox.llm import CLASSES, open_provider
from tests.llm.asking import settings


@pytest.mark.parametrize("type_", CLASSES)
def test_every_type_of_the_settings_makes_its_provider(type_: str) -> None:
    if type_ == "local":
        pytest.importorskip("xllamacpp")
    provider = open_provider(settings(type_, "http://127.0.0.1:1/v1" if type_ != "local" else "", model=""))
    assert type(provider).__name__ == CLASSES[type_]
    assert provider.settings.type == type_


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'gpt'; it has to be one of anthropic, dify, echo, local, openai"):
        open_provider(settings("gpt"))
