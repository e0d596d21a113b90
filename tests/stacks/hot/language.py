"""How the tests of the language say things: a snippet resolved, a fault provoked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from holdfast.stacks.hot import HotError, compile_template, select

NEWEST = "2021-04-16"


class Made:
    """A scope of resources that are there: a reference id and attributes by resource."""

    def __init__(self, attributes: Mapping[str, Mapping[str, Any]]) -> None:
        self.attributes = attributes

    def reference(self, name: str) -> str:
        return f"id-of-{name}"

    def attribute(self, name: str, path: tuple[str | int, ...]) -> Any:
        return select(dict(self.attributes[name]), path)


WEB = {
    "ip": "10.0.0.1",
    "list": ["a", "b"],
    "map": {"k": {"deep": [1, {"x": 2}]}},
    "null": None,
    "number": 5,
}


def template(
    value: Any = None, version: str = NEWEST, parameters: Any = None, **sections: Any
) -> dict[str, Any]:
    """A template with a resource ``web`` and an output ``it``."""
    return {
        "heat_template_version": version,
        "parameters": parameters or {},
        "resources": {"web": {"type": "OS::Heat::TestResource"}},
        "outputs": {"it": {"value": value}},
    } | sections


def result(
    value: Any,
    version: str = NEWEST,
    parameters: Any = None,
    given: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    **sections: Any,
) -> Any:
    """What a snippet in an output comes to when ``web`` is there."""
    plan = compile_template(
        template(value, version, parameters, **sections), parameters=given, files=files or {}
    )
    output = plan.outputs["it"].value
    assert output is not None
    return output.resolve(Made({"web": WEB}))


def fault(value: Any, version: str = NEWEST, **more: Any) -> HotError:
    """What is wrong with a snippet."""
    with pytest.raises(HotError) as caught:
        result(value, version, **more)
    return caught.value
