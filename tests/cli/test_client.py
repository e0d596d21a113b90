"""The client of the cluster API finds its cloud and explains refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.cli.client import Client, ClientError, Cloud, Frame, find_cloud
from holdfast.errors import NotFoundError, UnavailableError

CLOUDS = """
clouds:
  holdfast:
    auth: {auth_url: "http://a:1/identity/v3", username: admin, password: p, project_name: admin}
  other:
    auth: {auth_url: "http://b:2/v3", username: u, password: p, system_scope: all}
"""


class Handler(BaseHTTPRequestHandler):
    """Identity and cluster API, as far as the client needs them."""

    asked: list[tuple[str, str, object]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        self.asked.append(("POST", self.path, body))
        if self.path == "/identity/v3/auth/tokens":
            proof = body["auth"]["identity"].get("password", {"user": {"password": None}})
            password = proof["user"]["password"]
            if password != "right":
                return self._answer(401, {"error": {"message": "wrong password", "code": 401}})
            return self._answer(201, {}, {"X-Subject-Token": "t0"})
        return self._answer(202, {"done": True})

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path, self.headers["X-Auth-Token"]))
        if self.path.startswith("/cluster/v1/why/"):
            return self._answer(404, {"code": "not_found", "message": "there is no node x"})
        if self.path.startswith("/cluster/v1/stream"):
            return self._stream()
        if self.path == "/baremetal/v1/nodes/n1?fields=name":
            return self._answer(200, {"name": "web-1", "links": []})
        if self.path.startswith("/baremetal/"):
            return self._answer(404, {"error_message": "gone"})
        return self._answer(200, {"members": []})

    def _stream(self) -> None:
        refused = {"9-9": (503, "come back later"), "8-8": (401, "the token is over")}
        if (last := self.headers["Last-Event-ID"]) in refused:
            status, message = refused[last]
            self._answer(status, {"message": message})
            return
        self.send_response(200)
        self.end_headers()
        for frame in (
            "retry: 1\nid: 0-1\n\n",
            'id: 1-1\ndata: {"n": 1}\n\n',
            ": beat\nid: 2-0\n\n",
        ):
            self.wfile.write(frame.encode())

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/identity/v3"
    server.shutdown()
    thread.join()
    server.server_close()


def client(url: str, password: str = "right") -> Client:
    return Client(Cloud(auth_url=url, auth={"username": "admin", "password": password}))


def test_it_logs_in_once_and_speaks_to_the_cluster_api_beside_identity(url: str):
    one = client(url)
    assert one.get("/members", gone=True, role=None) == {"members": []}
    one.get("/members")
    methods = [(method, path) for method, path, _ in Handler.asked]
    assert methods == [
        ("POST", "/identity/v3/auth/tokens"),
        ("GET", "/cluster/v1/members?gone=true"),
        ("GET", "/cluster/v1/members"),
    ]
    assert Handler.asked[1][2] == "t0"


def test_a_refusal_is_told_in_the_services_own_words(url: str):
    with pytest.raises(ClientError, match=r"there is no node x \(HTTP 404\)"):
        client(url).get("/why/x")
    with pytest.raises(ClientError, match=r"wrong password \(HTTP 401\)"):
        client(url, "wrong").get("/members")


def test_a_node_has_its_name_from_the_bare_metal_api_if_it_is_there(url: str):
    assert client(url).node_name("n1") == "web-1"
    assert client(url).node_name("../n2?x") is None
    assert Handler.asked[-1][1] == "/baremetal/v1/nodes/..%2Fn2%3Fx?fields=name"


def test_a_stream_is_read_frame_by_frame(url: str):
    found = list(client(url).follow("/stream", "0-0", kind="node.*", node=None))
    assert found == [Frame("0-1", None), Frame("1-1", {"n": 1}), Frame("2-0", None)]
    assert Handler.asked[-1][1] == "/cluster/v1/stream?kind=node.%2A"


def test_a_stream_that_is_refused_for_now_may_be_asked_for_again(url: str):
    one = client(url)
    with pytest.raises(UnavailableError, match="come back later"):
        list(one.follow("/stream", "9-9"))
    assert list(one.follow("/stream", "8-8")) == []  # its token has ended
    list(one.follow("/stream", None))
    logins = [path for method, path, _ in Handler.asked if method == "POST"]
    assert len(logins) == 2


def test_an_application_credential_of_clouds_yaml_is_used(url: str):
    auth = {"application_credential_id": "c1", "application_credential_secret": "s"}
    with pytest.raises(ClientError):
        Client(Cloud(auth_url=url, auth=auth)).get("/members")
    _, _, body = Handler.asked[0]
    assert body == {
        "auth": {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"secret": "s", "id": "c1"},
            }
        }
    }


def test_an_address_where_nothing_answers_is_named():
    with pytest.raises(UnavailableError, match=r"nothing answers at http://127.0.0.1:1 "):
        client("http://127.0.0.1:1/v3").get("/members")


def test_the_cloud_of_this_hosts_data_directory_is_found(tmp_path: Path):
    local = tmp_path / "clouds.yaml"
    local.write_text(CLOUDS)
    assert find_cloud(None, {}, local).auth_url == "http://a:1/identity/v3"
    assert find_cloud("other", {}, local).auth["system_scope"] == "all"


def test_a_named_file_goes_before_everything(tmp_path: Path):
    local, chosen = tmp_path / "clouds.yaml", tmp_path / "chosen.yaml"
    local.write_text(CLOUDS)
    chosen.write_text(CLOUDS.replace("http://a:1", "http://c:3"))
    found = find_cloud(None, {"OS_CLIENT_CONFIG_FILE": str(chosen)}, local)
    assert found.auth_url == "http://c:3/identity/v3"


@pytest.mark.parametrize("text", ["", "clouds: {}", "clouds: {holdfast: {}}"])
def test_a_missing_cloud_says_where_it_was_looked_for(text: str, tmp_path: Path):
    chosen = tmp_path / "chosen.yaml"
    chosen.write_text(text)
    with pytest.raises(NotFoundError, match=r"no cloud 'holdfast'.*chosen\.yaml"):
        find_cloud(None, {"OS_CLIENT_CONFIG_FILE": str(chosen)}, tmp_path)


@pytest.mark.parametrize("text", ["[1]", "clouds: 3", "clouds: [", "clouds: {holdfast: 3}"])
def test_a_broken_file_is_named(text: str, tmp_path: Path):
    broken = tmp_path / "clouds.yaml"
    broken.write_text(text)
    with pytest.raises(ClientError, match=r"clouds\.yaml"):
        find_cloud(None, {}, broken)
