"""Microversions: what a request asks for, what an answer says, and the version documents.

Source: the API's own rules of negotiation. No header means 1.1; ``latest`` means the
highest; anything outside the range is answered 406 with the range in the headers, from
which clients pick a version and repeat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from holdfast.baremetal.errors import (
    MethodNotThereError,
    NoSuchResourceError,
    NotAcceptableError,
)

MIN = 1
MAX = 95

_OWN = b"x-openstack-ironic-api-version"
_STANDARD = b"openstack-api-version"
_VERSION = re.compile(r"1\.(\d{1,5})")
_SERVICE = re.compile(r"baremetal\s+(\S+)", re.IGNORECASE)

RANGE_HEADERS = {
    "X-OpenStack-Ironic-API-Minimum-Version": f"1.{MIN}",
    "X-OpenStack-Ironic-API-Maximum-Version": f"1.{MAX}",
}


def asked_minor(headers: Mapping[bytes, bytes]) -> int:
    """The minor version a request asks for. Raises ``NotAcceptableError`` (406)."""
    own = headers.get(_OWN)
    asked = own.decode("latin-1").strip() if own is not None else None
    if asked is None and _STANDARD in headers:
        said = _SERVICE.search(headers[_STANDARD].decode("latin-1"))
        asked = said.group(1) if said else None
    if asked is None:
        return MIN
    if asked == "latest":
        return MAX
    matched = _VERSION.fullmatch(asked)
    if matched is None or not MIN <= int(matched.group(1)) <= MAX:
        raise NotAcceptableError(
            f"Version {asked} was requested but is not supported by this service. "
            f"The supported version range is: [1.{MIN}, 1.{MAX}]."
        )
    return int(matched.group(1))


@lru_cache(maxsize=256)
def headers_of(minor: int) -> dict[str, str]:
    """What every answer says of the version it speaks. Do not change the dictionary."""
    return {
        **RANGE_HEADERS,
        "X-OpenStack-Ironic-API-Version": f"1.{minor}",
        "OpenStack-API-Version": f"baremetal 1.{minor}",
    }


def error_headers(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The same for an error, where the version asked for may be the error."""
    try:
        return headers_of(asked_minor(headers))
    except NotAcceptableError:
        return RANGE_HEADERS


def require(minor: int, since: int) -> None:
    """Raise ``NotAcceptableError`` (406) unless the request's version has the feature."""
    if minor < since:
        raise NotAcceptableError(
            f"Request not acceptable. The minimal required API version should be 1.{since}"
        )


def exists_since(minor: int, since: int, *, changes: bool = False) -> None:
    """A resource that came later is not there at all in the request's version (404).

    ``changes``: as the reference has it for some, whose methods that change are then
    not there (405).
    """
    if minor >= since:
        return
    said = f"This came with version 1.{since} of the API, and 1.{minor} was asked for"
    raise MethodNotThereError(said) if changes else NoSuchResourceError(said)


def version_document(url: str) -> dict[str, Any]:
    """The one version there is. ``url``: the root of this API, no slash at its end."""
    return {
        "id": "v1",
        "links": [{"href": f"{url}/v1/", "rel": "self"}],
        "status": "CURRENT",
        "min_version": f"1.{MIN}",
        "version": f"1.{MAX}",
    }


def root_document(url: str) -> dict[str, Any]:
    """The answer at the root."""
    version = version_document(url)
    return {
        "name": "OpenStack Ironic API",
        "description": "Bare Metal API v1, served by Holdfast.",
        "versions": [version],
        "default_version": version,
    }


_RESOURCES = {
    "nodes": MIN,
    "ports": MIN,
    "chassis": MIN,
    "drivers": MIN,
    "lookup": 22,
    "heartbeat": 22,
    "portgroups": 23,
    "conductors": 49,
    "allocations": 52,
    "deploy_templates": 55,
    "shards": 82,
    "runbooks": 92,
}


def v1_document(url: str, minor: int) -> dict[str, Any]:
    """The answer at ``/v1``: the resources of the asked version."""
    document: dict[str, Any] = {
        "id": "v1",
        "links": [{"href": f"{url}/v1/", "rel": "self"}],
        "media_types": [
            {"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}
        ],
        "version": version_document(url),
    }
    for name, since in _RESOURCES.items():
        if minor >= since:
            document[name] = [
                {"href": f"{url}/v1/{name}/", "rel": "self"},
                {"href": f"{url}/{name}/", "rel": "bookmark"},
            ]
    return document
