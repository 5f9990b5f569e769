"""The page of guarantees names, case by case, tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "guarantees.md").read_text()
CASES = [
    f"{family}{number}"
    for family, last in (("A", 12), ("B", 10), ("C", 10), ("D", 9), ("E", 7))
    for number in range(1, last + 1)
]


def proofs() -> dict[str, list[str]]:
    """The tests that the page names for each case."""
    rows = re.findall(r"^\| ([A-F]\d+) \|(.*)\|$", PAGE, re.MULTILINE)
    return {case: re.findall(r"`(tests/[^`]+)`", cells) for case, cells in rows}


def defined_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


@pytest.mark.parametrize("case", CASES)
def test_the_page_says_where_the_case_is_proven(case: str) -> None:
    assert proofs().get(case)


@pytest.mark.parametrize(("case", "proof"), [(case, proof) for case, found in proofs().items() for proof in found])
def test_the_proof_exists(case: str, proof: str) -> None:
    file, separator, name = proof.partition("::")
    assert separator
    assert name in defined_in(file)
