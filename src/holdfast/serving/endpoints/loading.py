"""All endpoints of a service, made in the order they need each other, and tried."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from holdfast.errors import HoldfastError
from holdfast.serving import siblings
from holdfast.serving.endpoints.base import Endpoint, Surroundings, encode
from holdfast.serving.endpoints.lookup import LookupEndpoint, index_of, make_index
from holdfast.serving.endpoints.models import load_model
from holdfast.serving.endpoints.prediction import Enricher, PredictionEndpoint
from holdfast.serving.endpoints.python import CustomModel, ForecastEndpoint, FunctionEndpoint
from holdfast.serving.endpoints.sql import SqlEndpoint
from holdfast.serving.errors import LoadError
from holdfast.serving.packages.expectations import contains
from holdfast.serving.packages.manifest import (
    ClusteringSpec,
    CustomPredictionSpec,
    EndpointSpec,
    ForecastSpec,
    FunctionSpec,
    LookupSpec,
    PredictionSpec,
    Service,
    SqlSpec,
)


def load(service: Service, around: Surroundings) -> dict[str, Endpoint]:
    """Endpoints by id; raises ``LoadError`` for whatever an author's code may raise."""
    made: dict[str, Endpoint] = {}
    siblings.provide(made)
    # Lookups first: others enrich from them.
    for spec in sorted(service.endpoints, key=lambda one: not isinstance(one, LookupSpec)):
        try:
            made[spec.id] = _load_one(spec, around, made)
        except HoldfastError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise LoadError(
                f"The endpoint {spec.id!r} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return made


def derive(service: Service, content: Path, target: Path) -> None:
    """Make what endpoints need beside the package's files; raises ``LoadError``.

    Done once per load, by a worker that runs nothing of the package: what others could have
    written to is never read.
    """
    for spec in service.endpoints:
        if isinstance(spec, LookupSpec):
            make_index(content / spec.data, spec.keys, target / index_of(spec))


def _load_one(spec: EndpointSpec, around: Surroundings, made: Mapping[str, Endpoint]) -> Endpoint:
    if isinstance(spec, FunctionSpec):
        return FunctionEndpoint(spec, around)
    if isinstance(spec, LookupSpec):
        return LookupEndpoint(spec, around)
    if isinstance(spec, SqlSpec):
        return SqlEndpoint(spec, around)
    if isinstance(spec, ForecastSpec):
        return ForecastEndpoint(spec, around)
    model = (
        CustomModel(spec, around)
        if isinstance(spec, CustomPredictionSpec)
        else load_model(spec, around)
    )
    return PredictionEndpoint(model, _enrichers(spec, made))


def _enrichers(
    spec: CustomPredictionSpec | PredictionSpec | ClusteringSpec, made: Mapping[str, Endpoint]
) -> list[Enricher]:
    return [
        Enricher(cast("LookupEndpoint", made[enrich.endpoint]), enrich.columns)
        for enrich in spec.enrich
    ]


def run_tests(service: Service, endpoints: Mapping[str, Endpoint]) -> None:
    """Ask every test query, which also warms up; raises ``LoadError`` at the first that fails."""
    for spec in service.endpoints:
        endpoint = endpoints[spec.id]
        for number, test in enumerate(spec.tests, 1):
            where = f"Test query {number} of endpoint {spec.id!r}"
            try:
                answer = endpoint.answer(test.action or endpoint.actions[0], dict(test.query))
                encode(answer)
            except Exception as error:
                raise LoadError(f"{where} fails: {type(error).__name__}: {error}") from error
            if test.expect is not None and not contains(answer, test.expect):
                raise LoadError(f"{where} is answered {str(answer)[:500]}, not {test.expect}.")
