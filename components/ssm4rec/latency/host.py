"""The machine under a measurement: what it is, and whether it did anything else meanwhile."""

import os
import platform
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from ssm4rec.ops.backend import kernels

IDLE_BELOW: Final = 0.1
"""A machine is called idle if other processes used fewer CPU cores than this, on average over the measurement."""

_STAT = Path("/proc/stat")
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Reading:
    """Clocks of the machine at a moment, in seconds: on the wall, and of the CPU by this process and by all.

    Those that a hypervisor took away are among the ``busy`` ones, which are None where they are not known.
    """

    wall: float
    process: float
    busy: float | None


def read_clocks() -> Reading:
    """Return the clocks now."""
    busy = None
    if _STAT.exists():
        # cpu  user nice system idle iowait irq softirq steal guest guest_nice; guests are in user and nice (man proc).
        ticks = [int(field) for field in _STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return Reading(time.perf_counter(), time.process_time(), busy)


def others_cores(before: Reading, after: Reading) -> float | None:
    """Return how many cores the other processes used on average between two readings; None where it is not known.

    >>> others_cores(Reading(10.0, 1.0, 100.0), Reading(20.0, 11.0, 115.0))
    0.5
    """
    if before.busy is None or after.busy is None:
        return None
    others = (after.busy - before.busy) - (after.process - before.process)
    return max(0.0, others) / (after.wall - before.wall)


def describe(device: torch.device) -> dict[str, Any]:
    """Return what the machine is: device, its clock, cores, threads, kernels and torch."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "clock_mhz": clock_mhz(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": kernels(device.type),
        "torch": torch.__version__,
    }


def clock_mhz(device: torch.device) -> float | None:
    """Return the clock in MHz: a GPU's highest, a CPU's mean over the cores now; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).clock_rate / 1e3
    found = [float(value) for name, value in _cpu_info() if name == "cpu MHz"]
    return statistics.mean(found) if found else None


def peak_process_bytes() -> int:
    """Return the most memory that this process has held: all models, the data and the libraries together."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of either system
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _processor() -> str:
    return next((value for name, value in _cpu_info() if name == "model name"), platform.machine())


def _cpu_info() -> list[tuple[str, str]]:
    if not _CPU_INFO.exists():
        return []
    pairs = [line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]
