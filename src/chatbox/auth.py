"""Who a token speaks for, and which pages may connect.

A token is signed by the parent app: HS256 with a shared secret, or RS256 or ES256 with a key of its JWKS. A key
verifies one algorithm, its own; what a token's header says beside ``alg`` and ``kid`` is ignored, ``crit`` is refused.
"""

from __future__ import annotations

import re
import time
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable

import jwt
import msgspec
from jwt import PyJWK

from chatbox.errors import ExpiredToken, InvalidToken
from chatbox.jwks import KeySet
from chatbox.session import Principal

LEEWAY = 30.0
"""Seconds that clocks may differ."""

TOKEN_LENGTH = 8192
NAME_LENGTH = 200
CONTEXT_ENTRIES = 32
CONTEXT_KEY_LENGTH = 64
CONTEXT_VALUE_LENGTH = 1000

REFUSED = "The token is not valid; ask the app that you came from for a new one."
EXPIRED = "The token has expired; ask the app that you came from for a new one."

_LOOPBACK = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_OVERRIDES = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


class Claims(msgspec.Struct, frozen=True):
    """The claims that are read. A number is finite, text is Unicode; anything else does not decode."""

    exp: float
    user_id: str | None = None
    sub: str | None = None
    name: str | None = None
    roles: list[str] | None = None
    iat: float | None = None
    nbf: float | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    context: dict[str, str] | None = None


_jws = jwt.PyJWS()
_claims = msgspec.json.Decoder(Claims)


class Authenticator:
    """Verifies tokens.

    ``secret`` verifies HS256, the keys at ``jwks_url`` verify RS256 and ES256; an empty one verifies nothing. A token's
    issuer and audience have to be the ones given; empty ones are not looked at. ``now`` is Unix time in seconds.
    """

    def __init__(
        self,
        *,
        secret: str = "",
        jwks_url: str = "",
        issuer: str = "",
        audience: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret = _secret_key(secret) if secret else None
        self._keys = KeySet(jwks_url) if jwks_url else None
        self._issuer = issuer
        self._audience = audience
        self._now = now

    async def verify(self, token: str) -> Principal:
        """Who the token speaks for.

        Raises ``ExpiredToken`` and ``InvalidToken``, whose texts say nothing about the token (their causes do, for the
        log), and ``Unavailable`` when the keys can't be had.
        """
        try:
            return self._principal(await self._verified(token))
        except (ValueError, jwt.PyJWTError, msgspec.MsgspecError, RecursionError) as error:
            raise InvalidToken(REFUSED) from error

    async def _verified(self, token: str) -> bytes:
        """The payload, once its signature is known to be good. Raises ``ValueError``, ``PyJWTError``."""
        if not token.isascii() or len(token) > TOKEN_LENGTH:
            raise ValueError("not a token, or too long")
        header = _jws.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        key = await self._key(algorithm, key_id) if isinstance(algorithm, str) else None
        if key is None or "crit" in header:
            raise ValueError("no key verifies it, or it asks for an extension")
        payload: bytes = _jws.decode(token, key, [key.algorithm_name])
        return payload

    async def _key(self, algorithm: str, key_id: str | None) -> PyJWK | None:
        if algorithm == "HS256":
            return self._secret
        return await self._keys.find(algorithm, key_id) if self._keys else None

    def _principal(self, payload: bytes) -> Principal:
        claims = _claims.decode(payload)
        now = self._now()
        if self._issuer and claims.iss != self._issuer:
            raise ValueError("another issuer")
        if self._audience and self._audience not in _audiences(claims.aud):
            raise ValueError("another audience")
        if max(claims.nbf or now, claims.iat or now) > now + LEEWAY:
            raise ValueError("not valid yet")
        if claims.exp <= now - LEEWAY:
            raise ExpiredToken(EXPIRED)
        user_id = _user_id(claims)
        return Principal(
            user_id=user_id,
            name=_name(claims.name or "") or user_id,
            roles=frozenset(claims.roles or ()),
            expires=claims.exp,
            issued=claims.iat,
            context=_context(claims.context or {}),
        )


def mint(secret: str, user_id: str, name: str, roles: Iterable[str], lifetime: float) -> str:
    """A token signed with HS256, good for ``lifetime`` seconds from now: for development and tests."""
    issued = int(time.time())
    claims = {"user_id": user_id, "name": name, "roles": list(roles), "iat": issued, "exp": int(issued + lifetime)}
    return jwt.encode(claims, secret, "HS256")


def is_user_id(text: str) -> bool:
    """Whether a token can speak for a user with this id: 1 to 128 printable characters."""
    printable = not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)
    return 1 <= len(text) <= 128 and text == text.strip() and printable


class Origins:
    """Pages that may open a socket. Comparison is exact, byte by byte, as browsers write origins.

    No origin at all is a native client, allowed since a token is never ambient. ``null`` (a sandboxed or local page) is
    refused even when listed. An empty list allows loopback pages in development and nothing in production.
    """

    def __init__(self, allowed: Collection[str], development: bool) -> None:
        self._allowed = frozenset(allowed)
        self._development = development

    def allows(self, origin: str | None) -> bool:
        if origin is None:
            return True
        # Read once: a concurrent replace is seen whole or not at all.
        allowed = self._allowed
        if not allowed:
            return self._development and _LOOPBACK.fullmatch(origin) is not None
        return origin in allowed and origin != "null"

    def replace(self, allowed: Collection[str]) -> None:
        """Take another list; safe while others ask."""
        self._allowed = frozenset(allowed)


def _secret_key(secret: str) -> PyJWK:
    return PyJWK({"kty": "oct", "k": urlsafe_b64encode(secret.encode()).decode()}, "HS256")


def _audiences(claim: str | list[str] | None) -> list[str]:
    return [claim] if isinstance(claim, str) else claim or []


def _user_id(claims: Claims) -> str:
    user_id = claims.sub if claims.user_id is None else claims.user_id
    if user_id is None or not is_user_id(user_id):
        raise ValueError("no user id of 1 to 128 characters")
    return user_id


def _name(text: str) -> str:
    """Without control characters and marks that turn the direction of what follows."""
    kept = "".join(character for character in text.translate(_OVERRIDES) if unicodedata.category(character) != "Cc")
    return kept.strip()[:NAME_LENGTH].strip()


def _context(context: dict[str, str]) -> dict[str, str]:
    if len(context) > CONTEXT_ENTRIES or any(
        len(key) > CONTEXT_KEY_LENGTH or len(value) > CONTEXT_VALUE_LENGTH for key, value in context.items()
    ):
        raise ValueError("more context than fits")
    return context
