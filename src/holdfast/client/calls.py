"""The query API's calls as plain values (compat.md, "Serving"; the shapes are dataikuapi's)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast
from urllib.parse import quote

from holdfast.client.errors import AnswerError, WireError
from holdfast.client.wire import Answer
from holdfast.errors import InvalidInputError

Json: TypeAlias = dict[str, Any]
Record: TypeAlias = Mapping[str, Any]
FUNCTION = "run"
_DETAIL_MAX = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """``POST {service}/{endpoint}/{action}``."""

    endpoint: str
    action: str
    body: Record

    @property
    def kind(self) -> str:
        """Queries of a kind cost about the same."""
        return f"{self.endpoint}/{self.action}"

    def path(self, service: str) -> str:
        """Below an instance's base."""
        return f"{service_path(service)}/{quote(self.endpoint, safe='')}/{self.action}"

    def to_bytes(self) -> bytes:
        """NaN goes bare, as dataikuapi sends it. Raises ``InvalidInputError``."""
        try:
            return json.dumps(self.body).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"The query cannot be written as JSON: {error}.") from None


def service_path(service: str) -> str:
    """Below an instance's base."""
    return f"/public/api/v1/{quote(service, safe='')}"


@dataclasses.dataclass(frozen=True, slots=True)
class Dispatching:
    """Which generation is to answer: ``forced_generation``, or by the hash of ``dispatch_key``."""

    forced_generation: str | None = None
    dispatch_key: str | None = None

    def into(self, body: Json) -> Json:
        if self.forced_generation is not None:
            body["dispatch"] = {"forcedGeneration": self.forced_generation}
        elif self.dispatch_key is not None:
            body["dispatch"] = {"dispatchKey": self.dispatch_key}
        return body


def predict_record(
    endpoint: str, features: Record, dispatching: Dispatching, context: Record | None
) -> Call:
    """One record of a prediction endpoint."""
    body: Json = {"features": features}
    if context is not None:
        body["context"] = context
    return Call(endpoint, "predict", dispatching.into(body))


def predict_records(endpoint: str, records: Sequence[Record], dispatching: Dispatching) -> Call:
    """Many; each record has ``features``."""
    _check_members(records, "features")
    return Call(endpoint, "predict-multi", dispatching.into({"items": list(records)}))


def forecast(endpoint: str, records: Sequence[Record], dispatching: Dispatching) -> Call:
    """The next values of time series."""
    return Call(endpoint, "forecast", dispatching.into({"items": list(records)}))


def sql_query(endpoint: str, parameters: Record) -> Call:
    """A SQL endpoint, its parameters bound."""
    return Call(endpoint, "query", parameters)


def lookup_record(endpoint: str, record: Record, context: Record | None) -> Call:
    """One row of a dataset."""
    body: Json = {"data": record}
    if context is not None:
        body["context"] = context
    return Call(endpoint, "lookup", body)


def lookup_records(endpoint: str, records: Sequence[Record]) -> Call:
    """Many; each record has ``data``."""
    _check_members(records, "data")
    return Call(endpoint, "lookup-multi", {"items": list(records)})


def run_function(endpoint: str, arguments: Record) -> Call:
    """A function, by its arguments' names."""
    return Call(endpoint, FUNCTION, arguments)


def _check_members(records: Sequence[Record], member: str) -> None:
    if any(member not in record for record in records):
        raise InvalidInputError(f"Each record needs {member!r}, an object.")


def is_hedged(action: str, endpoint: str, pure: frozenset[str]) -> bool:
    """Functions only if declared: asking them twice may cost more than it saves."""
    return action != FUNCTION or endpoint in pure


def document_of(answer: Answer, instance: str) -> Json:
    """An answer's document; raises ``AnswerError`` for an error, ``WireError`` for no JSON."""
    try:
        document: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if answer.status >= 300:
        kind, text = "", answer.body[:_DETAIL_MAX].decode("utf-8", "replace")
        if isinstance(document, dict):
            members = cast("Json", document)
            kind = str(members.get("errorType", ""))
            text = str(members.get("detailedMessage") or members.get("message") or "")
        message = f"{instance} answered {answer.status}: {kind}{': ' if kind else ''}{text}"
        raise AnswerError(message[:_DETAIL_MAX], answer.status, kind, instance)
    if not isinstance(document, dict):
        raise WireError(f"{instance} answered no JSON object.")
    return cast("Json", document)
