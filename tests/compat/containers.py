"""Holdfast's API in WSGI containers, configured by the examples in deploy/ (I2)."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from tests.compat.programs import Program, free_ports
from tests.compat.system import ROOT, SETTINGS, System, answers

from holdfast.store.embedded import EmbeddedPostgres

DEPLOY = ROOT / "deploy"
APACHE = shutil.which("apache2") or "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
READY_S = 60.0

_CONFIG = """\
[data]
dir = "{data_dir}"
[database]
url = "{dsn}"
[logs]
format = "json"
[baremetal]
enabled_hardware_types = ["redfish", "fake-hardware"]
"""

# What Debian's packaging of Apache sets around a site.
_APACHE = """\
ServerName localhost
ServerRoot {folder}
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
WSGISocketPrefix {folder}/wsgi
ErrorLog {folder}/error.log
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
Include {folder}/holdfast.conf
"""


class Container:
    """The API of a running system, served by a container of somebody else's on a port of its own.

    Its processes are of the account that owns the database's socket, with a data
    directory of their own.
    """

    def __init__(
        self, system: System, folder: Path, start: Callable[[Container], list[str | Path]]
    ) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        database = EmbeddedPostgres.prepare(system.data_dir)
        self.account = pwd.getpwuid(database.sockets.stat().st_uid)
        data_dir = folder / "data"
        data_dir.mkdir()
        shutil.copy(system.data_dir / "master.key", data_dir)
        self.config = folder / "holdfast.toml"
        self.config.write_text(_CONFIG.format(data_dir=data_dir, dsn=database.dsn))
        argv = start(self)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.account.pw_uid, self.account.pw_gid)
        environ = {**SETTINGS, "HOLDFAST_CONFIG": str(self.config)}
        self.program = Program(argv, folder / "container.log", environ)
        self.program.wait_until(lambda: answers(f"{self.url}/readyz"), "it was ready", READY_S)
        self.clouds = folder / "clouds.yaml"
        self.clouds.write_text(system.clouds.read_text().replace(system.url, self.url))

    def example(self, name: str, changes: dict[str, str]) -> Path:
        """A file of deploy/, in this container's folder, with its own paths in it."""
        text = (DEPLOY / name).read_text()
        for there, here in {"127.0.0.1:8081": f"127.0.0.1:{self.port}", **changes}.items():
            text = text.replace(there, here)
        path = self.folder / Path(name).name
        path.write_text(text)
        return path

    def stop(self) -> None:
        self.program.stop()


def gunicorn(container: Container) -> list[str | Path]:
    """The command that starts gunicorn."""
    config = container.example("gunicorn/gunicorn.conf.py", {})
    program = Path(sys.executable).parent / "gunicorn"
    return [program, "--config", config, "holdfast.web.wsgi:application"]


def apache(container: Container) -> list[str | Path]:
    """The command that starts Apache.

    mod_wsgi brings the system's Python: the packages of this environment are for it too.
    """
    folder = container.folder
    packages = f"{ROOT / 'src'}:{sysconfig.get_paths()['purelib']}"
    own = {
        "python-home=/opt/holdfast/venv": f"python-path={packages}",
        "/etc/holdfast/holdfast.toml": str(container.config),
        "/etc/holdfast": str(folder),
    }
    container.example("apache/holdfast.conf", own)
    container.example("apache/holdfast.wsgi", own)
    account = container.account
    user = f"User {account.pw_name}\nGroup #{account.pw_gid}" if os.geteuid() == 0 else ""
    main = folder / "apache2.conf"
    main.write_text(_APACHE.format(folder=folder, modules=MODULES, user=user))
    return [APACHE, "-f", main, "-D", "FOREGROUND"]
