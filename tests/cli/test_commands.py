"""The commands beside ``serve`` and ``chat``: token, check, keys, export; their help and their exit codes."""

from __future__ import annotations

import asyncio
import base64
import json
import re

import pytest

from chatbox.auth import Authenticator
from chatbox.cli import COMMANDS
from chatbox.cli.failure import Failed, address_taken, told
from chatbox.client import Answer, ChatClient
from chatbox.errors import ConfigError, StorageLocked
from chatbox.settings import specs
from tests.live import SECRET, token
from tests.processes import command, environment, serving


@pytest.fixture
def env(tmp_path):
    return environment(tmp_path)


# -- help and exit codes -----------------------------------------------------------------------------------------------


async def test_help_names_every_command_and_the_exit_codes(env):
    code, out, _ = await command("--help", env=env)
    assert code == 0
    assert all(re.search(rf"│ {name} ", out) for name in COMMANDS)
    assert "Exit codes" in out


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_has_help(env, name):
    code, out, _ = await command(name, "--help", env=env)
    assert code == 0
    assert f"Usage: chatbox {name}" in out


async def test_the_server_takes_every_setting_as_an_option(env):
    _, out, _ = await command("serve", "--help", env=env | {"COLUMNS": "200"})
    assert [spec.flag for spec in specs().values() if spec.flag not in out] == []


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["serve", "--no-such-option"], ["token", "--lifetime", "x"]]
)
async def test_wrong_arguments_are_exit_code_2(env, arguments):
    code, _, err = await command(*arguments, env=env)
    assert code == 2
    assert "Error" in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError(["A: wrong"]), 2, "One setting is wrong:\n  A: wrong\n"),
        (ConfigError(["A: wrong", "B: too"]), 2, "2 settings are wrong:\n  A: wrong\n  B: too\n"),
        (StorageLocked("/x is in use"), 1, "/x is in use.\n"),
        (Failed("no way"), 1, "No way.\n"),
        (OSError(28, "No space left on device", "/x/y"), 1, "The disk is full: /x/y.\n"),
        (OSError(13, "Permission denied"), 1, "Permission denied.\n"),
    ],
)
def test_what_is_expected_to_go_wrong_is_told_in_a_sentence(capsys, error, code, said):
    with pytest.raises(SystemExit) as caught, told():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("number", "words"), [(98, "taken by another"), (13, "ordinary users"), (99, "--host")])
def test_why_a_server_can_not_listen_is_told_with_the_option_that_helps(number, words):
    text = str(address_taken("127.0.0.1", 80, OSError(number, "reason")))
    assert words in text
    assert "--" in text


# -- token -------------------------------------------------------------------------------------------------------------


async def test_a_token_speaks_for_whom_it_was_made(env):
    arguments = ["--user", "eve", "--name", "Eve", "--role", "admin", "--role", "chat_admin", "--lifetime", "1h"]
    code, out, _ = await command("token", "--dev", *arguments, env=env)
    principal = await Authenticator(secret=SECRET).verify(out.strip())
    assert code == 0
    assert (principal.user_id, principal.name, principal.roles) == ("eve", "Eve", {"admin", "chat_admin"})


async def test_a_token_for_nobody_is_refused(env):
    code, _, err = await command("token", "--dev", "--user", "", env=env)
    assert code == 2
    assert "1 to 128" in err


async def test_without_a_secret_of_our_own_no_token_is_made(env):
    env = {name: value for name, value in env.items() if name != "JWT_SECRET"} | {"JWKS_URL": "http://127.0.0.1:9/keys"}
    code, _, err = await command("token", "--dev", env=env)
    assert code == 1
    assert "JWKS_URL" in err


# -- check -------------------------------------------------------------------------------------------------------------


async def test_check_shows_every_setting_masked_and_where_it_came_from(env):
    code, out, _ = await command("check", "--dev", env=env)
    assert code == 0
    assert f"JWT_SECRET={'*' * 8}  # environment" in out
    assert "SERVER_HOST=127.0.0.1  # default" in out
    assert "CHATBOX_MODE=development  # command line" in out
    assert SECRET not in out


async def test_check_can_show_only_what_was_set(env):
    _, out, _ = await command("check", "--dev", "--changed", env=env)
    assert "# default" not in out
    assert "CHATBOX_MODE" in out


async def test_check_lists_every_problem(env):
    code, out, err = await command("check", env=env | {"SERVER_PORT": "99999"})
    assert (code, out) == (2, "")
    assert {"SERVER_PORT", "ALLOWED_ORIGINS", "ENCRYPTION_KEY"} <= set(re.findall(r"^  (\w+):", err, re.MULTILINE))


# -- keys and export ---------------------------------------------------------------------------------------------------


async def new_key(env):
    code, out, _ = await command("keys", "new", env=env)
    assert code == 0
    return out.strip()


async def test_a_new_key_is_32_random_bytes(env):
    first, second = await new_key(env), await new_key(env)
    assert first != second
    assert len(base64.b64decode(first)) == 32


async def spoken(service, *texts):
    """Say something as ann; returns the session's id."""
    async with ChatClient(service.http, token=token()) as chat:
        answers = 0
        for text in texts:
            await chat.say(text)
        async for event in chat.events():
            answers += isinstance(event, Answer)
            if isinstance(event, Answer) and event.content.endswith(texts[-1]):
                return chat.position.session_id
    return None


async def test_keys_are_rotated_while_the_server_is_down_and_the_old_one_may_go(tmp_path):
    old, new = await new_key(environment(tmp_path)), await new_key(environment(tmp_path))
    async with serving(tmp_path, ENCRYPTION_KEYS=f"old:{old}") as service:
        session_id = await spoken(service, "remember the rotation")
    env = environment(tmp_path, ENCRYPTION_KEYS=f"new:{new},old:{old}")
    code, out, _ = await command("keys", "rotate", "--dev", env=env)
    assert code == 0
    assert re.match(r"[1-9]\d* values were renewed. Everything is sealed under key new now", out)
    folder = tmp_path / "files"
    arguments = ["--dev", "--session", session_id, "--format", "markdown", "--to", str(folder)]
    code, out, _ = await command("export", *arguments, env=environment(tmp_path, ENCRYPTION_KEYS=f"new:{new}"))
    assert (code, out) == (0, f"1 conversation written to {folder}\n")
    assert "remember the rotation" in (folder / f"chat-{session_id}.md").read_text()
    code, _, err = await command("keys", "rotate", "--dev", env=environment(tmp_path, ENCRYPTION_KEYS=f"old:{old}"))
    assert code == 1
    assert "not configured" in err


async def test_a_running_server_rotates_by_itself_and_the_command_says_so(tmp_path):
    old, new = await new_key(environment(tmp_path)), await new_key(environment(tmp_path))
    async with serving(tmp_path, ENCRYPTION_KEYS=f"old:{old}") as service:
        await spoken(service, "remember the rotation")
    async with serving(tmp_path, ENCRYPTION_KEYS=f"new:{new},old:{old}") as service:
        async with asyncio.timeout(30):
            while "keys rotated" not in service.text:
                await asyncio.sleep(0.05)
        env = environment(tmp_path, ENCRYPTION_KEYS=f"new:{new},old:{old}")
        code, _, err = await command("keys", "rotate", "--dev", env=env)
        assert code == 1
        assert "by itself" in err
    async with (
        serving(tmp_path, ENCRYPTION_KEYS=f"new:{new}") as service,
        ChatClient(service.http, token=token()) as chat,
    ):
        [session] = (await chat.api.sessions()).sessions
        assert session.name == "remember the rotation"


async def test_conversations_are_exported_by_http_and_from_the_store(tmp_path):
    by_http, from_store = tmp_path / "http", tmp_path / "store"
    async with serving(tmp_path) as service:
        session_id = await spoken(service, "one", "and two")
        asked = ["--url", service.http, "--token", token(), "--to", str(by_http)]
        code, out, _ = await command("export", *asked, env=environment(tmp_path))
        assert (code, out) == (0, f"1 conversation written to {by_http}\n")
        code, _, err = await command("export", "--dev", "--user", "ann", env=environment(tmp_path))
        assert code == 1
        assert "--url" in err
        code, _, err = await command("export", *asked, "--session", "none", env=environment(tmp_path))
        assert (code, err) == (1, "There is no such session.\n")
        asked[3] = "nonsense"
        assert (await command("export", *asked, env=environment(tmp_path)))[0] == 1
    code, out, _ = await command("export", "--dev", "--user", "ann", "--to", str(from_store), env=environment(tmp_path))
    assert code == 0
    file = f"chat-{session_id}.json"
    assert json.loads((by_http / file).read_text()) == json.loads((from_store / file).read_text())
    said = [message["content"] for message in json.loads((from_store / file).read_text())["messages"]]
    assert said[0] == "one"
    assert {"one", "and two"} <= set(said)


@pytest.mark.parametrize("arguments", [[], ["--url", "http://127.0.0.1:9"]])
async def test_export_has_to_be_told_whose(env, arguments):
    assert (await command("export", *arguments, env=env))[0] == 2
