"""The keys that protect what is stored: AES-256-GCM with key ids, and keyed hashes to find sealed values by.

A sealed value is ``v1.<key id>.<base64 of nonce, ciphertext and tag>``. It opens only with the same key and the same
associated data, which the caller derives from where the value lies, so that a value moved elsewhere does not open.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chatbox.errors import StorageCorrupt

KEY_BYTES = 32
SINGLE_KEY_ID = "main"
"""The id of the key that is configured without one."""

_VERSION = "v1"
_NONCE = 12
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FORMS = "32 ASCII characters, 64 hex digits or 44 base64 characters (openssl rand -base64 32)"


class Keyring:
    """Keys by id, 32 bytes each. The first one seals; every one opens what it sealed.

    Raises ``ValueError``, without any key in its text, for keys that can't be used.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        _check(keys)
        self.current = keys[0][0]
        self._ciphers = {key_id: AESGCM(_derived(key, b"chatbox: sealed values")) for key_id, key in keys}
        self._hash_keys = {key_id: _derived(key, b"chatbox: lookup hashes") for key_id, key in keys}

    @property
    def prefix(self) -> str:
        """How a value begins exactly if the current key sealed it."""
        return _prefix(self.current)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._ciphers

    def __len__(self) -> int:
        return len(self._ciphers)

    def encrypt(self, plain: bytes, bound: bytes) -> str:
        """Seal under the current key. ``bound`` is the associated data."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._ciphers[self.current].encrypt(nonce, plain, bound)
        return self.prefix + b2a_base64(sealed, newline=False).decode("ascii")

    def decrypt(self, sealed: str, bound: bytes) -> bytes:
        """Open what ``encrypt`` made with the same ``bound``. Raises ``StorageCorrupt``."""
        key_id, data = _parsed(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise StorageCorrupt(f"a value was sealed under key {key_id!r}, which is not configured")
        try:
            return cipher.decrypt(data[:_NONCE], data[_NONCE:], bound)
        except InvalidTag:
            raise StorageCorrupt("a sealed value was damaged or moved, or its key was changed") from None

    def hash(self, text: str) -> str:
        """A keyed hash under the current key, to find a sealed value by."""
        return self._hash(self.current, text)

    def hashes(self, text: str) -> tuple[str, ...]:
        """The keyed hashes under every key."""
        return tuple(self._hash(key_id, text) for key_id in self._hash_keys)

    def _hash(self, key_id: str, text: str) -> str:
        return hmac.digest(self._hash_keys[key_id], text.encode(), "sha256").hex()


def parse_key(text: str) -> bytes:
    """A key as it stands in ``ENCRYPTION_KEY``. Raises ``ValueError`` that does not repeat it."""
    if len(text) == KEY_BYTES and text.isascii() and text.isprintable():
        return text.encode("ascii")
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    if re.fullmatch(r"[A-Za-z0-9+/_-]{43}=", text):
        return urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
    raise ValueError(f"the key has {len(text)} characters and none of the known forms: {_FORMS}")


def parse_keys(text: str) -> list[tuple[str, bytes]]:
    """A ring as it stands in ``ENCRYPTION_KEYS``: ``id:key,id:key``; the first one writes. Raises ``ValueError``."""
    keys = [_parse_named(position, part.strip()) for position, part in enumerate(text.split(","), start=1)]
    _check(keys)
    return keys


def _parse_named(position: int, text: str) -> tuple[str, bytes]:
    key_id, colon, key = text.partition(":")
    if not colon:
        raise ValueError(f"entry {position} is not id:key (and a key in this list can't contain a comma)")
    try:
        return key_id, parse_key(key)
    except ValueError as error:
        raise ValueError(f"entry {position}: {error}") from None


def _check(keys: Sequence[tuple[str, bytes]]) -> None:
    ids = [key_id for key_id, _ in keys]
    if not keys:
        raise ValueError("a key ring needs at least one key")
    if len(set(ids)) < len(ids):
        raise ValueError("two keys have the same id")
    if not all(_KEY_ID.fullmatch(key_id) for key_id in ids):
        raise ValueError("a key id has 1 to 32 letters, digits, - or _")
    if any(len(key) != KEY_BYTES for _, key in keys):
        raise ValueError("a key has 32 bytes")


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(key)


def _prefix(key_id: str) -> str:
    return f"{_VERSION}.{key_id}."


def _parsed(sealed: str) -> tuple[str, bytes]:
    version, _, rest = sealed.partition(".")
    key_id, _, text = rest.partition(".")
    try:
        data = a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        data = b""
    # One ciphertext has one spelling: base64's unused last bits may not vary.
    if version != _VERSION or len(data) < _NONCE or b2a_base64(data, newline=False).decode("ascii") != text:
        raise StorageCorrupt("a stored value is not a sealed one: it was cut, or written without encryption")
    return key_id, data
