"""What a piece of work costs, as measured: read from ``costs.toml``, or as the user says.

``costs.toml`` is written by ``python -m benchmarks unit_costs``; every entry has a
``value`` and a ``how``. CPU is in milliseconds of one core of the machine it was measured on;
that machine is speed 1.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec

from holdfast.errors import ConfigError, InvalidInputError

FILE: Final = Path(__file__).parent / "costs.toml"
OWN: Final = "your own figure"

Amount = Annotated[float, msgspec.Meta(gt=0)]


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure and where it comes from."""

    value: Amount
    how: str = OWN


class DriverCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One look at a machine's power state through its BMC (I12)."""

    gateway_look_ms: Cost
    look_requests: Cost
    look_bytes: Cost


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CPU milliseconds per piece of work, memory in MB a process."""

    nodes_measured: Cost
    """How many machines there were; beyond that the costs are taken to stay as they are."""
    conductor_idle: Cost
    gateway_idle: Cost
    api_idle: Cost
    engine_idle: Cost
    """Share of a core that a process takes with nothing to do."""
    conductor_look_ms: Cost
    database_look_ms: Cost
    conductor_step_ms: Cost
    database_step_ms: Cost
    steps_per_deploy: Cost
    commands_per_deploy: Cost
    api_get_ms: Cost
    database_get_ms: Cost
    engine_operation_ms: Cost
    database_operation_ms: Cost
    """One operation on one resource of a stack: its creation, update, check or deletion."""
    api_resource_ms: Cost
    """What the API spends on each resource of a template that it is given."""
    conductor_mb: Cost
    gateway_mb: Cost
    api_mb: Cost
    engine_mb: Cost
    drivers: dict[str, DriverCosts]

    def driver(self, name: str) -> DriverCosts:
        """The costs of a driver; ``InvalidInputError`` saying how to give them if unknown."""
        known = self.drivers.get(name)
        if known is None:
            raise InvalidInputError(
                f"nobody has measured the driver {name!r}; known: {', '.join(self.drivers)}. "
                f"Give your own figures: a file for --costs with [drivers.{name}] and in it "
                + ", ".join(DriverCosts.__struct_fields__)
            )
        return known


class CostsFile(msgspec.Struct, frozen=True, kw_only=True):
    """The data file: on which machine and when, then the figures."""

    measured: dict[str, str]
    costs: Costs


def load(own: Path | None = None, changes: Sequence[str] = ()) -> CostsFile:
    """The measured costs, over them those of ``own``, over them ``changes`` ("name=value").

    In ``own`` a figure may be a plain number. Raises ``ConfigError`` for a file that cannot
    be used, ``InvalidInputError`` for a change of what does not exist.
    """
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    table = cast("dict[str, Any]", document["costs"])
    if own is not None:
        try:
            given = tomllib.loads(own.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"the costs {own} cannot be read: {error}") from error
        _lay_over(table, cast("dict[str, Any]", given.get("costs", given)))
    for change in changes:
        _change(table, change)
    try:
        return msgspec.convert(document, CostsFile)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the costs are not complete or not right: {error}") from error


def _lay_over(table: dict[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            table[name] = {"value": value, "how": OWN}
        elif isinstance(value, dict) and "value" not in value and isinstance(table.get(name), dict):
            _lay_over(cast("dict[str, Any]", table[name]), cast("dict[str, Any]", value))
        elif isinstance(value, dict) and "value" not in value:
            table[name] = {}
            _lay_over(cast("dict[str, Any]", table[name]), cast("dict[str, Any]", value))
        else:
            table[name] = value


def _change(table: dict[str, Any], change: str) -> None:
    """One ``name=value``; a driver's figure is ``redfish.gateway_look_ms``."""
    name, _, text = change.partition("=")
    try:
        value = float(text)
    except ValueError:
        raise InvalidInputError(f"--cost {change}: write name=number") from None
    place, parts = table, name.split(".")
    if len(parts) == 2:
        parts = ["drivers", *parts]
    for part in parts[:-1]:
        place = place.get(part, {})
    if parts[-1] not in place or "value" not in place[parts[-1]]:
        raise InvalidInputError(f"--cost {name}: no such cost; known: {', '.join(_names(table))}")
    place[parts[-1]] = {"value": value, "how": OWN}


def _names(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in table.items():
        if "value" in value:
            found.append(prefix + name)
        else:
            found += _names(value, "" if name == "drivers" else f"{prefix}{name}.")
    return found
