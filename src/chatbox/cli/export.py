"""``chatbox export``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from msgspec.structs import replace

from chatbox import transcript
from chatbox.cli.failure import Failed
from chatbox.cli.options import ConfigFile, Dev, load
from chatbox.client import Api
from chatbox.client.tokens import Tokens
from chatbox.config import Config
from chatbox.conversations import everything
from chatbox.errors import NotFound, StorageLocked
from chatbox.session import Session
from chatbox.storage import open_storage
from chatbox.storage.base import SessionQuery, Storage
from chatbox.storage.encrypted import EncryptedStorage

PAGE = 500
RUNNING = (
    "The store is in use by a running server. Ask that one: "
    "chatbox export --url http://127.0.0.1:8080/chatbox --token TOKEN"
)


class Format(StrEnum):
    JSON = "json"
    MARKDOWN = "markdown"

    @property
    def suffix(self) -> str:
        return {"json": ".json", "markdown": ".md"}[self]


File = tuple[str, bytes]
"""A session's id and its conversation."""

app = typer.Typer(add_completion=False)


@app.command(epilog="Examples: chatbox export --user eve · chatbox export --url https://… --token … --format markdown")
def export(
    config: ConfigFile = None,
    dev: Dev = False,
    user: Annotated[str, typer.Option(help="Whose conversations; from the store.")] = "",
    session: Annotated[str, typer.Option(help="Only this session.")] = "",
    url: Annotated[str, typer.Option(help="Ask this running Chatbox instead of the store.", envvar="CHAT_URL")] = "",
    token: Annotated[str, typer.Option(help="Token of the user, with --url.", envvar="CHAT_TOKEN")] = "",
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.JSON,
    folder: Annotated[
        Path, typer.Option("--to", help="Folder for the files, one a session.", file_okay=False)
    ] = Path(),
) -> None:
    """Write conversations to files: of a user or one session, from the store of a server that is down, or by HTTP."""
    if url:
        files = _by_http(url, token, session, form)
    elif user or session:
        files = _from_store(load(config, dev), user, session, form)
    else:
        raise typer.BadParameter("say whose: --user or --session, or --url and --token for one's own")
    folder.mkdir(parents=True, exist_ok=True)
    count = asyncio.run(_written(files, folder, form))
    if not count and session:
        raise Failed("There is no such session")
    typer.echo(f"{count} {'conversation' if count == 1 else 'conversations'} written to {folder.resolve()}")


async def _written(files: AsyncIterator[File], folder: Path, form: Format) -> int:
    count = 0
    async for session_id, content in files:
        (folder / f"chat-{session_id}{form.suffix}").write_bytes(content)
        count += 1
    return count


async def _by_http(url: str, token: str, session: str, form: Format) -> AsyncIterator[File]:
    if not token:
        raise typer.BadParameter("give the user's token with --token or CHAT_TOKEN")
    async with aiohttp.ClientSession() as http:
        api = Api(url, Tokens(token), http)
        wanted = [session] if session else [found.id async for found in api.all_sessions()]
        for session_id in wanted:
            try:
                yield session_id, await api.export(session_id, form.value)
            except NotFound:
                continue


async def _from_store(config: Config, user: str, session: str, form: Format) -> AsyncIterator[File]:
    write = transcript.as_json if form is Format.JSON else transcript.as_markdown
    try:
        async with EncryptedStorage(open_storage(config), config.keyring) as storage:
            async for found in _chosen(storage, user, session):
                yield found.id, write(found, await everything(storage, found.id)).encode()
    except StorageLocked as error:
        raise Failed(RUNNING) from error


async def _chosen(storage: Storage, user: str, session_id: str) -> AsyncIterator[Session]:
    if session_id:
        session = await storage.get(session_id)
        if session and user in ("", session.user_id):
            yield session
        return
    query = SessionQuery(user_id=user, limit=PAGE)
    while sessions := await storage.find(query):
        for session in sessions:
            yield session
        query = replace(query, before=(sessions[-1].last_activity, sessions[-1].id))
