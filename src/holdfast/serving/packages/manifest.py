"""What a package says of itself: format, service, endpoints, and the digest of every file.

The author writes ``service.toml`` (or ``.json``), which is a ``Service``; building adds what a
``Manifest`` has beyond it.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import msgspec

from holdfast.serving.errors import EndpointKindError, PackageError, PackageFormatError

FORMAT: Final = (1, 0)  # a newer minor may hold what this version does not know, so it is refused
MANIFEST: Final = "holdfast-package.json"
SIGNATURE: Final = "holdfast-package.sig"

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
PATH_BYTES_MAX: Final = 240
PATH_DEPTH_MAX: Final = 16
# Kinds that others serve and this node does not, so that the refusal can say more than "unknown".
_ELSEWHERE: Final = {
    "r-function": "R is not run here; write it as a Python function",
    "r-prediction": "R is not run here; export the model as ONNX",
    "causal-prediction": "treatment effects are not served; use a Python function",
}


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many workers a generation has, and how long who waits.

    ``floor`` are started before it serves; more come when queries wait, up to ``ceil``; those
    beyond ``cruise`` leave when idle. ``queue`` is how many queries may wait per possible worker.
    What an author leaves out follows the others: ``ceil = 4`` alone is a ``cruise`` of 4.
    """

    floor: int = 1
    cruise: int = 8
    ceil: int = 16
    queue: int = 16
    timeout_ms: int = 10_000

    def faults(self) -> list[str]:
        found: list[str] = []
        if not 1 <= self.floor <= self.cruise <= self.ceil <= 256:
            found.append(
                f"pool: floor {self.floor}, cruise {self.cruise} and ceil {self.ceil} are not "
                "1 <= floor <= cruise <= ceil <= 256"
            )
        if not 1 <= self.queue <= 10_000:
            found.append("pool.queue: between 1 and 10000")
        if not 10 <= self.timeout_ms <= 3_600_000:
            found.append("pool.timeout_ms: between 10 and 3600000")
        return found


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that may query. ``key`` is what an author writes; a package has its digest only."""

    id: str
    sha256: str = ""
    key: str = ""


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may query: anyone (``public``), or who shows one of the keys."""

    public: bool = False
    keys: list[Key] = []


class TestQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asked before a generation serves. ``expect`` is a part that the answer must have."""

    __test__ = False  # pytest: not a test
    query: dict[str, Any]
    action: str = ""  # the endpoint's first, if empty
    expect: Any = None


class Enrich(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Look features up in a sibling ``lookup`` endpoint before predicting.

    What the query itself gives is kept; ``columns`` (all if empty) are added.
    """

    endpoint: str
    columns: list[str] = []


class _Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    tests: list[TestQuery] = []


class FunctionSpec(_Endpoint, frozen=True, tag="function", tag_field="kind"):
    """A Python function, called with the query's members as keyword arguments."""

    file: str
    function: str


class CustomPredictionSpec(_Endpoint, frozen=True, tag="custom-prediction", tag_field="kind"):
    """A Python class: ``__init__(folder)``, ``predict(features_df)``; pandas is needed.

    ``predict`` returns predictions, or (predictions, data frame of probabilities).
    """

    file: str
    class_name: str
    folder: str = ""
    enrich: list[Enrich] = []


class PredictionSpec(_Endpoint, frozen=True, tag="prediction", tag_field="kind"):
    """A trained model. ``features`` are its columns, in order.

    ``frame``: the model wants a data frame (columns of any type); otherwise all features are
    numbers. ``trusted_types``: for skops, types beyond scikit-learn's own (signed packages only).
    """

    model: str
    flavour: Literal["skops", "onnx", "mlflow", "pickle"]
    features: list[str]
    task: Literal["classification", "regression"] = "classification"
    classes: list[str] = []
    frame: bool = False
    trusted_types: list[str] = []
    enrich: list[Enrich] = []


class ClusteringSpec(_Endpoint, frozen=True, tag="clustering", tag_field="kind"):
    """A model whose ``predict`` gives a cluster's number; ``classes`` are the clusters' names."""

    model: str
    flavour: Literal["skops", "onnx", "mlflow", "pickle"]
    features: list[str]
    classes: list[str] = []
    frame: bool = False
    trusted_types: list[str] = []
    enrich: list[Enrich] = []


class ForecastSpec(_Endpoint, frozen=True, tag="forecast", tag_field="kind"):
    """A Python class: ``__init__(folder)``, ``forecast(items)`` -> list of result objects."""

    file: str
    class_name: str
    folder: str = ""


class SqlSpec(_Endpoint, frozen=True, tag="sql", tag_field="kind"):
    """A query with ``:name`` parameters, which are bound.

    ``database`` is a bundled SQLite file, or ``connection`` names one of the node's own.
    """

    query: str
    parameters: list[str] = []
    database: str = ""
    connection: str = ""
    rows_max: int = 1000


class LookupSpec(_Endpoint, frozen=True, tag="lookup", tag_field="kind"):
    """Rows of a bundled CSV or JSON-lines file, found by the values of ``keys``."""

    data: str
    keys: list[str]
    columns: list[str] = []


EndpointSpec: TypeAlias = (
    FunctionSpec
    | CustomPredictionSpec
    | PredictionSpec
    | ClusteringSpec
    | ForecastSpec
    | SqlSpec
    | LookupSpec
)


_KINDS: Final[dict[str, type[EndpointSpec]]] = {
    str(spec.__struct_config__.tag): spec for spec in get_args(EndpointSpec)
}
_PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    r", tests\[\d+\]$": TestQuery,
    r", enrich\[\d+\]$": Enrich,
    r"^auth\.keys\[\d+\]$": Key,
    r"^auth$": Auth,
    r"^pool$": Pool,
}


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service and its endpoints, as its author writes them."""

    id: str
    endpoints: list[EndpointSpec]
    auth: Auth = Auth()
    pool: Pool = Pool()
    description: str = ""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the package; ``size`` in bytes."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a package says of itself."""

    format: str
    generation: str
    service: Service
    files: dict[str, FileEntry]


def kind_of(spec: EndpointSpec) -> str:
    """The ``kind`` that an author wrote."""
    return str(spec.__struct_config__.tag)


def offers(service: Service) -> dict[str, tuple[bool, list[str]]]:
    """What each endpoint does: whether it is asked many at once, and its actions, first of all.

    The front goes by this, whatever a worker says of itself.
    """
    return {spec.id: _offer(spec) for spec in service.endpoints}


def _offer(spec: EndpointSpec) -> tuple[bool, list[str]]:
    match spec:
        case FunctionSpec():
            return False, ["run"]
        case ForecastSpec():
            return False, ["forecast"]
        case SqlSpec():
            return False, ["query"]
        case LookupSpec():
            return False, ["lookup", "lookup-multi"]
        case PredictionSpec() | ClusteringSpec() | CustomPredictionSpec():
            return True, ["predict", "predict-multi", "infer"]


def decode_service(document: Any) -> Service:
    """A ``Service`` of plain data (from TOML or JSON); raises ``PackageError`` with all faults."""
    _refuse_known_elsewhere(document)
    try:
        service = msgspec.convert(_with_pool(document), Service)
    except msgspec.ValidationError as error:
        told = _explained(str(error), document)
        raise PackageError(f"The service's description is not right: {told}.") from None
    faults = service_faults(service)
    if faults:
        raise PackageError("The service's description is not right: " + "; ".join(faults) + ".")
    return service


def _with_pool(document: Any) -> Any:
    """The document with the pool's missing numbers, such that they go with those that are there."""
    told: Any = document.get("pool") if isinstance(document, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    names, usual = ("floor", "cruise", "ceil"), Pool()
    if not isinstance(told, dict) or not all(type(told.get(name, 1)) is int for name in names):  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
        return cast("Any", document)
    pool = cast("dict[str, Any]", told)
    floor = pool.get("floor", usual.floor)
    ceil = pool.get("ceil", max(usual.ceil, floor, pool.get("cruise", 1)))
    cruise = pool.get("cruise", max(floor, min(usual.cruise, ceil)))
    return {
        **cast("Any", document),
        "pool": {**pool, "floor": floor, "cruise": cruise, "ceil": ceil},
    }


def _explained(text: str, document: Any) -> str:
    """What msgspec says of a description, with the endpoint's name and what would be allowed."""
    told, _, path = text.partition(" - at `")
    if at := re.match(r"\$\.endpoints\[(\d+)\]", path):
        endpoint: Any = document["endpoints"][int(at[1])]
        known = cast("dict[str, Any]", endpoint if isinstance(endpoint, dict) else {})
        ident = f"the endpoint {known['id']!r}" if "id" in known else f"endpoints[{at[1]}]"
        spec = _KINDS.get(str(known.get("kind")))
        if known and spec is None:
            has = f"has the kind {known['kind']!r}" if "kind" in known else "has no kind"
            return f"{ident} {has}; kinds are {', '.join(_KINDS)}"
        path = ", ".join(filter(None, (ident, path[at.end() :].strip(".`"))))
        own = () if spec is None else (("kind", *spec.__struct_fields__))
    else:
        own = Service.__struct_fields__
    place = path.rstrip("`").removeprefix("$.") or "the service"
    told = told.replace("Object contains unknown", "unknown").replace("Object missing", "missing")
    if " field `" not in told:
        return f"{told}, in {place}"
    part = next((part for ending, part in _PARTS.items() if re.search(ending, place)), None)
    fields = own if part is None else part.__struct_fields__
    return f"{told}, in {place}, whose fields are {', '.join(fields)}"


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes; raises ``PackageError``, or ``PackageFormatError`` (D15)."""
    try:
        document: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PackageError(f"{MANIFEST} is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise PackageError(f"{MANIFEST} is not a JSON object.")
    _check_format(document.get("format"))  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    _refuse_known_elsewhere(document.get("service"))  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    try:
        manifest = msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise PackageError(f"{MANIFEST} is not right: {error}.") from None
    faults = service_faults(manifest.service)
    if not NAME.fullmatch(manifest.generation):
        faults.append(f"generation {manifest.generation!r} is not a name")
    for path, entry in manifest.files.items():
        check_path(path)
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            faults.append(f"the digest or size of {path} is not one")
    for path in files_needed(manifest.service):
        if not any(name == path or name.startswith(f"{path}/") for name in manifest.files):
            faults.append(f"{path} is named by an endpoint and missing")
    if any(key.key for key in manifest.service.auth.keys):
        faults.append("a package holds digests of keys, never keys")
    if faults:
        raise PackageError(f"{MANIFEST} is not right: " + "; ".join(faults) + ".")
    return manifest


def _check_format(found: object) -> None:
    ours = f"{FORMAT[0]}.{FORMAT[1]}"
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", found) if isinstance(found, str) else None
    if match is None:
        raise PackageFormatError(f"{MANIFEST} names no format; wanted is {ours!r}. Build it anew.")
    version = (int(match[1]), int(match[2]))
    if version[0] < FORMAT[0]:
        raise PackageFormatError(
            f"The package has the older format {found}, this node reads {ours}: build it anew "
            "with this version's `holdfast package build`."
        )
    if version > FORMAT:
        raise PackageFormatError(
            f"The package has the newer format {found}, this node reads {ours}: upgrade the node "
            "first, or build the package with the node's version."
        )


def _refuse_known_elsewhere(document: Any) -> None:
    endpoints: Any = document.get("endpoints", []) if isinstance(document, dict) else []  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    for endpoint in endpoints if isinstance(endpoints, list) else []:  # pyright: ignore[reportUnknownVariableType]
        kind = endpoint.get("kind") if isinstance(endpoint, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
        if isinstance(kind, str) and kind in _ELSEWHERE:
            raise EndpointKindError(f"Endpoints of kind {kind!r} are refused: {_ELSEWHERE[kind]}.")


def service_faults(service: Service) -> list[str]:
    """All that is wrong with it, a clause each."""
    faults = service.pool.faults()
    if not NAME.fullmatch(service.id):
        faults.append(f"the service's id {service.id!r} is not a name (letters, digits, . _ -)")
    if not service.endpoints:
        faults.append("a service has at least one endpoint")
    if not service.auth.public and not service.auth.keys:
        faults.append("auth: give keys, or say public = true")
    ids = [endpoint.id for endpoint in service.endpoints]
    faults += [
        f"two endpoints have the id {one!r}" for one in sorted(set(ids)) if ids.count(one) > 1
    ]
    lookups = {endpoint.id for endpoint in service.endpoints if isinstance(endpoint, LookupSpec)}
    for endpoint in service.endpoints:
        faults += [f"endpoint {endpoint.id!r}: {fault}" for fault in _endpoint_faults(endpoint)]
        if isinstance(endpoint, PredictionSpec | ClusteringSpec | CustomPredictionSpec):
            faults += [
                f"endpoint {endpoint.id!r}: enrich names {enrich.endpoint!r}, no lookup here"
                for enrich in endpoint.enrich
                if enrich.endpoint not in lookups
            ]
    for key in service.auth.keys:
        if bool(key.key) == bool(key.sha256) or (key.sha256 and not _SHA256.fullmatch(key.sha256)):
            faults.append(f"auth: key {key.id!r} needs either key or sha256 (64 hex digits)")
        if key.key and len(key.key) < 12:
            faults.append(f"auth: key {key.id!r} is shorter than 12 characters")
    return faults


def _endpoint_faults(spec: EndpointSpec) -> list[str]:
    faults: list[str] = []
    if not NAME.fullmatch(spec.id):
        faults.append("its id is not a name (letters, digits, . _ -)")
    if isinstance(spec, PredictionSpec | ClusteringSpec) and not spec.features:
        faults.append("features: name the model's columns, in order")
    if isinstance(spec, SqlSpec):
        if bool(spec.database) == bool(spec.connection):
            faults.append("give either database (a bundled SQLite file) or connection")
        if not 1 <= spec.rows_max <= 1_000_000:
            faults.append("rows_max: between 1 and 1000000")
        named = set(re.findall(r"(?<!:):([A-Za-z_]\w*)", spec.query))
        if named != set(spec.parameters):
            needed = ", ".join(f'"{name}"' for name in sorted(named))
            wanted = f"write parameters = [{needed}]" if needed else "leave parameters out"
            faults.append(f"{wanted}, as in its query")
    if isinstance(spec, LookupSpec) and not spec.keys:
        faults.append("keys: name the columns that rows are found by")
    return faults


def files_needed(service: Service) -> list[str]:
    """The files (or folders) that endpoints name; raises ``PackageError`` for an unsafe path."""
    needed: list[str] = []
    for spec in service.endpoints:
        for field in ("file", "model", "folder", "database", "data"):
            path = getattr(spec, field, "")
            if path:
                check_path(path)
                needed.append(path)
    return needed


def check_path(path: str) -> None:
    """The one rule for paths in packages: relative, plain, forward. Raises ``PackageError``."""
    parts = path.split("/")
    faulty = (
        not path
        or len(path.encode()) > PATH_BYTES_MAX
        or len(parts) > PATH_DEPTH_MAX
        or any(part in ("", ".", "..") for part in parts)
        or any(ord(c) < 32 or c in '\\:*?"<>|\x7f' for c in path)
        or any(part != part.strip() or part.endswith(".") for part in parts)
    )
    if faulty:
        raise PackageError(f"{path[:80]!r} is not an acceptable path in a package.")


def sort_of_pickle(spec: EndpointSpec) -> bool:
    """Whether opening this model may run code that a reader of the package does not see."""
    return isinstance(spec, PredictionSpec | ClusteringSpec) and spec.flavour == "pickle"
