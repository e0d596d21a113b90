"""A small client of the cluster API, on the standard library: it starts in milliseconds."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from holdfast.errors import HoldfastError, NotFoundError, UnavailableError

DEFAULT_CLOUD: Final = "holdfast"
_TIMEOUT_S: Final = 15.0
_QUIET_S: Final = 60.0  # a stream shows that it lives far more often
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


class Frame(msgspec.Struct, frozen=True):
    """A piece of a stream: how far it has come, and what happened (None: nothing)."""

    id: str
    event: Any


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

    def node_name(self, node: str) -> str | None:
        """What the Bare Metal API calls a node; None if it has no name, or is gone."""
        headers = {**self._authenticated(), "X-OpenStack-Ironic-API-Version": "1.8"}
        path = f"{self._prefix}/baremetal/v1/nodes/{quote(node, safe='')}?fields=name"
        status, _, answer = self._send("GET", path, None, headers)
        return msgspec.convert(answer, _Named).name if status == 200 else None

    def post(self, path: str, body: Any = None) -> Any:
        return self._cluster("POST", path, body)

    def follow(self, path: str, last_id: str | None, **query: object) -> Iterator[Frame]:
        """Read a stream of server-sent events below ``/cluster/v1`` until it ends.

        Raises ``UnavailableError`` when it breaks off, and ``HoldfastError`` when it is
        refused. Whoever comes back gives the last ``Frame.id`` and misses nothing.
        """
        given = {k: v for k, v in query.items() if v is not None}
        headers = {**self._authenticated(), "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        connection = self._connection(_QUIET_S)
        try:
            connection.request(
                "GET", f"{self._prefix}/cluster/v1{path}?{urlencode(given)}", headers=headers
            )
            response = connection.getresponse()
            if response.status == 401:
                self._token = None  # it has ended: the next time there is a new one
                return
            if response.status != 200:
                raise _refusal(response.status, _decoded(response.read(_ANSWER_BYTES_MAX)))
            yield from _frames(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._nothing_answers(error) from error
        finally:
            connection.close()

    def _cluster(self, method: str, path: str, body: Any = None) -> Any:
        status, _, answer = self._send(
            method, f"{self._prefix}/cluster/v1{path}", body, self._authenticated()
        )
        if status >= 400:
            raise _refusal(status, answer)
        return answer

    def _authenticated(self) -> dict[str, str]:
        if self._token is None:
            self._token = self._authenticate()
        return {"X-Auth-Token": self._token}

    def _authenticate(self) -> str:
        status, headers, answer = self._send(
            "POST", f"{self._address.path}/auth/tokens", {"auth": _auth(self._cloud.auth)}, {}
        )
        token = headers.get("x-subject-token")
        if status != 201 or token is None:
            raise _refusal(status, answer)
        return token

    def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], Any]:
        connection = self._connection(_TIMEOUT_S)
        payload = None if body is None else json.dumps(body)
        try:
            connection.request(
                method, path, payload, {"Content-Type": "application/json", **headers}
            )
            response = connection.getresponse()
            text = response.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._nothing_answers(error) from error
        finally:
            connection.close()
        return (
            response.status,
            {k.lower(): v for k, v in response.headers.items()},
            _decoded(text),
        )

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        address = self._address
        kind = (
            http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        )
        return kind(address.hostname or "", address.port, timeout=timeout_s)

    def _nothing_answers(self, error: Exception) -> UnavailableError:
        address = self._address
        return UnavailableError(
            f"nothing answers at {address.scheme}://{address.netloc} ({error}); is the system up?"
        )


def _auth(given: dict[str, Any]) -> dict[str, Any]:
    """What a cloud's ``auth`` proves, and for which scope."""
    domain = {"id": given.get("user_domain_id", "default")}
    if secret := given.get("application_credential_secret"):
        proof: dict[str, Any] = {"secret": secret}
        if "application_credential_id" in given:
            proof["id"] = given["application_credential_id"]
        else:
            proof["name"] = given.get("application_credential_name")
            proof["user"] = {"name": given.get("username"), "domain": domain}
        method = "application_credential"
        return {"identity": {"methods": [method], method: proof}}
    user = {"name": given.get("username"), "password": given.get("password"), "domain": domain}
    scope: dict[str, Any] = {"system": {"all": True}}
    if "system_scope" not in given:
        project_domain = {"id": given.get("project_domain_id", "default")}
        scope = {"project": {"name": given.get("project_name"), "domain": project_domain}}
    return {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}


def _frames(response: http.client.HTTPResponse) -> Iterator[Frame]:
    """Server-sent events: lines up to an empty one; those that we do not know are skipped."""
    last_id, data = "", ""
    for line in response:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "data":
            data += value
        elif not name and not value:
            if last_id:
                yield Frame(id=last_id, event=json.loads(data) if data else None)
            data = ""


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return {"message": text[:200].decode(errors="replace")}


def _refusal(status: int, answer: Any) -> HoldfastError:
    """The message of whatever error document came; 503 is what may pass."""
    try:
        document = msgspec.convert(answer, _Refusal)
        message = document.error.message if document.error else document.message
    except msgspec.ValidationError:
        message = ""
    kind = UnavailableError if status == 503 else ClientError
    return kind(f"{message or answer or 'refused'} (HTTP {status})")


class _Named(msgspec.Struct):
    name: str | None = None


class _Told(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    message: str = ""
    error: _Told | None = None
