"""Packages made to harm: each is refused in a sentence, and nothing of it stays."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.serving.nodes import ADD, function

from holdfast.serving.errors import PackageError
from holdfast.serving.packages.manifest import MANIFEST
from holdfast.serving.packages.opening import Limits
from holdfast.serving.packages.store import PackageStore

Member = tuple[zipfile.ZipInfo | str, bytes]


def manifest(files: Mapping[str, bytes], **changes: Any) -> bytes:
    entries = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in files.items()
    }
    service = {"id": "sums", "auth": {"public": True}, "endpoints": [function("add")]}
    document = {"format": "1.0", "generation": "v1", "service": service, "files": entries}
    return json.dumps({**document, **changes}).encode()


def archive(path: Path, members: list[Member], **how: Any) -> Path:
    with zipfile.ZipFile(path, "w", **how) as made:
        for name, data in members:
            made.writestr(name, data)
    return path


def with_name(path: Path, name: str) -> Path:
    """A package with a file of this name, in its manifest and its directory."""
    files = {"f.py": ADD.encode(), name: b"x"}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()])


def with_link(path: Path) -> Path:
    link = zipfile.ZipInfo("f.py")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return archive(path, [(MANIFEST, manifest({"f.py": b"/etc/passwd"})), (link, b"/etc/passwd")])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def with_twice(path: Path) -> Path:
    one, two = ADD.encode(), b"import os"
    return archive(path, [(MANIFEST, manifest({"f.py": one})), ("f.py", one), ("f.py", two)])


def with_case_twice(path: Path) -> Path:
    files = {"f.py": ADD.encode(), "F.PY": b"import os"}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()])


def with_bomb(path: Path) -> Path:
    files = {"f.py": ADD.encode(), "zeros": bytes(64 << 20)}
    how = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()], **how)


def with_lying_size(path: Path) -> Path:
    """The directory says a few bytes; what is packed is more."""
    files = {"f.py": ADD.encode(), "data": bytes(1 << 20)}
    how = {"compression": zipfile.ZIP_DEFLATED}
    told = manifest({**files, "data": b"xx"})
    archive(path, [(MANIFEST, told), *files.items()], **how)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<L", raw, at + 24, 2)
    path.write_bytes(raw)
    return path


def with_many(path: Path) -> Path:
    files = {f"d/{number}": b"" for number in range(300)} | {"f.py": ADD.encode()}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()])


def with_extra(path: Path) -> Path:
    told = manifest({"f.py": ADD.encode()})
    return archive(path, [(MANIFEST, told), ("f.py", ADD.encode()), ("more.py", b"x")])


def with_missing(path: Path) -> Path:
    told = manifest({"f.py": ADD.encode(), "more.py": b"x"})
    return archive(path, [(MANIFEST, told), ("f.py", ADD.encode())])


def with_other_content(path: Path) -> Path:
    other = ADD.replace("a + b", "a - b").encode()
    return archive(path, [(MANIFEST, manifest({"f.py": ADD.encode()})), ("f.py", other)])


def with_file_as_folder(path: Path) -> Path:
    files = {"f.py": ADD.encode(), "d": b"x", "d/e": b"x"}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()])


def with_deep_manifest(path: Path) -> Path:
    return archive(path, [(MANIFEST, b"[" * 100_000 + b"]" * 100_000)])


def with_other_compression(path: Path) -> Path:
    files = {"f.py": ADD.encode()}
    how = {"compression": zipfile.ZIP_LZMA}
    return archive(path, [(MANIFEST, manifest(files)), *files.items()], **how)


def with_zip64_directory(path: Path, hidden: bool = False) -> Path:
    """Two entries by its end, half a million by the zip64 one (``hidden``: as if in a comment)."""
    count, name = 500_000, b"%08d"
    entry = struct.pack("<4sBB12s", b"PK\1\2", 20, 3, bytes(12)) + bytes(10)
    entry += struct.pack("<HHHHHLL", 8, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + name % number for number in range(count))
    size = len(directory)
    told = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, size, 1)
    if hidden:  # in the comment of the only entry that the end knows
        comment = told + locator
        head = struct.pack("<HHHHHLL", 8, 0, len(comment), 0, 0, 0, 0)
        last = entry[: -len(head)] + head + name % 0 + comment
        end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(last), size, 0)
        return with_bytes(path, directory + last + end)
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 2, 2, 100, 0, 0)
    return with_bytes(path, directory + told + locator + end)


def with_more_entries_than_told(path: Path) -> Path:
    """As many as fit into a directory that is as large as one may be."""
    entry = struct.pack("<4sBB12s", b"PK\1\2", 20, 3, bytes(12)) + bytes(28)
    directory = entry * (100 * 1024 // len(entry))
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 2, 2, len(directory), 0, 0)
    return with_bytes(path, directory + end)


def with_comment(path: Path) -> Path:
    """Another end may be in it."""
    files = {"f.py": ADD.encode()}
    archive(path, [(MANIFEST, manifest(files)), *files.items()])
    with zipfile.ZipFile(path, "a") as made:
        made.comment = b"x"
    return path


def raw_entry(name: bytes, packed: bytes, size: int, **told: Any) -> tuple[bytes, bytes]:
    """(What stands before a deflated file, with the file; what the directory says of it).

    ``told``: what the directory says otherwise; its ``extra``; ``at``: where the file is.
    """
    crc = told.get("crc", 0)
    times = bytes(4)
    head = struct.pack("<HHH", 20, 0, 8) + times + struct.pack("<LLL", crc, len(packed), size)
    local = b"PK\3\4" + head + struct.pack("<HH", len(name), 0) + name + packed
    claimed, extra = told.get("claimed", len(packed)), told.get("extra", b"")
    head = struct.pack("<HHH", 20, told.get("flags", 0), 8) + times
    head += struct.pack("<LLL", crc, claimed, told.get("claimed_size", size))
    tail = struct.pack("<HHHHHLL", len(name), len(extra), 0, 0, 0, 0, told.get("at", 0))
    return local, b"PK\1\2" + struct.pack("<H", 20) + head + tail + name + extra


def with_entry(path: Path, name: str, data: bytes, between: bytes = b"", **told: Any) -> Path:
    """A package of f.py, and one more file, which the directory may describe otherwise."""
    files = {"f.py": ADD.encode(), name: data}
    archive(path, [(MANIFEST, manifest(files)), ("f.py", ADD.encode())])
    with zipfile.ZipFile(path) as made:
        at = made.start_dir
    raw = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    told = {"at": at + len(between), "crc": zlib.crc32(data), **told}
    local, directory = raw_entry(name.encode(), packed, len(data), **told)
    whole = raw[at:-22] + directory
    start = at + len(between) + len(local)
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 3, 3, len(whole), start, 0)
    return with_bytes(path, raw[:at] + between + local + whole + end)


def with_other_name(path: Path) -> Path:
    """A name in an extra field, which some versions of zipfile take for the file's."""
    name = b"../../escaped"
    data = struct.pack("<BL", 1, zlib.crc32(b"x.txt")) + name
    return with_entry(path, "x.txt", b"x", extra=struct.pack("<HH", 0x7075, len(data)) + data)


def with_zip64_field(path: Path) -> Path:
    extra = struct.pack("<HHQ", 1, 8, 1)
    return with_entry(path, "x.txt", b"x", extra=extra, claimed_size=0xFFFFFFFF)


def with_claims(path: Path) -> Path:
    """A bomb, and empty files that each claim to be as long as what is left of the archive."""
    zeros = bytes(8 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(zeros) + packer.flush()
    files = {"f.py": ADD.encode(), "zeros": zeros, **{f"e{n}": b"" for n in range(60)}}
    archive(path, [(MANIFEST, manifest(files)), ("f.py", ADD.encode())])
    with zipfile.ZipFile(path) as made:
        at = made.start_dir
    raw = path.read_bytes()
    body, directory = raw[:at], raw[at:-22]
    empty = b"\3\0"
    total = at + 62 * 40 + len(packed)
    for number in range(60):
        name = f"e{number}".encode()
        local, told = raw_entry(name, empty, 0, at=len(body), claimed=total - len(body) - 40)
        body, directory = body + local, directory + told
    told = {"at": len(body), "crc": zlib.crc32(zeros)}
    local, last = raw_entry(b"zeros", packed, len(zeros), **told)
    body, directory = body + local, directory + last
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 63, 63, len(directory), len(body), 0)
    return with_bytes(path, body + directory + end)


def with_overlap(path: Path) -> Path:
    """One file under two names."""
    files = {"f.py": ADD.encode(), "g.py": ADD.encode()}
    archive(path, [(MANIFEST, manifest(files)), *files.items()])
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as made:
        first = made.getinfo("f.py").header_offset
    last = raw.rindex(b"PK\1\2")
    struct.pack_into("<L", raw, last + 42, first)
    return with_bytes(path, bytes(raw))


def with_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def named(name: str) -> Callable[[Path], Path]:
    return lambda path: with_name(path, name)


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "zip slip": named("../../escaped"),
    "absolute path": named("/escaped"),
    "backslashes": named("..\\escaped"),
    "drive": named("C:/escaped"),
    "dots within": named("a/../../escaped"),
    "control character": named("a\nb"),
    "nul": named("a\0b"),
    "trailing dot": named("con./x"),
    "very long": named("x" * 300),
    "very deep": named("/".join("abcdefghijklmnopqrstuvwxyz")),
    "link": with_link,
    "name twice": with_twice,
    "name twice but for its case": with_case_twice,
    "bomb by ratio": with_bomb,
    "size that lies": with_lying_size,
    "too many files": with_many,
    "file that no manifest has": with_extra,
    "file that is missing": with_missing,
    "content that no manifest has": with_other_content,
    "file that is a folder": with_file_as_folder,
    "deeply nested manifest": with_deep_manifest,
    "unusual compression": with_other_compression,
    "zip64 directory": with_zip64_directory,
    "zip64 directory in a comment": lambda path: with_zip64_directory(path, hidden=True),
    "more entries than told": with_more_entries_than_told,
    "comment": with_comment,
    "another name in an extra field": with_other_name,
    "zip64 sizes of one file": with_zip64_field,
    "claims of more than there is": with_claims,
    "one file under two names": with_overlap,
    "something between": lambda path: with_entry(path, "x.txt", b"x", between=b"hidden"),
    "flags that differ": lambda path: with_entry(path, "x.txt", b"x", flags=8),
    "checksum of something else": lambda path: with_entry(path, "x.txt", b"x", crc=1),
    "size that differs": lambda path: with_entry(path, "x.txt", b"x", claimed_size=2),
    "something before": lambda path: with_bytes(path, b"x" + with_name(path, "a").read_bytes()),
    "no manifest": lambda path: archive(path, [("f.py", b"")]),
    "empty": lambda path: archive(path, []),
    "no archive": lambda path: with_bytes(path, os.urandom(1000)),
    "empty file": lambda path: with_bytes(path, b""),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_package_is_refused_and_leaves_nothing(tmp_path: Path, what: str):
    package = HOSTILE[what](tmp_path / "package.hfpkg")
    limits = Limits(files_max=100, unpacked_bytes_max=256 << 20)
    home = tmp_path / "home" / "node"
    store = PackageStore(home / "packages", limits, (), signed_only=False)
    tracemalloc.start()
    try:
        with pytest.raises(PackageError):
            store.put(package)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert list((home / "packages").iterdir()) == []
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"package.hfpkg", "home", "home/node", "home/node/packages"}
    assert not Path("/escaped").exists()


def test_what_these_are_made_of_is_a_package_if_nothing_lies(tmp_path: Path):
    store = PackageStore(tmp_path / "packages", Limits(), (), signed_only=False)
    digest = store.put(with_entry(tmp_path / "package", "x.txt", b"x" * 100)).digest
    assert (store.content(digest) / "x.txt").read_bytes() == b"x" * 100


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("another name in an extra field", "'x.txt' has an extra field"),
        ("zip64 sizes of one file", "'x.txt' has an extra field"),
        ("claims of more than there is", "'e0' is not what|'e1' is not where|times its size"),
        ("one file under two names", "py' is not where it should be"),
        ("something between", "'x.txt' is not where it should be"),
        ("flags that differ", "'x.txt' is not what the directory says"),
        ("size that differs", "'x.txt' is not what the directory says"),
    ],
)
def test_a_refusal_says_what_lies(tmp_path: Path, what: str, told: str):
    store = PackageStore(tmp_path / "packages", Limits(), (), signed_only=False)
    with pytest.raises(PackageError, match=told):
        store.put(HOSTILE[what](tmp_path / "package"))


def test_a_truncated_package_is_refused_wherever_it_is_cut(tmp_path: Path):
    files = {"f.py": ADD.encode()}
    whole = archive(tmp_path / "whole", [(MANIFEST, manifest(files)), *files.items()]).read_bytes()
    store = PackageStore(tmp_path / "packages", Limits(), (), signed_only=False)
    cut = tmp_path / "cut"
    for size in range(0, len(whole) - 1, 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(PackageError):
            store.put(cut)


def test_a_package_with_any_byte_changed_is_refused_or_the_same(tmp_path: Path):
    files = {"f.py": ADD.encode()}
    whole = archive(tmp_path / "whole", [(MANIFEST, manifest(files)), *files.items()]).read_bytes()
    store = PackageStore(tmp_path / "packages", Limits(), (), signed_only=False)
    right = store.put(tmp_path / "whole").digest
    changed = tmp_path / "changed"
    for at in range(0, len(whole), 5):
        changed.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        try:
            digest = store.put(changed).digest
        except PackageError:
            continue
        # A byte that says nothing (a date), or one of the manifest: then it is another package.
        content = (store.content(digest) / "f.py").read_bytes()
        assert digest == right or content == ADD.encode()
