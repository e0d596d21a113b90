"""A real node over HTTP: queries, administration, generations, restarts, the probe."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tests.serving.nodes import KEY, QUICK, NodeProcess, adder, basic, function, make, until

from holdfast.serving.workers.users import VARIABLE


def test_a_function_is_served_from_its_package(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    reply = node.ask("sums", "add/run", {"a": 2, "b": 3})
    assert reply.status == 200
    assert reply.body["response"] == 5
    assert reply.body["apiContext"]["serviceGeneration"] == "v1"
    assert reply.headers["dss-api-version"] == "1"
    assert "dss-version" in reply.headers


def test_bodies_are_read_as_the_client_sends_them(node: NodeProcess, tmp_path: Path):
    code = "def echo(value=None):\n    return {'kind': type(value).__name__, 'value': value}\n"
    node.put(make(tmp_path, "echo", {"f.py": code}, [function("echo")]))
    assert node.ask("echo", "echo/run", b"").body["response"]["value"] is None  # {} comes empty
    reply = node.ask("echo", "echo/run", b'{"value": NaN}')  # a bare NaN
    assert reply.body["response"] == {"kind": "float", "value": None}
    doubled = node.request("POST", "//public/api/v1/echo/echo/run", b"{}", KEY)
    assert doubled.status == 200


@pytest.mark.parametrize(
    "path", ["%00", "/a%00b", "/" + "x" * 300, "/" + "x/" * 5000, "/proc/self/mem", "/dev/zero"]
)
def test_a_path_that_cannot_be_imported_from_is_refused_in_a_sentence(
    shared: NodeProcess, path: str
):
    where = "services/sums/generations/actions/importFromArchive"
    reply = shared.admin("POST", f"{where}?filePath={path}")
    assert reply.status in (400, 403), reply
    assert reply.body["message"].endswith(".")


@pytest.mark.parametrize(
    ("where", "query", "status", "told"),
    [
        ("nothing/add/run", {}, 404, "no service"),
        ("sums/nothing/run", {}, 404, "no endpoint"),
        ("sums/add/predict", {}, 400, "does run"),
        ("sums/add/run", b"[1]", 400, "not a JSON object"),
        ("sums/add/run", b"{", 400, "not JSON"),
        ("sums/add/run", {"c": 1}, 400, "arguments do not fit"),
        ("sums/add/run", b"[" * 100_000, 400, "nested too deeply"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    shared: NodeProcess, where: str, query: object, status: int, told: str
):
    service, _, rest = where.partition("/")
    reply = shared.ask(service, rest, query)
    assert reply.status == status
    assert told in reply.body["message"]
    assert {"errorType", "message", "detailedMessage"} == set(reply.body)


def test_an_error_of_the_authors_code_is_told_without_a_trace(node: NodeProcess, tmp_path: Path):
    code = "def bad():\n    raise ValueError('no such thing')\n"
    node.put(make(tmp_path, "bad", {"f.py": code}, [function("bad")]))
    reply = node.ask("bad", "bad/run")
    assert reply.status == 500
    assert reply.body["errorType"] == "ValueError"
    assert reply.body["message"] == "no such thing"


def test_keys_are_taken_as_basic_user_or_bearer_token(shared: NodeProcess):
    path, body = "/public/api/v1/sums/add/run", b'{"a": 1}'
    tokens = [basic(KEY), f"Bearer {KEY}", basic("wrong-key"), "Bearer wrong", "Basic !!", "x"]
    found = [
        shared.request("POST", path, body, headers={"Authorization": token}).status
        for token in tokens
    ]
    assert found == [200, 200, 401, 401, 401, 401]
    assert shared.request("POST", path, body).status == 401


def test_a_public_service_needs_no_key(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1", auth={"public": True}))
    assert node.ask("sums", "add/run", {"a": 1}, key=None).status == 200


def test_the_admin_api_needs_the_admin_key_of_the_node(shared: NodeProcess):
    file = shared.data / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shared.request("GET", "/admin/api/services").status == 401
    assert shared.request("GET", "/admin/api/services", key=KEY).status == 401
    listed = shared.data / "admin-keys.json"
    assert shared.admin_key not in listed.read_text()


def test_a_generation_that_fails_to_load_leaves_the_old_one_serving(
    node: NodeProcess, tmp_path: Path
):
    """D13: ready before the switch."""
    node.put(adder(tmp_path, "v1"))
    broken = make(
        tmp_path,
        "sums",
        {"f.py": "import nothing_of_this_name"},
        [function("add")],
        generation="v2",
    )
    node.put(broken, switch=False)
    reply = node.admin("POST", "services/sums/actions/switchToNewest")
    assert reply.status == 409
    assert "nothing_of_this_name" in reply.body["message"]
    assert node.ask("sums", "add/run", {"a": 1}).body["apiContext"]["serviceGeneration"] == "v1"


def test_a_failed_test_query_keeps_a_generation_from_serving(node: NodeProcess, tmp_path: Path):
    tests = [{"query": {"a": 1, "b": 1}, "expect": {"response": 3}}]
    code = "def add(a, b):\n    return a + b\n"
    wrong = make(tmp_path, "sums", {"f.py": code}, [function("add", tests=tests)], generation="v1")
    node.put(wrong, switch=False)
    reply = node.admin("POST", "services/sums/generations/v1/preload")
    assert reply.status == 409
    assert "Test query 1" in reply.body["message"]


def test_queries_go_by_the_mapping_and_by_their_dispatch(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    node.put(adder(tmp_path, "v2", plus=1), switch=False)
    entries = [{"generation": "v1", "proba": 0.5}, {"generation": "v2", "proba": 0.5}]
    mapped = node.admin("POST", "services/sums/actions/setMapping", {"entries": entries})
    assert mapped.status == 200

    def generation(**dispatch: str) -> str:
        code = node.ask("sums", "add/run", {"a": 1, "dispatch": dispatch})
        return json.loads(code.data).get("apiContext", {}).get("serviceGeneration", code.data)

    # A function takes no member "dispatch", so that its refusal comes from either.
    assert b"arguments do not fit" in node.ask("sums", "add/run", {"a": 1, "dispatch": {}}).data
    listed = node.admin("GET", "services/sums/generations").body["generations"]
    assert [(one["generationId"], one["mounted"], one["mapped"]) for one in listed] == [
        ("v1", True, True),
        ("v2", True, True),
    ]
    found = {node.ask("sums", "add/run", {"a": 1}).body["response"] for _ in range(40)}
    assert found == {2, 3}
    bad = {"entries": [{"generation": "v1", "proba": 0.7}]}
    assert node.admin("POST", "services/sums/actions/setMapping", bad).status == 400


def test_a_disabled_service_refuses_and_an_enabled_one_answers(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    assert node.admin("POST", "services/sums/actions/disable").status == 200
    reply = node.ask("sums", "add/run", {"a": 1})
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert node.admin("POST", "services/sums/actions/enable").status == 200
    assert node.ask("sums", "add/run", {"a": 1}).status == 200
    assert node.admin("DELETE", "services/sums").status == 409  # in use


def test_unused_generations_and_their_packages_are_cleaned(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    node.put(adder(tmp_path, "v2"))
    cleaned = node.admin("DELETE", "services-clean-unused").body
    assert cleaned["generations"] == ["sums/v1"]
    assert len(cleaned["packages"]) == 1
    assert len(list((node.data / "packages").iterdir())) == 1
    assert node.ask("sums", "add/run", {"a": 1}).status == 200


def test_a_node_comes_back_with_what_it_served(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    node.put(adder(tmp_path, "v2"))
    node.put(adder(tmp_path, "v3"), switch=False)
    node.signal(signal.SIGKILL)
    node.wait()
    node.start()
    assert node.request("GET", "/isAlive/").status == 200
    assert node.ask("sums", "add/run", {"a": 1}).body["apiContext"]["serviceGeneration"] == "v2"
    newest = node.admin("POST", "services/sums/actions/switchToNewest")
    assert newest.body["generationId"] == "v3"


def nobody_reads(*paths: str) -> bool:
    tests = [["/usr/bin/test", "-x", path] for path in paths]
    return all(subprocess.run(one, user="nobody", check=False).returncode == 0 for one in tests)


@pytest.mark.parametrize("told", ['[workers.limits]\nuser = "nobody"\n', ""])
def test_workers_run_as_another_user_when_the_node_is_root(tmp_path: Path, told: str):
    """Told or not."""
    if os.geteuid() != 0:
        pytest.skip("only root can give work to somebody else")
    code = "import os\ndef who():\n    return os.getuid()\n"
    lookup = {"id": "rows", "kind": "lookup", "data": "rows.csv", "keys": ["k"]}
    files = {"f.py": code, "rows.csv": "k,v\n1,2\n"}
    with tempfile.TemporaryDirectory(prefix="hf-user-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = NodeProcess(folder / "node", QUICK.replace("[http]", told + "[http]")).start()
        try:
            made.put(make(tmp_path, "who", files, [function("who"), lookup]))
            # Untold it is root where nobody else can read this Python, as below somebody's home.
            user = "nobody" if told or nobody_reads(sys.prefix, sys.base_prefix) else "root"
            assert made.ask("who", "who/run").body["response"] == pwd.getpwnam(user).pw_uid
            found = made.ask("who", "rows/lookup", {"data": {"k": 1}}).body["results"][0]
            assert found["data"] == {"k": "1", "v": "2"}
            assert made.admin("GET", "node").body["workersRunAs"] == user
        finally:
            made.stop()


def test_a_node_that_is_root_does_not_start_where_nobody_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if os.geteuid() != 0:
        pytest.skip("only root can give work to somebody else")
    monkeypatch.delenv(VARIABLE)
    (tmp_path / "closed").mkdir(mode=0o700)
    made = NodeProcess(tmp_path / "closed" / "node")
    try:
        with pytest.raises(AssertionError, match="run the node as another user"):
            made.start()
        assert made.wait() != 0
    finally:
        made.stop()


def test_the_open_inference_protocol_is_spoken(node: NodeProcess, tmp_path: Path):
    data, target = load_iris(return_X_y=True)
    model = skops.io.dumps(LogisticRegression(max_iter=500).fit(data, target))
    endpoint = {"id": "m", "kind": "prediction", "model": "m", "flavour": "skops"}
    node.put(make(tmp_path, "iris", {"m": model}, [{**endpoint, "features": list("abcd")}]))
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}
    reply = node.ask("iris", "v2/models/m/infer", {"inputs": [tensor]})
    assert reply.body["outputs"][0]["data"] == [0.0]
    base = "/public/api/v1/iris/v2"
    for path in ("health/live", "health/ready", "models/m"):
        assert node.request("GET", f"{base}/{path}", key=KEY).status == 200
    assert node.request("GET", f"{base}/models/m").status == 401
    assert node.request("GET", f"{base}/models/nothing", key=KEY).status == 404


def test_the_probe_can_be_forced_down_while_queries_are_answered(node: NodeProcess, tmp_path: Path):
    """D17."""
    node.put(adder(tmp_path, "v1"))
    (node.data / "apinode-not-alive.txt").touch()
    assert node.request("GET", "/isAlive/").status == 503
    assert node.ask("sums", "add/run", {"a": 1}).status == 200
    (node.data / "apinode-not-alive.txt").unlink()
    assert node.request("GET", "/isAlive").status == 200


def test_an_upload_is_checked_by_its_digest(node: NodeProcess, tmp_path: Path):
    built = adder(tmp_path, "v1")
    node.admin("POST", "services/", {"serviceId": "sums"})
    data = Path(built.path).read_bytes()
    path = "/admin/api/services/sums/generations/actions/upload?sha256="
    wrong = node.request("POST", path + "0" * 64, data, node.admin_key)
    assert (wrong.status, "digest" in wrong.body["message"]) == (400, True)
    right = node.request("POST", path + built.sha256, data, node.admin_key)
    assert (right.status, right.body["generationId"]) == (200, "v1")
    assert node.request("POST", path + built.sha256, data).status == 401
    assert not list((node.data / "scratch").rglob("upload-*"))


def test_the_service_describes_itself_and_is_counted(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    node.ask("sums", "add/run", {"a": 1})
    node.ask("sums", "add/run", {"x": 1})
    document = node.request("GET", "/public/api/v1/sums/swagger", key=KEY).body
    assert node.request("GET", "/public/api/v1/sums/swagger").status == 401
    assert list(document["paths"]) == ["/add/run"]
    metrics = node.request("GET", "/metrics").data.decode()
    labels = 'endpoint="add",generation="v1",service="sums"'
    assert f'holdfast_serving_queries_total{{{labels},status="200"}} 1.0' in metrics
    assert f"holdfast_serving_query_seconds_count{{{labels}}} 2.0" in metrics
    assert node.admin("GET", "metrics").body["metrics"][0]["queries"] == 2
    assert node.request("GET", "/public/api/v1/sums/isReady").status == 200
    lines = node.data / "audit" / "queries.jsonl"
    until(lambda: lines.exists() and lines.read_text().count("\n") == 2, "two audit lines")
    first = json.loads(lines.read_text().splitlines()[0])
    assert (first["key"], first["status"], first["generation"]) == ("test", 200, "v1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    """One node for the tests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    made = NodeProcess(folder / "node").start()
    made.put(adder(folder, "v1"))
    yield made
    made.stop()
