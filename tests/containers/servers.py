"""The server that studies talk to, MLflow on a real PostgreSQL; and small file systems, to be filled."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.seaweed import free_ports

BINARIES = Path(sys.executable).parent


def wait(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait until something is true; fail the test if it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(otherwise)
        time.sleep(0.1)


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server's only database.

    Attributes:
        password: of user mlflow.
        port: on the loopback interface.
        programs: the folder of PostgreSQL's programs.
    """

    password: str
    port: int
    programs: Path

    @property
    def address(self) -> str:
        """Address as SQLAlchemy takes it, password included."""
        return f"postgresql+psycopg2://mlflow:{self.password}@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        """Tell whether the server takes connections."""
        command = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def dump(self) -> bytes:
        """Return everything in it."""
        address = self.address.replace("+psycopg2", "").replace(f":{self.password}", "")
        return subprocess.check_output(
            [self.programs / "pg_dump", address], env={**os.environ, "PGPASSWORD": self.password}
        )


@contextmanager
def postgresql(password: str) -> Iterator[Database]:
    """Yield an empty database; its server is user postgres's if this is root."""
    initdb = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=shutil.which("initdb"))
    if initdb is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    database = Database(password, free_ports(1)[0], Path(initdb).parent)
    owner = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to be root
    folder = Path(tempfile.mkdtemp(prefix="ssm4rec-postgresql-"))
    data, secret, log = (folder / name for name in ("data", "password", "log"))
    secret.write_text(password)
    if owner:
        shutil.chown(folder, owner, owner)
        shutil.chown(secret, owner, owner)
    initialize = [initdb, "-D", data, "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={secret}"]
    serve = [database.programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(database.port), "-k", folder]
    try:
        with log.open("w") as output:
            subprocess.run(initialize, cwd=folder, user=owner, group=owner, stdout=output, stderr=output, check=True)
            with subprocess.Popen(serve, cwd=folder, user=owner, group=owner, stdout=output, stderr=output) as server:
                wait(database.answers, 60, "PostgreSQL does not start")
                yield database
                server.send_signal(signal.SIGINT)  # without waiting for its clients
    finally:
        shutil.rmtree(folder)


@dataclass
class MlflowServer:
    """An MLflow server that can be stopped, and started again on what it has stored.

    Attributes:
        address: of the server.
        database: where it keeps everything but artifacts.
        environment: of its process; the database's password is in there only.
        log: what it printed.
    """

    address: str
    database: Database
    environment: dict[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        port = self.address.rpartition(":")[2]
        command = [BINARIES / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        with self.log.open("a") as output:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait(self._answers, 120, f"MLflow does not start, see {self.log}")

    def stop(self) -> None:
        """Stop it at once, if it runs."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # the server proper is a child of the command
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def mlflow_server(
    database: Database, artifacts: str, variables: dict[str, str], folder: Path
) -> Iterator[MlflowServer]:
    """Yield a running server: its artifacts go to an address (reached under ``variables``), its log into a folder."""
    settings = {
        "MLFLOW_BACKEND_STORE_URI": database.address,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    server = MlflowServer(
        f"http://127.0.0.1:{free_ports(1)[0]}",
        database,
        {**os.environ, **variables, **settings},
        folder / "mlflow.log",
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """Mount a file system of its own at a folder."""
    if os.geteuid():
        pytest.skip("only root mounts a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a folder's file system but for some bytes; return the file whose removal makes room."""
    filler = folder / "filler"
    facts = os.statvfs(folder)
    try:
        filler.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - leave)))
    except OSError as error:  # others write, too: they were faster
        if error.errno != errno.ENOSPC:
            raise
        os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler
