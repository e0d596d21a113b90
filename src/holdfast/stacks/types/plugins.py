"""The registry: what this package brings, and what installed packages add by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, cast

import msgspec
import structlog

from holdfast.stacks.resource import ResourceType
from holdfast.stacks.types.autoscaling import AutoScalingGroup, ScalingPolicy
from holdfast.stacks.types.baremetal_node import BaremetalNode
from holdfast.stacks.types.baremetal_port import BaremetalPort, IronicPort
from holdfast.stacks.types.conditions import (
    UpdateWaitConditionHandle,
    WaitCondition,
    WaitConditionHandle,
)
from holdfast.stacks.types.configs import (
    CloudConfig,
    MultipartMime,
    SoftwareConfig,
    StructuredConfig,
)
from holdfast.stacks.types.groups import ResourceChain, ResourceGroup
from holdfast.stacks.types.nested import NestedStackResource
from holdfast.stacks.types.plain import Delay, NoneResource, Value
from holdfast.stacks.types.random_string import RandomString
from holdfast.stacks.types.serving_generation import ServingGeneration
from holdfast.stacks.types.serving_service import ServingService
from holdfast.stacks.types.testing import TestResource

GROUP: Final = "holdfast.resource_types"
"""The group of entry points under which packages register their types."""

_LOG = structlog.get_logger("holdfast.stacks")
_NEEDED: Final = (
    *("name", "description", "properties", "attributes"),
    *("check", "create", "update", "delete", "observe", "suspend", "resume"),
    *("reference", "attribute", "signal"),
)


class PluginFault(msgspec.Struct, frozen=True):
    """An entry point that gave nothing usable, or a type of it. ``why`` is a sentence."""

    entry_point: str
    why: str


def built_in() -> dict[str, ResourceType]:
    """The types of this package, by name."""
    types: tuple[ResourceType, ...] = (
        *(NoneResource(), TestResource(), RandomString(), Value(), Delay()),
        *(ResourceGroup(), ResourceChain(), AutoScalingGroup(), ScalingPolicy()),
        *(WaitCondition(), WaitConditionHandle(), UpdateWaitConditionHandle()),
        *(SoftwareConfig(), StructuredConfig(), CloudConfig(), MultipartMime()),
        NestedStackResource(),
        *(IronicPort(), BaremetalPort(), BaremetalNode()),
        *(ServingGeneration(), ServingService()),
    )
    return {one.name: one for one in types}


def registry() -> dict[str, ResourceType]:
    """All types by name. A faulty plug-in is logged and left out."""
    types, faults = discovered()
    for fault in faults:
        _LOG.error("resource types left out", entry_point=fault.entry_point, why=fault.why)
    return types


def discovered(
    found: Iterable[EntryPoint] | None = None,
) -> tuple[dict[str, ResourceType], list[PluginFault]]:
    """All types by name, and what is wrong with plug-ins. ``found`` None: those installed.

    A name that is taken stays whose it was: first the types of this package, then
    plug-ins in the order of their entry points' names.
    """
    types, faults = built_in(), list[PluginFault]()
    points = entry_points(group=GROUP) if found is None else found
    for point in sorted(points, key=lambda one: (one.name, one.value)):
        label = f"{point.name} = {point.value}"
        try:
            brought = _brought(point)
        except Exception as fault:  # noqa: BLE001 - a stranger's code may raise anything
            faults.append(PluginFault(label, f"{type(fault).__name__}: {fault}"))
            continue
        for name, one in brought.items():
            if (why := _fault_of(name, one, types)) is None:
                types[str(name)] = cast("ResourceType", one)
            else:
                faults.append(PluginFault(label, why))
    return types, faults


def _brought(point: EntryPoint) -> Mapping[object, object]:
    loaded: Any = point.load()
    brought: Any = cast("Callable[[], Any]", loaded)() if callable(loaded) else loaded
    if not isinstance(brought, Mapping):
        raise TypeError("it must give a mapping of names to resource types, or a callable of one")
    return cast("Mapping[object, object]", brought)


def _fault_of(name: object, one: object, taken: Mapping[str, ResourceType]) -> str | None:
    if not isinstance(name, str) or not name:
        return f"the name of a resource type is a text, not {name!r}"
    if name in taken:
        return f"{name}: there is a resource type of that name already"
    if isinstance(one, type):
        return f"{name}: this is a class, give an instance of it"
    if missing := [part for part in _NEEDED if not hasattr(one, part)]:
        return f"{name}: a resource type needs {', '.join(missing)}; inherit resource.Base"
    return None
