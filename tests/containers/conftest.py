"""What the container tests stand on: an engine, our images in it, an object store, MLflow on PostgreSQL.

``make test-containers`` runs them, on any machine with a Docker engine; without one, root on Debian gets one for the
length of the tests (``engine.py``). Everything listens on the loopback interface and is gone afterwards, but for
Debian's packages. The images' names begin with ``ssm4rec-tests/``: yours stay. images/README.md says how to run a part.
"""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine, running_engine
from tests.containers.images import CHOICE, ROOT, built
from tests.containers.planted import Planted
from tests.containers.servers import MlflowServer, mlflow_server, postgresql
from tests.containers.study import Studies
from tests.seaweed import ObjectStore

MACHINE = ROOT / "images" / "machine"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Yield a Docker engine."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Return this run's secrets."""
    return Planted()


@pytest.fixture(scope="session")
def machine_settings(planted: Planted) -> Iterator[None]:
    """Lay into ``images/machine`` what pip needs on this machine, unless someone has done so by hand."""
    if {path.name for path in MACHINE.iterdir()} - {".gitignore", "README.md"}:
        yield
        return
    configuration, certificates, wheels = (MACHINE / name for name in ("pip.conf", "ca-certificates.crt", "wheels"))
    try:
        wheels.mkdir()
        for wheel in torch_wheels():
            shutil.copyfile(wheel, wheels / wheel.name)
        shutil.copyfile(os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile or "", certificates)
        lines = ("[global]", f"cert = /machine/{certificates.name}", "find-links = /machine/wheels", f"# {planted.pip}")
        configuration.write_text("\n".join(lines) + "\n")
        yield
    finally:
        shutil.rmtree(wheels)
        certificates.unlink(missing_ok=True)
        configuration.unlink(missing_ok=True)


def torch_wheels() -> list[Path]:
    """Return the CPU builds of torch in pip's folders of wheels: gigabytes less than what an index may serve."""
    lines = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True).splitlines()
    settings = (line.partition("=") for line in lines)
    places = {place for name, _, value in settings if name.endswith(".find-links") for place in value[1:-1].split()}
    folders = [Path(place.removeprefix("file://")) for place in places]
    return [wheel for folder in folders for wheel in folder.glob("torch-*+cpu-*.whl")]


@pytest.fixture(scope="session")
def cpu_image(engine: Engine, machine_settings: None, planted: Planted) -> Iterator[str]:
    """Build our CPU image and yield its name."""
    with built(engine, planted, "cpu") as name:
        yield name


@pytest.fixture(scope="session")
def serve_image(engine: Engine, machine_settings: None, planted: Planted) -> Iterator[str]:
    """Build the image of the server and yield its name."""
    with built(engine, planted, "serve") as name:
        yield name


@pytest.fixture(scope="session")
def ray_image(engine: Engine, machine_settings: None, planted: Planted) -> Iterator[str]:
    """Build our CPU image with Ray, as KubeRay's pods run it, and yield its name."""
    with built(engine, planted, "cpu", "--build-arg=EXTRAS=kuberay", registry="ssm4rec-tests/ray") as name:
        yield name


@pytest.fixture(scope="session")
def mlflow(seaweed: ObjectStore, planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Yield an MLflow server on PostgreSQL that keeps artifacts in the object store."""
    folder = tmp_path_factory.mktemp("mlflow")
    with (
        postgresql(planted.database) as database,
        mlflow_server(database, f"s3://{seaweed.bucket}/mlflow", seaweed.variables, folder) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def studies(
    engine: Engine, cpu_image: str, seaweed: ObjectStore, mlflow: MlflowServer, planted: Planted
) -> Iterator[Studies]:
    """Upload the events of 300 users who walk round a circle of 40 items, and yield what makes studies of them."""
    rows = [
        f"user{user},item{(7 * user + step) % 40},{1_700_000_000 + 60 * step}"
        for user in range(300)
        for step in range(8 + user % 13)
    ]
    events = "\n".join(["user_id,item_id,timestamp", *rows, ""]).encode()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
    environment = {
        **inherited,
        **engine.variables,
        **seaweed.variables,
        **CHOICE,
        "MLFLOW_TRACKING_URI": mlflow.address,
        "MLFLOW_TRACKING_USERNAME": "tests",
        "MLFLOW_TRACKING_PASSWORD": planted.tracking,
        "PYTHONPATH": f"{ROOT / 'components'}:{ROOT}",  # this tree's, whichever is installed: images name its commit
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as own:  # the tests look into the store, too
        for name, value in seaweed.variables.items():
            own.setenv(name, value)
        seaweed.client().put_object(Bucket=seaweed.bucket, Key="data/events.csv", Body=events)
        yield Studies(environment, f"s3://{seaweed.bucket}/data/events.csv", events)
