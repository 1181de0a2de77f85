"""The CPU image as it comes from images/build.py: small, quick to start, of no privilege, and without secrets."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ssm4rec import __version__
from tests.containers.engine import Engine
from tests.containers.images import ROOT, check_packages, check_secrets, in_image, packages
from tests.containers.planted import Planted

pytestmark = pytest.mark.containers

TOOLS = ROOT / ".tools" / "bin"


@pytest.fixture(scope="module")
def facts(engine: Engine, cpu_image: str) -> dict[str, Any]:
    """What the engine knows of the image."""
    (found,) = json.loads(engine.docker("image", "inspect", cpu_image))
    return found


def test_size(facts: dict[str, Any]) -> None:
    assert facts["Size"] < 2.5e9


@pytest.mark.parametrize("user", ["", "54321:54321"])
def test_names_version_and_kernels_in_time(engine: Engine, cpu_image: str, user: str) -> None:
    """By its own CMD, in little more than the time to import torch there; as its user and as one whom nobody knows."""
    seconds, floor = [], []
    for _ in range(3):  # by turns, and the best: other work on the machine is not the image's
        start = time.monotonic()
        lines = in_image(engine, cpu_image, user=user).splitlines()
        seconds.append(time.monotonic() - start)
        start = time.monotonic()
        in_image(engine, cpu_image, "python", "-c", "import torch", user=user)
        floor.append(time.monotonic() - start)
    print(f"version named in {min(seconds):.1f} s, torch imported in {min(floor):.1f}")
    assert lines[0] == f"ssm4rec {__version__}"
    assert "  selective_scan on cpu: ssm4rec.ops.selective_scan_native" in lines
    assert min(seconds) < 2 * min(floor)


def test_settings(facts: dict[str, Any]) -> None:
    settings = facts["Config"]
    assert settings["User"] == "10001:10001"
    assert not settings["Entrypoint"]  # kfp.local hands a stage's whole command line over as the command
    assert settings["Cmd"] == ["python", "-m", "ssm4rec", "--version"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in settings["Labels"].items()}
    assert labels["title"] == "ssm4rec-cpu"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    commit = labels["revision"].removesuffix("-dirty")
    subprocess.run(["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=ROOT, check=True)


def test_two_tags(engine: Engine, cpu_image: str, facts: dict[str, Any]) -> None:
    commit = facts["Config"]["Labels"]["org.opencontainers.image.revision"]
    tags = {tag for tag in facts["RepoTags"] if tag.startswith(cpu_image)}  # yours may be of the same image
    assert tags == {cpu_image, f"{cpu_image}-{commit}"}


def test_user(engine: Engine, cpu_image: str) -> None:
    assert in_image(engine, cpu_image, "id", "-u").strip() == "10001"
    refused = engine.try_docker("run", "--rm", "--user=10001", cpu_image, "touch", "/opt/ssm4rec/bin/python")
    assert refused.returncode != 0
    assert "Permission denied" in refused.stdout


def test_packages_are_the_pinned_ones(engine: Engine, cpu_image: str) -> None:
    found = check_packages(engine, cpu_image, ROOT / "images" / "constraints.txt")
    assert "torch" in found
    assert not {"kfp", "docker", "pytest", "ray"} & found
    assert "No module named 'kfp'" in engine.try_docker("run", "--rm", cpu_image, "python", "-c", "import kfp").stdout


def test_no_secrets_and_nothing_of_this_machine(engine: Engine, cpu_image: str, planted: Planted) -> None:
    """Nor in a layer beneath; what the build saw of them is in ``cpu_image`` and ``machine_settings``."""
    check_secrets(engine, cpu_image, planted)


def test_known_vulnerabilities(engine: Engine, cpu_image: str, tmp_path: Path) -> None:
    """Skipped where the list of vulnerabilities cannot be asked; pip-audit passes over what it is told nothing of."""
    listed = packages(engine, cpu_image)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("".join(f"{name}=={version}\n" for name, version in listed.items()))
    command = [tool("pip-audit"), "--requirement", requirements, "--no-deps", "--disable-pip", "--format=json"]
    done = subprocess.run([*command, "--progress-spinner=off"], capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        pytest.skip(f"the service of vulnerabilities does not answer: {done.stderr.splitlines()[-1]}")
    found = json.loads(done.stdout)["dependencies"]
    unknown = [entry["name"] for entry in found if "skip_reason" in entry]
    if len(unknown) == len(listed):
        pytest.skip(f"the package index of this machine tells no vulnerabilities: not one of {len(listed)} was audited")
    assert unknown == []
    assert [entry for entry in found if entry["vulns"]] == []


@pytest.mark.parametrize("role", ["cpu", "train", "llm", "serve"])
def test_dockerfile_is_clean(role: str) -> None:
    done = subprocess.run(
        [tool("hadolint"), "--no-color", f"images/{role}/Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def tool(name: str) -> Path:
    if not (TOOLS / name).exists():
        pytest.skip(f"{name} is missing: make .tools/.installed")
    return TOOLS / name
