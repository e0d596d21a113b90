"""What the documents say of packages and settings is what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from tests.serving.zoo import people

from holdfast.serving.endpoints.base import Surroundings
from holdfast.serving.endpoints.loading import derive, load, run_tests
from holdfast.serving.packages.build import build, read_description
from holdfast.serving.packages.manifest import EndpointSpec, Pool, files_needed, kind_of
from holdfast.serving.settings import NodeSettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "what-goes-into-a-package.md").read_text()
SETTINGS = (DOCS / "how-to-configure-an-api-node.md").read_text()
SPECS: dict[str, Any] = {str(spec.__struct_config__.tag): spec for spec in get_args(EndpointSpec)}
NEEDED = "needed"
INDENTED = r"(?:^    .*\n(?:\n(?=    ))?)+"
SHOWN = rf"(?m)^`(\S+)`:\n\n({INDENTED})"


def section(title: str) -> str:
    begin = PAGE.index(f"\n## {title}\n")
    end = PAGE.find("\n## ", begin + 1)
    return PAGE[begin : end if end > 0 else None]


def blocks(text: str) -> list[str]:
    """The indented parts of a page."""
    return [unindented(one) for one in re.findall(rf"(?m){INDENTED}", text)]


def unindented(text: str) -> str:
    return re.sub(r"(?m)^    ", "", text).strip("\n") + "\n"


def fields(text: str) -> dict[str, str]:
    """Of all tables: the first column's name -> the default, as it is written."""
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \|", text, re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def folder_of(title: str, where: Path) -> Path:
    """The folder that the section's example describes, with files for what it does not show."""
    text = section(title)
    description = blocks(text)[0]
    if title != "The service":
        description = f'id = "{title}"\n[auth]\npublic = true\n\n{description}'
    (where / "service.toml").write_text(description)
    shown = {name: unindented(text) for name, text in re.findall(SHOWN, PAGE)}
    for needed in files_needed(read_description(where)):
        files = [name for name in shown if name == needed or name.startswith(f"{needed}/")]
        for name in files or [needed]:
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_text(shown.get(name, ""))
    return where


@pytest.mark.parametrize("title", ["The service", *SPECS])
def test_every_example_is_a_package(title: str, tmp_path: Path):
    (folder := tmp_path / "folder").mkdir()
    built = build(folder_of(title, folder), tmp_path / "out.hfpkg")
    assert Path(built.path).is_file()
    endpoints = read_description(folder).endpoints
    assert title == "The service" or kind_of(endpoints[0]) == title


@pytest.mark.parametrize("kind", SPECS)
def test_every_field_is_shown_with_its_default(kind: str):
    told = fields(section(kind))
    known = {
        f.name: f for f in msgspec.structs.fields(SPECS[kind]) if f.name not in ("id", "tests")
    }
    assert told.keys() == known.keys()
    example = blocks(section(kind))[0]
    for name, default in told.items():
        assert re.search(rf"(?m)^{name} = ", example), f"{name} is in no example"
        if default == NEEDED:
            assert known[name].required
        else:
            value = tomllib.loads(f"x = {default}")["x"]
            assert msgspec.convert(value, known[name].type) == default_of(known[name])


def default_of(field: Any) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def test_what_the_service_has_is_shown_with_its_defaults():
    told = fields(section("The service"))
    pool = {f"pool.{name}": str(value) for name, value in msgspec.to_builtins(Pool()).items()}
    assert pool.items() <= told.items()
    assert {"description", "auth.public", "auth.keys", "endpoints", "id", "kind", "tests"} <= set(
        told
    )


@pytest.mark.parametrize(
    ("kind", "action", "query", "told"),
    [
        ("function", "run", {"number": 4}, {"response": 8}),
        (
            "custom-prediction",
            "predict",
            {"features": {"amount": 2}},
            {"result": {"prediction": 6.0, "ignored": False}},
        ),
        (
            "forecast",
            "forecast",
            {"items": [{"target": 7}]},
            {"results": [{"forecast": 7, "ignored": False}]},
        ),
        (
            "lookup",
            "lookup",
            {"data": {"id": 2.0}},
            {"results": [{"data": {"name": "Grace", "city": "New York"}, "ignored": False}]},
        ),
        (
            "sql",
            "query",
            {"city": "London"},
            {
                "columns": [{"name": "id", "type": "string"}, {"name": "name", "type": "string"}],
                "rows": [["1", "Ada"], ["3", None]],
            },
        ),
    ],
)
def test_the_examples_answer_as_the_page_says(
    kind: str, action: str, query: dict[str, Any], told: object, tmp_path: Path
):
    folder = folder_of(kind, tmp_path)
    if kind == "sql":
        (folder / "people.sqlite").write_bytes(people())
    service = read_description(folder)
    (derived := tmp_path / "derived").mkdir()
    derive(service, folder, derived)
    books = {"books": "postgresql://reader@127.0.0.1:1/books"}  # nobody connects before a query
    around = Surroundings(folder, derived, allow_pickle=False, connections=books)
    made = load(service, around)
    run_tests(service, made)
    assert made[service.endpoints[0].id].answer(action, query) == told


def test_every_setting_of_a_node_is_shown_with_its_default():
    shown = tomllib.loads(blocks(SETTINGS)[0])
    assert msgspec.convert(shown, NodeSettings) == NodeSettings()
    assert names(shown) == names(msgspec.to_builtins(NodeSettings()))


def names(document: dict[str, Any], above: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in document.items():
        inner = names(value, f"{above}{name}.") if isinstance(value, dict) else set[str]()  # pyright: ignore[reportUnknownArgumentType]
        found |= inner or {above + name}
    return found


@pytest.mark.parametrize("example", sorted((DOCS / "examples").glob("haproxy*.cfg")))
def test_haproxy_accepts_the_examples(example: Path):
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
    command = [haproxy, "-c", "-f", example]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
