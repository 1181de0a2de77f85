"""Where a stage computes, and with which kernels."""

import ctypes
import os
from typing import Final, cast

import torch

from ssm4rec.ops.backend import Backend, MissingKernelError, choose_backend
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.extras import Extra, check_installed
from ssm4rec.runtime.images import DEVICE_VARIABLE
from ssm4rec.runtime.ray_cluster import names_cluster

_M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    On a CPU, freed memory is kept; on a GPU, float32 is float32 until :func:`choose_float32_products` says otherwise.
    Raise InputError if ``cuda`` was asked for (in SSM4REC_DEVICE, too) and is not there.
    """
    there = name != "cpu" and torch.cuda.is_available()
    if name == "auto" and os.environ.get(DEVICE_VARIABLE) == "cuda" and not there:
        raise InputError(
            f"this task was to have a GPU ({DEVICE_VARIABLE}=cuda), and there is none here ({_why_no_cuda()}); "
            "look at the node's driver and device plugin, or use --device cpu"
        )
    if name == "cuda" and not there:
        raise InputError(f"--device cuda: there is none here ({_why_no_cuda()}); use --device auto to take a CPU")
    if not there:
        _keep_freed_memory()
        return torch.device("cpu")
    choose_float32_products(tf32=False)
    return torch.device("cuda")


def choose_worker_device(name: str, workers: int) -> torch.device:
    """Return where each of several processes is to compute: as :func:`choose_device` says of this machine.

    But ``cuda`` of a cluster is the cluster's to find: this machine needs no GPU for it. Raises as that does.
    """
    if name == "cuda" and workers != 1 and names_cluster():
        return torch.device("cuda")
    return choose_device(name)


def check_workers(workers: int, device: torch.device) -> None:
    """Raise InputError if several processes are wanted without Ray, or with more GPUs than this machine has."""
    if workers == 1:
        return
    check_installed(Extra.RAY, f"--workers {workers}", "leave the flag out")
    if device.type == "cuda" and not names_cluster() and workers > torch.cuda.device_count():
        raise InputError(
            f"--workers {workers}: this machine has {torch.cuda.device_count()} GPUs; give at most that, or "
            "--device cpu"
        )


def gpu_uuid(device: torch.device) -> str | None:
    """Return the UUID of a GPU as NVML knows it, such as ``GPU-ffc79498-8ff3-…``; None for a CPU."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None


def choose_float32_products(*, tf32: bool) -> None:
    """Choose what a GPU multiplies float32 matrices with: TensorFloat-32 (10 bits after the point) or float32 (23).

    Triton's ``tl.dot``, of which mamba-ssm's SSD consists, takes TF32 unless told otherwise, whatever torch's own flags
    say. It reads its variable when it compiles a kernel (3.7.1: triton/knobs.py, language.fp32_default), and not again:
    call this before the first one.
    """
    os.environ["TRITON_F32_DEFAULT"] = "tf32" if tf32 else "ieee"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def _why_no_cuda() -> str:
    """Return why torch finds no GPU: its own first sentence, and what this build of it needs of the driver."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it untyped
        reason = "torch finds no GPU"
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
    needs = "driver 580 or newer" if torch.version.cuda.startswith("13.") else "a driver as new"
    return f"{reason}; torch {torch.__version__} is for CUDA {torch.version.cuda}, which needs {needs}"


def _keep_freed_memory() -> None:
    """Keep freed tensors' memory in the process, for the next ones.

    glibc gives blocks over 32 MB back to the kernel, which clears every page of the next one: a third of the time of
    Hydra4Rec's forward for 64 users (tests/benchmarks/LOG.md). Another C library is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)  # larger blocks are given back
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def choose_kernels(name: str, device: torch.device) -> None:
    """Choose all operators' backend, of ``names.KERNELS``; raise InputError if a kernel of ``fused`` is missing."""
    try:
        choose_backend(cast("Backend", name), device)
    except MissingKernelError as error:
        raise InputError(f"--kernels {name}: {error}") from None
