"""Packages on the node's disk: by digest, never changed, complete or not there.

::

    packages/<digest>/content/…      the files, read only
    packages/<digest>/manifest.json  what they are checked against before each load
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from holdfast.serving.errors import PackageError, UnknownGenerationError
from holdfast.serving.packages.manifest import Manifest, decode_manifest
from holdfast.serving.packages.opening import Limits, Opened, open_package, require_signed

_SIGNED_BY: Final = "signed-by"
_INCOMING: Final = "incoming-"
_REMOVED: Final = "removed-"


class Unpacked(msgspec.Struct, frozen=True):
    """A package that was found right, and where its files are until it is kept."""

    opened: Opened
    folder: Path


class PackageStore:
    """The packages below one folder. All methods block; run them in a thread."""

    def __init__(
        self, folder: Path, limits: Limits, trusted: Collection[str], *, signed_only: bool
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._trusted = tuple(trusted)
        self._signed_only = signed_only
        folder.mkdir(parents=True, exist_ok=True)
        self._clean()

    def put(self, archive: Path) -> Opened:
        """Take a package in; the same one twice is one. Raises ``PackageError``."""
        unpacked = self.unpack(archive)
        try:
            return self.keep(unpacked)
        finally:
            self.discard(unpacked)

    def unpack(self, archive: Path) -> Unpacked:
        """Check a package and have its files on disk, but not among the packages yet.

        Whoever calls this calls ``discard`` at last. Raises ``PackageError``.
        """
        incoming = Path(tempfile.mkdtemp(prefix=f"{_INCOMING}{os.getpid()}-", dir=self._folder))
        try:
            content = incoming / "content"
            content.mkdir()
            opened = open_package(archive, self._limits, self._trusted, content)
            if self._signed_only:
                require_signed(opened)
            (incoming / "manifest.json").write_bytes(opened.manifest_bytes)
            (incoming / _SIGNED_BY).write_text(opened.signed_by or "")
            incoming.chmod(0o755)
            _sync_tree(incoming)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        return Unpacked(opened, incoming)

    def keep(self, unpacked: Unpacked) -> Opened:
        """Have it among the packages; takes no time to speak of."""
        opened = unpacked.opened
        target = self._folder / opened.digest
        if target.exists():
            if opened.signed_by:
                _replace_text(target / _SIGNED_BY, opened.signed_by)
        else:
            unpacked.folder.rename(target)
            _sync(self._folder)
        return opened

    def discard(self, unpacked: Unpacked) -> None:
        """Remove what was unpacked and not kept."""
        shutil.rmtree(unpacked.folder, ignore_errors=True)

    def content(self, digest: str) -> Path:
        """The folder of the package's files."""
        return self._at(digest) / "content"

    def manifest(self, digest: str) -> Manifest:
        """Its manifest, checked against its name."""
        data = (self._at(digest) / "manifest.json").read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise PackageError(f"The stored package {digest} was changed on disk: import it anew.")
        return decode_manifest(data)

    def is_trusted(self, digest: str) -> bool:
        """Whether a key that is trusted *now* has signed it."""
        signed_by = (self._at(digest) / _SIGNED_BY).read_text()
        return bool(signed_by) and signed_by in {key.lower() for key in self._trusted}

    def check(self, digest: str) -> Manifest:
        """Compare every file with the manifest; raises ``PackageError``."""
        manifest = self.manifest(digest)
        content = self.content(digest)
        for name, entry in manifest.files.items():
            try:
                with (content / name).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise PackageError(f"The stored package {digest} lacks {name}: {error}.") from None
            if found != entry.sha256:
                raise PackageError(
                    f"{name} of the stored package {digest} was changed on disk: import it anew."
                )
        return manifest

    def remove(self, digest: str) -> None:
        """Forget a package that nothing needs any more."""
        doomed = self._folder / f"{_REMOVED}{os.getpid()}-{digest}"
        with contextlib.suppress(FileNotFoundError):
            (self._folder / digest).rename(doomed)
            shutil.rmtree(doomed)

    def digests(self) -> list[str]:
        """All that are there."""
        return sorted(path.name for path in self._folder.iterdir() if len(path.name) == 64)

    def _at(self, digest: str) -> Path:
        path = self._folder / digest
        if len(digest) != 64 or not path.is_dir():
            raise UnknownGenerationError(f"The package {digest[:80]} is not on this node.")
        return path

    def _clean(self) -> None:
        """What a crash left half done; what another process is at (we succeed it) stays."""
        for path in self._folder.iterdir():
            kind, _, rest = path.name.partition("-")
            pid = rest.partition("-")[0]
            if f"{kind}-" in (_INCOMING, _REMOVED) and not _is_of_another(pid):
                shutil.rmtree(path, ignore_errors=True)


def _is_of_another(pid: str) -> bool:
    return pid.isdecimal() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()


def _replace_text(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_tree(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        _sync(path)
