"""A client that says and hears single bytes: what no library would send, and when it would not."""

from __future__ import annotations

import asyncio
import base64
import socket
from contextlib import asynccontextmanager

from tests.live import token

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def head(path, *more, user="ann", method="GET", version="HTTP/1.1", fields=UPGRADE):
    """A request's head, by default an upgrade's; ``more`` are further lines."""
    bearer = [f"Authorization: Bearer {token(user)}"] if user else []
    given = [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"{method} {path} {version}", "Host: localhost", *bearer, *given, *more, "", ""]).encode()


def frame(kind, payload=b"", *, first=FIN, masked=True):
    """A client's frame; ``first`` are the bits beside its kind."""
    size = len(payload)
    long = b"\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x7f" + size.to_bytes(8)
    length = bytes([size]) if size < 126 else long
    if not masked:
        return bytes([first | kind]) + length + payload
    mask = int.from_bytes((KEY * (size // 4 + 1))[:size])
    return bytes([first | kind, length[0] | 0x80]) + length[1:] + KEY + (int.from_bytes(payload) ^ mask).to_bytes(size)


class Closed(Exception):
    """The server has closed, with a code and its reason."""


class Raw:
    """A TCP connection to the server."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def write(self, *data):
        self.writer.write(b"".join(data))

    async def response(self):
        """The status and the head of an HTTP answer."""
        text = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()
        return int(text.split()[1]), text

    async def frame(self):
        """The next frame: its kind and payload."""
        first, size = await asyncio.wait_for(self.reader.readexactly(2), 20)
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def next(self, kind):
        """The payload of the next frame of a kind; others are passed over."""
        while (found := await self.frame())[0] != kind:
            if found[0] == CLOSE:
                raise Closed(int.from_bytes(found[1][:2]), found[1][2:].decode())
        return found[1]

    async def close_code(self):
        """The code the server closes with; it has then closed the line too."""
        while (found := await self.frame())[0] != CLOSE:
            pass
        self.write(frame(CLOSE, found[1][:2]))
        await self.ended()
        return int.from_bytes(found[1][:2])

    async def ended(self, patience=20):
        """What else comes before the server ends the connection."""
        rest = b""
        async with asyncio.timeout(patience):
            try:
                while data := await self.reader.read(1 << 16):
                    rest += data
            except ConnectionError:
                pass
        return rest


@asynccontextmanager
async def connection(live, *, room=0):
    """A connection on which nothing has been said; ``room`` limits what the system takes in before it is read."""
    line = socket.socket()
    line.setblocking(False)
    if room:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", live.port))
    reader, writer = await asyncio.open_connection(sock=line, limit=room or 1 << 16)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def upgraded(live, path="/ws", *more, room=0, user="ann"):
    """A chat socket, before its first frame."""
    async with connection(live, room=room) as raw:
        raw.write(head(live.app.config.path_prefix + path, *more, user=user))
        status, text = await raw.response()
        assert status == 101, text
        yield raw
