"""Tokens and origins: who may come in, and everything that may not."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from chatbox import jwks
from chatbox.auth import EXPIRED, REFUSED, Authenticator, Origins, mint
from chatbox.errors import ExpiredToken, InvalidToken, Unavailable
from tests import mutants

SECRET = "uN9xk2Lq7vRz4TfWb8YpHs3GdJc6MaEe"
NOW = 1_800_000_000
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def claims(**changes: Any) -> dict[str, Any]:
    merged = {"user_id": "u1", "name": "Ann", "roles": ["admin"], "iat": NOW, "exp": NOW + 600, **changes}
    return {name: value for name, value in merged.items() if value is not ...}


def signed(payload: object, secret: str = SECRET, **header: Any) -> str:
    """A token with any payload and header, honestly signed with the secret."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return jwt.PyJWS().encode(body, secret, "HS256", headers=header or None)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def authenticator(**options: Any) -> Authenticator:
    return Authenticator(**{"secret": SECRET, "now": lambda: NOW, **options})


async def refusal(token: str, **options: Any) -> InvalidToken:
    with pytest.raises(InvalidToken) as caught:
        await authenticator(**options).verify(token)
    return caught.value


async def test_a_token_says_who_its_bearer_is() -> None:
    who = await authenticator().verify(signed(claims(context={"page": "/cart"})))
    assert (who.user_id, who.name, who.roles, who.expires, who.issued) == (
        "u1",
        "Ann",
        frozenset({"admin"}),
        NOW + 600,
        NOW,
    )
    assert who.context == {"page": "/cart"}
    assert who.is_staff


async def test_a_minted_token_is_good_for_its_lifetime() -> None:
    token = mint(SECRET, "u1", "Ann", ["chat_admin"], 60)
    who = await Authenticator(secret=SECRET).verify(token)
    assert who.is_staff
    assert 55 < who.expires - time.time() <= 60


async def test_the_subject_stands_in_for_a_missing_user_id_and_the_id_for_a_missing_name() -> None:
    who = await authenticator().verify(signed({"sub": "u2", "exp": NOW + 1}))
    assert (who.user_id, who.name, who.roles, who.issued, who.context) == ("u2", "u2", frozenset(), None, {})


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("  Ann  ", "Ann"),
        ("", "u1"),
        (" \t ", "u1"),
        ("x" * 300, "x" * 200),
        ("A\x00n\nn", "Ann"),
        ("\u202egnp.exe", "gnp.exe"),
        ("👩‍👧", "👩‍👧"),
    ],
)
async def test_a_name_is_trimmed_cut_and_freed_of_control_characters(given_name: str, name: str) -> None:
    assert (await authenticator().verify(signed(claims(name=given_name)))).name == name


@pytest.mark.parametrize("late", [0, 29.9])
async def test_a_token_is_honoured_up_to_the_leeway_after_its_end(late: float) -> None:
    await authenticator(now=lambda: NOW + 600 + late).verify(signed(claims()))


async def test_an_expired_token_is_told_from_a_wrong_one() -> None:
    with pytest.raises(ExpiredToken) as caught:
        await authenticator(now=lambda: NOW + 630).verify(signed(claims()))
    assert caught.value.message == EXPIRED


async def test_an_expired_token_with_a_wrong_signature_is_only_wrong() -> None:
    token = signed(claims(exp=NOW - 999), secret="another secret of thirty-two letters")
    assert not isinstance(await refusal(token), ExpiredToken)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": None},
        {"exp": "1900000000"},
        {"exp": True},
        {"exp": {}},
        {"exp": 10**400},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"iat": "yesterday"},
        {"user_id": ..., "sub": ...},
        {"user_id": ""},
        {"user_id": "", "sub": "u2"},
        {"user_id": 7},
        {"user_id": ["u1"]},
        {"user_id": "x" * 129},
        {"user_id": " u1"},
        {"user_id": "u\n1"},
        {"user_id": "u\x001"},
        {"name": 5},
        {"name": ["Ann"]},
        {"roles": "admin"},
        {"roles": {"admin": True}},
        {"roles": ["user", 1]},
        {"roles": [["admin"]]},
        {"context": "page"},
        {"context": {"page": 1}},
        {"context": {str(n): "" for n in range(33)}},
        {"context": {"k" * 65: ""}},
        {"context": {"k": "v" * 1001}},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_a_claim_of_the_wrong_kind_size_or_time_is_refused(changes: dict[str, Any]) -> None:
    assert (await refusal(signed(claims(**changes)))).message == REFUSED


@pytest.mark.parametrize("length", [1, 128])
async def test_user_ids_of_the_allowed_lengths_are_taken(length: int) -> None:
    assert (await authenticator().verify(signed(claims(user_id="ü" * length)))).user_id == "ü" * length


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"u1"', b"{", b"\xff\xfe", b'{"exp":NaN}', b"[" * 3000])
async def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    await refusal(signed(payload))


async def test_issuer_and_audience_are_looked_at_when_they_are_configured() -> None:
    asked = {"issuer": "https://sso.example.com", "audience": "chatbox"}
    await authenticator(**asked).verify(signed(claims(iss="https://sso.example.com", aud=["shop", "chatbox"])))
    await authenticator(**asked).verify(signed(claims(iss="https://sso.example.com", aud="chatbox")))
    await authenticator().verify(signed(claims(iss="https://other.example.com", aud="shop")))
    for wrong in (
        {"aud": "chatbox"},
        {"iss": "https://sso.example.com"},
        {"iss": "https://sso.example.com/", "aud": "chatbox"},
        {"iss": ["https://sso.example.com"], "aud": "chatbox"},
        {"iss": "https://sso.example.com", "aud": "chatbox2"},
        {"iss": "https://sso.example.com", "aud": ["shop"]},
        {"iss": "https://sso.example.com", "aud": []},
        {"iss": "https://sso.example.com", "aud": {"chatbox": 1}},
    ):
        await refusal(signed(claims(**wrong)), **asked)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA"]
)
async def test_only_the_algorithm_of_the_key_verifies(alg: str) -> None:
    head, body = b64(json.dumps({"alg": alg, "typ": "JWT"}).encode()), b64(json.dumps(claims()).encode())
    signature = signed(claims()).rsplit(".", 1)[1]
    for end in ("", signature, b64(b"")):
        await refusal(f"{head}.{body}.{end}")


async def test_an_unsigned_token_is_refused() -> None:
    await refusal(jwt.encode(claims(), None, "none"))


@pytest.mark.parametrize("header", ["[]", "null", "{}", '{"alg":null}', '{"alg":["HS256"]}', '{"alg":"HS256","kid":7}'])
async def test_a_header_that_is_none_is_refused(header: str) -> None:
    await refusal(f"{b64(header.encode())}.{b64(json.dumps(claims()).encode())}.AAAA")


async def test_a_token_that_demands_an_extension_is_refused() -> None:
    refused = await refusal(signed(claims(), crit=["exp"], exp=1))
    assert "extension" in str(refused.__cause__)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "a" * 8193, "é.é.é", "\ud800.a.b", "a b.c.d", "A.A.A", "null", "\x00"],
    ids=range(13),
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refusal(token)


async def test_a_token_of_ten_megabytes_is_refused_before_it_is_looked_at() -> None:
    token = signed(claims(name="x" * 10_000_000))
    began = time.perf_counter()
    await refusal(token)
    assert time.perf_counter() - began < 0.5


async def test_a_header_nested_thousands_deep_is_refused() -> None:
    header = b64(b'{"alg":"HS256","x":' + b"[" * 2500 + b"]" * 2500 + b"}")
    await refusal(f"{header}.e30.AAAA")


@given(st.data())
@settings(max_examples=300)
def test_no_changed_character_of_a_token_goes_unnoticed(data: st.DataObject) -> None:
    token = signed(claims(), kid="k")
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("ABCyz019-_."))
    if token[place] != other:
        asyncio.run(refusal(token[:place] + other + token[place + 1 :]))


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,80}\.[\w-]{0,80}\.[\w-]{0,80}", fullmatch=True))
@settings(max_examples=300)
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    asyncio.run(refusal(text))


@given(
    st.dictionaries(
        st.sampled_from(["user_id", "sub", "name", "roles", "exp", "iat", "nbf", "iss", "aud", "context"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
@settings(max_examples=300)
def test_signed_claims_of_any_shape_give_a_sound_principal_or_a_refusal(payload: dict[str, Any]) -> None:
    try:
        who = asyncio.run(authenticator(now=lambda: 0).verify(signed({"exp": 1, **payload})))
    except InvalidToken:
        return
    assert 1 <= len(who.user_id) <= 128
    assert 1 <= len(who.name) <= 200
    assert all(isinstance(role, str) for role in who.roles)


async def test_a_thousand_tokens_are_verified_in_well_under_a_second() -> None:
    token, verifier = signed(claims()), authenticator()
    began = time.perf_counter()
    for _ in range(1000):
        await verifier.verify(token)
    assert time.perf_counter() - began < 1


# --- keys of an identity provider, over HTTP


class Provider:
    """A real HTTP server that hands out keys, and misbehaves when told."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.url = ""
        self.answer: Callable[[], Awaitable[web.StreamResponse]] = self.well_behaved

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        return await self.answer()

    async def well_behaved(self) -> web.StreamResponse:
        return web.json_response({"keys": self.keys})

    def says(self, body: bytes | str, status: int = 200, **headers: str) -> None:
        async def answer() -> web.StreamResponse:
            raw = body if isinstance(body, bytes) else body.encode()
            return web.Response(body=raw, status=status, headers=headers)

        self.answer = answer


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_get("/keys", provider.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    provider.keys = [jwk(RSA_KEY, "r1"), jwk(EC_KEY, "e1")]
    yield provider
    await runner.cleanup()


def jwk(key: Any, key_id: str | None, **more: Any) -> dict[str, Any]:
    family = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    entry = {**family.to_jwk(key.public_key(), as_dict=True), **more}
    return entry if key_id is None else {**entry, "kid": key_id}


def by_provider(key: Any, key_id: str | None, algorithm: str = "", **changes: Any) -> str:
    algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": key_id} if key_id else None)


def with_keys(url: str, clock: Clock | None = None) -> Authenticator:
    made = Authenticator(jwks_url=url, now=lambda: NOW)
    made._keys = jwks.KeySet(url, clock=clock or Clock())
    return made


@pytest.mark.parametrize(("key", "key_id"), [(RSA_KEY, "r1"), (EC_KEY, "e1"), (RSA_KEY, None), (EC_KEY, None)])
async def test_a_provider_signs_in_its_users(provider: Provider, key: Any, key_id: str | None) -> None:
    assert (await with_keys(provider.url).verify(by_provider(key, key_id))).user_id == "u1"


async def test_keys_are_fetched_once_for_many_tokens(provider: Provider) -> None:
    verifier = with_keys(provider.url)
    await asyncio.gather(*(verifier.verify(by_provider(RSA_KEY, "r1")) for _ in range(50)))
    assert provider.requests == 1


async def test_a_secret_and_a_key_set_work_side_by_side(provider: Provider) -> None:
    verifier = authenticator(jwks_url=provider.url)
    await verifier.verify(signed(claims()))
    await verifier.verify(by_provider(EC_KEY, "e1"))


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "modulus"])
async def test_a_public_key_does_not_serve_as_a_shared_secret(provider: Provider, form: str) -> None:
    public = RSA_KEY.public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    raw = {
        "pem": public.public_bytes(serialization.Encoding.PEM, info),
        "der": public.public_bytes(serialization.Encoding.DER, info),
        "jwk": json.dumps(jwk(RSA_KEY, "r1")).encode(),
        "modulus": jwk(RSA_KEY, "r1")["n"].encode(),
    }[form]
    head, body = (b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "r1"}, claims()))
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{head}.{body}".encode(), raw)
    for verifier in (with_keys(provider.url), authenticator(jwks_url=provider.url)):
        with pytest.raises(InvalidToken):
            await verifier.verify(f"{head}.{body}.{b64(signature)}")


async def test_a_key_verifies_no_other_keys_algorithm_or_tokens(provider: Provider) -> None:
    verifier = with_keys(provider.url)
    for token in (
        by_provider(RSA_KEY, "e1"),
        by_provider(EC_KEY, "r1"),
        by_provider(OTHER_RSA_KEY, "r1"),
        by_provider(RSA_KEY, "r1", "RS512"),
        by_provider(RSA_KEY, "r1", "PS256"),
        mint(SECRET, "u1", "Ann", [], 600),
    ):
        with pytest.raises(InvalidToken):
            await verifier.verify(token)


@pytest.mark.parametrize(
    "key_id", ["../../r1", "/dev/null", "r1' OR '1'='1", "http://evil.example/keys", "r1\x00", "x" * 4000]
)
async def test_a_key_id_is_only_looked_up(provider: Provider, key_id: str) -> None:
    with pytest.raises(InvalidToken):
        await with_keys(provider.url).verify(by_provider(OTHER_RSA_KEY, key_id))
    assert provider.requests == 1


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "x5c"])
async def test_a_token_does_not_bring_its_own_keys(provider: Provider, field: str) -> None:
    evil = {"jku": provider.url, "x5u": provider.url, "jwk": jwk(OTHER_RSA_KEY, "own"), "x5c": ["AAAA"]}[field]
    token = jwt.encode(claims(), OTHER_RSA_KEY, "RS256", headers={"kid": "own", field: evil})
    with pytest.raises(InvalidToken):
        await with_keys(provider.url).verify(token)
    good = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "r1", field: evil})
    assert (await with_keys(provider.url).verify(good)).user_id == "u1"


async def test_a_new_key_is_found_by_its_first_token(provider: Provider) -> None:
    clock = Clock()
    verifier = with_keys(provider.url, clock)
    await verifier.verify(by_provider(RSA_KEY, "r1"))
    clock.now += 31
    provider.keys = [jwk(OTHER_RSA_KEY, "r2")]
    await verifier.verify(by_provider(OTHER_RSA_KEY, "r2"))
    with pytest.raises(InvalidToken):
        await verifier.verify(by_provider(RSA_KEY, "r1"))


async def test_unknown_key_ids_do_not_hammer_the_provider(provider: Provider) -> None:
    clock = Clock()
    verifier = with_keys(provider.url, clock)
    for number in range(200):
        clock.now += 0.1
        with pytest.raises(InvalidToken):
            await verifier.verify(by_provider(OTHER_RSA_KEY, f"unknown {number}"))
    assert provider.requests == 1
    clock.now += 30
    with pytest.raises(InvalidToken):
        await verifier.verify(by_provider(OTHER_RSA_KEY, "unknown"))
    assert provider.requests == 2


async def test_a_withdrawn_key_stops_working_within_ten_minutes(provider: Provider) -> None:
    clock = Clock()
    verifier = with_keys(provider.url, clock)
    await verifier.verify(by_provider(RSA_KEY, "r1"))
    provider.keys = [jwk(EC_KEY, "e1")]
    await verifier.verify(by_provider(RSA_KEY, "r1"))
    clock.now += 600
    with pytest.raises(InvalidToken):
        await verifier.verify(by_provider(RSA_KEY, "r1"))


BAD_ANSWERS: list[tuple[bytes, int]] = [
    (b"", 200),
    (b"<html>", 200),
    (b"\xff" * 100, 200),
    (b"[]", 200),
    (b"{}", 200),
    (b'{"keys":{}}', 200),
    (b'{"keys":[]}', 200),
    (b'{"keys":[1]}', 200),
    (b'{"keys":[{"kty":"oct","k":"AAAA","kid":"r1","alg":"HS256"}]}', 200),
    (b'{"keys":[{"kty":"RSA","n":"!","e":"AQAB","kid":"r1"}]}', 200),
    (b'{"keys":[{"kty":"EC","crv":"P-256","x":1,"y":[],"kid":"e1"}]}', 200),
    (b"[" * 100_000, 200),
    (b'{"keys":[' + b" " * (1 << 20) + b"]}", 200),
    (b"down", 503),
    (b"gone", 404),
]


@pytest.mark.parametrize(("body", "status"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
async def test_a_provider_that_never_gave_keys_makes_sign_in_unavailable(
    provider: Provider, body: bytes, status: int
) -> None:
    provider.says(body, status)
    with pytest.raises(Unavailable) as caught:
        await with_keys(provider.url).verify(by_provider(RSA_KEY, "r1"))
    assert caught.value.status == 503
    assert caught.value.retry_after


@pytest.mark.parametrize(("body", "status"), BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
async def test_keys_once_fetched_survive_a_provider_that_fails(provider: Provider, body: bytes, status: int) -> None:
    clock = Clock()
    verifier = with_keys(provider.url, clock)
    await verifier.verify(by_provider(RSA_KEY, "r1"))
    provider.says(body, status)
    clock.now += 3600
    await verifier.verify(by_provider(RSA_KEY, "r1"))
    await verifier.verify(by_provider(EC_KEY, "e1"))
    assert provider.requests == 2


async def test_a_provider_that_cannot_be_reached_makes_sign_in_unavailable_until_it_can(provider: Provider) -> None:
    clock = Clock()
    verifier = with_keys(provider.url.replace("127.0.0.1", "127.0.0.2"), clock)
    with pytest.raises(Unavailable):
        await verifier.verify(by_provider(RSA_KEY, "r1"))
    assert verifier._keys is not None
    verifier._keys._url = provider.url
    clock.now += 2
    await verifier.verify(by_provider(RSA_KEY, "r1"))


async def test_a_slow_provider_is_given_up_and_does_not_hold_those_with_known_keys(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT", 0.3)
    clock = Clock()
    verifier = with_keys(provider.url, clock)
    await verifier.verify(by_provider(RSA_KEY, "r1"))

    async def never() -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    provider.answer = never
    clock.now += 600
    refreshing = asyncio.create_task(verifier.verify(by_provider(RSA_KEY, "r1")))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(verifier.verify(by_provider(EC_KEY, "e1")), 0.2)
    assert not refreshing.done()
    assert (await refreshing).user_id == "u1"


async def test_a_body_without_end_is_given_up_at_a_mebibyte(provider: Provider) -> None:
    sent = 0

    async def endless() -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(current[0])
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    current: list[web.Request] = []
    inner = provider.handle

    async def handle(request: web.Request) -> web.StreamResponse:
        current.append(request)
        return await inner(request)

    provider.answer = endless
    app = web.Application()
    app.router.add_get("/keys", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.raises(Unavailable):
            await with_keys(f"http://127.0.0.1:{runner.addresses[0][1]}/keys").verify(by_provider(RSA_KEY, "r1"))
    finally:
        await runner.cleanup()
    assert sent < 64 << 20


async def test_redirects_to_other_keys_are_not_followed(provider: Provider) -> None:
    target = provider.url
    provider.says(b"", 302, Location=f"{target}?again")
    with pytest.raises(Unavailable):
        await with_keys(provider.url).verify(by_provider(RSA_KEY, "r1"))
    assert provider.requests == 1


async def test_keys_for_encryption_weak_keys_private_keys_and_other_curves_are_not_used(provider: Provider) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    other_curve = ec.generate_private_key(ec.SECP384R1())
    private = {**RSAAlgorithm.to_jwk(OTHER_RSA_KEY, as_dict=True), "kid": "private"}
    provider.keys = [
        jwk(EC_KEY, "e1"),
        jwk(RSA_KEY, "encrypts", use="enc"),
        jwk(RSA_KEY, "other", alg="RS512"),
        jwk(weak, "weak"),
        jwk(other_curve, "curve"),
        private,
    ]
    verifier = with_keys(provider.url)
    await verifier.verify(by_provider(EC_KEY, "e1"))
    for key, key_id in ((RSA_KEY, "encrypts"), (RSA_KEY, "other"), (weak, "weak"), (OTHER_RSA_KEY, "private")):
        with pytest.raises(InvalidToken):
            await verifier.verify(by_provider(key, key_id))


async def test_without_an_id_a_token_needs_the_only_key_of_its_kind(provider: Provider) -> None:
    provider.keys = [jwk(RSA_KEY, "r1"), jwk(OTHER_RSA_KEY, "r2"), jwk(EC_KEY, None)]
    verifier = with_keys(provider.url)
    await verifier.verify(by_provider(EC_KEY, None))
    with pytest.raises(InvalidToken):
        await verifier.verify(by_provider(RSA_KEY, None))


async def test_nobody_signs_in_where_nothing_is_configured() -> None:
    with pytest.raises(InvalidToken):
        await Authenticator(now=lambda: NOW).verify(signed(claims()))


# --- origins

SITE = "https://www.example.com"


@pytest.mark.readiness(issue=13)
@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "https://evil.example",
        "http://www.example.com",
        "https://example.com",
        "https://www.example.com.evil.example",
        "https://www.example.com@evil.example",
        "https://evilwww.example.com",
        "https://a.www.example.com",
        "https://www.example.com:443",
        "https://www.example.com:8443",
        "https://www.example.com/",
        "https://www.example.com#",
        "https://www.example.com?",
        "https://www.example.com\n",
        " https://www.example.com",
        "HTTPS://WWW.EXAMPLE.COM",
        "https://www.example.com, https://evil.example",
        "https://www.examp\u217ce.com",
    ],
)
def test_an_origin_that_is_not_exactly_listed_is_refused(origin: str) -> None:
    assert not Origins([SITE, "null"], development=False).allows(origin)


@pytest.mark.readiness(issue=13)
def test_listed_origins_and_clients_without_one_are_allowed() -> None:
    origins = Origins([SITE, "http://localhost:3000"], development=False)
    assert origins.allows(SITE)
    assert origins.allows("http://localhost:3000")
    assert origins.allows(None)


@pytest.mark.readiness(issue=13)
@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:8080"]
)
def test_without_a_list_loopback_pages_are_allowed_in_development_only(origin: str) -> None:
    assert Origins([], development=True).allows(origin)
    assert not Origins([], development=False).allows(origin)
    assert not Origins([SITE], development=True).allows(origin)


def check_empty_list(origin: str, make: type[Origins] = Origins) -> None:
    """An empty list is no permission."""
    assert not make([], development=True).allows(origin)
    assert not make([], development=False).allows(origin)


@pytest.mark.readiness(issue=13)
@pytest.mark.parametrize(
    "origin",
    ["null", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://localhost:80@evil.example",
     "http://evil.example:8080", "http://localhost:8080/", "http://localhost\n", "file://", "http://0.0.0.0:8080"],
)  # fmt: skip
def test_without_a_list_foreign_pages_are_refused_in_development_too(origin: str) -> None:
    check_empty_list(origin)


class EmptyMeansAll(Origins):
    def allows(self, origin: str | None) -> bool:
        return not self._allowed or super().allows(origin)


@pytest.mark.readiness(issue=13)
def test_an_empty_list_that_allows_everyone_would_be_found() -> None:
    with mutants.found():
        check_empty_list("https://evil.example", EmptyMeansAll)


@pytest.mark.readiness(issue=13)
@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z.@:/\[\]0-9-]{0,30}", fullmatch=True), st.booleans())
@settings(max_examples=300)
def test_an_origin_is_allowed_if_and_only_if_it_is_listed(origin: str, development: bool) -> None:
    origins = Origins([SITE, "http://shop.example"], development)
    assert origins.allows(origin) == (origin in (SITE, "http://shop.example"))


@pytest.mark.readiness(issue=13)
@given(st.text(min_size=1, max_size=5), st.sampled_from(["before", "after", "inside"]), st.integers(0, len(SITE)))
@settings(max_examples=300)
def test_no_text_added_to_a_listed_origin_makes_another_allowed_one(extra: str, where: str, place: int) -> None:
    changed = {"before": extra + SITE, "after": SITE + extra, "inside": SITE[:place] + extra + SITE[place:]}[where]
    assert not Origins([SITE], development=False).allows(changed)


@pytest.mark.readiness(issue=13)
def test_the_list_can_be_replaced_while_others_ask() -> None:
    origins = Origins([SITE], development=True)
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            if not origins.allows("https://always.example") and not origins.allows(SITE):
                wrong.append("neither list was in force")
            if origins.allows("http://localhost"):
                wrong.append("an empty list was in force")

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(2000):
        origins.replace(["https://always.example", SITE])
        origins.replace([SITE])
    done.set()
    for asker in askers:
        asker.join()
    assert not wrong
    origins.replace(["https://new.example"])
    assert not origins.allows(SITE)
    assert origins.allows("https://new.example")


class Interrupted(list[str]):
    """A list that lets another task look each time that one of its entries is taken."""

    def __init__(self, entries: list[str], look: Callable[[], None]) -> None:
        super().__init__(entries)
        self._look = look

    def __iter__(self) -> Iterator[str]:
        self._look()
        for entry in super().__iter__():
            yield entry
            self._look()


class InterruptedOrigin(str):
    """An origin that lets another task act each time that it is looked up in a list."""

    __slots__ = ("act",)
    act: Callable[[], None]

    def __hash__(self) -> int:
        self.act()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


PAGES = ["https://a.example", "https://b.example", "https://c.example", "http://localhost:3000"]
LISTS = st.lists(st.sampled_from(PAGES), unique=True, max_size=4)


def check_replacing(before: list[str], after: list[str], development: bool, make: type[Origins] = Origins) -> None:
    """Whoever asks while the list is replaced, at any step, is judged by the old list or by the new one."""
    old, new = (verdicts(Origins(entries, development)) for entries in (before, after))
    origins = make(before, development)
    seen: list[list[bool]] = []
    origins.replace(Interrupted(after, lambda: seen.append(verdicts(origins))))
    assert all(verdict in (old, new) for verdict in seen)
    assert verdicts(origins) == new
    for place, page in enumerate(PAGES):
        asked = make(before, development)
        origin = InterruptedOrigin(page)
        origin.act = lambda asked=asked: asked.replace(after)
        assert asked.allows(origin) in (old[place], new[place])


def verdicts(origins: Origins) -> list[bool]:
    return [origins.allows(page) for page in PAGES]


@pytest.mark.readiness(issue=13)
@given(LISTS, LISTS, st.booleans())
@settings(max_examples=200)
def test_at_every_step_of_a_change_one_whole_list_is_in_force(
    before: list[str], after: list[str], development: bool
) -> None:
    check_replacing(before, after, development)


class ChangedInPlace(Origins):
    """The list is emptied and filled again under the eyes of those who ask."""

    def __init__(self, allowed: Collection[str], development: bool) -> None:
        super().__init__(allowed, development)
        self._allowed: set[str] = set(allowed)

    def replace(self, allowed: Collection[str]) -> None:
        self._allowed.clear()
        for origin in allowed:
            self._allowed.add(origin)


@pytest.mark.readiness(issue=13)
def test_a_list_that_is_changed_in_place_would_be_found() -> None:
    with mutants.found():
        check_replacing(["https://a.example"], ["https://a.example", "https://b.example"], False, ChangedInPlace)
