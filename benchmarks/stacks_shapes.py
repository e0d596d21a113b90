"""Templates by the shape of their graph. All resources are ``OS::Heat::TestResource``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

VERSION = "2021-04-16"
TYPE = "OS::Heat::TestResource"
Template = dict[str, Any]


def template(resources: dict[str, Any]) -> Template:
    """A template of these resources."""
    return {"heat_template_version": VERSION, "resources": resources}


def resource(
    after: Collection[str] = (),
    *,
    type_: str = TYPE,
    properties: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """One resource, after those."""
    made: dict[str, Any] = {"type": type_, "properties": properties or {"value": "x"}}
    if after:
        made["depends_on"] = list(after)
    return made


def independent(count: int, value: str = "x") -> Template:
    return template({f"r{n}": resource(properties={"value": value}) for n in range(count)})


def chain(count: int) -> Template:
    return template({f"r{n}": resource([f"r{n - 1}"] if n else []) for n in range(count)})


def fan(count: int) -> Template:
    """One, and all others after it."""
    rest = {f"r{n}": resource(["r0"]) for n in range(1, count + 1)}
    return template({"r0": resource(), **rest})


def layers(depth: int, width: int) -> Template:
    """Every resource after all of the layer before."""
    return template(
        {
            f"l{layer}-{n}": resource(
                [f"l{layer - 1}-{other}" for other in range(width)] if layer else []
            )
            for layer in range(depth)
            for n in range(width)
        }
    )


def waiting(count: int, seconds: float) -> Template:
    """Independent ones that take their time."""
    return template({f"r{n}": resource(properties={"wait_secs": seconds}) for n in range(count)})


def of_type(count: int, type_: str, **properties: str | float) -> Template:
    """Independent ones of another type."""
    return template({f"r{n}": resource(type_=type_, properties=properties) for n in range(count)})


def nested(stacks: int, each: int) -> tuple[Template, dict[str, Template]]:
    """So many stacks of so many resources within one, as template resources; and the files."""
    outer = {f"s{n}": {"type": "inner.yaml"} for n in range(stacks)}
    return template(outer), {"inner.yaml": independent(each)}
