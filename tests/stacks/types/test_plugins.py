"""The registry: what is built in, what plug-ins bring, and what becomes of faulty ones."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from tests.stacks.types.bench import Bench

from holdfast.stacks.hot.describe import provider_template, schema_document
from holdfast.stacks.types import discovered, registry
from holdfast.stacks.types.plugins import GROUP, built_in

DOC = Path(__file__).parents[3] / "docs" / "adding-a-resource-type.md"


def install(where: Path, module: str, source: str, points: str) -> None:
    """A package as an installer leaves it: its module, and its metadata."""
    (where / f"{module}.py").write_text(source)
    info = where / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")


def found_in(where: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(where))
    points = [
        point
        for package in distributions(path=[str(where)])
        for point in package.entry_points.select(group=GROUP)
    ]
    return discovered(points)


def test_every_type_is_there_and_described():
    types = registry()
    assert len([name for name in types if name.startswith("OS::Heat::")]) == 17
    for name, kind in types.items():
        assert kind.name == name
        assert kind.description.endswith(".")
        for schema in kind.properties.values():
            assert schema.description.endswith(".")
        shown = schema_document(name, kind.properties, {}, description=kind.description)
        assert set(shown["properties"]) == set(kind.properties)
        assert provider_template(name, kind.properties, {})["resources"]


def test_the_table_of_types_in_the_docs_is_complete():
    text = (DOC.parent / "what-resource-types-there-are.md").read_text()
    named = set(re.findall(r"^### `([\w:]+)`", text, re.MULTILINE))
    assert named == set(built_in())
    for name, kind in built_in().items():
        section = text.split(f"### `{name}`")[1].split("\n### ")[0]
        missing = [one for one in (*kind.properties, *kind.attributes) if f"`{one}`" not in section]
        assert (name, missing) == (name, [])


async def test_the_example_of_the_docs_is_a_plug_in_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", DOC.read_text(), re.DOTALL)
    source = next(block for block in blocks if "class " in block)
    project = next(block for block in blocks if "entry-points" in block)
    point = project.split(f'[project.entry-points."{GROUP}"]')[1].strip().replace('"', "")
    install(tmp_path, "holdfast_licences", source, point)
    types, faults = found_in(tmp_path, monkeypatch)
    assert faults == []
    kind = types["Example::Licence"]
    example = sys.modules[type(kind).__module__]
    office = example.Office()
    bench = Bench(kind, {"product": "editor", "seats": 3}, call={"licences": office})
    await bench.create()
    assert bench.row.attributes["key"].startswith("editor-")
    assert len(office.granted) == 1  # every call was made twice
    await bench.update({"product": "editor", "seats": 4})
    assert [grant.seats for grant in office.granted.values()] == [4]
    await bench.delete()
    assert office.granted == {}
    monkeypatch.delitem(sys.modules, type(kind).__module__)


@pytest.mark.parametrize(
    ("source", "point", "why"),
    [
        ("TYPES = 1 / 0", "bad:TYPES", "ZeroDivisionError"),
        ("TYPES = []", "bad:TYPES", "must give a mapping"),
        ("def types(): raise OSError('no disk')", "bad:types", "OSError: no disk"),
        ("TYPES = {'A::B': object()}", "bad:TYPES", "A::B: a resource type needs name"),
        ("TYPES = {3: None}", "bad:TYPES", "is a text, not 3"),
        ("TYPES = {}", "bad:NOTHING", "AttributeError"),
        (
            "from holdfast.stacks.resource import Base\nTYPES = {'A::B': Base}",
            "bad:TYPES",
            "give an instance",
        ),
        (
            "from holdfast.stacks.resource import Base\nTYPES = {'OS::Heat::None': Base()}",
            "bad:TYPES",
            "OS::Heat::None: there is a resource type of that name already",
        ),
    ],
)
def test_a_faulty_plug_in_is_reported_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, point: str, why: str
):
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    install(tmp_path, "bad", source, f"mine = {point}")
    types, faults = found_in(tmp_path, monkeypatch)
    assert len(faults) == 1
    assert faults[0].entry_point == f"mine = {point}"
    assert why in faults[0].why
    assert set(types) == set(built_in())
    monkeypatch.delitem(sys.modules, "bad", raising=False)
