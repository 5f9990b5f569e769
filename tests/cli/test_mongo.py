"""The program on a store in MongoDB: two servers at once, and the commands beside them."""

from __future__ import annotations

import base64
import re

import pytest

from chatbox.client import Answer, ChatClient
from chatbox.session import new_id
from tests.live import token
from tests.mongo_peer import MongoPeer
from tests.processes import command, environment, serving

OLD, NEW = (base64.b64encode(bytes([byte]) * 32).decode() for byte in b"on")


@pytest.fixture(scope="module")
def peer():
    with MongoPeer(durable=False) as started:
        yield started


@pytest.fixture
def store(peer):
    return {"STORE_URL": peer.url, "MONGO_DATABASE": new_id()}


async def spoken(service, text, session_id="new"):
    async with ChatClient(service.http, token=token(), session_id=session_id) as chat:
        await chat.say(text)
        async for event in chat.events():
            if isinstance(event, Answer):
                return chat.position.session_id
    return None


async def test_a_conversation_goes_on_at_another_server_on_the_same_store(tmp_path, store):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    keys = {"ENCRYPTION_KEYS": f"old:{OLD}"}
    async with serving(tmp_path / "one", **store, **keys) as one, serving(tmp_path / "two", **store, **keys) as two:
        session_id = await spoken(one, "first words")
        assert await spoken(two, "second words", session_id) == session_id
        async with ChatClient(one.http, token=token()) as chat:
            said = [message.content for message in await chat.api.messages(session_id) if message.sender == "user"]
    assert said == ["first words", "second words"]


async def test_keys_are_rotated_and_conversations_exported_beside_a_running_server(tmp_path, store):
    both = f"new:{NEW},old:{OLD}"
    async with serving(tmp_path, **store, ENCRYPTION_KEYS=f"old:{OLD},new:{NEW}") as service:
        session_id = await spoken(service, "remember the rotation")
        code, out, err = await command(
            "keys", "rotate", "--dev", env=environment(tmp_path, **store, ENCRYPTION_KEYS=both)
        )
        assert (code, err) == (0, "")
        assert re.match(r"[1-9]\d* values were renewed", out)
        assert await spoken(service, "and go on", session_id) == session_id
        arguments = ["--dev", "--user", "ann", "--format", "markdown", "--to", str(tmp_path / "files")]
        code, _, _ = await command("export", *arguments, env=environment(tmp_path, **store, ENCRYPTION_KEYS=both))
        assert code == 0
        text = (tmp_path / "files" / f"chat-{session_id}.md").read_text()
        assert "remember the rotation" in text
        assert "and go on" in text


async def test_settings_of_mongodb_are_shown_without_the_password(tmp_path):
    env = environment(tmp_path, STORE_URL="mongodb://ada:s3cr3t@db1,db2/?replicaSet=rs0", MONGO_RETRY_ATTEMPTS="5")
    code, out, _ = await command("check", "--dev", "--changed", env=env)
    assert code == 0
    assert "STORE_URL=mongodb://ada:********@db1,db2/?replicaSet=rs0" in out
    assert "MONGO_RETRY_ATTEMPTS=5" in out
    code, _, err = await command("check", "--dev", env=env | {"STORE_URL": "mongodb://ada:s3cr3t/@db1/"})
    assert "s3cr3t" not in err
