"""A real server in the test's own loop: its sockets, its store and its clock are real."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp

from chatbox.app import create_app
from chatbox.auth import mint
from chatbox.config import Config
from chatbox.server import Server, bind, settings_for

SECRET = "Zk3vW8qLr5TnX1cYb7Hd9Fg2Jm4Ps6Ua"
ECHO = {"LLM_PROVIDER_1_TYPE": "echo"}
DEVELOPMENT = {"CHATBOX_MODE": "development", "JWT_SECRET": SECRET, "SERVER_PORT": "0"}


def token(user="ann", *, lifetime=3600.0, roles=(), secret=SECRET):
    return mint(secret, user, user.title(), roles, lifetime)


class Live:
    """A running server: ``app`` is what it serves."""

    def __init__(self, app, port):
        self.app = app
        self.port = port
        self.http = f"http://127.0.0.1:{port}{app.config.path_prefix}"
        self.session = aiohttp.ClientSession()

    @asynccontextmanager
    async def socket(self, user="ann", *, bearer=None, headers=None, protocols=(), **query):
        """An open chat socket and its first frame."""
        head = {"Authorization": f"Bearer {bearer or token(user)}", **(headers or {})}
        if bearer == "":
            del head["Authorization"]
        async with self.session.ws_connect(
            f"{self.http}/ws", headers=head, params=query, protocols=protocols, max_msg_size=0
        ) as line:
            yield Client(line)

    async def call(self, method, path, user="ann", **options):
        """An HTTP call's status and body."""
        head = {"Authorization": f"Bearer {token(user)}"} if user else {}
        async with self.session.request(method, self.http + path, headers=head, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if "json" in answer.content_type else text


class Client:
    """A chat socket as a person's program sees it."""

    def __init__(self, line):
        self.line = line

    async def say(self, kind, **fields):
        await self.line.send_str(json.dumps({"type": kind, **fields}))

    async def next(self, kind=None, patience=10):
        """The next frame (of a kind); frames of other kinds are passed over."""
        async with asyncio.timeout(patience):
            while True:
                message = await self.line.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, message
                frame = json.loads(message.data)
                if kind in (None, frame["type"]):
                    return frame

    async def answer(self):
        """The frames of an answer up to its end."""
        frames = []
        while not frames or frames[-1]["metadata"].get("done") != "true":
            frames.append(await self.next("ai_response"))
        return frames

    async def closed(self, patience=10):
        """The close code, once the server has closed."""
        async with asyncio.timeout(patience):
            while (await self.line.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        return self.line.close_code


@asynccontextmanager
async def running(folder, settings=None, app=None):
    """A server on a free port with the echo model, its data in ``folder``."""
    env = DEVELOPMENT | {"CHATBOX_DATA_DIR": str(folder)} | (ECHO if settings is None else ECHO | settings)
    app = app or create_app(Config.load(env))
    listening = asyncio.get_running_loop().create_future()
    with bind("127.0.0.1", 0) as bound:
        server = Server(settings_for(app), app, listening.set_result)
        serving = asyncio.create_task(server.run_on(bound))
        await asyncio.wait([serving, listening], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        live = Live(app, listening.result())
        try:
            yield live
        finally:
            server.should_exit = True
            await serving
            await live.session.close()
