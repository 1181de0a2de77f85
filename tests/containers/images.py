"""The images that the tests build, containers of them run as a cluster runs them, and what is in them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.engine import Engine
from tests.containers.planted import Planted

ROOT = Path(__file__).parents[2]
CHOICE = {"SSM4REC_REGISTRY": "ssm4rec-tests", "SSM4REC_ACCELERATOR": "cpu"}
"""Whose images, and that the CPU image trains."""
LOCKED = ("--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""As a cluster runs it."""
ALONE = (*LOCKED, "--network=none")
"""With no network at all, too."""
IN_A_LAYER = "The words that stages share"
"""Of a module of ours, to see that a search does look into layers."""


@contextmanager
def built(
    engine: Engine, planted: Planted, role: str, *flags: str, registry: str = CHOICE["SSM4REC_REGISTRY"]
) -> Iterator[str]:
    """Build a role's image with ``images/build.py``, yield its name, and remove it."""
    variables = {**CHOICE, "SSM4REC_REGISTRY": registry, "AWS_SECRET_ACCESS_KEY": planted.build}
    subprocess.run(
        [sys.executable, "images/build.py", "--only", role, *engine.build_flags, *flags],
        cwd=ROOT,
        env={**os.environ, **engine.variables, **variables},
        check=True,
    )
    listed = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{registry}/ssm4rec-{role}"]
    tags = sorted(engine.docker(*listed).split(), key=len)
    yield tags[0]  # the other one has the commit, too
    engine.docker("image", "rm", *tags)


def in_image(engine: Engine, image: str, *command: str, user: str = "") -> str:
    """Run a command in a container without a network and return what it printed."""
    flags = [*ALONE, f"--user={user}"] if user else ALONE
    return engine.docker("run", "--rm", *flags, image, *command)


@contextmanager
def container(engine: Engine, image: str, *command: str, flags: tuple[str, ...]) -> Iterator[str]:
    """Yield the id of a container that runs a command in the background, and remove it."""
    started = engine.docker("run", "--detach", *LOCKED, *flags, image, *command).split()[-1]
    try:
        yield started
    finally:
        engine.docker("rm", "--force", started)


def size(engine: Engine, image: str) -> float:
    """Return an image's size in GB."""
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e9


def packages(engine: Engine, image: str) -> dict[str, str]:
    """Return the packages in the image but ours and the installer, by name; local marks such as ``+cpu`` left aside."""
    listed = json.loads(in_image(engine, image, "pip", "list", "--format=json", "--disable-pip-version-check"))
    versions = {entry["name"].lower().replace("_", "-"): entry["version"].partition("+")[0] for entry in listed}
    return {name: version for name, version in versions.items() if name not in ("ssm4rec", "pip")}


def check_packages(engine: Engine, image: str, pins: Path) -> set[str]:
    """Assert that the packages are of the pinned versions and fit each other; return their names."""
    wanted = dict(line.partition(";")[0].split("==") for line in pins.read_text().splitlines() if "==" in line)
    found = packages(engine, image)
    assert {name: version for name, version in found.items() if wanted.get(name) != version} == {}
    assert "No broken requirements" in in_image(engine, image, "pip", "check")
    return {*found}


def check_secrets(engine: Engine, image: str, planted: Planted) -> None:
    """Assert that neither the image nor a layer beneath has a secret of the build, or anything of its machine."""
    forbidden = list(vars(planted).values())
    history = engine.docker("history", "--no-trunc", image)
    assert not [text for text in [*forbidden, "PIP_CONFIG_FILE", "TORCH_INDEX", "/machine"] if text in history]
    assert found_in_layers(engine, image, [*forbidden, IN_A_LAYER]) == [IN_A_LAYER]
    places = "/machine /wheels /source /constraints.txt /requirements.txt /etc/pip.conf"
    found = in_image(engine, image, "sh", "-c", f"ls -d {places} || :")
    assert found.count("No such file or directory") == len(places.split())


def found_in_layers(engine: Engine, image: str, texts: list[str]) -> list[str]:
    """Return which texts occur in the image's configuration or in a file of any of its layers."""
    patterns = [flag for text in texts for flag in ("-e", text)]
    with subprocess.Popen(
        ["docker", "save", image], env={**os.environ, **engine.variables}, stdout=subprocess.PIPE
    ) as saved:
        command = ["grep", "--text", "--only-matching", "--fixed-strings", *patterns]
        found = subprocess.run(command, stdin=saved.stdout, stdout=subprocess.PIPE, text=True, check=False)
    assert saved.returncode == 0
    return sorted(set(found.stdout.splitlines()))
