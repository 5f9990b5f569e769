"""Every setting, once: its name, type, default, help and an example.

Environment, TOML file, command line, ``chatbox check`` and the reference page derive from these definitions. A
setting's name in the file is the field's; on the command line it has dashes; in the environment it is in capitals.
What a value means by itself is checked here; what it means beside others, in ``chatbox.config``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from chatbox.llm.base import ProviderSettings
from chatbox.values import (
    DURATION,
    SECRECY,
    Count,
    CountOrNone,
    Email,
    Emails,
    Flag,
    Folder,
    HttpUrl,
    Kind,
    Label,
    MongoUrl,
    Networks,
    Origins,
    Phone,
    Phones,
    PortNumber,
    Prefix,
    RedisUrl,
    Seconds,
    Secret,
    StoreUrl,
    Temperature,
    Text,
    TimeZone,
    WeekHours,
    duration_text,
)

MASK = "********"

PREFIXED = frozenset({"mode", "data_dir", "path_prefix"})
"""Fields whose names in the environment begin with ``CHATBOX_``."""

SECTIONS = {
    "mode": "Server",
    "jwt_secret": "Sign-in",
    "allowed_origins": "Origins and networks",
    "reconnect_timeout": "Sessions",
    "max_connections": "Limits",
    "llm_stream_timeout": "Answers",
    "encryption_key": "Storage",
    "redis_url": "Replicas",
    "s3_endpoint": "Files",
    "staff_away_timeout": "Staff and alerts",
    "log_level": "Logs",
}
"""A section of the reference page begins at the field named."""


def setting(help_text: str, default: object = "", *, example: str = "", shown: str = "") -> Any:
    """A field. ``default`` is what a user would write, or a function of the fields before it; ``shown`` says which."""
    extra: dict[str, Any] = {"example": example, "shown": shown}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra)
    return Field(default=default, description=help_text, json_schema_extra=extra)


def same_as(field: str) -> Callable[[dict[str, Any]], Any]:
    return lambda before: before[field]


def in_development(before: dict[str, Any]) -> bool:
    return bool(before["mode"] == "development")


def usual_security(before: dict[str, Any]) -> str:
    return "tls" if before["smtp_port"] == 465 else "starttls"


def default_store(before: dict[str, Any]) -> str:
    return str(before["mongo_uri"]) or f"sqlite:///{before['data_dir'] / 'chatbox.db'}"


class Settings(BaseModel):
    """What an operator can set. Durations are in seconds, sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    mode: Literal["production", "development"] = setting(
        "`production` refuses what is unsafe; `development` makes its own secrets and serves this machine only.",
        "production",
    )
    data_dir: Folder = setting(
        "Folder of the database, the uploads and, in development, the secrets.", "data", example="/var/lib/chatbox"
    )
    server_host: Text = setting(
        "Address to listen on, `0.0.0.0` for all. Development takes loopback addresses only.", "127.0.0.1"
    )
    server_port: PortNumber = setting("Port to listen on. Development also takes 0, any free one.", "8080")
    path_prefix: Prefix = setting("Where Chatbox lives on its host: pages, API and socket.", "/chatbox")
    ping_interval: Seconds = setting("How often a socket is asked for a sign of life.", "25s")
    drain_timeout: Seconds = setting("How long a stopping server waits for running answers.", "30s")

    jwt_secret: Secret = setting(
        "Secret shared with the parent app, for tokens signed with HS256: at least 32 characters without a word that "
        "guessers try. Needed in production unless `JWKS_URL` is set.",
        None,
    )
    jwks_url: HttpUrl = setting(
        "Where the public keys are, for tokens signed with RS256 or ES256. Production needs https, or loopback.",
        example="https://sso.example.com/.well-known/jwks.json",
    )
    jwt_issuer: Text = setting("Refuse tokens whose `iss` is not this.", example="https://sso.example.com/")
    jwt_audience: Text = setting("Refuse tokens whose `aud` does not name this.", example="chatbox")
    allow_query_token: Flag = setting(
        "Take a socket's token from `?token=` too, where proxies may log it.",
        in_development,
        shown="true in development, else false",
    )

    allowed_origins: Origins = setting(
        "Pages that may open the socket, embed the chat and exchange messages with it; Chatbox's own address is one of "
        "them. Empty is refused in production and means loopback pages on any port in development.",
        example="https://www.example.com,https://chat.example.com",
    )
    cors_allowed_origins: Origins = setting(
        "Pages that may call the HTTP API.",
        same_as("allowed_origins"),
        shown="same as `ALLOWED_ORIGINS`",
        example="https://www.example.com",
    )
    trusted_proxies: Networks = setting(
        "Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.", example="10.0.0.0/8"
    )
    metrics_allowed_networks: Networks = setting(
        "Where metrics may be read from.",
        "127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7",
    )

    reconnect_timeout: Seconds = setting("How long a session stays open after its last socket has left.", "15m")
    session_ttl: Seconds = setting("How long an idle session stays in memory.", "15m")
    session_cleanup_interval: Seconds = setting("How often idle sessions are looked for.", "5m")
    retention_days: CountOrNone = setting("Days after which ended sessions are deleted; 0 keeps them.", "0")

    max_connections: Count = setting("Sockets this process serves at once.", "10000")
    max_connections_per_user: Count = setting("Sockets of one user.", "10")
    max_message_size: Count = setting("Bytes of one frame or request body, uploads aside.", "1048576")
    rate_limit: Count = setting("Messages that a user may send in a minute.", "100")
    rate_limit_cleanup_interval: Seconds = setting("How often expired counts are dropped.", "5m")
    admin_rate_limit: Count = setting("Staff requests allowed in `ADMIN_RATE_WINDOW`.", "20")
    admin_rate_window: Seconds = setting("Window of `ADMIN_RATE_LIMIT`.", "1m")

    llm_stream_timeout: Seconds = setting("How long an answer may take in all.", "120s")
    llm_system_prompt: Text = setting(
        "What the model is told before every conversation.",
        "You are a helpful assistant. Answer briefly and plainly.",
    )
    max_answer_size: Count = setting("Bytes of one answer; one more ends it with `length`.", "1048576")
    user_max_answers: Count = setting("Answers of one user that may run at once.", "3")
    user_token_budget: CountOrNone = setting("Tokens that a user may spend in a day; 0 sets no limit.", "0")

    encryption_key: Secret = setting(
        "Key of everything stored: 32 ASCII characters, 64 hex digits or 44 base64 characters. Production needs it or "
        "`ENCRYPTION_KEYS`.",
        None,
    )
    encryption_keys: Secret = setting(
        "Ring of keys, `id:key,id:key`: the first writes, all read. It takes the place of `ENCRYPTION_KEY`, whose id "
        "is `default`.",
        None,
    )
    mongo_uri: MongoUrl = setting("Store of older deployments; counts only without `STORE_URL`.")
    store_url: StoreUrl = setting(
        "Where conversations are kept: `sqlite:///relative`, `sqlite:////absolute` or `mongodb://…`.",
        default_store,
        shown="`MONGO_URI`, else `chatbox.db` in the data folder",
        example="sqlite:////var/lib/chatbox/chatbox.db",
    )
    mongo_database: Text = setting("Database in MongoDB.", "chat")
    mongo_collection: Text = setting("Collection of the sessions; the others' names begin with it.", "sessions")
    mongo_connect_timeout: Seconds = setting("How long to wait for MongoDB at the start.", "10s")
    mongo_retry_attempts: Count = setting("Tries of one operation, the first included.", "3")
    mongo_retry_delay: Seconds = setting("Pause before the second try; it doubles.", "100ms")
    mongo_retry_max_delay: Seconds = setting("The longest pause between tries.", "2s")

    redis_url: RedisUrl = setting(
        "Redis or Valkey, for more than one replica. Empty: this process is the only one.",
        example="redis://redis:6379/0",
    )

    s3_endpoint: HttpUrl = setting("Address of an S3-compatible store; empty is Amazon's own.")
    s3_region: Text = setting("Region of the bucket.", example="eu-central-1")
    s3_bucket: Text = setting("Bucket of the uploads. Empty: they are kept in the data folder.", example="chat-files")
    s3_access_key_id: Text = setting("Who signs requests to the bucket.")
    s3_secret_access_key: Secret = setting("Key of `S3_ACCESS_KEY_ID`.", None)

    staff_away_timeout: Seconds = setting("Silence after which a member of staff counts as away.", "5m")
    help_escalation: Seconds = setting("How long a help request may wait before staff are told again.", "5m")
    opening_hours: WeekHours = setting(
        "When staff are there. Empty: always. At other times users are told so, and can leave an e-mail address.",
        example="Mo-Fr 09:00-17:00, Sa 10:00-14:00",
    )
    opening_timezone: TimeZone = setting("Where `OPENING_HOURS` and `QUIET_HOURS` are.", "UTC", example="Europe/Berlin")
    quiet_hours: WeekHours = setting(
        "When alerts wait for the end of these hours; those about help do not.", example="22:00-07:00"
    )
    admin_panel_url: HttpUrl = setting("Link to the staff view in alerts.", example="https://chat.example.com/chatbox/")
    admin_emails: Emails = setting("Who gets alerts by e-mail.", example="ops@example.com,help@example.com")
    admin_phones: Phones = setting("Who gets alerts by SMS.", example="+4915112345678")
    escalation_emails: Emails = setting(
        "Who is told too, by e-mail, after `HELP_ESCALATION`.", example="boss@example.com"
    )
    escalation_phones: Phones = setting("Who is told too, by SMS, after `HELP_ESCALATION`.", example="+4915112345679")
    email_from: Email = setting("Sender of e-mails.", example="chat@example.com")
    smtp_host: Text = setting("Mail server.", example="smtp.example.com")
    smtp_port: PortNumber = setting("Port of the mail server.", "587")
    smtp_security: Literal["starttls", "tls", "none"] = setting(
        "How the line to the mail server is encrypted; never less than this. `none` is for loopback in production.",
        usual_security,
        shown="`tls` on port 465, else `starttls`",
    )
    smtp_user: Text = setting("Account on the mail server.")
    smtp_pass: Secret = setting("Password of `SMTP_USER`.", None)
    sms_provider: Literal["", "twilio"] = setting("Who sends SMS.", example="twilio")
    sms_endpoint: HttpUrl = setting(
        "Base of the SMS provider's API. Production needs https, or loopback.", "https://api.twilio.com"
    )
    sms_account_sid: Text = setting("Account at the SMS provider.")
    sms_auth_token: Secret = setting("Token of `SMS_ACCOUNT_SID`.", None)
    sms_from: Phone = setting("Sender of SMS.", example="+4915112345678")

    log_level: Literal["debug", "info", "warning", "error"] = setting("What is worth a line.", "info")
    log_format: Literal["auto", "json", "console"] = setting(
        "`auto` is `console` on a terminal and `json` elsewhere.", "auto"
    )
    log_file: Text = setting("File that gets the log; empty is standard error.", example="/var/log/chatbox.log")


UNSET = ProviderSettings(id="", name="", type="")

VENDORS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "dify": "https://api.dify.ai/v1",
}


def default_id(before: dict[str, Any]) -> str:
    kind = str(before["type"])
    return kind if kind in ("local", "echo") else str(before["model"]) or kind


def default_endpoint(before: dict[str, Any]) -> str:
    """Without a key nobody meant the vendor: a forgotten endpoint must not send conversations there."""
    return VENDORS.get(before["type"], "") if before["api_key"] else ""


class Provider(BaseModel):
    """A model: ``LLM_PROVIDER_<n>_*``, or a ``[[provider]]`` table of the file, of which the first is number 1."""

    model_config = Settings.model_config

    type: Literal["openai", "anthropic", "dify", "local", "echo"] = setting(
        "Needed. `openai` is any compatible endpoint, `local` a small model in this process, `echo` repeats.",
        ...,
        example="openai",
    )
    model: Text = setting("The model's name; for `local` a GGUF file, empty is the bundled one.", example="gpt-5-mini")
    id: Label = setting("What clients select it by.", default_id, shown="MODEL, or TYPE for `local` and `echo`")
    name: Label = setting("What people see.", same_as("id"), shown="same as ID")
    api_key: Secret = setting("Key of the endpoint.", None)
    endpoint: HttpUrl = setting(
        "Base to which `/chat/completions`, `/messages` or `/chat-messages` is appended.",
        default_endpoint,
        shown="the vendor's, when there is a key",
        example="http://127.0.0.1:8000/v1",
    )
    context: Count = setting("Tokens that fit in the model's window.", str(UNSET.context))
    max_tokens: Count = setting("Tokens of one answer.", str(UNSET.max_tokens))
    temperature: Temperature = setting("0 is steady, 2 is wild; empty leaves it to the model.", None, example="0.7")


class Spec(NamedTuple):
    """What is known of a setting. ``kind`` and ``shown`` are words for people; ``plain`` values may be quoted."""

    name: str
    env: str
    kind: str
    default: str
    shown: str
    example: str
    help: str
    secret: bool
    plain: bool

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")


def specs(model: type[BaseModel] = Settings, prefix: str = "") -> dict[str, Spec]:
    """What is known of every setting, by field name. ``prefix`` begins the names in the environment."""
    return {name: _spec(name, field, prefix) for name, field in model.model_fields.items() if field.description}


def _spec(name: str, field: FieldInfo, prefix: str) -> Spec:
    words = next((part.words for part in reversed(field.metadata) if isinstance(part, Kind)), "")
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    extra = cast("dict[str, str]", field.json_schema_extra)
    default = "" if field.is_required() or field.default_factory else field.default or ""
    return Spec(
        name=name,
        env=prefix + ("CHATBOX_" if name in PREFIXED and not prefix else "") + name.upper(),
        kind=words or "one of " + ", ".join(filter(None, choices)),
        default=default,
        shown=extra["shown"],
        example=extra["example"] or default or (choices[0] if choices else ""),
        help=field.description or "",
        secret=words == SECRECY,
        plain=bool(choices) or field.annotation in (int, float, bool),
    )


def text_of(spec: Spec, value: object) -> str:
    """A value as a user would write it, with what is secret in it masked."""
    if value is None or value == "":
        return ""
    if spec.secret:
        return MASK
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    if spec.kind == DURATION:
        return duration_text(cast("float", value))
    return re.sub(r"(://[^/@:\s]*:)[^@\s]*@", rf"\1{MASK}@", str(value))


def reference() -> str:
    """The reference page of all settings, in Markdown."""
    lines = [REFERENCE_HEAD]
    for name, spec in specs().items():
        if name in SECTIONS:
            lines += ["", f"## {SECTIONS[name]}", "", *TABLE_HEAD]
        lines.append(_reference_row(spec))
    lines += ["", REFERENCE_PROVIDERS, "", *TABLE_HEAD]
    lines += [_reference_row(spec) for spec in specs(Provider, "LLM_PROVIDER_<n>_").values()]
    return "\n".join([*lines, ""])


def _reference_row(spec: Spec) -> str:
    default = spec.shown or (f"`{spec.default}`" if spec.default else "")
    example = f" Example: `{spec.example}`." if spec.example and spec.example != spec.default else ""
    secret = " Secret." if spec.secret else ""
    return f"| `{spec.env}` | {spec.kind} | {default} | {spec.help}{example}{secret} |"


TABLE_HEAD = ("| Setting | Value | Default | What it does |", "|---|---|---|---|")

REFERENCE_HEAD = """\
# Settings

A setting is looked for on the command line, then in the environment, then in the TOML file, and else has its default.
`SERVER_PORT` in the environment is `--server-port` on the command line and `server_port` in the file; names that begin
with `CHATBOX_` lose that (`CHATBOX_MODE`, `--mode`, `mode`). Durations have units: `100ms`, `30s`, `15m`, `1h30m`.
Lists are separated by commas; the file may also hold TOML lists, numbers (a duration in seconds) and booleans.

A wrong value, an unknown name in the file and an unknown `CHATBOX_…` or `LLM_PROVIDER_…` variable stop the start: every
problem is listed at once, without any secret. `chatbox check` shows what is in force and where it came from.

This page is made from the definitions in `chatbox/settings.py`."""

REFERENCE_PROVIDERS = """\
## Models

`<n>` is a number from 1; the lowest is the default model. In the file each is a `[[provider]]` table with the names in
small letters, and the first table is number 1:

```toml
[[provider]]
type = "openai"
endpoint = "http://127.0.0.1:8000/v1"
model = "qwen3"
```

Production needs at least one. Development without any takes `local` if its extra is installed, else `echo`."""
