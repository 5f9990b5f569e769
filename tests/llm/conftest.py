from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.llm.standins.anthropic import AnthropicServer
from tests.llm.standins.dify import DifyServer
from tests.llm.standins.openai import OpenAIServer


@pytest.fixture
async def openai_server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest.fixture
async def anthropic_server() -> AsyncIterator[AnthropicServer]:
    async with AnthropicServer() as server:
        yield server


@pytest.fixture
async def dify_server() -> AsyncIterator[DifyServer]:
    async with DifyServer() as server:
        yield server
