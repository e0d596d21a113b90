"""A small client of the cluster API, on the standard library: it starts in milliseconds."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from holdfast.errors import HoldfastError, NotFoundError, UnavailableError

DEFAULT_CLOUD: Final = "holdfast"
_TIMEOUT_S: Final = 15.0
_ANSWER_BYTES_MAX: Final = 64 << 20


class ClientError(HoldfastError):
    """The cluster API refused the request; the message is its own."""

    code = "client"
    status = 400


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of clouds.yaml, as far as we need it."""

    auth_url: str
    auth: dict[str, Any]


def find_cloud(name: str | None, environ: Mapping[str, str], local: Path) -> Cloud:
    """The named cloud from OS_CLIENT_CONFIG_FILE, this host's data directory, or the usual places.

    ``name`` None: "holdfast". Raises ``NotFoundError`` saying where it was looked for.
    """
    wanted = name or DEFAULT_CLOUD
    chosen = environ.get("OS_CLIENT_CONFIG_FILE")
    places = (
        [Path(chosen)]
        if chosen
        else [
            local,
            Path("clouds.yaml"),
            Path.home() / ".config/openstack/clouds.yaml",
            Path("/etc/openstack/clouds.yaml"),
        ]
    )
    for place in places:
        entry = _read_clouds(place).get(wanted)
        if entry is not None:
            auth: dict[str, Any] = dict(entry.get("auth") or {})
            url = str(auth.pop("auth_url", "")).rstrip("/")
            if url:
                return Cloud(auth_url=url, auth=auth)
    looked = ", ".join(str(place) for place in places)
    raise NotFoundError(
        f"no cloud {wanted!r} with an auth_url in {looked}; start the system with "
        "`holdfast up`, or name another cloud with --os-cloud"
    )


def _read_clouds(path: Path) -> dict[str, dict[str, Any]]:
    import yaml

    try:
        document: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise ClientError(f"{path} cannot be read: {error}") from error
    try:
        return msgspec.convert(document or {}, _Clouds).clouds
    except msgspec.ValidationError as error:
        raise ClientError(f"{path} is not a clouds.yaml: {error}") from error


class _Clouds(msgspec.Struct):
    clouds: dict[str, dict[str, Any]] = {}


class Client:
    """Authenticates once, then speaks to ``/cluster/v1`` beside the identity service."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._address = urlsplit(cloud.auth_url)
        self._prefix = self._address.path.removesuffix("/v3").removesuffix("/identity")
        self._token: str | None = None

    def get(self, path: str, **query: object) -> Any:
        """GET ``/cluster/v1{path}``, decoded; a query value of None is left out.

        Raises ``HoldfastError`` for whatever goes wrong.
        """
        given = {k: str(v).lower() if v is True else v for k, v in query.items() if v is not None}
        return self._cluster("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: Any = None) -> Any:
        return self._cluster("POST", path, body)

    def _cluster(self, method: str, path: str, body: Any = None) -> Any:
        if self._token is None:
            self._token = self._authenticate()
        status, _, answer = self._send(
            method, f"{self._prefix}/cluster/v1{path}", body, {"X-Auth-Token": self._token}
        )
        if status >= 400:
            raise _refusal(status, answer)
        return answer

    def _authenticate(self) -> str:
        auth = self._cloud.auth
        user: dict[str, Any] = {"name": auth.get("username"), "password": auth.get("password")}
        user["domain"] = {"id": auth.get("user_domain_id", "default")}
        scope: dict[str, Any] = {"system": {"all": True}}
        if "system_scope" not in auth:
            domain = {"id": auth.get("project_domain_id", "default")}
            scope = {"project": {"name": auth.get("project_name"), "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        status, headers, answer = self._send(
            "POST",
            f"{self._address.path}/auth/tokens",
            {"auth": {"identity": identity, "scope": scope}},
            {},
        )
        token = headers.get("x-subject-token")
        if status != 201 or token is None:
            raise _refusal(status, answer)
        return token

    def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        address = self._address
        kind = (
            http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(address.hostname or "", address.port, timeout=_TIMEOUT_S)
        payload = None if body is None else json.dumps(body)
        try:
            connection.request(
                method, path, payload, {"Content-Type": "application/json", **headers}
            )
            response = connection.getresponse()
            text = response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(
                f"nothing answers at {address.scheme}://{address.netloc} ({error}); "
                "is the system up?"
            ) from error
        finally:
            connection.close()
        try:
            answer = json.loads(text) if text else None
        except ValueError:
            answer = {"message": text[:200].decode(errors="replace")}
        return response.status, {k.lower(): v for k, v in response.headers.items()}, answer


def _refusal(status: int, answer: Any) -> ClientError:
    """The message of whatever error document came."""
    try:
        document = msgspec.convert(answer, _Refusal)
        message = document.error.message if document.error else document.message
    except msgspec.ValidationError:
        message = ""
    return ClientError(f"{message or answer or 'refused'} (HTTP {status})")


class _Told(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    message: str = ""
    error: _Told | None = None
