"""Measure a package against the style marks: python tools/measure_style.py [FOLDER ...]

Counted are code lines: no blank line, no comment, no docstring. Nesting counts blocks inside a function; `elif` and a
nested function start no deeper level.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FILE_LINES = 400
MEDIAN = 6
NINE_IN_TEN = 22
LONGEST = 40
NESTING = 3
DEEPEST = 4
COMMENTS = 5.0

LONG_FUNCTIONS: dict[str, str] = {
    "api/sessions.py:routes": "a table of routes; each of them is a short function of its own",
}
"""``file.py:name`` of a function over the longest length, with the reason that it may be."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


class Measured(NamedTuple):
    """A function: ``file.py:name``, its code lines, its levels of nesting."""

    name: str
    length: int
    depth: int


@dataclass
class Figures:
    files: dict[str, int] = field(default_factory=dict)
    functions: list[Measured] = field(default_factory=list)
    lines: int = 0
    comments: int = 0

    @property
    def median(self) -> float:
        return statistics.median(function.length for function in self.functions)

    @property
    def nine_in_ten(self) -> int:
        return share([function.length for function in self.functions], 0.9)

    @property
    def nesting(self) -> int:
        return share([function.depth for function in self.functions], 0.95)

    @property
    def comment_share(self) -> float:
        return 100 * self.comments / self.lines


def share(values: list[int], part: float) -> int:
    return sorted(values)[int(len(values) * part)]


def main(folders: list[Path]) -> int:
    found: list[str] = []
    for folder in folders:
        figures = measure(folder)
        print(
            f"{folder}: {len(figures.files)} files, longest {max(figures.files.values())} lines; "
            f"{len(figures.functions)} functions, median {figures.median:g}, nine in ten {figures.nine_in_ten}, "
            f"longest {max(function.length for function in figures.functions)}; nesting {figures.nesting}, "
            f"deepest {max(function.depth for function in figures.functions)}; "
            f"comments {figures.comment_share:.1f} %"
        )
        found += problems(figures)
    for problem in found:
        print(problem)
    return 1 if found else 0


def measure(folder: Path) -> Figures:
    figures = Figures()
    for file in sorted(folder.rglob("*.py")):
        source = file.read_text()
        name = file.relative_to(folder).as_posix()
        figures.files[name] = len(source.splitlines())
        figures.lines += sum(bool(line.strip()) for line in source.splitlines())
        figures.comments += sum(line.strip().startswith("#") for line in source.splitlines())
        code = code_lines(source)
        for function in functions(ast.parse(source)):
            length = sum(function.lineno <= number <= (function.end_lineno or 0) for number in code)
            figures.functions.append(Measured(f"{name}:{function.name}", length, depth(function)))
    return figures


def problems(figures: Figures) -> Iterator[str]:
    yield from (f"{name}: {n} lines, {FILE_LINES} allowed" for name, n in figures.files.items() if n > FILE_LINES)
    if figures.median > MEDIAN:
        yield f"functions: median {figures.median:g} code lines, {MEDIAN} allowed"
    if figures.nine_in_ten > NINE_IN_TEN:
        yield f"functions: nine in ten within {figures.nine_in_ten} code lines, {NINE_IN_TEN} allowed"
    if figures.nesting > NESTING:
        yield f"functions: nineteen in twenty within {figures.nesting} levels, {NESTING} allowed"
    if figures.comment_share > COMMENTS:
        yield f"comments: {figures.comment_share:.1f} % of lines, {COMMENTS} allowed"
    for function in figures.functions:
        if function.length > LONGEST and function.name not in LONG_FUNCTIONS:
            yield f"{function.name}: {function.length} code lines, {LONGEST} allowed without a reason"
        if function.depth > DEEPEST:
            yield f"{function.name}: {function.depth} levels deep, {DEEPEST} allowed"


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold a token other than a comment or a docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {n for t in tokens if t.type not in skipped for n in range(t.start[0], t.end[0] + 1)}
    return code - docstring_lines(ast.parse(source))


def docstring_lines(tree: ast.AST) -> set[int]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, (*DEFINITIONS, ast.Module)))
    documented = [node.body[0] for node in nodes if ast.get_docstring(node, clean=False) is not None]
    return {number for text in documented for number in range(text.lineno, (text.end_lineno or 0) + 1)}


def depth(node: ast.AST, level: int = 0) -> int:
    deepest = level
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, DEFINITIONS):
            deepest = max(deepest, depth(child, level + (isinstance(child, BLOCKS) and not is_elif(node, child))))
    return deepest


def is_elif(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or [Path("src/chatbox")]))
