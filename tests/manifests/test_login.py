"""The overlays with a login for MLflow: a real server with their flag and secrets, asked with and without one."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.manifests.test_rendered import MANIFESTS, pods
from tests.manifests.test_secrets import folder, generate, values
from tests.seaweed import free_ports

__all__ = ["folder"]


def test_only_the_login_differs() -> None:
    plain, login = (pods(name)["mlflow"]["spec"]["containers"][0] for name in ("kind", "kind-login"))
    assert login["args"] == [*plain["args"], "--app-name=basic-auth"]
    config = json.loads((MANIFESTS / "kfp" / "pipelines" / "config.json").read_text())
    settings = config["plugins"]["mlflow"]["settings"]
    settings["authType"] = "basic-auth"
    settings["credentialSecretRef"] = {"usernameKey": "username", "passwordKey": "password"}
    assert json.loads((MANIFESTS / "kfp" / "login" / "config.json").read_text()) == config
    kustomization = yaml.safe_load((MANIFESTS / "secrets" / "login" / "kustomization.yaml").read_text())
    names = [generator["name"] for generator in kustomization["secretGenerator"]]
    # kubeflow/pipelines:backend/src/common/plugins/mlflow/config.go, CredentialSecretName, 2.17.0
    assert names[-1] == "kfp-mlflow-credentials"
    mounted = pods("kind-login")["mlflow"]["spec"]["volumes"][-1]["secret"]["secretName"]
    assert {mounted, login["envFrom"][-1]["secretRef"]["name"]} == set(names[:-1])


def test_the_written_secrets_agree(folder: Path) -> None:
    done = generate(folder, "login")
    assert done.returncode == 0, done.stderr
    account, credentials = values(folder / "login" / "mlflow-login.env"), values(folder / "login" / "credentials.env")
    assert (credentials["username"], credentials["password"]) == (
        account["MLFLOW_AUTH_ADMIN_USERNAME"],
        account["MLFLOW_AUTH_ADMIN_PASSWORD"],
    )
    address = values(folder / "mlflow.env")["MLFLOW_BACKEND_STORE_URI"]
    assert f"database_uri = {address}\n" in (folder / "login" / "basic_auth.ini").read_text()
    for path in (folder / "login").glob("*[!e]"):
        if path.suffix in (".env", ".ini"):
            assert path.stat().st_mode & 0o777 == 0o600
    assert credentials["password"] not in done.stdout
    before = {path.name: path.read_bytes() for path in (folder / "login").iterdir()}
    assert generate(folder, "login").stdout == ""
    assert {path.name: path.read_bytes() for path in (folder / "login").iterdir()} == before


@pytest.mark.slow
def test_a_server_with_the_login_refuses_strangers_and_serves_the_stages(folder: Path, tmp_path: Path) -> None:
    generate(folder, "login")
    ini = folder / "login" / "basic_auth.ini"
    address = values(folder / "mlflow.env")["MLFLOW_BACKEND_STORE_URI"]
    store = f"sqlite:///{tmp_path}/mlflow.db"  # one database for both, as in the cluster
    ini.write_text(ini.read_text().replace(address, store))
    environment = {
        **os.environ,
        **values(folder / "login" / "mlflow-login.env"),
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    (port,) = free_ports(1)
    flag = pods("kind-login")["mlflow"]["spec"]["containers"][0]["args"][-1]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", flag]
    log = tmp_path / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        try:
            uri = f"http://127.0.0.1:{port}"
            _wait(f"{uri}/health", server, log)  # open: Kubernetes' probes have no account
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1", timeout=30)
            assert refused.value.code == 401
            credentials = values(folder / "login" / "credentials.env")
            patch.setenv("MLFLOW_TRACKING_USERNAME", credentials["username"])
            patch.setenv("MLFLOW_TRACKING_PASSWORD", credentials["password"])
            client = MlflowClient(uri)
            run = client.create_run(client.create_experiment("study"))
            client.log_metric(run.info.run_id, "ndcg", 0.5)
            assert client.get_run(run.info.run_id).data.metrics == {"ndcg": 0.5}
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(360):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the server does not answer: {log.read_text()}")
