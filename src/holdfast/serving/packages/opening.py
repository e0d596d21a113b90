"""Open a package that anybody may have made: everything is checked before it is believed.

Order: the archive's own bounds, the names, the manifest, then each file against the manifest
while it is written. What is refused leaves nothing behind (the caller removes the folder).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from holdfast.serving.errors import PackageError, SignatureError
from holdfast.serving.packages.manifest import (
    MANIFEST,
    SIGNATURE,
    FileEntry,
    Manifest,
    check_path,
    decode_manifest,
)
from holdfast.serving.packages.signing import require_trusted, verify

# The end of the central directory (APPNOTE 4.3.16): signature, disk, disk of the directory,
# entries on this disk, entries, bytes and offset of the directory, bytes of a comment.
_END: Final = struct.Struct("<4sHHHHLLH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"  # of the zip64 end of directory (4.3.15)
_LOCATOR_BYTES: Final = 20
_ENTRY_SIGNATURE: Final = b"PK\x01\x02"
_ENTRY_BYTES: Final = 46  # without name, extra field and comment (4.3.12)
_DIRECTORY_BYTES_PER_ENTRY: Final = 1024
_MANIFEST_BYTES_MAX: Final = 8 << 20
_SIGNATURE_BYTES_MAX: Final = 4096
_BUILD: Final = "make it with `holdfast package build`"
_ENCRYPTED: Final = 0x1
_SIZES_FOLLOW: Final = 0x8
# What stands before each file (4.3.7): signature, version, flags, method, time, date, CRC-32,
# packed and unpacked bytes, bytes of the name and of the extra field.
_LOCAL: Final = struct.Struct("<4sHHHHHLLLHH")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on a package. ``ratio_max``: unpacked bytes per packed byte."""

    archive_bytes_max: int = 2 << 30
    unpacked_bytes_max: int = 4 << 30
    files_max: int = 10_000
    ratio_max: int = 100


class Opened(msgspec.Struct, frozen=True):
    """A package that was found right. ``signed_by``: the trusted key, or nothing.

    ``signer``: the key whose signature it is, trusted or not; nothing if it is not signed.
    """

    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    signed_by: str | None
    signer: str | None


def open_package(
    path: Path, limits: Limits, trusted: Collection[str], into: Path | None = None
) -> Opened:
    """Check a package, and write its files below ``into`` (an empty folder) unless it is None.

    A signature that does not fit is refused, and so is one by a key that is not trusted; without
    any trusted key a package that is signed is the same as one that is not. Raises
    ``PackageError``.
    """
    try:
        with _opened(path) as file:
            directory_at = _check_bounds(file, limits)
            with zipfile.ZipFile(file) as archive:
                entries = _checked_entries(archive, limits)
                _check_layout(file, entries.values(), directory_at)
                return _read(archive, entries, trusted, into)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PackageError(f"The package is not a sound zip archive: {error}.") from None
    except (struct.error, ValueError, OverflowError):
        raise PackageError("The package is not a sound zip archive.") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset before the file's beginning
            raise
        raise PackageError("The package is not a sound zip archive.") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise PackageError(f"The package cannot be read: {error.strerror}.") from None


def _check_bounds(file: BinaryIO, limits: Limits) -> int:
    """Before zipfile reads the directory: that it is small, and no other than the end says.

    Gives where it begins.
    There is no comment after the end and nothing between it and the directory, so that nobody
    can find another directory than the one that is looked at here (a zip64 one, say).
    """
    try:
        size = os.fstat(file.fileno()).st_size
        if size > limits.archive_bytes_max:
            raise PackageError(f"The package is larger than {limits.archive_bytes_max} bytes.")
        if size < _END.size:
            raise PackageError("The package is not a zip archive.")
        file.seek(size - _END.size)
        count, directory_bytes = _read_end(file.read(_END.size), size, limits)
        directory_at = file.seek(size - _END.size - directory_bytes)
        directory = file.read(directory_bytes)
    except OSError as error:
        raise PackageError(f"The package cannot be read: {error.strerror}.") from None
    if _count_entries(directory) != count:
        raise PackageError("The package has other entries than its end says.")
    if directory[-_LOCATOR_BYTES:].startswith(_LOCATOR_SIGNATURE):
        raise PackageError("The package is a zip64 archive: make it anew, smaller.")
    return directory_at


def _read_end(data: bytes, size: int, limits: Limits) -> tuple[int, int]:
    """(entries, bytes of their directory), within bounds."""
    signature, *disks, here, count, directory_bytes, offset, comment = _END.unpack(data)
    if signature != _END_SIGNATURE or comment:
        raise PackageError("The package is not a zip archive, or there is something after it.")
    if count > limits.files_max + 2:
        raise PackageError(f"The package has more than {limits.files_max} files.")
    if directory_bytes > (limits.files_max + 2) * _DIRECTORY_BYTES_PER_ENTRY:
        raise PackageError("The package's directory is larger than its entries can be.")
    whole = offset + directory_bytes + _END.size == size
    if any(disks) or here != count or not whole:
        raise PackageError("The package's directory is not where its end says.")
    return count, directory_bytes


def _count_entries(directory: bytes) -> int:
    """How many there are; -1 if it holds anything else."""
    at = count = 0
    while at < len(directory):
        if directory[at : at + 4] != _ENTRY_SIGNATURE or at + _ENTRY_BYTES > len(directory):
            return -1
        at += _ENTRY_BYTES + sum(struct.unpack_from("<HHH", directory, at + 28))
        count += 1
    return count if at == len(directory) else -1


def _checked_entries(archive: zipfile.ZipFile, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    unpacked = packed = 0
    infos = archive.infolist()
    if len(infos) > limits.files_max + 2:
        raise PackageError(f"The package has more than {limits.files_max} files.")
    for info in infos:
        name = info.orig_filename
        check_path(name)
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise PackageError(f"{name!r} is not a regular file: packages hold no links.")
        if info.flag_bits & _ENCRYPTED:
            raise PackageError(f"{name!r} is encrypted.")
        if info.extra:  # it may give another name (0x7075) or other sizes (zip64)
            raise PackageError(f"{name!r} has an extra field: {_BUILD}.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PackageError(f"{name!r} is compressed in a way that is not read here.")
        if name.casefold() in folded:
            raise PackageError(f"{name!r} is in the package twice.")
        folded.add(name.casefold())
        entries[name] = info
        unpacked += info.file_size
        packed += info.compress_size
    if unpacked > limits.unpacked_bytes_max:
        raise PackageError(f"The package unpacks to more than {limits.unpacked_bytes_max} bytes.")
    if unpacked > (packed + 4096) * limits.ratio_max:
        raise PackageError(f"The package unpacks to more than {limits.ratio_max} times its size.")
    return entries


def _check_layout(file: BinaryIO, entries: Iterable[zipfile.ZipInfo], directory_at: int) -> None:
    """The files follow each other from the beginning to the directory, each as that says.

    So none is read twice under two names, no size is claimed that the archive does not have, and
    whoever unpacks it by what stands before each file finds the same as we.
    """
    at = 0
    for info in sorted(entries, key=lambda one: one.header_offset):
        file.seek(at)
        head = file.read(_LOCAL.size)
        told = (info.flag_bits, info.compress_type, info.CRC, info.compress_size, info.file_size)
        if info.header_offset != at or len(head) < _LOCAL.size:
            raise PackageError(f"{info.orig_filename!r} is not where it should be: {_BUILD}.")
        signature, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(head)
        plain = signature == _LOCAL_SIGNATURE and not extra and not flags & _SIZES_FOLLOW
        if not plain or told != (flags, method, crc, packed, size):
            raise PackageError(f"{info.orig_filename!r} is not what the directory says: {_BUILD}.")
        at += _LOCAL.size + name + packed
    if at != directory_at:
        raise PackageError(f"There is more in the package than its files: {_BUILD}.")


def _read(
    archive: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    trusted: Collection[str],
    into: Path | None,
) -> Opened:
    if MANIFEST not in entries:
        raise PackageError(f"The package has no {MANIFEST}: {_BUILD}.")
    manifest_bytes = _read_small(archive, entries.pop(MANIFEST), _MANIFEST_BYTES_MAX)
    signature_entry = entries.pop(SIGNATURE, None)
    manifest = decode_manifest(manifest_bytes)
    signer = None
    if signature_entry is not None:
        signature = _read_small(archive, signature_entry, _SIGNATURE_BYTES_MAX)
        signer = verify(manifest_bytes, signature)
        if trusted:
            require_trusted(signer, trusted)
    if set(entries) != set(manifest.files):
        odd = min(set(entries) ^ set(manifest.files))
        raise PackageError(f"{odd!r} is in the package or in its manifest, but not in both.")
    for name, entry in manifest.files.items():
        _read_file(archive, entries[name], entry, None if into is None else into / name)
    digest = hashlib.sha256(manifest_bytes).hexdigest()
    return Opened(manifest, manifest_bytes, digest, signer if trusted else None, signer)


def _read_small(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bytes_max: int) -> bytes:
    with archive.open(info) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise PackageError(f"{info.orig_filename} is larger than {bytes_max} bytes.")
    return data


def _read_file(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: FileEntry, target: Path | None
) -> None:
    """Check one file, and write it; its path was checked, and its folders are made by us only.

    ``target`` is of the name that was checked: zipfile may take ``filename`` from elsewhere.
    """
    mismatch = PackageError(f"{info.orig_filename!r} is not what the manifest says it is.")
    if info.file_size != entry.size:
        raise mismatch
    digest = hashlib.sha256()
    total = 0
    out = -1
    if target is not None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        except (FileExistsError, NotADirectoryError):
            raise PackageError(f"{info.orig_filename!r} is both a file and a folder.") from None
    try:
        with archive.open(info) as file:
            while chunk := file.read(1 << 20):
                total += len(chunk)
                if total > entry.size:
                    raise mismatch
                digest.update(chunk)
                if out >= 0:
                    _write_all(out, chunk)
    finally:
        if out >= 0:
            os.close(out)
    if total != entry.size or digest.hexdigest() != entry.sha256:
        raise mismatch


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def require_signed(opened: Opened) -> None:
    """For nodes that take signed packages only; raises ``SignatureError``."""
    if opened.signed_by is None:
        raise SignatureError(
            "This node takes only packages signed by one of its trusted_keys: sign it with "
            "`holdfast package build --key`."
        )
