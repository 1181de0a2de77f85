"""The commit in an image's name, in repositories of git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssm4rec

PACKAGE = Path(ssm4rec.__file__).parent
NOBODY = {
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
    **{f"GIT_{who}_{what}": "nobody@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}  # fmt: skip


def git(folder: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", *command], cwd=folder, env={**os.environ, **NOBODY}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def image(checkout: Path) -> str:
    """Return the image that a compilation of a checkout names."""
    environment = {name: value for name, value in os.environ.items() if name != "SSM4REC_REVISION"}
    environment |= {"PYTHONPATH": str(checkout / "components"), "SSM4REC_REGISTRY": "registry.example.org/team"}
    command = [sys.executable, "-c", "from ssm4rec.runtime.images import CPU_IMAGE; print(CPU_IMAGE)"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the modules that name images, a compiled pipeline, and a file of each kind of folder."""
    package = tmp_path / "components" / "ssm4rec"
    (package / "runtime").mkdir(parents=True)
    for name in ("__init__.py", *(f"runtime/{path.name}" for path in PACKAGE.glob("runtime/*.py"))):
        shutil.copy(PACKAGE / name, package / name)
    (tmp_path / "pipelines" / "compiled").mkdir(parents=True)
    (tmp_path / "pipelines" / "compiled" / "study.yaml").write_text("image: ssm4rec-cpu\n")
    (tmp_path / "pipelines" / "study.py").write_text("")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-q", "-m", "All")
    return tmp_path


def test_a_compilation_does_not_rename_the_images_of_the_next(checkout: Path) -> None:
    """`make compile REGISTRY=…` changes committed files, which no image holds."""
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert image(checkout).endswith(f"-{commit}")
    compiled = checkout / "pipelines" / "compiled"
    (compiled / "study.yaml").write_text(f"image: {image(checkout)}\n")
    (compiled / "another.yaml").write_text("")
    assert image(checkout).endswith(f"-{commit}")


@pytest.mark.parametrize("changed", ["pipelines/study.py", "components/ssm4rec/new.py"])
def test_any_other_change_shows(checkout: Path, changed: str) -> None:
    with (checkout / changed).open("a") as file:
        file.write("\n")
    assert image(checkout).endswith("-dirty")
