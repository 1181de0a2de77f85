"""Where and how a training computes: device, precision, compiled or not, and which of several processes this is.

Several GPUs of one machine are a process each, started by torchrun or, as torchrun would, by ``run_processes``. Every
process takes its share of each batch's rows; gradients are averaged (DistributedDataParallel), the first one writes.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ssm4rec.artifacts.names import Precision
from ssm4rec.ops.backend import MissingKernelError
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.signals import Ended, child_variables
from ssm4rec.training.device import choose_float32_products

LONGEST_WAIT: Final = timedelta(hours=6)
"""How long a process waits for another one: all wait while the first validates, on a large catalog for long. torch's
own limits (10 minutes with NCCL) would end them. A process that dies is noticed by torchrun at once."""


@dataclass(frozen=True)
class Distributed:
    """What a training runs on."""

    device: torch.device  # of this process
    precision: Precision = "fp32"  # or tf32 (CUDA's TensorFloat-32) or bf16 (autocast; weights and sums stay fp32)
    compiled: bool = False  # the model goes through torch.compile
    rank: int = 0  # of this process
    world_size: int = 1  # number of processes

    @property
    def is_main(self) -> bool:
        """This is the process that validates, writes and speaks."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def shard(self, rows: int) -> tuple[slice, bool]:
        """Return which of a batch's rows this process takes, and whether they count.

        A step needs every process: where there are fewer rows than processes, the rest go over the first row again,
        for nothing.
        """
        counts = self.rank < rows
        return slice(self.rank, None, self.world_size) if counts else slice(0, 1), counts

    def sum(self, value: Tensor) -> float:
        """Return the sum of a scalar over the processes."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value.item()

    def broadcast(self, value: object) -> object:
        """Return the first process's value in every process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision for ``auto`` (bf16 on a GPU, else fp32) or a name; raise InputError for tf32 on a CPU."""
    if name == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    if name == "tf32" and device.type != "cuda":
        raise InputError("--precision tf32: only a GPU has it; use --precision fp32")
    return name  # type: ignore[return-value] # one of the names


def check_processes(count: int, device: torch.device) -> None:
    """Raise InputError if there are fewer GPUs than processes."""
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(f"--processes {count}: this machine has {torch.cuda.device_count()} GPUs; a process needs one")


def run_processes(module: str, arguments: list[str], count: int, device: torch.device) -> int:
    """Run a module in ``count`` processes of this machine that find each other, as torchrun does.

    Return 0, or the exit status of the first process that failed; its own message is on stderr. Raise InputError if
    there are fewer GPUs than processes, or one was ended by a signal.
    """
    check_processes(count, device)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        max_restarts=0,  # a training that was cut off resumes from its checkpoint when it is started again
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it repeats what the process said
    os.environ |= child_variables()  # which torch gives to the processes
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except SignalException as error:
        raise Ended(error.sigval) from None
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise InputError(
                f"a process was ended by signal {-failure.exitcode} (9 often means: out of memory); the same command "
                "resumes after the last finished epoch"
            ) from None
        return failure.exitcode
    return 0


def is_one_of_several() -> bool:
    """Return whether torchrun or ``run_processes`` started this process."""
    return "LOCAL_RANK" in os.environ


@contextmanager
def process_group(distributed: Distributed) -> Iterator[Distributed]:
    """Yield it as one of torchrun's processes, if torchrun started this one; set its number format.

    TF32 is off unless asked for, in torch and in the kernels. Raise InputError if a kernel does not take the model's
    tensors, with ``--kernels fused``.
    """
    device, several = distributed.device, is_one_of_several()
    if device.type == "cuda":
        choose_float32_products(tf32=distributed.precision == "tf32")
    if several:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
        distributed = replace(distributed, device=device, rank=dist.get_rank(), world_size=dist.get_world_size())
    try:
        yield distributed
    except MissingKernelError as error:
        raise InputError(f"--kernels fused: {error}") from None
    finally:
        if several:
            dist.destroy_process_group()
