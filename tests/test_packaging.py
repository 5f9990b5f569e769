"""What a stranger installs: locked, complete, and without Node on the server."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pages

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NPM = json.loads((ROOT / "web" / "package-lock.json").read_text())


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ \n]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_a_hash(lock: Path) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", [*LOCKS, ROOT / "web" / "package-lock.json"], ids=lambda lock: lock.name)
def test_no_lock_file_names_the_host_that_it_was_made_from(lock: Path) -> None:
    text = lock.read_text()
    assert not re.findall(r"(?:resolved|-url|find-links|registry)\W+(?:https?|file)://|\.(?:whl|tgz|tar\.gz)\b", text)


def test_every_locked_npm_package_has_its_integrity() -> None:
    installed = {name: package for name, package in NPM["packages"].items() if name}
    assert [name for name, package in installed.items() if "integrity" not in package] == []


def test_npm_leaves_addresses_out_of_its_lock_file() -> None:
    assert "omit-lockfile-registry-resolved=true" in (ROOT / "web" / ".npmrc").read_text().splitlines()


def test_what_runs_is_tested_in_the_same_versions() -> None:
    run, dev = (pins(ROOT / "requirements" / f"{name}.lock") for name in ("run", "dev"))
    assert run.items() <= dev.items()


def test_the_lock_files_satisfy_the_project() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"]
    wanted = [*PROJECT["project"]["dependencies"], *chain(*extras), *groups["dev"], *groups["package"]]
    locked = pins(ROOT / "requirements" / "dev.lock")
    assert [text for text in wanted if not satisfied(Requirement(text), locked)] == []


def satisfied(requirement: Requirement, locked: dict[str, str]) -> bool:
    version = locked.get(requirement.name.lower())
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def test_the_local_model_does_not_bring_what_has_to_be_compiled() -> None:
    assert not {"llm", "llama-cpp-python"} & pins(ROOT / "requirements" / "run.lock").keys()


def test_the_package_build_and_make_use_the_same_node() -> None:
    assert PROJECT["dependency-groups"]["node"] == [pages.NODE_PACKAGE]


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("v18.20.4", False),
        ("v20.18.1", False),
        ("v20.19.0", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.0.1", True),
        ("v100.0.0", True),
        ("", False),
        ("not found", False),
    ],
)
def test_the_pages_are_built_with_a_node_that_can(version: str, good: bool) -> None:
    assert pages.accepted(version) is good
