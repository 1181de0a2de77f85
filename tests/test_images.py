"""The images' files as far as they show without an engine; ``make test-containers`` builds one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssm4rec.images import ROLES
from ssm4rec.ops import choice

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "images"


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def instructions(role: str) -> list[str]:
    """Return the instructions of a Dockerfile, one a line."""
    text = re.sub(r"^#.*\n", "", (IMAGES / role / "Dockerfile").read_text(), flags=re.MULTILINE)
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("role", ROLES)
def test_no_base_moves_and_no_entry_point(role: str) -> None:
    lines = instructions(role)
    bases = [line.partition("=")[2] for line in lines if re.match(r"ARG (BASE|CUDA)_IMAGE=", line)]
    assert all(re.search(r":.*\d+\.\d+\.\d+", base) for base in bases)
    images = [line.split()[1] for line in lines if line.startswith("FROM")]
    stages = {line.split()[3] for line in lines if line.startswith("FROM") and " AS " in line}
    assert set(images) - stages <= {"${BASE_IMAGE}", "${CUDA_IMAGE}"}
    # NVIDIA's may have one; llm stands on train.
    assert [line for line in lines if line.startswith("ENTRYPOINT")] == {"train": ["ENTRYPOINT []"]}.get(role, [])
    assert lines[-1] == 'CMD ["python", "-m", "ssm4rec", "--version"]'


def test_the_train_image_is_built_only_if_every_kernel_loads() -> None:
    """It imports what the operators import on a GPU, not the compiled modules alone."""
    lines = instructions("train")
    (check,) = (line for line in lines if line.startswith("RUN python -m ssm4rec --version"))
    assert {name for (_, kind), name in choice._FUSED.items() if kind == "cuda"} <= set(re.findall(r"[\w.]+", check))
    assert any("MAMBA_KEEP_CUDA_BUILD=TRUE" in line for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_context_has_what_is_copied(role: str) -> None:
    """``.dockerignore`` lets nothing through that it does not name."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copied = [
        name
        for line in instructions(role)
        if line.startswith("COPY") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert any(name == known or known.startswith(f"{name}/") for known in allowed), name


def test_requirements_are_those_of_the_package() -> None:
    done = run("images/requirements.py", "dependencies", "tracking")
    assert done.stdout.split() == ["numpy", "pyarrow", "pydantic", "tqdm", "typing-extensions", "mlflow-skinny"]
    assert "has no list gpus; it has dependencies, data, train" in run("images/requirements.py", "gpus").stderr


SETUP = """
cc_flag = []
if old:
    cc_flag.append("-gencode")
    cc_flag.append("arch=compute_70,code=sm_70")
cc_flag.append("-gencode")
cc_flag.append("arch=compute_80,code=sm_80")
if new:
    cc_flag.append("-gencode")
    cc_flag.append("arch=compute_90,code=sm_90")
"""


def test_kernels_are_compiled_for_the_chosen_architectures(tmp_path: Path) -> None:
    """The form of setup.py in mamba-ssm 2.3.2 and causal-conv1d 1.7.0."""
    setup = tmp_path / "setup.py"
    setup.write_text(SETUP)
    chosen = run("images/train/select_architectures.py", setup, "80", "90")
    assert chosen.returncode == 0
    found: dict[str, list[str]] = {}
    exec("old = new = True\n" + setup.read_text(), {}, found)
    assert found["cc_flag"] == ["-gencode", "arch=compute_80,code=sm_80", "-gencode", "arch=compute_90,code=sm_90"]
    missing = run("images/train/select_architectures.py", setup, "100")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert f"{setup}: has 80, 90 sm architectures, not 100; read it again" in missing.stderr


def test_every_pin_is_one_version() -> None:
    lines = (IMAGES / "constraints.txt").read_text().splitlines() + (IMAGES / "tools.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][^ ]*|#.*", line) for line in lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "gpu"], "--only gpu: unknown; choose from cpu, train, llm"),
        ([], "there is no docker command on this machine; install Docker's client"),
    ],
)
def test_build_says_what_is_missing(flags: list[str], message: str, tmp_path: Path) -> None:
    failed = run("images/build.py", *flags, PATH=str(tmp_path))
    assert failed.returncode == 2
    assert failed.stderr == f"python -m images.build: error: {message}\n"
