"""prepare_data on several nodes: the folder of one process, its exit status, and nothing left behind."""

import dataclasses
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.prepare_data.__main__ import run
from ssm4rec.stages.prepare_data.settings import Settings
from tests.conftest import Refusal
from tests.kubernetes_api import CLAIMS, PODS, RAYJOBS, KubernetesApi, claim, kubernetes_api, own_pod
from tests.ray_jobs import command_of, files_of

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")

EVENTS = "user_id,item_id,timestamp\n" + "".join(
    f"u {step * step % 11},i{step % 7},{1_600_000_000 + step // 3}\n" for step in range(200)
)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "it's $HOME.csv").write_text(EVENTS)
    with kubernetes_api(tmp_path) as (found, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield found


def flags(folder: Path, *further: str) -> list[str]:
    return [
        "--dataset=events", f"--source={folder}/cache/it's $HOME.csv", "--name=clicks", "--k-core=2", "--engine=ray",
        f"--cache-dir={folder}/cache", f"--dataset-dir={folder}/dataset", "--nodes=3", *further,
    ]  # fmt: skip


def prepare(*arguments: str) -> None:
    run_stage(Settings.parser(), run, arguments)


def test_the_folder_is_what_the_nodes_wrote_and_nothing_is_left(
    api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the nodes are told is all that the stage was told; here one process does it."""

    said: list[list[str]] = []

    def work(job: dict[str, Any]) -> None:
        said.append(command_of(job))
        try:
            run(dataclasses.replace(Settings.parser().parse_args(said[0][3:]), engine="polars"))
        except InputError as error:
            api.ray_ended("Failed", "FAILED", "AppFailed", str(error))
        else:
            api.ray_ended("Complete", "SUCCEEDED")

    caplog.set_level("INFO")
    api.on_create = work
    prepare(*flags(tmp_path))
    python, option, module, *arguments = said[0]
    assert (Path(python).name[:6], option, module) == ("python", "-m", "ssm4rec.stages.prepare_data")
    told, asked = (Settings.parser().parse_args(one) for one in (arguments, flags(tmp_path)))
    assert dataclasses.replace(told, dataset_dir=asked.dataset_dir, nodes=3) == asked
    assert told.dataset_dir.is_relative_to(tmp_path / "cache")
    prepare(*[one for one in flags(tmp_path) if not one.startswith(("--nodes", "--dataset-dir", "--engine"))],
            f"--dataset-dir={tmp_path}/alone")  # fmt: skip
    assert files_of(tmp_path / "dataset") == files_of(tmp_path / "alone")
    assert not [*(tmp_path / "cache" / "ray").iterdir()]
    assert not [path for path in api.objects if path.startswith((RAYJOBS, f"{PODS}/prepare"))]
    assert any(line.endswith(f"complete; written to {tmp_path}/dataset") for line in caplog.messages)


def test_one_that_fails_ends_with_its_status_and_is_made_again(
    api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input is status 2 there, and so here; the pod of the next attempt has another name."""
    said = "Job entrypoint command failed with exit code 2. No logs available."
    api.on_create = lambda _: api.ray_ended("Failed", "FAILED", "AppFailed", said)
    names = []
    for pod in ("run-x-1", "run-x-2"):
        api.objects[f"{PODS}/{pod}"] = own_pod(tmp_path / "cache", pod)
        monkeypatch.setenv("KFP_POD_NAME", pod)
        with pytest.raises(SystemExit) as stopped:
            prepare(*flags(tmp_path))
        assert stopped.value.code == 2
        names.append(api.rayjob()["metadata"]["name"])
    assert names[0] == names[1]
    assert names[0].startswith("prepare-clicks-")
    assert caplog.messages[-1] == f"RayJob {names[0]} failed (AppFailed: {said}); what it said is above"
    assert api.count("POST", RAYJOBS) == 2
    assert not (tmp_path / "dataset").exists()
    assert not [*(tmp_path / "cache" / "ray").iterdir()]
    del api.objects[f"{RAYJOBS}/{names[0]}"]
    with pytest.raises(SystemExit):
        prepare(*flags(tmp_path, "--k-core=3"))
    assert api.rayjob()["metadata"]["name"] != names[0]  # it is another command


def test_a_folder_that_somebody_removed_is_one_line(api: KubernetesApi, tmp_path: Path, refusal: Refusal) -> None:
    api.on_create = lambda _: api.ray_ended("Complete", "SUCCEEDED")
    line = refusal(run, *flags(tmp_path))
    assert "/dataset-dir is not there, as if somebody had tidied up; start the same again" in line
    assert not [path for path in api.objects if path.startswith(RAYJOBS)]


def test_what_keeps_it_off_several_nodes_is_one_line(api: KubernetesApi, tmp_path: Path, refusal: Refusal) -> None:
    told = flags(tmp_path)
    assert "--nodes 3: is of --engine ray; set that" in refusal(run, *told, "--engine=polars")
    assert "--workers 2: is of one machine; with --nodes 3 each node gives all" in refusal(run, *told, "--workers=2")
    assert "--nodes 3: needs --cache-dir, a folder of a volume that all nodes" in refusal(run, *told, "--cache-dir=")
    assert f"--cache-dir {tmp_path}: lies on no volume that the nodes" in refusal(run, *told, f"--cache-dir={tmp_path}")
    assert "with --nodes only letters, digits," in refusal(run, *told, f"--cache-dir={tmp_path}/cache/a b")
    (tmp_path / "other.csv").write_text(EVENTS)
    said = refusal(run, *told, f"--source={tmp_path}/other.csv")
    assert f"source {tmp_path}/other.csv: lies on no volume that the nodes can mount" in said
    api.objects[f"{CLAIMS}/ssm4rec-cache"] = claim("ReadWriteOnce")
    assert "lies on the volume ssm4rec-cache (ReadWriteOnce), which one node at a" in refusal(run, *told)
    assert not [path for path in api.objects if path.startswith(RAYJOBS)]
    assert not (tmp_path / "cache" / "ray").exists()
    with pytest.raises(InputError, match="--nodes 3: other nodes are a cluster's, and this runs here; leave it out"):
        Settings.parser().parse_args(told).check_here()


@pytest.mark.slow  # Ray's start takes half a minute on busy cores
def test_by_ray_itself(api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The command as the head's pod would run it, with Ray on this machine for the cluster."""
    caplog.set_level("INFO")

    def work(job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        done = subprocess.run(["sh", "-c", job["spec"]["entrypoint"]], env={**os.environ, "OMP_NUM_THREADS": "1"},
                              capture_output=True, text=True)  # fmt: skip
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        state = {"terminated": {"exitCode": done.returncode}}
        lines = [(f"{now}.{row:09}Z", line) for row, line in enumerate(done.stderr.splitlines())]
        with api.lock:
            api.logs[api.ray_started(name, "submit", state)] = lines
            api.ray_ended("Complete" if done.returncode == 0 else "Failed", "SUCCEEDED" if done.returncode == 0 else "")

    api.on_create = lambda job: threading.Thread(target=work, args=(job,), daemon=True).start()
    prepare(*flags(tmp_path))
    prepare(*[one for one in flags(tmp_path) if not one.startswith(("--nodes", "--dataset-dir", "--engine"))],
            f"--dataset-dir={tmp_path}/alone")  # fmt: skip
    assert files_of(tmp_path / "dataset") == files_of(tmp_path / "alone")
    assert "the command: 1 of 1 files read: 200 events" in caplog.messages
