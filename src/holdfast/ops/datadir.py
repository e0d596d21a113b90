"""The data directory of a host: where everything lies, and who may run on it."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4, uuid5

from holdfast.errors import ConfigError

SOCKET_PATH_MAX: Final = 107  # sun_path of a Unix socket, less the final zero


class DataDir:
    """Paths below one directory, all of it for its owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def master_key(self) -> Path:
        return self.root / "master.key"

    @property
    def gateway_secret(self) -> Path:
        return self.root / "gateway.secret"

    @property
    def gateway_state(self) -> Path:
        return self.root / "gateway"

    @property
    def clouds(self) -> Path:
        return self.root / "clouds.yaml"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def log(self, slot: str) -> Path:
        """Where a role's output goes."""
        return self.logs / f"{slot}.log"

    def socket(self, slot: str) -> Path:
        """The Unix socket on which a role answers its probes."""
        return self.root / "run" / f"{slot}.sock"

    def prepare(self) -> DataDir:
        """Create what is missing. Raises ``ConfigError`` if this cannot be the data directory."""
        try:
            for folder in (self.root, self.logs, self.root / "run"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"the data directory {self.root} cannot be made ({error.strerror}); "
                "name another with HOLDFAST_DATA_DIR or [data] dir"
            ) from error
        longest = self.socket("conductor-100")
        if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
            raise ConfigError(
                f"the data directory's path is too long for Unix sockets ({longest}); "
                "name a shorter one with HOLDFAST_DATA_DIR or [data] dir"
            )
        return self

    def lock(self) -> SupervisorLock:
        """Be the one supervisor of this directory, or raise ``ConfigError`` saying who is."""
        return SupervisorLock(self.root / "supervisor.lock")

    def secret(self, path: Path, length: int = 32) -> str:
        """A secret kept in a file of mode 0600, made at first use."""
        text = _read_or_make(path, lambda: secrets.token_urlsafe(length))
        if not text:
            raise ConfigError(f"{path} is empty; remove it to have a new secret made")
        return text

    def member_id(self, slot: str) -> UUID:
        """A member's id: the same after every restart of the slot on this host."""
        host = _read_or_make(self.root / "host.id", lambda: str(uuid4()))
        try:
            return uuid5(UUID(host), slot)
        except ValueError as error:
            raise ConfigError(f"{self.root / 'host.id'} does not hold a UUID") from error


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The file's text; several processes may come here at once and must read the same."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{make()}\n")
        try:
            path.hardlink_to(fresh)  # the first one wins, whole or not at all
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


class SupervisorLock:
    """Held as long as the process lives, whatever way it ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise ConfigError(
                f"another `holdfast up` (process {holder}) runs on {path.parent}; "
                "stop that one, or choose another directory with HOLDFAST_DATA_DIR"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        self._file.close()
