"""Prediction and clustering: records in, one result each out, as many at once as wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from holdfast.serving.endpoints.base import Endpoint, Query, Row, object_of, objects_of
from holdfast.serving.endpoints.lookup import LookupEndpoint
from holdfast.serving.errors import QueryError


class RecordModel(ABC):
    """Predicts for records; for each, in order, a result object, or why it is at fault."""

    @abstractmethod
    def predict(self, records: Sequence[Row]) -> Sequence[Row | QueryError]: ...

    def infer(self, query: Query) -> Query:
        """An Open Inference Protocol query; only models of numbers have it."""
        del query
        raise QueryError("This endpoint's model takes no tensors: use predict.")


class Enricher:
    """Adds columns of a sibling lookup to a record; what the query gives is kept."""

    def __init__(self, lookup: LookupEndpoint, columns: Sequence[str]) -> None:
        self._lookup = lookup
        self._columns = columns

    def enriched(self, record: Row) -> tuple[Row, str | None]:
        """The fuller record, or why it is ignored."""
        rows = self._lookup.find(record)
        if not rows:
            return record, None
        if len(rows) > 1:
            return record, "several rows match the lookup keys"
        found = rows[0]
        wanted = self._columns or found.keys()
        return {**{name: found.get(name) for name in wanted}, **record}, None


class PredictionEndpoint(Endpoint):
    """``predict`` one, ``predict-multi`` many, ``infer`` tensors (Open Inference Protocol V2)."""

    vectorised = True
    actions = ("predict", "predict-multi", "infer")

    def __init__(self, model: RecordModel, enrichers: Sequence[Enricher] = ()) -> None:
        self._model = model
        self._enrichers = enrichers

    def answer(self, action: str, query: Query) -> Any:
        (answer,) = self.answer_batch(action, [query])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def answer_batch(self, action: str, queries: Sequence[Query]) -> list[Any]:
        if action == "infer":
            return [self._infer(query) for query in queries]
        wanted = [self._records(action, query) for query in queries]
        flat = [record for records in wanted if isinstance(records, list) for record in records]
        try:
            results = iter(self._predict(flat))
        except Exception as error:  # noqa: BLE001 - models raise what they like
            if len(queries) == 1:
                return [error]
            # One bad record must not fail its batch-mates: everyone alone.
            return [self._answer_or_error(action, query) for query in queries]
        return [self._taken(action, records, results) for records in wanted]

    @staticmethod
    def _taken(action: str, records: list[Row] | Exception, results: Any) -> Any:
        if isinstance(records, Exception):
            return records
        found = [next(results) for _ in records]
        for at, one in enumerate(found):
            if isinstance(one, QueryError):
                return one if action == "predict" else QueryError(f"items[{at}]: {one.message}")
        return {"result": found[0]} if action == "predict" else {"results": found}

    @staticmethod
    def _records(action: str, query: Query) -> list[Row] | Exception:
        try:
            if action == "predict":
                return [object_of(query, "features")]
            return objects_of(query, "features")
        except Exception as error:  # noqa: BLE001 - each query has its own
            return error

    def _predict(self, records: list[Row]) -> Sequence[Row | QueryError]:
        if not self._enrichers:
            return self._model.predict(records) if records else []
        results: list[Row | None] = []
        kept: list[Row] = []
        for record in records:
            full, reason = record, None
            for enricher in self._enrichers:
                full, why = enricher.enriched(full)
                reason = reason or why
            results.append(ignored(reason) if reason else None)
            if reason is None:
                kept.append(full)
        predicted = iter(self._model.predict(kept) if kept else [])
        return [result if result is not None else next(predicted) for result in results]

    def _infer(self, query: Query) -> Any:
        try:
            return self._model.infer(query)
        except Exception as error:  # noqa: BLE001 - each query has its own
            return error


def ignored(reason: str) -> Row:
    """The result of a record that cannot be predicted for."""
    return {"ignored": True, "ignoreReason": reason}
