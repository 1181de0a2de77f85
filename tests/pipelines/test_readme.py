"""The commands of README.md and pipelines/README.md for a cluster do what they say."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssm4rec import __version__
from tests.pipelines.conftest import Recorder

ROOT = Path(__file__).parents[2]


def blocks(document: str, heading: str) -> list[str]:
    """The commands of a section of a document."""
    text = (ROOT / document).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```\n(.*?)```", text, re.DOTALL)


(FIRST,) = blocks("README.md", "On Kubeflow")
"""From a clone to a run."""
PORT, BARE = blocks("pipelines/README.md", "On a cluster")
"""With a forwarded port; kfp's own commands."""


PROGRAM = """#!/bin/sh
# Writes its calls down; a size is all that anybody reads from it.
printf '%s\\n' "$*" >> "$0.calls"
case "$*" in
*.Size*) echo 1000000000 ;;
"get pods"*) echo '{"items": [{"metadata": {"name": "train", "creationTimestamp": "2026-01-01T00:00:00Z",
"annotations": {"pipelines.kubeflow.org/runtime-role": "launcher"}}, "status": {"phase": "Succeeded"}}]}' ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what the commands use, with this environment; its kubectl and docker write down their calls."""
    folder = tmp_path / "clone"
    for name in ("components", "images", "manifests", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.env"))
    for name in ("Makefile", "README.md", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    # Never to be installed anew, whatever the files' times: that would turn the environment to this clone.
    (folder / ".venv").mkdir()
    for path in (ROOT / ".venv").iterdir():
        if path.name != ".installed":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".installed").touch()
    for name in ("kubectl", "docker"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
    return folder


def shell(clone: Path, script: str, server: Recorder) -> str:
    """Run a document's commands in a clone, with the recording server where it has a forwarded port."""
    programs = [clone.parent / "bin", ROOT / ".venv" / "bin"]
    environment = {
        **os.environ,
        "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
        "KF_PIPELINES_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "PYTHONPATH": str(clone / "components"),
    }
    script = script.replace("http://localhost:8080", environment["KF_PIPELINES_ENDPOINT"])
    done = subprocess.run(
        ["bash", "-euc", script], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submission(server: Recorder) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The last submission: what runs, what Kubernetes is told of it, and the parameters."""
    sent = server.posted.pop("/apis/v2beta1/runs")
    spec, platforms = sent["pipeline_spec"]["pipeline_spec"], sent["pipeline_spec"]["platform_spec"]["platforms"]
    places = platforms["kubernetes"]["deploymentSpec"]["executors"]
    return spec["deploymentSpec"]["executors"], places, sent["runtime_config"]["parameters"]


def test_from_a_clone_to_a_run(clone: Path, server: Recorder) -> None:
    shell(clone, FIRST, server)
    registry = "registry.example.org/team/"
    docker = (clone.parent / "bin" / "docker.calls").read_text().splitlines()
    roles = ("cpu", "train", "llm", "serve")
    for role in roles:
        assert f"push {registry}ssm4rec-{role}:{__version__}" in docker
    built = [call for call in docker if call.startswith("build ")]
    assert [re.search(r"--file=images/(\w+)/Dockerfile", call)[1] for call in built] == list(roles)  # type: ignore[index]

    kubectl = (clone.parent / "bin" / "kubectl.calls").read_text().splitlines()
    applied = [call.split()[-1] for call in kubectl if call.startswith("apply -k ")]
    names = ("kfp/cluster-scoped", "kfp/pipelines", "secrets", "overlays/a100")
    assert applied == [f"manifests/{name}" for name in names]
    assert all((clone / folder / "kustomization.yaml").is_file() for folder in applied)

    runs, places, parameters = submission(server)
    images = {run["container"]["image"] for run in runs.values()}
    # The clone is no repository, so its commit is unknown; both names were pushed.
    stages = {role for role in roles if role != "serve"}  # whose image no pipeline runs
    assert images == {f"{registry}ssm4rec-{role}:{__version__}-unknown" for role in stages}
    assert {f"push {image}" for image in images} <= set(docker)
    for place in places.values():
        (mount,) = [mount for mount in place["pvcMount"] if mount["mountPath"] == "/cache"]
        assert mount["pvcNameParameter"]["runtimeValue"]["constant"] == "ssm4rec-cache"
    assert (parameters["dataset"], parameters["profile"]) == ("ml-1m", "paper")
    assert {training["seed"] for training in parameters["trainings"]} == {0, 1, 2}


def test_with_a_forwarded_port(clone: Path, server: Recorder) -> None:
    (clone / "study.yaml").write_text("dataset: ml-1m\nseeds: [0, 1]\n")
    lines = PORT.replace("<id>", "r1").splitlines()
    shell(clone, "\n".join(lines[:3]), server)
    _, _, parameters = submission(server)
    assert parameters["dataset"] == "ml-1m"
    assert {training["seed"] for training in parameters["trainings"]} == {7}
    shown = shell(clone, "\n".join(lines[3:]), server)
    _, places, parameters = submission(server)
    assert parameters["gpus"] == "4"
    assert parameters["gpu_pool"] == {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}
    assert "nodeSelector" in places["exec-train-recommender"]
    assert "r1 (ssm4rec): PENDING" in shown
    asked = [path for path in server.read if path.startswith("/apis/v2beta1/runs")]
    assert asked[-2:] == ["/apis/v2beta1/runs", "/apis/v2beta1/runs/r1"]
    kubectl = (clone.parent / "bin" / "kubectl.calls").read_text().splitlines()
    assert [call for call in kubectl if call.startswith("logs ")] == ["logs -n kubeflow train -c main --prefix"]


def test_the_bare_commands_of_kfp(clone: Path, server: Recorder) -> None:
    create, deprecated = BARE.splitlines()
    for command in (create, deprecated):
        shell(clone, command, server)
        runs, places, parameters = submission(server)
        assert runs.keys() == places.keys()
        assert runs.keys() >= {"exec-prepare-data", "exec-train-recommender", "exec-finetune-llm", "exec-report"}
        assert parameters == {"dataset": "ml-1m", "profile": "paper"}
