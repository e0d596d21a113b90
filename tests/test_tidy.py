"""The style of the house, kept by a test (style.md; after TigerBeetle's ``tidy``)."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "holdfast"
TESTS = ROOT / "tests"

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
HEADER_WORDS = ("Owns:", "Never imports:", "Invariants:", "Proved by:")
BANNED_NAMES = {"common", "util", "utils", "helper", "helpers", "misc"}
TIMED = {"chaos", "compat", "e2e"}  # these drive real processes; all others wait for events only
TEXT_SUFFIXES = {".py", ".md", ".sql", ".toml", ".txt", ".yaml", ".yml", ".sh", ".cfg", ""}

# Where someone happened to build this says nothing to who reads it. Pieces joined, so that this
# file does not find itself.
BANNED_TEXT = tuple(
    re.compile(pattern)
    for pattern in ("/" + r"work/", "/" + r"tmp/osc\b", "/" + r"home/\w", "/" + r"root/\w")
)


@functools.cache
def modules(*roots: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for root in roots for path in root.rglob("*.py")))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def texts() -> Iterator[Path]:
    """Every file of the project that people read, generated and fetched ones left out."""
    for entry in sorted(ROOT.iterdir()):
        hidden_tool = entry.name.startswith(".") and entry.name not in {".ci", ".gitignore"}
        if hidden_tool or entry.name in {"build", "dist", "LICENSE"}:
            continue
        paths = entry.rglob("*") if entry.is_dir() else [entry]
        yield from (p for p in paths if p.is_file() and p.suffix in TEXT_SUFFIXES)


def test_no_module_is_longer_than_500_lines():
    lengths = {name_of(p): len(p.read_text().splitlines()) for p in modules(SRC, TESTS)}
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_70_lines():
    too_long = {
        f"{name_of(path)}:{node.name}": length
        for path in modules(SRC)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert too_long == {}


def test_every_package_says_what_it_owns():
    headers = {
        name_of(path): ast.get_docstring(tree_of(path)) or ""
        for path in (SRC / "__init__.py", *SRC.glob("*/__init__.py"))
    }
    faults = {
        name: missing
        for name, header in headers.items()
        if (missing := [word for word in HEADER_WORDS if word not in header])
    }
    assert faults == {}


def test_the_tests_that_a_package_header_names_exist():
    named = {
        (name_of(path), test)
        for path in modules(SRC)
        if path.name == "__init__.py"
        for test in re.findall(r"tests/[\w/]+(?:\.py)?", ast.get_docstring(tree_of(path)) or "")
    }
    assert {(where, test) for where, test in named if not (ROOT / test).exists()} == set()


def test_every_package_folder_has_an_init():
    folders = {path.parent for path in modules(SRC)}
    assert {name_of(f) for f in folders if not (f / "__init__.py").exists()} == set()


def test_no_module_has_a_name_that_says_nothing():
    named = {
        name_of(p)
        for p in modules(SRC, TESTS)
        if BANNED_NAMES & {p.stem, *p.relative_to(ROOT).parts}
    }
    assert named == set()


def test_no_file_names_a_path_of_somebodys_machine():
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if any(pattern.search(line) for pattern in BANNED_TEXT)
    ]
    assert found == []


def test_unit_tests_never_sleep():
    sleepers = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules(TESTS)
        if path.relative_to(TESTS).parts[0] not in TIMED
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
    ]
    assert sleepers == []


def read_attributes() -> set[str]:
    """Every attribute name that some module reads."""
    return {
        node.attr
        for path in modules(SRC)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
    }


def test_every_setting_has_a_reader():
    """An option that does nothing is a lie to whoever sets it."""
    from holdfast.ops.config import Settings

    def leaves(struct: type[msgspec.Struct], path: str) -> Iterator[tuple[str, str]]:
        for field in msgspec.structs.fields(struct):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                yield from leaves(field.type, f"{path}{field.name}.")
            else:
                yield f"{path}{field.name}", field.name

    read = read_attributes()
    assert [path for path, name in leaves(Settings, "") if name not in read] == []


def test_the_readmes_map_has_at_most_a_dozen_lines():
    text = (ROOT / "README.md").read_text()
    lines = text.split("## Map\n\n")[1].split("\n\n")[0].splitlines()
    assert 5 <= len(lines) <= 12


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "X" + "XX"])
def test_nothing_is_left_for_later(word: str):
    pattern = re.compile(rf"\b{word}\b")
    assert [name_of(p) for p in modules(SRC, TESTS) if pattern.search(p.read_text())] == []
