"""How a GPU multiplies float32, how long processes wait for each other, and refusals in one line: no GPU is needed."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import distributed

from ssm4rec.ops.backend import choose_backend
from ssm4rec.runtime.errors import InputError
from ssm4rec.stages.train_recommender.__main__ import run
from ssm4rec.stages.train_recommender.settings import Settings
from ssm4rec.training.device import choose_device, choose_worker_device
from ssm4rec.training.distributed import LONGEST_WAIT, Distributed, process_group
from tests.ops.kernel_contract import make_believe

SHOW = """
print(os.environ["TRITON_F32_DEFAULT"], torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
      torch.get_float32_matmul_precision())
"""
JOINED = """
import os, torch
from ssm4rec.training.distributed import Distributed, process_group
with process_group(Distributed(torch.device("cuda"), "{precision}")):
    pass
"""
CHOSEN = """
import os, torch
from ssm4rec.training.device import choose_device
torch.cuda.is_available = lambda: True
assert choose_device("auto").type == "cuda"
"""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (JOINED.format(precision="fp32"), "ieee False False highest"),
        (JOINED.format(precision="tf32"), "tf32 True True high"),
        (CHOSEN, "ieee False False highest"),  # a stage without a precision, such as `evaluate`
    ],
)
def test_triton_and_torch_multiply_as_the_precision_says(program: str, expected: str) -> None:
    """In a fresh process, whatever the variable said before; the precision is what model and latency files record."""
    before = "ieee" if expected.startswith("tf32") else "tf32"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + SHOW],
        env={**os.environ, "TRITON_F32_DEFAULT": before},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == expected, done.stderr


def test_a_driver_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is torch's own, c10/cuda/CUDAFunctions.cpp (2.13.0)."""
    reason = (
        "The NVIDIA driver on your system is too old (found version 12080). Please update your GPU driver by "
        "downloading and installing a new\nversion from the URL: http://www.nvidia.com/Download/index.aspx"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", mock.Mock(side_effect=RuntimeError(reason)))
    with pytest.raises(
        InputError,
        match=r"^--device cuda: there is none here \(The NVIDIA driver on your system is too old "
        r"\(found version 12080\); torch \S+ is for CUDA 13\.0, which needs driver 580 or newer\); "
        r"use --device auto to take a CPU$",
    ):
        choose_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_task_of_a_cluster_that_finds_no_gpu_ends_at_once(cycle_dataset: Path, tmp_path: Path) -> None:
    """Rather than training on CPUs for hours; on the same node `--device cpu` may still be asked for."""
    command = [
        sys.executable, "-m", "ssm4rec.stages.train_recommender", "--dataset-dir", str(cycle_dataset),
        "--model", "sasrec", "--profile", "smoke", "--device", "auto",
        "--model-dir", str(tmp_path / "model"), "--curve", str(tmp_path / "curve.parquet"),
    ]  # fmt: skip
    environment = {**os.environ, "SSM4REC_DEVICE": "cuda"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "this task was to have a GPU (SSM4REC_DEVICE=cuda), and there is none here (" in line
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_clusters_gpus_are_not_looked_for_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """But by the processes there; where this machine's processes compute, it is this machine that needs one."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    assert choose_worker_device("cuda", 0).type == choose_worker_device("cuda", 4).type == "cuda"
    assert choose_worker_device("auto", 4).type == "cpu"
    for address, workers in (("10.0.0.7:6379", 1), ("", 4)):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=r"^--device cuda: there is none here"):
            choose_worker_device("cuda", workers)


@pytest.mark.skipif(torch.version.cuda is not None, reason="a build with CUDA says something else")
def test_a_build_without_cuda_is_named() -> None:
    with pytest.raises(InputError, match=r"--device cuda: there is none here \(torch \S+ is a build without CUDA\)"):
        choose_device("cuda")


def test_processes_wait_for_a_long_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a real process group; NCCL's own would be 10 minutes."""
    for name, value in {
        "LOCAL_RANK": 0,
        "RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    with process_group(Distributed(torch.device("cpu"))):
        options = distributed.distributed_c10d._get_default_group()._get_backend(torch.device("cpu")).options
        assert options._timeout == LONGEST_WAIT
        assert LONGEST_WAIT.total_seconds() >= 3600


@pytest.mark.parametrize("kernels", ["auto", "fused"])
def test_a_convolution_that_the_kernel_does_not_take(cycle_dataset: Path, tmp_path: Path, kernels: str) -> None:
    """A stage trains it with `auto` and refuses it with `fused`, before anything is written."""
    arguments = [
        "--dataset-dir", str(cycle_dataset), "--model", "2mamba4rec", "--profile", "smoke", "--device", "cpu",
        "--overrides", "training.epochs=1,model.mixer.d_conv=5", "--kernels", kernels,
        "--model-dir", str(tmp_path / "model"), "--curve", str(tmp_path / "curve.parquet"),
    ]  # fmt: skip
    options = Settings.parser().parse_args(arguments)
    try:
        with make_believe() as called:
            if kernels == "auto":
                run(options)
                assert "causal_conv1d_fn" not in called
                assert "mamba_chunk_scan_combined" in called
            else:
                with pytest.raises(InputError, match=r"^--kernels fused: .* width 5: it takes 2 to 4; choose auto or"):
                    run(options)
    finally:
        choose_backend("auto", torch.device("cpu"))
    assert (tmp_path / "model").exists() == (kernels == "auto")
