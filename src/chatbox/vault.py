"""The secrets that development makes for itself, so that one command is enough to try Chatbox."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from chatbox.errors import ConfigError
from chatbox.strength import weakness

FILE = "development-secrets.json"
NAMES = ("jwt_secret", "encryption_key")


def development_secrets(data_dir: Path) -> dict[str, str]:
    """The values of ``jwt_secret`` and ``encryption_key`` kept in ``data_dir``; made at the first call.

    The file is readable by its owner only and appears whole or not at all; of several first calls at once, one makes
    it for all. Raises ``ConfigError`` when the folder can't be used or the file is damaged.
    """
    file = data_dir / FILE
    try:
        if not file.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_once(file, json.dumps({name: _strong() for name in NAMES}))
        return _read(file)
    except OSError as error:
        raise ConfigError(
            [f"CHATBOX_DATA_DIR: {data_dir} can't be used ({error.strerror}); give a folder that may be written"]
        ) from None


def _strong() -> str:
    """43 random characters and a sign of equality: 32 bytes as base64, which serves as signing secret and as key."""
    while weakness(made := secrets.token_urlsafe(32)):
        pass
    return made + "="


def _write_once(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, str]:
    try:
        kept = json.loads(file.read_text("utf-8"))
        return {name: _checked(kept[name]) for name in NAMES}
    except (ValueError, KeyError, TypeError):
        text = f"{file} is damaged; restore it, or delete it together with the database that needs its key"
        raise ConfigError([text]) from None


def _checked(value: object) -> str:
    if not isinstance(value, str) or weakness(value):
        raise ValueError("not a secret made here")
    return value
