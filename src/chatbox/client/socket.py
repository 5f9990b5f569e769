"""One WebSocket of a client: frames in, frames out, and its end as an error that says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from chatbox.client.endings import of_close, of_failure, of_status
from chatbox.client.frames import Command, Frame, NoFrame, decode

HANDSHAKE = 10.0
HEARTBEAT = 25.0
LARGEST = 16 << 20
CLOSING = aiohttp.ClientWSTimeout(ws_close=1.0)


class Socket:
    """Made by ``open``. Sends pings, and is lost when none is answered."""

    __slots__ = ("_line",)

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self._line = line

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str, asked: Mapping[str, str], token: str) -> Socket:
        """Raises what ``endings.of_status`` makes of a refusal, ``ConnectionLost`` without an answer."""
        try:
            async with asyncio.timeout(HANDSHAKE):
                line = await http.ws_connect(
                    url,
                    params=asked,
                    headers={"Authorization": f"Bearer {token}"},
                    heartbeat=HEARTBEAT,
                    max_msg_size=LARGEST,
                    timeout=CLOSING,
                )
        except aiohttp.WSServerHandshakeError as error:
            wait = error.headers.get("Retry-After") if error.headers else None
            raise of_status(error.status, wait) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise of_failure(error) from error
        return cls(line)

    async def receive(self) -> Frame:
        """The next frame. Raises what ``endings.of_close`` makes of the end."""
        try:
            message = await self._line.receive()
        except (aiohttp.ClientError, OSError):  # a ping that can't be answered any more
            raise of_close(None) from None
        if message.type is aiohttp.WSMsgType.TEXT:
            return decode(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            raise NoFrame("the server sent bytes instead of text")
        raise of_close(self._line.close_code)

    async def send(self, command: Command) -> None:
        """Send, or do nothing on a socket that is lost: ``receive`` says so."""
        with suppress(aiohttp.ClientError, OSError):
            await self._line.send_str(command.text)

    async def close(self) -> None:
        """Say goodbye, for a second at most."""
        with suppress(aiohttp.ClientError, OSError):
            await self._line.close()
