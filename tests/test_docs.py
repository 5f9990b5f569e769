"""The documents say what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import chatbox
from chatbox import fields, hub, protocol, sockets, strictjson
from chatbox.app import create_app
from chatbox.cli import app
from chatbox.config import Config
from chatbox.errors import Code
from chatbox.metrics import Metrics
from chatbox.session import VISIBLE, Finish, Help
from chatbox.settings import specs

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")]
REFERENCE = ROOT / "docs" / "reference"
WIRE = (REFERENCE / "protocol.md").read_text()
SOURCES = {file.name: ast.parse(file.read_text()) for file in (ROOT / "src" / "chatbox").glob("*.py")}


def rows(text: str) -> set[str]:
    """What stands in backquotes, or as a number, in the first cell of a table's row."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`|\b(\d{4})\b", cell) for word in word if word}


def matched(source: str) -> set[str]:
    """Texts that a `match` in a module compares with."""
    patterns = (node for node in ast.walk(SOURCES[source]) if isinstance(node, ast.MatchValue))
    return {ast.literal_eval(pattern.value) for pattern in patterns if isinstance(pattern.value, ast.Constant)}


def keywords(source: str, name: str) -> set[str]:
    """Constant texts given as the keyword argument ``name``."""
    given = (node for node in ast.walk(SOURCES[source]) if isinstance(node, ast.keyword) and node.arg == name)
    return {node.value.value for node in given if isinstance(node.value, ast.Constant)}


def events() -> set[str]:
    """Names of all notifications: of notices and hints, and of entries that say what changed."""
    found: set[str] = set()
    for tree in SOURCES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("notice", "hint"):
                found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found |= {
                    v.value
                    for k, v in pairs
                    if isinstance(k, ast.Constant) and k.value == "event" and isinstance(v, ast.Constant)
                }
    return {name for name in found if name.isidentifier()}


def called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def test_the_wire_page_names_every_frame_that_a_client_may_send() -> None:
    assert matched("protocol.py") <= rows(WIRE)


def test_the_wire_page_names_every_frame_that_the_server_sends() -> None:
    assert keywords("protocol.py", "type") | set(VISIBLE) <= rows(WIRE)


def test_the_wire_page_names_every_field() -> None:
    assert set(fields.Fields.__struct_fields__) - {"type"} <= rows(WIRE)


def test_the_wire_page_names_every_error_code_and_no_other() -> None:
    assert {word for word in rows(WIRE) if word.isupper()} == set(Code)


def test_the_wire_page_names_every_close_code_and_no_other() -> None:
    codes = {str(code) for name, code in vars(protocol.Close).items() if name.isupper()}
    assert {word for word in rows(WIRE) if word.isdigit()} == codes


def test_the_wire_page_names_every_notification() -> None:
    assert events() <= rows(WIRE)


def test_the_wire_page_names_every_end_of_an_answer() -> None:
    assert set(Finish) <= rows(WIRE)


def test_the_wire_page_names_every_help_state() -> None:
    assert all(f"`{state}`" in WIRE for state in Help)


def test_the_wire_page_gives_the_limits_of_the_code() -> None:
    assert f"{fields.MAX_CONTENT:,} from clients" in WIRE
    assert f"at most {strictjson.MAX_DEPTH} levels" in WIRE
    assert f"more than {hub.MAX_REPLAY_ENTRIES} entries" in WIRE
    assert f"{sockets.OTHER_FRAMES} a second" in WIRE
    assert f"{sockets.MAX_ERRORS} errors within {sockets.ERROR_WINDOW:.0f} s" in WIRE


def test_the_http_page_has_every_route_and_no_other(tmp_path: Path) -> None:
    config = Config.load({"CHATBOX_MODE": "development", "LLM_PROVIDER_1_TYPE": "echo"}, None, {"data_dir": tmp_path})
    paths = create_app(config)._http._app.openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = {name.replace("{p}", config.path_prefix) for name in rows((REFERENCE / "http.md").read_text())}
    assert served == {name for name in named if name.split()[0] in ("GET", "POST", "PUT", "PATCH", "DELETE")}


def commands(command: Any, name: str) -> dict[str, set[str]]:
    """Options by command, settings and help left out."""
    if hasattr(command, "list_commands"):
        found = [(inner, command.get_command(None, inner)) for inner in command.list_commands(None)]
        return {key: value for inner, sub in found for key, value in commands(sub, f"{name} {inner}").items()}
    settings = {spec.flag for spec in specs().values()}
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    return {name: options - settings - {"--help", "--host", "--port"}}


def test_the_command_line_page_has_every_command_with_its_options_and_no_other() -> None:
    page = (REFERENCE / "cli.md").read_text()
    sections = dict(re.findall(r"^## `([a-z ]+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    described = {name: {word for word in rows(text) if word.startswith("--")} for name, text in sections.items()}
    program = commands(typer.main.get_command(app), "chatbox")
    token = {"chatbox token": program["chatbox token"] | {"--data-dir"}}
    assert described == program | token


def test_the_metrics_page_has_every_metric_and_no_other() -> None:
    families = list(Metrics(mongodb=True).registry.collect())
    kept = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert kept == {name for name in rows((REFERENCE / "metrics.md").read_text()) if name.startswith("chatbox_")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text())
    assert [target for target in targets if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    return file.exists() and (not anchor or anchor in headings(file))


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_the_pages_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_on_the_pages_exist(page: Path) -> None:
    """Names that are given a value, as in a shell or an environment file."""
    given = set(re.findall(r"^(?:export )?([A-Z][A-Z0-9_]{4,})=", page.read_text(), re.MULTILINE))
    assert {name for name in given if not name.startswith("LLM_PROVIDER_")} <= {spec.env for spec in specs().values()}


def test_the_guide_for_contributors_names_every_make_target() -> None:
    targets = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    assert [target for target in targets if f"`make {target}`" not in guide] == []


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## [{chatbox.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
