"""Settings: four sources, one meaning, every problem at once, no secret told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatbox import config as config_module
from chatbox import rules
from chatbox.config import Config, development_secrets
from chatbox.errors import ConfigError
from chatbox.keyring import Keyring
from chatbox.reading import Reading
from chatbox.settings import MASK, SECTIONS, Provider, Settings, reference, specs
from chatbox.strength import MIN_LENGTH, WEAK_WORDS, weakness
from chatbox.values import duration_text, seconds
from tests import mutants

ROOT = Path(__file__).parent.parent
SECRET = "uN9xk2Lq7vRz4TfWb8YpHs3GdJc6MaEe"
KEY = "Zk3vQm8Rw1Xb6Nc9Tf2Yh5Lj7Pd4Gs0A"
GOOD = {
    "JWT_SECRET": SECRET,
    "ENCRYPTION_KEY": KEY,
    "ALLOWED_ORIGINS": "https://www.example.com",
    "LLM_PROVIDER_1_TYPE": "echo",
}


def load(changes: Mapping[str, str | None] | None = None, file: Path | None = None, **options: object) -> Config:
    """A production configuration with changes; None leaves a setting out."""
    env = {**GOOD, **(changes or {})}
    return Config.load({name: value for name, value in env.items() if value is not None}, file, options)


def problems(changes: Mapping[str, str | None] | None = None, file: Path | None = None, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(changes, file, **options)
    return caught.value.problems


def only_problem(changes: Mapping[str, str | None], **options: object) -> str:
    found = problems(changes, **options)
    assert len(found) == 1, found
    return found[0]


def developing(data_dir: Path, **env: str) -> Config:
    return Config.load({"CHATBOX_MODE": "development", "CHATBOX_DATA_DIR": str(data_dir), **env})


# --- sources


def test_defaults_are_those_of_the_reference() -> None:
    made = load()
    assert (made.mode, made.development, made.server_port, made.path_prefix) == ("production", False, 8080, "/chatbox")
    assert (made.reconnect_timeout, made.session_ttl, made.session_cleanup_interval) == (900.0, 900.0, 300.0)
    assert (made.max_connections, made.max_connections_per_user, made.max_message_size) == (10_000, 10, 1 << 20)
    assert (made.rate_limit, made.admin_rate_limit, made.admin_rate_window) == (100, 20, 60.0)
    assert (made.llm_stream_timeout, made.ping_interval, made.drain_timeout) == (120.0, 25.0, 30.0)
    assert (made.mongo_retry_attempts, made.mongo_retry_delay, made.mongo_retry_max_delay) == (3, 0.1, 2.0)
    assert (made.user_max_answers, made.user_token_budget, made.max_answer_size) == (3, 0, 1 << 20)
    assert (made.smtp_port, made.retention_days, made.log_level, made.log_format) == (587, 0, "info", "auto")
    assert made.allow_query_token is False
    assert made.cors_allowed_origins == made.allowed_origins == ("https://www.example.com",)
    assert made.store_url == "sqlite:///data/chatbox.db"
    assert ip_network("10.0.0.0/8") in made.metrics_allowed_networks


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "chatbox.toml"
    file.write_text('rate_limit = 1\nserver_port = 1001\nsession_ttl = "1m"\n')
    made = load({"RATE_LIMIT": "2", "SERVER_PORT": "1002"}, file, rate_limit="3", max_connections=None)
    assert (made.rate_limit, made.server_port, made.session_ttl, made.max_connections) == (3, 1002, 60.0, 10_000)
    assert made.sources["RATE_LIMIT"] == "command line"
    assert made.sources["SERVER_PORT"] == "environment"
    assert made.sources["SESSION_TTL"] == f"file {file}"
    assert "MAX_CONNECTIONS" not in made.sources


def test_a_file_may_use_its_own_types(tmp_path: Path) -> None:
    file = tmp_path / "chatbox.toml"
    file.write_text(
        'mode = "production"\nallow_query_token = true\nping_interval = 2.5\ndrain_timeout = 5\n'
        'allowed_origins = ["https://a.example", "https://b.example"]\ntrusted_proxies = ["10.1.0.0/16", "::1"]\n'
        f'jwt_secret = "{SECRET}"\nencryption_key = "{KEY}"\n'
        '[[provider]]\ntype = "openai"\nmodel = "m"\nendpoint = "http://127.0.0.1:1/v1"\ntemperature = 0\n'
        '[[provider]]\ntype = "echo"\ncontext = 100\n'
    )
    made = Config.load({"LLM_PROVIDER_1_MODEL": "n"}, file)
    assert made.allow_query_token is True
    assert (made.ping_interval, made.drain_timeout) == (2.5, 5.0)
    assert made.allowed_origins == ("https://a.example", "https://b.example")
    assert made.trusted_proxies == (ip_network("10.1.0.0/16"), ip_network("::1/128"))
    first, second = made.providers
    assert (first.id, first.model, first.temperature, first.max_tokens) == ("n", "n", 0.0, 1024)
    assert (second.id, second.name, second.context) == ("echo", "echo", 100)


def test_every_setting_can_be_given_on_the_command_line_by_its_field() -> None:
    assert load(None, server_port="9", jwt_issuer="https://sso").jwt_issuer == "https://sso"
    assert specs()["server_port"].flag == "--server-port"


def test_the_store_is_mongodb_only_when_no_other_is_named() -> None:
    uri = "mongodb://db:27017"
    assert load({"MONGO_URI": uri}).store_url == uri
    assert load({"MONGO_URI": uri, "STORE_URL": "sqlite:////srv/c.db"}).store_url == "sqlite:////srv/c.db"
    assert load({"CHATBOX_DATA_DIR": "/srv/chat"}).store_url == "sqlite:////srv/chat/chatbox.db"


def test_providers_come_in_the_order_of_their_numbers() -> None:
    made = load(
        {
            "LLM_PROVIDER_1_TYPE": None,
            "LLM_PROVIDER_10_TYPE": "echo",
            "LLM_PROVIDER_2_TYPE": "anthropic",
            "LLM_PROVIDER_2_MODEL": "claude",
            "LLM_PROVIDER_2_NAME": "Claude",
            "LLM_PROVIDER_2_API_KEY": "sk-7f3a",
        }
    )
    assert [(p.id, p.name) for p in made.providers] == [("claude", "Claude"), ("echo", "echo")]
    assert made.providers[0].endpoint == "https://api.anthropic.com/v1"
    assert made.providers[0].api_key == "sk-7f3a"


def test_a_forgotten_endpoint_never_means_the_vendor_unless_there_is_a_key() -> None:
    found = only_problem({"LLM_PROVIDER_1_TYPE": "openai", "LLM_PROVIDER_1_MODEL": "m"})
    assert found.startswith("LLM_PROVIDER_1_ENDPOINT: missing")


def test_a_key_ring_writes_with_its_first_key_and_reads_with_all() -> None:
    ring = load({"ENCRYPTION_KEY": None, "ENCRYPTION_KEYS": f"new:{'ab' * 32},main:{KEY}"}).keyring
    sealed = load().keyring.encrypt(b"kept", b"row")
    assert ring.current == "new"
    assert ring.decrypt(sealed, b"row") == b"kept"


# --- every problem at once


@pytest.mark.readiness(issue=19)
def test_start_without_any_setting_names_everything_that_production_needs() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load({})
    names = [text.split(":")[0] for text in caught.value.problems]
    assert names == ["JWT_SECRET", "ALLOWED_ORIGINS", "ENCRYPTION_KEY", "LLM_PROVIDER_<n>"]


BAD = {
    "CHATBOX_MODE": ["", "prod", "Production"],
    "CHATBOX_DATA_DIR": ["", "  ", "a\nb"],
    "SERVER_PORT": ["", "-1", "65536", "80a", "8080.0", "\u0661", "1e3", "0"],
    "SMTP_PORT": ["-1", "65536", "smtp"],
    "CHATBOX_PATH_PREFIX": ["", "chat", "//", "/a//b", "/a b", "/../x", "/a?b", "/a;b", "https://x/y"],
    "RECONNECT_TIMEOUT": ["", "0", "0s", "15", "-5m", "5 m", "5x", "m", "1m1h", "1m1m", "inf", "nan", "9999h", "1h30"],
    "LLM_STREAM_TIMEOUT": ["two minutes", "\uff11s"],
    "MAX_CONNECTIONS": ["0", "-1", "1.5", "many", "9" * 30, "1_000"],
    "RATE_LIMIT": ["0", "true"],
    "RETENTION_DAYS": ["-1", "x"],
    "USER_TOKEN_BUDGET": ["-1"],
    "ALLOW_QUERY_TOKEN": ["", "maybe", "2"],
    "LOG_LEVEL": ["", "INFO", "trace"],
    "LOG_FORMAT": ["xml"],
    "SMS_PROVIDER": ["acme"],
    "SMTP_SECURITY": ["", "ssl", "opportunistic"],
    "SMS_ENDPOINT": ["api.example.com", "http://api.example.com", "ftp://x"],
    "OPENING_HOURS": ["always", "9-17", "Mo-Xy 09:00-17:00", "09:00-09:00"],
    "QUIET_HOURS": ["22-7"],
    "OPENING_TIMEZONE": ["", "Berlin", "../etc/passwd"],
    "JWKS_URL": ["keys", "ftp://x/keys", "https://", "http://sso.example.com/keys", "https://x:port/", "https://a b/"],
    "S3_ENDPOINT": ["s3.example.com"],
    "STORE_URL": ["chat.db", "sqlite://chat.db", "sqlite:///", "sqlite:chat.db", "postgres://x/y", "mongodb://"],
    "MONGO_URI": ["http://x", "db:27017"],
    "REDIS_URL": ["redis:6379", "http://x"],
    "ALLOWED_ORIGINS": [
        "*", "https://*.example.com", "null", "example.com", "https://a.example/", "https://a.example/x",
        "https://a.example:443",
        "http://a.example:80", "https://A.example", "https://a.example; script-src", "https://a.example:0", "https://",
        "https://u@a.example", "https://bücher.example", "https://.", "https://a.example:",
    ],
    "CORS_ALLOWED_ORIGINS": ["*"],
    "TRUSTED_PROXIES": ["10.0.0.1/8", "any", "300.1.1.1", "10.0.0.0/33"],
    "METRICS_ALLOWED_NETWORKS": ["localhost"],
    "ADMIN_PHONES": ["12345", "+0123456789"],
    "EMAIL_FROM": ["chat", "a@b,c@d", "Chat <a@b.example>", "a@b..example", f"a@{'b' * 64}.example"],
    "ADMIN_EMAILS": ["a;b@c.example", "a:b@c.example", "a(b)@c.example", "a..b@c.example", "a@-b.example", "a\\b@c.d"],
    "JWT_SECRET": ["short", "x" * 31, f" {SECRET}", f"{SECRET}\n", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB"],
    "ENCRYPTION_KEY": ["short", "x" * 33, "g" * 64],
    "MONGO_RETRY_DELAY": ["3s"],
    "MONGO_RETRY_ATTEMPTS": ["0"],
    "LLM_PROVIDER_1_TYPE": ["", "gpt", "openai", "dify"],
    "LLM_PROVIDER_1_CONTEXT": ["0", "big"],
    "LLM_PROVIDER_1_TEMPERATURE": ["3", "-1", "hot", "nan"],
    "LLM_PROVIDER_1_ENDPOINT": ["localhost:8000"],
    "LLM_PROVIDER_1_ID": ["x" * 101],
}  # fmt: skip
CASES = [(name, value) for name, values in BAD.items() for value in values]


@pytest.mark.readiness(issue=19)
@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_bad_value_is_refused_by_its_name_with_what_to_give(name: str, value: str) -> None:
    found = problems({name: value})
    mine = [
        text for text in found if text.startswith((f"{name}:", "LLM_PROVIDER_1_MODEL:", "LLM_PROVIDER_1_ENDPOINT:"))
    ]
    assert mine, found
    assert all(any(verb in text for verb in ("give ", "set ", "make one", "name ")) for text in mine), mine


def check_loading_validates(loading: type[Config] = Config) -> None:
    """Whoever loads a configuration has a good one, or every problem; nobody has to ask for its validation."""
    for name, values in BAD.items():
        with pytest.raises(ConfigError, match=name.split("_")[0]):
            loading.load({**GOOD, name: values[-1]})
    with pytest.raises(ConfigError) as caught:
        loading.load({**GOOD, "SERVER_PORT": "70000", "JWT_SECRET": "short", "ALLOWED_ORIGINS": "*"})
    assert len(caught.value.problems) == 3
    assert loading.load(GOOD).server_port == 8080


@pytest.mark.readiness(issue=19)
def test_loading_always_validates() -> None:
    check_loading_validates()


class LoadedAsItCame(Config):
    """Reads the sources and leaves it to others to validate."""

    @classmethod
    def load(cls, env: Mapping[str, str], file: Path | None = None, options: Any = None) -> Self:
        reading = Reading()
        reading.environment(env)
        return cls.model_construct(**vars(reading.settings()), providers=())


class LoadedUpToTheFirstProblem(Config):
    """Gives up at once, so that problems come to light one by one."""

    @classmethod
    def load(cls, env: Mapping[str, str], file: Path | None = None, options: Any = None) -> Self:
        try:
            return super().load(env, file, options)
        except ConfigError as error:
            raise ConfigError(error.problems[:1]) from None


@pytest.mark.readiness(issue=19)
@pytest.mark.parametrize("mutant", [LoadedAsItCame, LoadedUpToTheFirstProblem])
def test_a_configuration_that_is_not_validated_as_a_whole_would_be_found(mutant: type[Config]) -> None:
    with mutants.found():
        check_loading_validates(mutant)


@pytest.mark.readiness(issue=19)
def test_rules_between_settings_that_are_not_asked_for_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "broken", lambda settings, providers: ())
    with mutants.found():
        check_loading_validates()


def test_a_configuration_made_by_hand_keeps_the_same_rules() -> None:
    with pytest.raises(ConfigError, match="ALLOWED_ORIGINS"):
        Config(mode="production")
    with pytest.raises(ConfigError, match="SERVER_HOST"):
        Config(mode="development", server_host="0.0.0.0")
    with pytest.raises(ValidationError):
        Config(mode="development", server_port=-1)
    with pytest.raises(ConfigError, match="ENCRYPTION_KEY"):
        _ = Config(mode="development").keyring


@pytest.mark.readiness(issue=19)
@given(st.sets(st.sampled_from(sorted(set(BAD) - {"LLM_PROVIDER_1_TYPE", "CHATBOX_MODE"})), min_size=1), st.data())
@settings(max_examples=150)
def test_however_many_values_are_bad_each_is_named(names: set[str], data: st.DataObject) -> None:
    changes = {name: data.draw(st.sampled_from(BAD[name])) for name in sorted(names)}
    named = {text.split(":")[0] for text in problems(changes)}
    assert names <= named


@pytest.mark.readiness(issue=19)
@given(st.dictionaries(st.sampled_from(sorted(spec.env for spec in specs().values())), st.text(max_size=30)))
@settings(max_examples=300)
def test_any_text_in_any_setting_gives_a_configuration_or_a_list_of_problems(changes: dict[str, str]) -> None:
    changes.pop("CHATBOX_MODE", None)
    try:
        made = load(changes)
    except ConfigError as error:
        made = None
        listed = error.problems
    assert made or listed


def test_every_entry_of_a_list_that_is_bad_is_named() -> None:
    found = problems({"ALLOWED_ORIGINS": "*,https://a.example,https://b.example/"})
    assert [text.split(": ")[1].split(") ")[1] for text in found] == ["entry 1", "entry 3"]


@pytest.mark.readiness(issue=19)
@given(st.sampled_from(sorted(name for name, spec in specs().items() if spec.secret)), st.text(max_size=60), st.text())
@settings(max_examples=200)
def test_no_problem_repeats_a_secret(name: str, before: str, after: str) -> None:
    told = ""
    try:
        load({specs()[name].env: f"{before}zq7-canary{after}"})
    except ConfigError as error:
        told = str(error)
    assert "zq7-canary" not in told


def test_neither_text_nor_rows_of_a_configuration_show_a_secret() -> None:
    made = load({
        "LLM_PROVIDER_1_API_KEY": "pk-canary-1",
        "REDIS_URL": "redis://:canary-2@redis:6379/0",
        "STORE_URL": "mongodb://chat:canary-3@db/x",
        "SMTP_USER": "chat", "SMTP_PASS": "canary-4-zq", "SMTP_HOST": "mail", "EMAIL_FROM": "a@b.example",
        "ADMIN_EMAILS": "a@b.example",
    })  # fmt: skip
    shown = f"{made!r} {made} {[tuple(row) for row in made.rows()]}"
    for canary in (SECRET, KEY, "canary"):
        assert canary not in shown
    assert f"redis://:{MASK}@redis:6379/0" in shown


# --- unknown names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CHATBOX_DATADIR", "CHATBOX_DATA_DIR"),
        ("CHATBOX_SERVER_PORT", "SERVER_PORT"),
        ("CHATBOX_PORT", "SERVER_PORT"),
        ("LLM_PROVIDER_1_KEY", "LLM_PROVIDER_1_API_KEY"),
        ("LLM_PROVIDER_3_MODLE", "LLM_PROVIDER_3_MODEL"),
    ],
)
def test_a_variable_of_ours_that_is_unknown_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    assert only_problem({name: "x"}) == f"{name}: unknown; did you mean {meant}?"


@pytest.mark.parametrize("name", ["LLM_PROVIDER_X", "LLM_PROVIDER_0_TYPE", "LLM_PROVIDER_01_TYPE", "CHATBOX_"])
def test_a_malformed_variable_of_ours_is_refused(name: str) -> None:
    assert only_problem({name: "echo"}).startswith(f"{name}: unknown")


def test_variables_of_others_are_none_of_our_business() -> None:
    load({"PATH": "/bin", "SERVER_PRT": "1", "JWT_SECRETS": "x", "OTHER": "y"})


def test_what_kubernetes_says_about_services_named_chatbox_is_no_setting() -> None:
    load(
        {
            "CHATBOX_SERVICE_HOST": "10.0.0.1",
            "CHATBOX_SERVICE_PORT": "80",
            "CHATBOX_SERVICE_PORT_HTTP": "80",
            "CHATBOX_PORT": "tcp://10.0.0.1:80",
            "CHATBOX_PORT_80_TCP": "tcp://10.0.0.1:80",
            "CHATBOX_PORT_80_TCP_ADDR": "10.0.0.1",
            "CHATBOX_REDIS_SERVICE_HOST": "10.0.0.2",
            "CHATBOX_REDIS_PORT": "tcp://10.0.0.2:6379",
        }
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server_prt = 1", "server_prt: (file {file}) unknown; did you mean server_port?"),
        ('chatbox_mode = "production"', "chatbox_mode: (file {file}) unknown; did you mean mode?"),
        ("[server]\nport = 1", "server: (file {file}) unknown; did you mean"),
        ('[[provider]]\ntype = "echo"\nmodell = "x"', "modell: (file {file}) unknown; did you mean model?"),
        ("provider = 3", "provider: (file {file}) not a list of tables"),
        ("[provider]\ntype = 'echo'", "provider: (file {file}) not a list of tables"),
        ("server_port = ", "{file}: is not TOML"),
        ("server_port = true", "SERVER_PORT: (file {file}) True is not a whole number"),
        ("ping_interval = inf", "PING_INTERVAL: (file {file}) inf is not above 0"),
        ("ping_interval = false", "PING_INTERVAL: (file {file}) False is not a duration"),
        ("jwt_secret = 5", "JWT_SECRET: (file {file}) not text"),
        ("allowed_origins = 5", "ALLOWED_ORIGINS: (file {file}) not a list"),
        ("trusted_proxies = [5]", "TRUSTED_PROXIES: (file {file}) entry 1: "),
        (
            "[[provider]]\ntype = 'echo'\ntemperature = true",
            "LLM_PROVIDER_1_TEMPERATURE: (file {file}) not a number",
        ),
        ("allowed_origins = [5]", "ALLOWED_ORIGINS: (file {file}) entry 1: not text"),
        ("data_dir = 5", "CHATBOX_DATA_DIR: (file {file}) not a folder's name"),
        ("max_connections = 1.0", "MAX_CONNECTIONS: (file {file}) 1.0 is not a whole number"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    env = {name: value for name, value in GOOD.items() if name.lower() != text.split(" ")[0]}
    with pytest.raises(ConfigError) as caught:
        Config.load(env, file)
    assert any(found.startswith(expected.format(file=file)) for found in caught.value.problems), caught.value.problems


def test_a_file_that_cannot_be_read_is_one_problem_among_the_others(tmp_path: Path) -> None:
    found = problems({"SERVER_PORT": "x"}, tmp_path / "none.toml")
    assert len(found) == 2
    assert "can't be read (No such file or directory)" in found[0]
    (tmp_path / "latin.toml").write_bytes(b'jwt_issuer = "\xe9"')
    assert "is not TOML" in problems(None, tmp_path / "latin.toml")[0]
    assert "can't be read" in problems(None, tmp_path)[0]


# --- what goes together


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"SMTP_USER": "u"}, ["SMTP_PASS"]),
        ({"SMTP_PASS": "zq8-4kf"}, ["SMTP_USER"]),
        ({"SMTP_HOST": "mail"}, ["EMAIL_FROM", "ADMIN_EMAILS"]),
        ({"ADMIN_EMAILS": "a@b.example"}, ["SMTP_HOST"]),
        ({"ESCALATION_EMAILS": "a@b.example"}, ["SMTP_HOST"]),
        ({"ESCALATION_PHONES": "+4915112345678"}, ["SMS_PROVIDER"]),
        ({"SMS_PROVIDER": "twilio"}, ["SMS_ACCOUNT_SID", "SMS_AUTH_TOKEN", "SMS_FROM", "ADMIN_PHONES"]),
        ({"S3_ACCESS_KEY_ID": "a"}, ["S3_BUCKET", "S3_SECRET_ACCESS_KEY"]),
        ({"S3_ENDPOINT": "https://s3.example.com"}, ["S3_BUCKET"]),
    ],
)
def test_half_of_what_goes_together_is_refused(changes: dict[str, str], missing: list[str]) -> None:
    assert [text.split(":")[0] for text in problems(changes)] == missing


MAIL = {"EMAIL_FROM": "a@b.example", "ADMIN_EMAILS": "a@b.example", "SMTP_SECURITY": "none"}


def test_mail_over_an_open_line_stays_on_this_machine() -> None:
    assert only_problem(MAIL | {"SMTP_HOST": "mail.example.com"}).startswith("SMTP_SECURITY: ")
    assert load(MAIL | {"SMTP_HOST": "127.0.0.1"}).smtp_security == "none"


def test_the_port_of_mail_over_tls_says_so() -> None:
    assert [load({"SMTP_PORT": port}).smtp_security for port in ("587", "465", "25")] == ["starttls", "tls", "starttls"]


def test_two_providers_with_one_id_are_refused() -> None:
    assert "'echo'" in only_problem({"LLM_PROVIDER_2_TYPE": "echo"})


def test_key_and_key_ring_together_are_refused_and_so_is_a_ring_with_a_fault() -> None:
    assert only_problem({"ENCRYPTION_KEYS": f"a:{KEY}"}).startswith("ENCRYPTION_KEYS: set beside ENCRYPTION_KEY")
    for ring in ("a", f"a:{KEY},a:{KEY}", f"a:{KEY},b:short", f":{KEY}"):
        text = only_problem({"ENCRYPTION_KEY": None, "ENCRYPTION_KEYS": ring})
        assert text.startswith("ENCRYPTION_KEYS:")
        assert KEY not in text


# --- weak secrets


WEAK_SECRETS = [
    "", "short", "x" * 31, "a" * 64, "abcdefgh" * 5, "0123456789abcdef" * 2, "my-super-secret-signing-key-of-the-app",
    "ThisIsAPasswordThatIsVeryLongIndeed!", "changeme-changeme-changeme-changeme",
    "your-256-bit-key-goes-into-this-field", "test-test-uN9xk2Lq7vRz4TfWb8YpHs3Gd",
    "uN9xk2Lq7vRz4TfWb8YpHs3GdJc612345Ae", "<put the signing key of the app in here>",
    "${JWT_SIGNING_KEY_OF_THE_PARENT_APP}",
]  # fmt: skip


def check_weak_secret(secret: str) -> None:
    """Production refuses it, with how to make a strong one and without repeating it."""
    text = only_problem({"JWT_SECRET": secret})
    assert text.startswith("JWT_SECRET:")
    assert "python3 -c" in text
    assert not secret or secret not in text


@pytest.mark.readiness(issue=17)
@pytest.mark.parametrize("secret", WEAK_SECRETS)
def test_a_weak_jwt_secret_is_refused_with_how_to_make_a_strong_one(secret: str) -> None:
    check_weak_secret(secret)


@pytest.mark.readiness(issue=17)
def test_a_start_that_only_asks_whether_there_is_a_secret_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "weakness", lambda secret: "")
    monkeypatch.setattr(rules, "MIN_LENGTH", 1)
    for secret in WEAK_SECRETS[1:]:
        with mutants.found():
            check_weak_secret(secret)


@pytest.mark.readiness(issue=17)
def test_a_start_that_only_counts_a_secrets_characters_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "weakness", lambda secret: "" if len(secret) >= MIN_LENGTH else "too short")
    with mutants.found():
        check_weak_secret("changeme-changeme-changeme-changeme")


@pytest.mark.readiness(issue=17)
@given(st.sampled_from(WEAK_WORDS), st.text("BCFGHJKLMNPQRTVXYZ2356789", min_size=40, max_size=60), st.integers(0, 40))
@settings(max_examples=200)
def test_a_weak_word_anywhere_in_a_long_secret_is_found(word: str, rest: str, place: int) -> None:
    for spelled in (word, word.upper(), word.title()):
        assert weakness(rest[:place] + spelled + rest[place:])


@pytest.mark.readiness(issue=17)
@given(st.binary(min_size=32, max_size=64))
@settings(max_examples=200)
def test_a_random_secret_passes_and_any_shorter_one_does_not(raw: bytes) -> None:
    secret = raw.hex()
    if len(set(raw)) > 20 and not any(word in secret for word in WEAK_WORDS):
        assert not weakness(secret)
        assert load({"JWT_SECRET": secret}).jwt_secret is not None
    assert weakness(secret[:31])


def test_a_weak_but_long_secret_is_good_enough_for_development(tmp_path: Path) -> None:
    made = developing(tmp_path, JWT_SECRET="the-same-secret-as-my-parent-app-on-this-laptop")
    assert made.jwt_secret is not None
    with pytest.raises(ConfigError, match="JWT_SECRET"):
        developing(tmp_path, JWT_SECRET="short")


PLACEHOLDERS = [
    ("ENCRYPTION_KEY", "your-encryption-key-32-chars-xxx"),
    ("LLM_PROVIDER_1_API_KEY", "your-api-key"),
    ("LLM_PROVIDER_1_API_KEY", "changeme"),
    ("LLM_PROVIDER_1_API_KEY", "sk-xxxxxxxx"),
    ("LLM_PROVIDER_1_API_KEY", "<api key>"),
    ("LLM_PROVIDER_1_API_KEY", "${OPENAI_API_KEY}"),
    ("REDIS_URL", "redis://:password@redis:6379/0"),
    ("STORE_URL", "mongodb://root:your-mongo-password@db/x"),
    ("SERVER_HOST", "your-host.example.com"),
    ("JWT_ISSUER", "https://your-tenant.example.com"),
]


def check_placeholder(name: str, value: str) -> None:
    """Production does not start with it, and does not repeat it."""
    text = only_problem({name: value})
    assert "placeholder" in text
    assert value not in text


@pytest.mark.readiness(issue=6)
@pytest.mark.parametrize(("name", "value"), PLACEHOLDERS)
def test_production_does_not_start_with_a_placeholder(name: str, value: str) -> None:
    check_placeholder(name, value)


@pytest.mark.readiness(issue=6)
def test_a_start_that_takes_placeholders_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "unfilled", lambda settings, providers: ())
    for name, value in PLACEHOLDERS:
        with mutants.found():
            check_placeholder(name, value)


@pytest.mark.parametrize("key", ["sk-proj-a8K2mQ9x", "EMPTY-on-purpose", "a", "sk_test_51H8x", "AIzaSyA-9tmp"])
def test_a_provider_key_may_be_short_and_hold_any_word(key: str) -> None:
    assert load({"LLM_PROVIDER_1_API_KEY": key}).providers[0].api_key == key


def test_production_takes_keys_over_https_or_from_this_machine_instead_of_a_secret() -> None:
    for url in ("https://sso.example.com/keys", "http://127.0.0.1:9000/keys", "http://localhost/keys"):
        assert load({"JWT_SECRET": None, "JWKS_URL": url}).jwks_url == url


# --- development


@pytest.mark.readiness(issue=13)
def test_origins_may_be_left_out_in_development_only(tmp_path: Path) -> None:
    assert developing(tmp_path).allowed_origins == ()
    assert only_problem({"ALLOWED_ORIGINS": ""}).startswith("ALLOWED_ORIGINS: missing")


def test_development_needs_nothing_but_a_folder(tmp_path: Path) -> None:
    made = developing(tmp_path / "new" / "folder")
    assert made.development
    assert made.allow_query_token
    assert made.jwt_secret is not None
    assert not weakness(made.jwt_secret.get_secret_value())
    assert isinstance(made.keyring, Keyring)
    assert len(made.providers) == 1
    assert "development-secrets.json" in made.sources["JWT_SECRET"]


def test_development_without_the_local_models_extra_answers_with_an_echo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "find_spec", lambda name: None)
    assert [p.type for p in developing(tmp_path).providers] == ["echo"]
    monkeypatch.setattr(config_module, "find_spec", lambda name: object())
    assert [p.type for p in developing(tmp_path).providers] == ["local"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.com", "127.0.0.1.evil.example", ""])
def test_development_serves_this_machine_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="SERVER_HOST"):
        developing(tmp_path, SERVER_HOST=host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_development_serves_on_loopback_and_any_port(tmp_path: Path, host: str) -> None:
    assert developing(tmp_path, SERVER_HOST=host, SERVER_PORT="0").server_port == 0


def test_development_secrets_are_kept_for_the_next_start_and_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first, second = developing(folder), developing(folder)
    assert first.jwt_secret == second.jwt_secret
    assert second.keyring.decrypt(first.keyring.encrypt(b"kept", b""), b"") == b"kept"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_development_makes_no_secret_that_is_given(tmp_path: Path) -> None:
    made = developing(tmp_path / "a", JWT_SECRET=SECRET, ENCRYPTION_KEY=KEY)
    assert made.jwt_secret is not None
    assert made.jwt_secret.get_secret_value() == SECRET
    assert not (tmp_path / "a").exists()
    made = developing(tmp_path / "b", JWKS_URL="http://127.0.0.1:1/keys")
    assert made.jwt_secret is None


def test_many_first_starts_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: json.dumps(development_secrets(tmp_path)), range(64)))
    assert len(set(made)) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"jwt_secret": 1, "encryption_key": "x"}',
        '{"jwt_secret": "x", "encryption_key": "x"}',
        "\udcff",
    ],
)
def test_a_damaged_file_of_secrets_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "development-secrets.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="is damaged"):
        developing(tmp_path)
    assert file.read_bytes() == before


def test_a_data_folder_that_cannot_be_used_is_one_clear_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(ConfigError) as caught:
            developing(folder)
        (text,) = caught.value.problems
        assert text.startswith(f"CHATBOX_DATA_DIR: {folder} can't be used (")


# --- durations


@pytest.mark.parametrize(
    ("text", "expected"),
    [("15m", 900), ("100ms", 0.1), ("1h30m", 5400), ("2s500ms", 2.5), ("1.5h", 5400), (" 5s ", 5), ("7d", 604800)],
)
def test_durations_have_units(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@given(st.integers(1, 366 * 86_400_000))
@settings(max_examples=200)
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert seconds(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


# --- the page of all settings


def test_the_reference_page_is_the_one_made_from_the_definitions() -> None:
    page = ROOT / "docs" / "reference" / "configuration.md"
    if os.environ.get("UPDATE_REFERENCE"):
        page.write_text(reference())
    assert page.read_text() == reference(), "make it anew: UPDATE_REFERENCE=1 pytest tests/test_config.py -k reference"


def test_every_setting_has_help_and_an_example_that_is_good_or_a_default() -> None:
    for name, spec in specs().items():
        assert spec.help.endswith(".")
        assert spec.kind
        if spec.example:
            Settings.model_validate({name: spec.example})
    for name, spec in specs(Provider).items():
        if spec.example:
            Provider.model_validate({"type": "echo", name: spec.example})


def test_every_section_of_the_page_begins_at_a_setting() -> None:
    assert set(SECTIONS) <= set(Settings.model_fields)
    assert set(specs()) == set(Settings.model_fields)


def test_what_is_in_force_is_shown_with_where_it_came_from() -> None:
    rows = {row.name: row for row in load({"SERVER_PORT": "9000"}).rows()}
    assert rows["SERVER_PORT"][1:3] == ("9000", "environment")
    assert rows["RECONNECT_TIMEOUT"][1:3] == ("15m", "default")
    assert rows["JWT_SECRET"][1:3] == (MASK, "environment")
    assert rows["ALLOW_QUERY_TOKEN"].value == "false"
    assert rows["S3_SECRET_ACCESS_KEY"].value == ""
    assert rows["LLM_PROVIDER_1_TYPE"][1:3] == ("echo", "environment")
    assert rows["LLM_PROVIDER_1_MAX_TOKENS"][1:3] == ("1024", "default")


def test_rows_number_models_as_they_were_numbered() -> None:
    names = [row.name for row in load({"LLM_PROVIDER_1_TYPE": None, "LLM_PROVIDER_7_TYPE": "echo"}).rows()]
    assert "LLM_PROVIDER_7_TYPE" in names
    assert "LLM_PROVIDER_1_TYPE" not in names


def test_what_a_row_shows_can_be_given_back() -> None:
    made = load({"TRUSTED_PROXIES": "10.0.0.0/8,::1", "PING_INTERVAL": "1m30s", "CHATBOX_PATH_PREFIX": "/"})
    shown: dict[str, Any] = {row.name: row.value for row in made.rows() if row.value and row.value != MASK}
    assert load({**shown, "CHATBOX_PATH_PREFIX": "/"}).trusted_proxies == made.trusted_proxies


def test_a_prefix_may_end_in_a_slash_and_the_root_is_the_empty_one() -> None:
    assert load({"CHATBOX_PATH_PREFIX": "/chat/"}).path_prefix == "/chat"
    assert load({"CHATBOX_PATH_PREFIX": "/"}).path_prefix == ""
