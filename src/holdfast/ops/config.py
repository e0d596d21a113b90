"""The configuration: TOML below, environment above, and every fault reported at once.

``holdfast.toml`` has a section per package. ``HOLDFAST_CORE__LEASE_S=3`` overrides
``[core] lease_s``. The file is that of ``--config``, of HOLDFAST_CONFIG, or
``holdfast.toml`` in the data directory, if there is one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.power_sync.settings import PowerSyncSettings
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.bmc.settings import BmcSettings
from holdfast.core.settings import CoreSettings
from holdfast.errors import ConfigError
from holdfast.identity.settings import IdentitySettings
from holdfast.ops.aliases import FOREIGN_SECTIONS, foreign, translate
from holdfast.ops.planner.stacks import pool_fault
from holdfast.ops.settings import (
    ApiNodeSettings,
    ApiSettings,
    BrokerSettings,
    ConductorSettings,
    DatabaseSettings,
    DataSettings,
    EngineSettings,
    HostSettings,
    LogSettings,
    RackSettings,
    SupervisorSettings,
)
from holdfast.stacks.settings import StacksSettings
from holdfast.web.settings import WebSettings

PREFIX: Final = "HOLDFAST_"
FILE_NAME: Final = "holdfast.toml"
_LISTS: Final = (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sections. Each field is a section of the file; each has defaults."""

    data: DataSettings = DataSettings()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    host: HostSettings = HostSettings()
    api: ApiSettings = ApiSettings()
    conductor: ConductorSettings = ConductorSettings()
    engine: EngineSettings = EngineSettings()
    apinode: ApiNodeSettings = ApiNodeSettings()
    rack: RackSettings = RackSettings()
    core: CoreSettings = CoreSettings()
    web: WebSettings = WebSettings()
    identity: IdentitySettings = IdentitySettings()
    bmc: BmcSettings = BmcSettings()
    baremetal: BaremetalSettings = BaremetalSettings()
    provisioning: ProvisioningSettings = ProvisioningSettings()
    power_sync: PowerSyncSettings = PowerSyncSettings()
    stacks: StacksSettings = StacksSettings()
    logs: LogSettings = LogSettings()
    supervisor: SupervisorSettings = SupervisorSettings()

    def faults(self) -> list[str]:
        """What no section shows by itself: the pool of so many engines (X16, T2)."""
        fault = pool_fault(self.engine.processes, self.database.pool_max)
        return [fault] if fault else []


class Entry(msgspec.Struct, frozen=True):
    """One value that somebody set, and where."""

    value: Any
    source: str


Entries = dict[tuple[str, ...], Entry]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, the file they came from, and what was set on purpose (path -> entry)."""

    settings: Settings
    file: Path | None
    entries: Entries
    warnings: tuple[str, ...] = ()
    """Names of the reference that were taken for ours (``ops.aliases``)."""


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """HOLDFAST_DATA_DIR, /var/lib/holdfast for root, or the user's own data directory."""
    if chosen := environ.get("HOLDFAST_DATA_DIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/holdfast")
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "holdfast"


def data_dir(settings: Settings, environ: Mapping[str, str] | None = None) -> Path:
    """Where this host keeps its files."""
    chosen = settings.data.dir
    return Path(chosen) if chosen else default_data_dir(os.environ if environ is None else environ)


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read file and environment. Raises ``ConfigError`` that lists every fault found."""
    env = os.environ if environ is None else environ
    file = _find_file(path, env)
    faults: list[str] = []
    entries: Entries = {}
    if file is not None:
        entries.update(_from_file(file, faults))
    entries.update(_from_environment(env))
    sources = {path: entry.source for path, entry in entries.items()}
    entries, warnings = translate(entries, set(known_paths()), sources)
    settings = cast("Settings", _build(Settings, (), entries, faults))
    faults.extend(_unknown(entries))
    if faults:
        raise ConfigError(_report(faults), faults=faults)
    return Loaded(settings=settings, file=file, entries=entries, warnings=tuple(warnings))


def _find_file(path: Path | None, env: Mapping[str, str]) -> Path | None:
    named = path or (Path(env["HOLDFAST_CONFIG"]) if env.get("HOLDFAST_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"there is no configuration file {named}; create it or name another")
        return named
    implied = default_data_dir(env) / FILE_NAME
    return implied if implied.is_file() else None


def _from_file(file: Path, faults: list[str]) -> Entries:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{file} cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file} is not TOML: {error}")
        return {}
    return dict(_flatten(document, Settings, (), str(file)))


def _flatten(
    table: Mapping[str, Any], struct: type[msgspec.Struct], path: tuple[str, ...], source: str
) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Tables that are sections are walked into; everything else is a value."""
    sections = {f.name: inner for f in msgspec.structs.fields(struct) if (inner := _section(f))}
    for key, value in table.items():
        inner = sections.get(key)
        if inner is not None and isinstance(value, dict):
            yield from _flatten(cast("dict[str, Any]", value), inner, (*path, key), source)
        elif not path and key in FOREIGN_SECTIONS and isinstance(value, dict):
            for name, inside in cast("dict[str, Any]", value).items():
                yield (key, name), Entry(inside, source)
        else:
            yield (*path, key), Entry(value, source)


def _from_environment(env: Mapping[str, str]) -> Entries:
    """Variables with a double underscore are settings; the others are nobody's business here."""
    found: Entries = {}
    for name in sorted(env):
        if name.startswith(PREFIX) and "__" in name:
            path = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
            found[path] = Entry(_Text(env[name]), f"environment variable {name}")
    return found


class _Text(str):
    """A value of the environment: text that still has to become the setting's type."""

    __slots__ = ()


def _section(field: msgspec.structs.FieldInfo) -> type[msgspec.Struct] | None:
    kind: Any = field.type
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _build(
    struct: type[msgspec.Struct], path: tuple[str, ...], entries: Entries, faults: list[str]
) -> msgspec.Struct:
    """Convert field by field, so that one fault does not hide the next."""
    before = len(faults)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        here = (*path, field.name)
        entry = entries.get(here)
        inner = _section(field)
        if inner is not None:
            if entry is not None:
                faults.append(f"{_at(here, entry)}: is a section, not a value")
            values[field.name] = _build(inner, here, entries, faults)
        elif entry is not None:
            try:
                values[field.name] = _convert(entry.value, field.type)
            except msgspec.ValidationError as error:
                faults.append(f"{_at(here, entry)}: {_allowed(field.type) or error}")
    if len(faults) > before:
        return struct()  # stands in for what is faulty; load() raises in the end
    built = struct(**values)
    check = getattr(built, "faults", None)
    if callable(check):
        faults.extend(cast("list[str]", check()))
    return built


def _convert(value: Any, kind: Any) -> Any:
    if not isinstance(value, _Text):
        return msgspec.convert(value, kind)
    text = str(value)
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        if text[:1] in "[{":
            try:
                return msgspec.convert(msgspec.json.decode(text), kind)
            except msgspec.DecodeError:
                pass
        elif isinstance(msgspec.inspect.type_info(kind), _LISTS):
            parts = [part.strip() for part in text.split(",") if part.strip()]
            return msgspec.convert(parts, kind, strict=False)
        raise


def _allowed(kind: Any) -> str:
    """What a setting may be, in words; empty if only msgspec can say."""
    info = msgspec.inspect.type_info(kind)
    if isinstance(info, msgspec.inspect.LiteralType):
        return "must be one of " + ", ".join(str(value) for value in info.values)
    if isinstance(info, msgspec.inspect.BoolType):
        return "must be true or false"
    if isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "a whole number" if isinstance(info, msgspec.inspect.IntType) else "a number"
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (
                ("at least", info.ge),
                ("above", info.gt),
                ("at most", info.le),
                ("below", info.lt),
            )
            if bound is not None
        ]
        return f"must be {noun}" + (", " + " and ".join(bounds) if bounds else "")
    return ""


def hidden(path: tuple[str, ...]) -> bool:
    """Whether the value may hold a password, and is never shown."""
    return path in (("database", "url"), ("broker", "url"))


def _at(path: tuple[str, ...], entry: Entry) -> str:
    shown = "(hidden)" if hidden(path) else f"{entry.value!r}"
    return f"{'.'.join(path)} = {shown} ({entry.source})"


def known_paths(
    struct: type[msgspec.Struct] = Settings, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The path of every setting there is."""
    for field in msgspec.structs.fields(struct):
        inner = _section(field)
        if inner is None:
            yield (*path, field.name)
        else:
            yield from known_paths(inner, (*path, field.name))


def _unknown(entries: Entries) -> list[str]:
    known = [".".join(path) for path in known_paths()]
    sections = list(Settings.__struct_fields__)
    faults: list[str] = []
    for path, entry in entries.items():
        name = ".".join(path)
        if name in known or name in sections or any(k.startswith(f"{name}.") for k in known):
            continue
        if foreign(path):
            faults.append(f"{name} ({entry.source}): this release has no such setting yet")
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        if path[0] not in sections:
            hint = difflib.get_close_matches(path[0], sections, n=1, cutoff=0.6)
            advice = f"did you mean [{hint[0]}]?" if hint else f"sections: {', '.join(sections)}"
            faults.append(f"{name} ({entry.source}): there is no section {path[0]!r}; {advice}")
            continue
        siblings = [k for k in known if k.startswith(f"{path[0]}.")]
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(siblings)}"
        faults.append(f"{name} ({entry.source}): no such setting; {advice}")
    return faults


def _report(faults: list[str]) -> str:
    if len(faults) == 1:
        return f"the configuration has a fault: {faults[0]}"
    listed = "".join(f"\n  - {fault}" for fault in faults)
    return f"the configuration has {len(faults)} faults:{listed}"
