"""Clocks with one face: laps of a piece of work on a CPU or on a GPU."""

import time
from itertools import pairwise
from typing import Any

import torch


class Meter:
    """Times consecutive laps of one piece of work, by the wall clock, which serves a CPU."""

    timer = "time.perf_counter_ns"
    """How time is taken, in words."""
    working_bytes: int | None = None
    """The most memory allocated at once since ``start`` beyond what was allocated before; a CPU does not count it."""

    cpu_seconds = 0.0
    """Of the CPU, by this process and its threads, for the last piece of work: what waited its turn does not count."""

    _marks: list[Any]
    _cpu: int

    def start(self) -> None:
        """Wait until the device is idle and begin."""
        self._marks = []
        self._cpu = time.process_time_ns()
        self.lap()

    def lap(self) -> None:
        """End a lap: what was asked of the device since the last one."""
        self._marks.append(time.perf_counter_ns())

    def seconds(self) -> list[float]:
        """Wait until the work is done and return the seconds of each lap."""
        self.cpu_seconds = 1e-9 * (time.process_time_ns() - self._cpu)
        return [1e-9 * (after - before) for before, after in pairwise(self._marks)]


class CUDAMeter(Meter):
    """Time between events on a GPU's stream.

    The stream is idle at the start, so that the first event is passed at once: what the CPU takes to launch the work
    counts, as it does for whoever waits for the answer.
    """

    timer = "CUDA events, synchronised before and after each request"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0

    def start(self) -> None:
        """Wait until the GPU is idle and begin."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        self._before = torch.cuda.memory_allocated(self.device)
        super().start()

    def lap(self) -> None:
        """Put an event after what was asked of the GPU."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        self._marks.append(event)

    def seconds(self) -> list[float]:
        """Wait until the GPU is done and return the seconds of each lap."""
        self._marks[-1].synchronize()
        self.cpu_seconds = 1e-9 * (time.process_time_ns() - self._cpu)
        self.working_bytes = torch.cuda.max_memory_allocated(self.device) - self._before
        return [1e-3 * before.elapsed_time(after) for before, after in pairwise(self._marks)]


def meter_of(device: torch.device) -> Meter:
    """Return the clock of a device."""
    return CUDAMeter(device) if device.type == "cuda" else Meter()
