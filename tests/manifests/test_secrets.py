"""manifests/secrets/generate.sh: what it writes, for whom, and what it leaves alone."""

import base64
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SECRETS = Path(__file__).parents[2] / "manifests" / "secrets"

KUBECTL = """#!/bin/sh
# Answers as kubectl does for the keys of KFP's secret, and fails where there is no cluster.
test -e "$0.cluster" || { echo "connection refused" >&2; exit 1; }
case "$*" in
    *"{.data.accesskey}") printf '%s' ACCESS ;;
    *"{.data.secretkey}") printf '%s' SECRET ;;
    *) exit 2 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of manifests/secrets without what the user of this checkout has written there, and a kubectl."""
    shutil.copytree(SECRETS, tmp_path / "secrets", ignore=shutil.ignore_patterns("*.env", "*.ini", "*.part"))
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    keys = {name: base64.b64encode(name.lower().encode() + b"/+key").decode() for name in ("ACCESS", "SECRET")}
    kubectl.write_text(
        KUBECTL.replace("%s' ACCESS", f"%s' {keys['ACCESS']}").replace("' SECRET", f"' {keys['SECRET']}")
    )
    kubectl.chmod(0o755)
    (tmp_path / "bin" / "kubectl.cluster").touch()
    return tmp_path / "secrets"


def generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}"}
    command = [folder / "generate.sh", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def values(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_files_have_the_keys_of_the_examples_and_their_owner_alone_reads_them(folder: Path) -> None:
    done = generate(folder)
    assert done.returncode == 0, done.stderr
    store, database = folder / "object-store.env", folder / "mlflow.env"
    assert values(store) == {
        "AWS_ACCESS_KEY_ID": "access/+key",
        "AWS_SECRET_ACCESS_KEY": "secret/+key",
        "AWS_ENDPOINT_URL_S3": "http://seaweedfs.kubeflow:8333",
        "AWS_REGION": "us-east-1",
    }
    password = values(database)["POSTGRES_PASSWORD"]
    assert re.fullmatch("[0-9a-f]{48}", password)
    assert f"//mlflow:{password}@ssm4rec-postgresql:5432/" in values(database)["MLFLOW_BACKEND_STORE_URI"]
    for path in (store, database):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        examples = [line for line in Path(f"{path}.example").read_text().splitlines() if not line.startswith("#")]
        assert list(values(path)) == [line.split("=")[0] for line in examples]
    assert "secret/+key" not in done.stdout
    assert password not in done.stdout


def test_a_second_time_nothing_changes_and_a_new_file_gets_a_new_password(folder: Path) -> None:
    generate(folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.env")}
    assert generate(folder).stdout == ""
    assert {path.name: path.read_bytes() for path in folder.glob("*.env")} == before
    (folder / "mlflow.env").unlink()
    generate(folder)
    assert (folder / "mlflow.env").read_bytes() != before["mlflow.env"]


def test_without_a_cluster_it_fails_and_leaves_nothing(folder: Path) -> None:
    (folder.parent / "bin" / "kubectl.cluster").unlink()
    done = generate(folder)
    assert done.returncode != 0
    assert "connection refused" in done.stderr
    assert not list(folder.glob("*.env")) + list(folder.glob("*.part"))
