"""Packages: built alike, opened as built, kept unchanged, refused by format (D15) and signature."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.serving.nodes import ADD, KEY, function, make

from holdfast.serving.errors import (
    EndpointKindError,
    PackageError,
    PackageFormatError,
    SignatureError,
)
from holdfast.serving.packages.build import build
from holdfast.serving.packages.manifest import MANIFEST, SIGNATURE, decode_manifest, decode_service
from holdfast.serving.packages.opening import Limits, open_package
from holdfast.serving.packages.signing import new_key, read_key
from holdfast.serving.packages.store import PackageStore

LIMITS = Limits()
SQL = {"id": "q", "kind": "sql", "database": "d.sqlite", "query": "SELECT 1"}


def adder(folder: Path, **more: Any):
    return make(folder, "sums", {"f.py": ADD, "sub/x.txt": "x"}, [function("add")], **more)


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def with_manifest(built_path: str, **changes: Any) -> Path:
    """The same package with members of its manifest changed."""
    target = Path(built_path).with_suffix(".changed")
    with zipfile.ZipFile(built_path) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == MANIFEST:
                data = json.dumps({**json.loads(data), **changes}).encode()
            new.writestr(info, data)
    return target


def test_equal_folders_make_equal_packages_whenever_and_in_whatever_order(tmp_path: Path):
    first, second = adder(tmp_path), adder(tmp_path)
    assert first.path != second.path
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()
    assert first.generation == second.generation


def test_another_content_is_another_generation(tmp_path: Path):
    other = make(tmp_path, "sums", {"f.py": ADD + "\n"}, [function("add")])
    assert other.generation != adder(tmp_path).generation


def test_a_package_opens_to_what_was_packed_and_holds_no_keys(tmp_path: Path):
    built = adder(tmp_path, generation="v7")
    opened = open_package(Path(built.path), LIMITS, (), tmp_path / "out")
    assert (opened.manifest.service.id, opened.manifest.generation) == ("sums", "v7")
    assert (tmp_path / "out" / "f.py").read_text() == ADD
    assert (tmp_path / "out" / "sub" / "x.txt").read_text() == "x"
    assert opened.digest == built.digest
    assert KEY.encode() not in Path(built.path).read_bytes()


@pytest.mark.parametrize(
    ("version", "advice"),
    [("0.9", "build it anew"), ("1.1", "upgrade the node"), ("2.0", "upgrade the node")],
)
def test_another_format_is_refused_with_what_to_do(tmp_path: Path, version: str, advice: str):
    """D15."""
    changed = with_manifest(adder(tmp_path).path, format=version)
    with pytest.raises(PackageFormatError, match=advice):
        open_package(changed, LIMITS, ())


@pytest.mark.parametrize("version", [None, 1, "1", "one.two", "1.0.0"])
def test_a_format_that_is_none_is_refused(tmp_path: Path, version: object):
    with pytest.raises(PackageFormatError):
        open_package(with_manifest(adder(tmp_path).path, format=version), LIMITS, ())


def test_a_signature_tells_who_signed(tmp_path: Path):
    new_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    key = read_key(tmp_path / "key.pem")
    path = Path(adder(tmp_path, key=key).path)
    assert open_package(path, LIMITS, [public(key)]).signed_by == public(key)
    opened = open_package(path, LIMITS, ())
    assert (opened.signed_by, opened.signer) == (None, public(key))
    assert open_package(Path(adder(tmp_path).path), LIMITS, ()).signer is None


def test_a_signature_of_somebody_else_or_over_something_else_is_refused(tmp_path: Path):
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    path = adder(tmp_path, key=key).path
    with pytest.raises(SignatureError, match="does not trust"):
        open_package(Path(path), LIMITS, [public(other)])
    with pytest.raises(SignatureError, match="changed after signing"):
        open_package(with_manifest(path, generation="v2"), LIMITS, [public(key)])


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("signature", [b"garbage", b'{"key":"00","signature":"zz"}', None])
def test_a_wrong_signature_is_refused_whether_any_key_is_trusted_or_not(
    tmp_path: Path, signature: bytes | None, trusted: bool
):
    """None: it is of another manifest."""
    key = Ed25519PrivateKey.generate()
    path = Path(with_manifest(adder(tmp_path, key=key).path, generation="v2"))
    if signature is not None:
        path = Path(adder(tmp_path).path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(SIGNATURE, signature)
    with pytest.raises(SignatureError):
        open_package(path, LIMITS, [public(key)] if trusted else ())


def test_a_store_may_want_signed_packages_only(tmp_path: Path):
    key = Ed25519PrivateKey.generate()
    store = PackageStore(tmp_path / "store", LIMITS, [public(key)], signed_only=True)
    with pytest.raises(SignatureError, match="only packages signed"):
        store.put(Path(adder(tmp_path).path))
    opened = store.put(Path(adder(tmp_path, key=key).path))
    assert store.is_trusted(opened.digest)
    assert store.digests() == [opened.digest]


def test_a_stored_package_that_was_changed_on_disk_is_not_loaded(tmp_path: Path):
    store = PackageStore(tmp_path / "store", LIMITS, (), signed_only=False)
    digest = store.put(Path(adder(tmp_path).path)).digest
    assert store.check(digest).service.id == "sums"
    file = store.content(digest) / "f.py"
    file.chmod(0o644)
    file.write_text("import os\n")
    with pytest.raises(PackageError, match="changed on disk"):
        store.check(digest)


def test_what_a_crash_left_half_done_is_cleaned(tmp_path: Path):
    store = PackageStore(tmp_path / "store", LIMITS, (), signed_only=False)
    digest = store.put(Path(adder(tmp_path).path)).digest
    shutil.copytree(tmp_path / "store" / digest, tmp_path / "store" / "incoming-x")
    store = PackageStore(tmp_path / "store", LIMITS, (), signed_only=False)
    assert store.digests() == [digest]
    assert not (tmp_path / "store" / "incoming-x").exists()


def described(**changes: Any) -> dict[str, Any]:
    return {"id": "sums", "auth": {"public": True}, "endpoints": [function("add")], **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "../x"}, "is not a name"),
        ({"endpoints": []}, "at least one endpoint"),
        ({"auth": {}}, "give keys"),
        ({"auth": {"keys": [{"id": "a", "key": "short"}]}}, "shorter than 12"),
        ({"pool": {"floor": 3, "cruise": 2}}, "floor <= cruise"),
        ({"endpoints": [function("a"), function("a")]}, "two endpoints"),
        ({"endpoints": [{"id": "a", "kind": "nothing"}]}, "nothing"),
        ({"surprise": 1}, "surprise"),
        (
            {"endpoints": [{"id": "q", "kind": "sql", "query": "SELECT :x", "database": "d"}]},
            r"write parameters = \[.x.\]",
        ),
    ],
)
def test_a_wrong_description_is_refused_by_what_is_wrong(changes: dict[str, Any], told: str):
    with pytest.raises(PackageError, match=told):
        decode_service(described(**changes))


@pytest.mark.parametrize("kind", ["r-function", "r-prediction", "causal-prediction"])
def test_kinds_that_others_serve_are_refused_with_a_way_on(kind: str):
    with pytest.raises(EndpointKindError, match=kind):
        decode_service(described(endpoints=[{"id": "a", "kind": kind}]))


def test_a_file_that_an_endpoint_names_must_be_there(tmp_path: Path):
    with pytest.raises(PackageError, match=r"g\.py is named"):
        make(tmp_path, "sums", {"f.py": ADD}, [{**function("add"), "file": "g.py"}])


def test_links_in_a_folder_are_not_packed(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "service.json").write_text(json.dumps(described()))
    (source / "f.py").symlink_to("/etc/passwd")
    with pytest.raises(PackageError, match="no links"):
        build(source, tmp_path / "out.hfpkg")


def test_a_manifest_holds_digests_of_keys_only():
    document = described(auth={"keys": [{"id": "a", "key": "a-key-of-some-length"}]}, pool={})
    manifest = {"format": "1.0", "generation": "v1", "service": document}
    manifest["files"] = {"f.py": {"sha256": "0" * 64, "size": 1}}
    with pytest.raises(PackageError, match="never keys"):
        decode_manifest(json.dumps(manifest).encode())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"endpoints": [function("add"), function("mul", code=1)]},
            "unknown field `code`, in the endpoint 'mul', whose fields are kind, file, function",
        ),
        (
            {"endpoints": [{"id": "a", "kind": "funktion"}]},
            "'a' has the kind 'funktion'; kinds are ",
        ),
        (
            {"endpoints": [{"id": "a", "kind": "lookup", "keys": ["k"]}]},
            "missing required field `data`, in the endpoint 'a', whose fields are kind, data, keys",
        ),
        (
            {"endpoints": [function("a", tests=[{"ask": {}}])]},
            "`ask`, in the endpoint 'a', tests[0], whose fields are query, action, expect",
        ),
        ({"pool": {"max": 3}}, "`max`, in pool, whose fields are floor, cruise, ceil, queue"),
        ({"name": "x"}, "`name`, in the service, whose fields are id, endpoints, auth"),
        ({"endpoints": [3]}, "Expected `object`, got `int`, in endpoints[0]"),
        ({"pool": {"ceil": 4, "cruise": 9}}, "floor 1, cruise 9 and ceil 4 are not"),
        (
            {"endpoints": [{**SQL, "query": "SELECT :city, :b"}]},
            """write parameters = ["b", "city"], as in its query""",
        ),
        ({"endpoints": [{**SQL, "parameters": ["x"]}]}, "leave parameters out, as in its query"),
    ],
)
def test_a_refusal_says_where_and_what_would_do(changes: dict[str, Any], told: str):
    with pytest.raises(PackageError) as refused:
        decode_service(described(**changes))
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"ceil": 4}, (1, 4, 4)),
        ({"floor": 20}, (20, 20, 20)),
        ({"cruise": 20}, (1, 20, 20)),
        ({}, (1, 8, 16)),
        ({"floor": 2, "ceil": 32}, (2, 8, 32)),
    ],
)
def test_what_a_pool_leaves_out_follows_what_it_says(
    pool: dict[str, int], expected: tuple[int, int, int]
):
    found = decode_service(described(pool=pool)).pool
    assert (found.floor, found.cruise, found.ceil) == expected
