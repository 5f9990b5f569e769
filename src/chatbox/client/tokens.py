"""The token that speaks for the user, and where the next one comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from chatbox.errors import ConnectionLost, InvalidToken

TokenSource = str | Callable[[], Awaitable[str]]
"""A token, or a coroutine function that gets a fresh one from the app that the user is signed in to."""


class Tokens:
    """Asks the source when a token is needed and when the server refused the last one; never twice at once.

    A source that can't reach its app (``OSError``, ``TimeoutError``, aiohttp's errors) is asked again later:
    ``ConnectionLost``. Whatever else it raises comes through.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = source if isinstance(source, str) else ""
        self._asking = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        return not isinstance(self._source, str)

    async def current(self) -> str:
        """The token to use."""
        return self._token or await self.after("")

    async def after(self, refused: str) -> str:
        """A token other than the refused one. Raises ``InvalidToken`` when there is no way to get one."""
        async with self._asking:
            if self._token == refused:
                self._token = await self._ask()
            if self._token == refused:
                raise InvalidToken("The server refuses the token and there is no other one.")
            return self._token

    async def _ask(self) -> str:
        if isinstance(self._source, str):
            return self._source
        try:
            return await self._source()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ConnectionLost(f"no token to be had: {error or type(error).__name__}") from error
