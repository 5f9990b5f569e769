"""What settings mean beside each other: what production refuses, what development refuses, what goes together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from chatbox.keyring import SINGLE_KEY_ID, parse_key, parse_keys
from chatbox.llm.base import ProviderSettings
from chatbox.settings import Provider, Settings
from chatbox.strength import MAKE_ONE, MIN_LENGTH, is_placeholder, is_unfilled, weakness

Problem = tuple[str, str]
"""A field, or what a model's setting is called in the environment; what is wrong and what to do about it."""

DOCUMENT = 8 * 2**20
"""Bytes of text that fit in a document of MongoDB when they are sealed and more is in it."""

MAKE_KEY = "make one with: openssl rand -base64 32"


def broken(settings: Settings, providers: Sequence[ProviderSettings]) -> Iterator[Problem]:
    """Every rule that the settings break together. Each value is known to be good by itself."""
    yield from keys_that_do_not_fit(settings)
    yield from halves(settings)
    yield from clashing(providers)
    if settings.mode == "production":
        yield from unsafe(settings)
        yield from unready(settings, providers)
        yield from unfilled(settings, providers)
    elif not is_loopback(settings.server_host):
        yield "server_host", "development serves this machine only; give 127.0.0.1, or set CHATBOX_MODE=production"


def keys_that_do_not_fit(settings: Settings) -> Iterator[Problem]:
    secret = revealed(settings.jwt_secret)
    if secret and len(secret) < MIN_LENGTH:
        yield "jwt_secret", f"{weakness(secret)}; {MAKE_ONE}"
    if secret.startswith(("ssh-", "-----BEGIN", "{")):
        yield "jwt_secret", f"a public key or JSON, which is no shared secret; set JWKS_URL, or {MAKE_ONE}"
    if settings.encryption_key and settings.encryption_keys:
        yield "encryption_keys", f"set beside ENCRYPTION_KEY; keep one, as {SINGLE_KEY_ID}:<the key> in the ring"
    try:
        keys_of(settings)
    except ValueError as error:
        yield "encryption_keys" if settings.encryption_keys else "encryption_key", f"{error}; {MAKE_KEY}"


def keys_of(settings: Settings) -> list[tuple[str, bytes]]:
    """The key ring, the writing key first; empty when none is set. Raises ``ValueError`` without any key in it."""
    if settings.encryption_keys:
        return parse_keys(settings.encryption_keys.get_secret_value())
    if settings.encryption_key:
        return [(SINGLE_KEY_ID, parse_key(settings.encryption_key.get_secret_value()))]
    return []


def halves(settings: Settings) -> Iterator[Problem]:
    """Settings that need another one."""
    for given, needed in (
        ("smtp_user", "smtp_pass"),
        ("smtp_pass", "smtp_user"),
        ("smtp_host", "email_from"),
        ("smtp_host", "admin_emails"),
        ("admin_emails", "smtp_host"),
        ("sms_provider", "sms_account_sid"),
        ("sms_provider", "sms_auth_token"),
        ("sms_provider", "sms_from"),
        ("sms_provider", "admin_phones"),
        ("admin_phones", "sms_provider"),
        ("escalation_emails", "smtp_host"),
        ("escalation_phones", "sms_provider"),
        ("s3_endpoint", "s3_bucket"),
        ("s3_access_key_id", "s3_bucket"),
        ("s3_access_key_id", "s3_secret_access_key"),
        ("s3_secret_access_key", "s3_access_key_id"),
    ):
        if getattr(settings, given) and not getattr(settings, needed):
            yield needed, f"missing, and {given.upper()} needs it; set both or neither"
    if settings.store_url.startswith("mongodb") and settings.max_answer_size > DOCUMENT:
        yield "max_answer_size", f"more than fits in a document of MongoDB; give at most {DOCUMENT}"
    if settings.mongo_retry_delay > settings.mongo_retry_max_delay:
        yield "mongo_retry_delay", "longer than MONGO_RETRY_MAX_DELAY; give a shorter one"


def lacking(models: Mapping[int, Provider]) -> Iterator[Problem]:
    """What models, by number, lack to be asked."""
    for number, model in models.items():
        if model.type in ("openai", "anthropic") and not model.model:
            yield f"LLM_PROVIDER_{number}_MODEL", "missing; give the model's name, for example gpt-5-mini"
        if model.type in ("openai", "anthropic", "dify") and not model.endpoint:
            yield f"LLM_PROVIDER_{number}_ENDPOINT", "missing; give it, or an API_KEY for the vendor's own"


def clashing(providers: Sequence[ProviderSettings]) -> Iterator[Problem]:
    for provider_id, count in Counter(provider.id for provider in providers).items():
        if count > 1:
            yield (
                "LLM_PROVIDER_<n>",
                f"{count} providers have the id {provider_id!r}; give each its own LLM_PROVIDER_<n>_ID",
            )


def unsafe(settings: Settings) -> Iterator[Problem]:
    secret = revealed(settings.jwt_secret)
    if len(secret) >= MIN_LENGTH and (weak := weakness(secret)):
        yield "jwt_secret", f"{weak}; {MAKE_ONE}"
    if settings.jwks_url.startswith("http:") and not is_loopback(urlsplit(settings.jwks_url).hostname or ""):
        yield "jwks_url", "whoever sits between could hand out keys of their own; give an https:// address"
    if settings.smtp_security == "none" and settings.smtp_host and not is_loopback(settings.smtp_host):
        yield "smtp_security", "the password and all alerts could be read on the way; give starttls or tls"
    if settings.sms_endpoint.startswith("http:") and not is_loopback(urlsplit(settings.sms_endpoint).hostname or ""):
        yield "sms_endpoint", "the token and all alerts could be read on the way; give an https:// address"
    if settings.server_port == 0:
        yield "server_port", "any free port is for development; give a port from 1 to 65535, for example 8080"


def unready(settings: Settings, providers: Sequence[ProviderSettings]) -> Iterator[Problem]:
    if not settings.jwt_secret and not settings.jwks_url:
        yield "jwt_secret", f"missing, and JWKS_URL too; set one of them ({MAKE_ONE})"
    if not settings.allowed_origins:
        yield "allowed_origins", "missing; name the pages that may use the chat, for example https://www.example.com"
    if not settings.encryption_key and not settings.encryption_keys:
        yield "encryption_key", f"missing; {MAKE_KEY}"
    if not providers:
        yield (
            "LLM_PROVIDER_<n>",
            "none is set, so nobody would answer; give LLM_PROVIDER_1_TYPE, _MODEL and _API_KEY or _ENDPOINT",
        )


def unfilled(settings: Settings, providers: Sequence[ProviderSettings]) -> Iterator[Problem]:
    """Values that still hold a placeholder."""
    for name in Settings.model_fields:
        if name not in ("jwt_secret", "llm_system_prompt") and is_left_open(getattr(settings, name)):
            yield name, "holds a placeholder; give the real value"
    for provider in providers:
        if is_placeholder(provider.api_key) or is_left_open(provider.endpoint) or is_unfilled(provider.model):
            yield (
                "LLM_PROVIDER_<n>",
                f"key, endpoint or model of {provider.id!r} holds a placeholder; give the real one",
            )


def is_left_open(value: object) -> bool:
    if isinstance(value, SecretStr):
        return is_placeholder(value.get_secret_value())
    return isinstance(value, str) and (is_unfilled(value) or is_placeholder(password_of(value)))


def revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def password_of(value: object) -> str:
    """The password inside an address, if the value is one that has it."""
    return urlsplit(value).password or "" if isinstance(value, str) and "://" in value else ""


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
