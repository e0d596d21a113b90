"""An OpenAPI document for each service, made of its description."""

from __future__ import annotations

from typing import Any, Final

from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.packages.manifest import (
    ClusteringSpec,
    EndpointSpec,
    PredictionSpec,
    SqlSpec,
    kind_of,
)

_OBJECT: Final[dict[str, Any]] = {"type": "object"}


def openapi(mounted: Mounted) -> dict[str, Any]:
    """OpenAPI 3.1 of a service's newest-mapped generation."""
    service = mounted.service
    paths: dict[str, Any] = {}
    for spec in service.endpoints:
        for action in sorted(mounted.pool.actions.get(spec.id, ())):
            if action != "infer":
                paths[f"/{spec.id}/{action}"] = {"post": _operation(spec, action)}
    security: list[dict[str, list[str]]] = [{"basic": []}, {"bearer": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.id,
            "version": mounted.generation.id,
            "description": service.description,
        },
        "servers": [{"url": f"/public/api/v1/{service.id}"}],
        "paths": paths,
        "security": [*security, {}] if service.auth.public else security,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["errorType", "message", "detailedMessage"],
                    "properties": {
                        name: {"type": "string"}
                        for name in ("errorType", "message", "detailedMessage")
                    },
                }
            },
        },
    }


def _operation(spec: EndpointSpec, action: str) -> dict[str, Any]:
    error = {"$ref": "#/components/schemas/Error"}
    content = {"application/json": {"schema": _body(spec, action)}}
    if spec.tests:
        content["application/json"]["example"] = spec.tests[0].query
    return {
        "operationId": f"{spec.id}.{action}",
        "summary": f"{action} of {spec.id} ({kind_of(spec)})",
        "requestBody": {"content": content},
        "responses": {
            "200": {"description": "answered", "content": {"application/json": {}}},
            "default": {
                "description": "refused or failed",
                "content": {"application/json": {"schema": error}},
            },
        },
    }


def _body(spec: EndpointSpec, action: str) -> dict[str, Any]:
    if isinstance(spec, SqlSpec):
        return {
            "type": "object",
            "required": spec.parameters,
            "properties": {name: {} for name in spec.parameters},
            "additionalProperties": False,
        }
    member = "features" if action.startswith("predict") else "data"
    one: dict[str, Any] = _OBJECT
    if isinstance(spec, PredictionSpec | ClusteringSpec):
        kind: dict[str, Any] = {} if spec.frame else {"type": ["number", "string", "null"]}
        one = {"type": "object", "properties": dict.fromkeys(spec.features, kind)}
    if action in ("predict", "lookup"):
        return {"type": "object", "required": [member], "properties": {member: one}}
    if action in ("predict-multi", "lookup-multi"):
        item = {"type": "object", "required": [member], "properties": {member: one}}
        items = {"type": "array", "items": item}
        return {"type": "object", "required": ["items"], "properties": {"items": items}}
    return _OBJECT
