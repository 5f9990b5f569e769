"""The public keys of whoever signs tokens, fetched from their JWKS and kept."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

from chatbox.errors import Unavailable

MAX_AGE = 600.0
"""Seconds after which keys are fetched again."""

PATIENCE = 30.0
"""Seconds between two fetches, whatever unknown keys tokens name."""

RETRY = 2.0
"""Seconds between two fetches as long as there are no keys at all."""

TIMEOUT = 5.0
MAX_BYTES = 1 << 20
MAX_KEYS = 100
MIN_RSA_BITS = 2048

UNAVAILABLE = "Sign-in can't be checked right now; try again in a moment."

log = structlog.get_logger(component="auth")


class KeySet:
    """The keys at an address, by algorithm and id.

    Fetched when first needed, every ten minutes while in use, and when a token names an unknown key, but never more
    often than twice a minute. While the address does not answer, the last keys serve. One caller fetches at a time;
    those whose key is known do not wait for it. ``clock`` is monotonic.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[tuple[str, str | None], PyJWK] = {}
        self._tried = -math.inf
        self._fetched = -math.inf
        self._fetching = asyncio.Lock()

    async def find(self, algorithm: str, key_id: str | None) -> PyJWK | None:
        """The key of that algorithm and id; without an id, the only one of the algorithm. None: there is none.

        Raises ``Unavailable`` when no keys could be had so far.
        """
        wanted = (algorithm, key_id)
        known = wanted in self._keys
        if not known or (self._stale() and not self._fetching.locked()):
            await self._refresh()
        if not self._keys:
            raise Unavailable(UNAVAILABLE, retry_after=round(RETRY * 1000))
        return self._keys.get(wanted)

    def _stale(self) -> bool:
        return self._clock() - self._fetched >= MAX_AGE

    async def _refresh(self) -> None:
        async with self._fetching:
            if self._clock() - self._tried < (PATIENCE if self._keys else RETRY):
                return
            self._tried = self._clock()
            try:
                self._keys = by_algorithm(await fetched(self._url))
                self._fetched = self._clock()
            except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
                log.error("the keys of tokens could not be fetched", error=f"{type(error).__name__}: {error}")


async def fetched(url: str) -> bytes:
    """The body of a JWKS, at most ``MAX_BYTES``. No redirects are followed. Raises ``OSError``, ``ValueError``."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            return await bounded(response.content.iter_any())
    except aiohttp.ClientError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


async def bounded(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError("too big")
    return bytes(body)


class Document(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def by_algorithm(document: bytes) -> dict[tuple[str, str | None], PyJWK]:
    """The keys of a JWKS that may verify tokens. Raises ``ValueError`` when there are none."""
    entries = msgspec.json.decode(document, type=Document).keys[:MAX_KEYS]
    found = [entry for entry in map(usable, entries) if entry]
    keys: dict[tuple[str, str | None], PyJWK] = {(algorithm, key_id): key for algorithm, key_id, key in found if key_id}
    for algorithm in ("RS256", "ES256"):
        alone = [key for name, _, key in found if name == algorithm]
        if len(alone) == 1:
            keys[algorithm, None] = alone[0]
    if not keys:
        raise ValueError("no usable key")
    return keys


def usable(entry: dict[str, Any]) -> tuple[str, str | None, PyJWK] | None:
    """Algorithm, id and key of an entry; None when it is of another kind, for another use, weak or private."""
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
        return None
    try:
        key = PyJWK(entry, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    key_id = entry.get("kid")
    return (algorithm, key_id if isinstance(key_id, str) else None, key) if strong(key.key) else None


def strong(key: object) -> bool:
    if isinstance(key, RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
