"""The structure that the design promises, read from the source."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from measure_style import measure, problems

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "chatbox"

LADDER = [
    ["", "errors"],
    ["session"],
    [
        "turn",
        "entries",
        "cursor",
        "tasks",
        "deadline",
        "hours",
        "values",
        "strength",
        "strictjson",
        "redaction",
        "readiness",
    ],
    [
        "fields",
        "protocol",
        "transcript",
        "llm.base",
        "llm.history",
        "storage.base",
        "storage.overview",
        "storage.paging",
        "storage.records",
        "storage.telling",
        "backplane.base",
        "notify.base",
        "notify.words",
    ],
    ["auth", "jwks", "limits", "metrics", "logs", "keyring", "settings", "vault", "rules", "reading", "config"],
    [
        "notify.claims",
        "notify.outbox",
        "notify.alerts",
        "outbox",
        "lines",
        "connections",
        "health",
        "views",
        "staff.parameters",
        "staff.figures",
    ],
    ["room"],
    ["hub"],
    ["commits"],
    ["draft", "settlement"],
    ["reply", "conversations", "access", "audit", "canned"],
    ["allowance", "assist", "sessions", "takeovers"],
    ["chat"],
    ["helpdesk", "monitors", "crashes"],
    ["housekeeping", "sockets", "connection", "staff"],
    ["alerting"],
    ["llm", "storage", "backplane", "notify"],
    ["api"],
    ["app"],
    ["server", "client"],
    ["cli", "__main__"],
]
"""Bottom first: a module imports only from its own rung and those listed before it. A name stands for all below it."""

FAMILIES = ["llm", "storage", "backplane", "notify"]
"""Of these, everyone may know ``base`` and what is listed above; the rest is known to the family and to ``ROOTS``."""

ROOTS = ["app", "cli", "server"]

DEFERRED: dict[str, str] = {
    "backplane: chatbox.backplane.redis": "Redis's client is loaded only when the configuration names a Redis",
    "cli.serve: chatbox": "settings are refused, and Ctrl-C is heard, before the server's modules have been loaded",
    "jwks: aiohttp": "takes a fifth of a second to load, and most servers share a secret instead",
    "notify: chatbox.notify.email": "mail and templates are loaded only when the configuration names a mail server",
    "notify: chatbox.notify.sms": "an HTTP client is loaded only when the configuration names who sends SMS",
    "storage: chatbox.storage.mongo": "a store is loaded only when the configuration names it",
    "storage: chatbox.storage.sqlite": "a store is loaded only when the configuration names it",
}
"""``module: imported`` inside a function, with the reason that it can't stand at the top."""

FORBIDDEN_NAMES = {"manager", "service", "handler", "util", "utils", "helper", "helpers", "core", "common"}


def modules() -> dict[str, ast.Module]:
    """Source trees by dotted name below ``chatbox``; the package itself is the empty name."""
    files = {file.relative_to(PACKAGE): file for file in PACKAGE.rglob("*.py")}
    return {dotted(path): ast.parse(file.read_text()) for path, file in files.items()}


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """Modules of the package that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "chatbox":
            base = (node.module or "").removeprefix("chatbox").lstrip(".")
            for name in node.names:
                full = f"{base}.{name.name}".lstrip(".")
                yield full if full in known else base
        elif isinstance(node, ast.Import):
            yield from (n.name.removeprefix("chatbox").lstrip(".") for n in node.names if n.name.startswith("chatbox"))


def rung(module: str) -> int:
    """The rung of the longest listed name that the module is, or is below."""
    places = {name: place for place, names in enumerate(LADDER) for name in names}
    while module not in places:
        if "." not in module:
            pytest.fail(f"chatbox.{module} has no rung yet: give it one in LADDER")
        module = module.rpartition(".")[0]
    return places[module]


TREES = modules()
IMPORTS = {name: set(imports(tree, set(TREES))) - {name} for name, tree in TREES.items()}


def test_imports_go_only_down_the_ladder() -> None:
    climbing = [
        f"{name} imports {other}" for name, others in IMPORTS.items() for other in others if rung(other) > rung(name)
    ]
    assert not climbing


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in IMPORTS.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_composition_root_knows_concrete_classes(family: str) -> None:
    public = {name for names in LADDER for name in names if name.startswith(f"{family}.")}
    strangers = {n: o for n, o in IMPORTS.items() if n.split(".")[0] not in (family, *ROOTS)}
    knowing = [
        f"{name} imports {other}"
        for name, others in strangers.items()
        for other in others
        if other.split(".")[0] == family and other not in public
    ]
    assert not knowing


def test_imports_inside_functions_have_a_reason() -> None:
    found = {f"{name}: {what}" for name, tree in TREES.items() for what in deferred(tree)}
    assert found == set(DEFERRED)


def deferred(tree: ast.Module) -> Iterator[str]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for node in (inner for function in functions for inner in ast.walk(function)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_function_changes_a_global() -> None:
    changing = [name for name, tree in TREES.items() if any(isinstance(node, ast.Global) for node in ast.walk(tree))]
    assert not changing


def test_modules_are_named_after_what_they_are() -> None:
    assert not [name for name in TREES if FORBIDDEN_NAMES & set(name.replace("_", ".").split("."))]


def test_the_code_keeps_to_the_style_marks() -> None:
    assert not list(problems(measure(PACKAGE)))


TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
TEXTS = [ROOT / name for name in TRACKED if name and not name.endswith((".png", ".ico", ".woff2", ".gguf"))]

MACHINE_PATHS = ["/" + folder + "/" for folder in ("work", "farm", "root")]
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "npmjs" + ".com", "deb.debian" + ".org"]
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]


@pytest.mark.parametrize("words", [MACHINE_PATHS, REGISTRIES, UNFINISHED], ids=["paths", "registries", "unfinished"])
def test_no_tracked_file_says(words: list[str]) -> None:
    if not TEXTS:
        pytest.skip("not a git checkout")
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in TEXTS
        if file.exists()
        for word in words
        if word in file.read_text(errors="replace")
    ]
    assert not found
