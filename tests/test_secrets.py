"""The scanner for secrets that nobody filled in."""

from __future__ import annotations

import re
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.readiness.secrets import find_placeholders, find_secrets
from tests import mutants

STRONG = "uN9xk2Lq7vRz4TfWb8YpHs3GdJc6MaEe"

PLACEHOLDERS = [
    "your-api-key", "your_api_key", "YOUR-TWILIO-AUTH-TOKEN", "your-mongo-password",
    "your-super-secret-jwt-key-min-32-chars", "yourpassword", "changeme", "change-me", "CHANGE_ME",
    "change-this-in-production", "change-in-production", "replace-me", "replace-with-real-token", "smtp-password",
    "mongo-password", "jwt-secret", "redis_password", "twilio-auth-token", "api-key", "secret-key-here",
    "placeholder", "PLACEHOLDER_TOKEN", "<your key>", "<token>", "xxxx", "sk-xxxxxxxx", "xxx-xxx", "****",
    "password", "Password123", "p@ssw0rd", "secret", "admin", "admin123", "test", "demo", "default", "example",
    "12345678", "letmein", "qwerty", "foobar", "dummy", "insert-key-here", "put your key here", "todo", "none",
    "null",
]  # fmt: skip

FORMS = {
    "YAML": "SMS_AUTH_TOKEN: {}",
    "quoted YAML": 'SMS_AUTH_TOKEN: "{}"  # from the console',
    "YAML in single quotes": "  SMS_AUTH_TOKEN: '{}'",
    "environment file": "SMS_AUTH_TOKEN={}",
    "shell": "export SMS_AUTH_TOKEN='{}'",
    "TOML": 'sms_auth_token = "{}"',
    "JSON": '{{"SMS_AUTH_TOKEN": "{}", "n": 1}}',
    "Kubernetes variable": "env:\n  - name: SMS_AUTH_TOKEN\n    value: \"{}\"",
    "block": "SMS_AUTH_TOKEN: |-\n  {}",
    "argument": 'args: ["serve", "--sms-auth-token={}"]',
    "argument on its own line": "args:\n  - --sms-auth-token={}",
    "list entry": "SMS_AUTH_TOKEN:\n  - {}",
    "fallback": "SMS_AUTH_TOKEN: ${{SMS_AUTH_TOKEN:-{}}}",
}  # fmt: skip


@pytest.mark.readiness(issue=6)
@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_every_placeholder_is_found_in_every_form_of_file(value: str) -> None:
    for form, text in FORMS.items():
        found = find_placeholders("first: 1\n" + text.format(value), "file")
        assert found, form
        assert found[0].key.lower().replace("-", "_").endswith("sms_auth_token")
        assert found[0].line > 1
        assert value not in found[0].reason


@pytest.mark.readiness(issue=6)
@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_found_behind_base64(value: str) -> None:
    text = f"kind: Secret\ndata:\n  SMTP_PASS: {b64encode(value.encode()).decode()}\n"
    assert [found.key for found in find_placeholders(text, "secret.yaml")] == ["SMTP_PASS"]


ROOT = Path(__file__).parent.parent
DEPLOYED = re.compile(r"^(?!tests/)(?:.*/)?(?:[^/]*\.(?:ya?ml|env|toml|conf)|\.env[^/]*|[Dd]ockerfile[^/]*|Makefile)$")


def check_no_secret(folder: Path, files: list[str]) -> None:
    """No file that is deployed or configures anything holds a secret or a placeholder of one."""
    for name in filter(DEPLOYED.search, files):
        text = (folder / name).read_text()
        assert find_placeholders(text, name) + find_secrets(text, name) == []


@pytest.mark.readiness(issue=6)
def test_no_manifest_of_this_repository_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = listed.stdout.splitlines() or [str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*") if path.is_file()]
    assert any(map(DEPLOYED.search, files))
    check_no_secret(ROOT, files)


UNFILLED = {
    "deploy/secret.yaml": """\
        apiVersion: v1
        kind: Secret
        metadata: {name: chatbox-secrets}
        type: Opaque
        stringData:
          JWT_SECRET: your-jwt-secret-key-change-in-production
          ENCRYPTION_KEY: your-32-byte-encryption-key-here
          MONGO_URI: mongodb://chat:your-mongo-password@mongo:27017/chat
          MONGO_PASSWORD: your-mongo-password
          SMTP_USER: chat@example.com
          SMTP_PASS: smtp-password
          SMS_ACCOUNT_SID: your-account-sid
          SMS_AUTH_TOKEN: your-twilio-auth-token
          S3_ACCESS_KEY_ID: your-access-key
          S3_SECRET_ACCESS_KEY: your-secret-key
          LLM_PROVIDER_1_API_KEY: sk-your-openai-api-key
          LLM_PROVIDER_2_API_KEY: your-anthropic-api-key
          LLM_PROVIDER_3_API_KEY: your-dify-api-key
          REDIS_PASSWORD: changeme
          ADMIN_TOKEN: replace-me
        """,
    "deploy/statefulset.yaml": """\
        env:
          - name: MONGO_INITDB_ROOT_PASSWORD
            value: password
        """,
    ".env.production": """\
        JWT_SECRET=change-this-in-production
        SMTP_PASS=xxxx
        """,
}


@pytest.mark.readiness(issue=6)
@pytest.mark.parametrize("name", UNFILLED)
def test_a_manifest_with_placeholders_would_be_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(dedent(UNFILLED[name]))
    with mutants.found():
        check_no_secret(tmp_path, [name])


@pytest.mark.readiness(issue=6)
def test_each_of_17_placeholders_is_counted() -> None:
    listed = [found for name, text in UNFILLED.items() for found in find_placeholders(dedent(text), name)]
    assert len({(found.source, found.line) for found in listed}) == 17, listed


@pytest.mark.readiness(issue=6)
def test_a_manifest_full_of_placeholders_is_listed_line_by_line() -> None:
    text = dedent("""\
        apiVersion: v1
        kind: Secret
        metadata:
          name: chatbox-secrets
          namespace: default
        stringData:
          JWT_SECRET: your-jwt-secret-at-least-32-characters-long
          SMTP_PASS: smtp-password
          SMS_AUTH_TOKEN: your-twilio-auth-token
          MONGO_PASSWORD: your-mongo-password
          MONGO_URI: mongodb://root:password@mongo:27017/chat
        """)
    found = find_placeholders(text, "secret.yaml")
    assert [(f.source, f.line, f.key) for f in found] == [
        ("secret.yaml", 7, "JWT_SECRET"),
        ("secret.yaml", 8, "SMTP_PASS"),
        ("secret.yaml", 9, "SMS_AUTH_TOKEN"),
        ("secret.yaml", 10, "MONGO_PASSWORD"),
        ("secret.yaml", 11, "password"),
    ]


def test_a_weak_jwt_secret_in_a_file_is_found_though_it_is_no_placeholder() -> None:
    (found,) = find_placeholders("JWT_SECRET=correct-horse-battery", ".env")
    assert "weak" in found.reason


def test_a_sound_manifest_has_no_findings() -> None:
    text = dedent(f"""\
        # JWT_SECRET: changeme
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: chatbox, namespace: default, labels: {{app: chatbox, tier: test}}}}
        spec:
          replicas: 3
          template:
            spec:
              containers:
                - name: chatbox
                  image: "chatbox:0.1.0"
                  args: ["serve"]
                  env:
                    - name: SERVER_PORT
                      value: "8080"
                    - name: LOG_LEVEL
                      value: info
                    - name: JWT_SECRET
                      valueFrom: {{secretKeyRef: {{name: chatbox-secrets, key: jwt-secret}}}}
                    - name: SMTP_PASS
                      valueFrom:
                        secretKeyRef:
                          name: chatbox-secrets
                          key: smtp-password
              volumes:
                - name: tls
                  secret:
                    secretName: chatbox-tls
        ---
        JWT_SECRET: ${{JWT_SECRET:?set it}}
        SMTP_PASS: {{{{ .Values.smtpPass }}}}
        ENCRYPTION_KEY: {STRONG}
        """)
    assert find_placeholders(text, "deployment.yaml") == []


def test_a_secret_written_into_a_manifest_is_found_even_when_it_is_a_good_one() -> None:
    text = f"JWT_SECRET: {STRONG}\nSMTP_PASS: ${{SMTP_PASS}}\nS3_ACCESS_KEY_ID: x\nREDIS_URL: redis://:{STRONG}@redis\n"
    assert [(found.line, found.key) for found in find_secrets(text, "m")] == [(1, "JWT_SECRET"), (4, "password")]
    assert STRONG not in str(find_secrets(text, "m"))


@pytest.mark.readiness(issue=6)
@given(st.text("BCFGHJKLMNPQRTVZ23456789bcdfghjkmnpqrtvz", min_size=12, max_size=60), st.sampled_from(sorted(FORMS)))
@settings(max_examples=200)
def test_random_values_are_no_placeholders_in_any_form_of_file(value: str, form: str) -> None:
    if any(character.isalpha() for character in value) and len(set(value)) > 8:
        assert find_placeholders(FORMS[form].format(value), "file") == []


@pytest.mark.readiness(issue=6)
@given(st.text(max_size=300))
@settings(max_examples=300)
def test_any_text_can_be_scanned(text: str) -> None:
    lines = len(text.splitlines())
    for found in find_placeholders(text, "file") + find_secrets(text, "file"):
        assert 1 <= found.line <= lines


@pytest.mark.parametrize(
    "piece", ["a=", "${", "<", "\\", "your-", "x-", "insert ", "insert-x-", "a1-", "{{", "$(", "://"]
)
def test_a_hostile_file_is_scanned_in_time(piece: str) -> None:
    began = time.process_time()
    find_placeholders(f'secret: {piece * 20_000}\n"secret": "{piece * 20_000}', "file")
    assert time.process_time() - began < 10
