"""Build a package from a folder, the same bytes from the same content, wherever and whenever.

Files are stored, not compressed: compressors differ between versions, and models are dense.
"""

from __future__ import annotations

import hashlib
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.serving.errors import PackageError
from holdfast.serving.packages.manifest import (
    FORMAT,
    MANIFEST,
    NAME,
    SIGNATURE,
    Auth,
    FileEntry,
    Key,
    Manifest,
    Service,
    check_path,
    decode_manifest,
    decode_service,
)
from holdfast.serving.packages.signing import sign

DESCRIPTIONS: Final = ("service.toml", "service.json")
_LEFT_OUT: Final = {"__pycache__", ".git", ".DS_Store", ".ipynb_checkpoints"}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say


class Built(msgspec.Struct, frozen=True):
    """What came of it. ``digest`` is the package's name in stores; ``sha256`` the file's."""

    path: str
    service: str
    generation: str
    digest: str
    sha256: str


def read_description(folder: Path) -> Service:
    """The service that a folder describes; raises ``PackageError``."""
    found = [folder / name for name in DESCRIPTIONS if (folder / name).is_file()]
    if len(found) != 1:
        raise PackageError(f"{folder} needs one of {' and '.join(DESCRIPTIONS)}, and only one.")
    text = found[0].read_text(encoding="utf-8")
    try:
        document: Any = (
            tomllib.loads(text) if found[0].suffix == ".toml" else msgspec.json.decode(text)
        )
    except (tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise PackageError(f"{found[0].name} cannot be read: {error}.") from None
    return _without_keys(decode_service(document))


def _without_keys(service: Service) -> Service:
    keys = [
        Key(id=key.id, sha256=key.sha256 or hashlib.sha256(key.key.encode()).hexdigest())
        for key in service.auth.keys
    ]
    return msgspec.structs.replace(service, auth=Auth(public=service.auth.public, keys=keys))


def files_of(folder: Path) -> dict[str, Path]:
    """What goes in, by its path in the package, sorted; raises ``PackageError`` for a link."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _LEFT_OUT & set(name.split("/")) or name in DESCRIPTIONS:
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackageError(f"{name} is neither a file nor a folder: packages hold no links.")
        if path.is_file():
            check_path(name)
            found[name] = path
    return found


def build(
    folder: Path,
    target: Path,
    *,
    generation: str | None = None,
    key: Ed25519PrivateKey | None = None,
) -> Built:
    """Write the package of a folder to ``target`` and say what it is.

    Without a name for the generation it is named by its content. Raises ``PackageError``.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise PackageError(f"{target} lies in the folder that is packed: choose another place.")
    service = read_description(folder)
    files = files_of(folder)
    entries = {name: FileEntry(_sha256(path), path.stat().st_size) for name, path in files.items()}
    if generation is None:
        told = msgspec.json.encode((service, sorted(entries.items())), order="sorted")
        generation = "g-" + hashlib.sha256(told).hexdigest()[:12]
    if not NAME.fullmatch(generation):
        raise PackageError(f"{generation!r} is no name for a generation (letters, digits, . _ -).")
    manifest = msgspec.json.encode(
        Manifest(f"{FORMAT[0]}.{FORMAT[1]}", generation, service, entries), order="sorted"
    )
    decode_manifest(manifest)  # what this writes, nodes will read
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(MANIFEST), manifest)
        if key is not None:
            archive.writestr(_entry(SIGNATURE), sign(manifest, key))
        for name, path in files.items():
            with archive.open(_entry(name), "w") as out, path.open("rb") as source:
                while chunk := source.read(1 << 20):
                    out.write(chunk)
    return Built(
        path=str(target),
        service=service.id,
        generation=generation,
        digest=hashlib.sha256(manifest).hexdigest(),
        sha256=_sha256(target),
    )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, whatever it is built on
    entry.external_attr = 0o100644 << 16
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
