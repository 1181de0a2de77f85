"""On a GPU: laps between events, and the memory that work takes (`make test-gpu`)."""

import time

import pytest
import torch

from ssm4rec.latency.host import describe
from ssm4rec.latency.meter import CUDAMeter
from ssm4rec.runtime.energy import energy_meter
from ssm4rec.training.device import gpu_uuid

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")


def test_laps_and_memory() -> None:
    meter = CUDAMeter(CUDA)
    left = torch.randn(4096, 4096, device=CUDA)
    _ = left @ left
    started = time.perf_counter()
    meter.start()
    for _ in range(50):
        product = left @ left
    meter.lap()
    product.sum()
    meter.lap()
    many, one = meter.seconds()
    assert 0 < one < many
    # What the events say cannot be more than passed on the wall, and the work is nearly all of that.
    assert many + one <= time.perf_counter() - started
    assert meter.working_bytes is not None
    assert 4 * 4096**2 <= meter.working_bytes <= 4 * 4 * 4096**2


def test_work_takes_energy() -> None:
    with energy_meter(gpu_uuid(CUDA)) as meter:
        if meter.gpu_missing:
            pytest.skip(meter.gpu_missing)
        left, before = torch.randn(4096, 4096, device=CUDA), meter.read()
        while (spent := meter.read() - before).seconds < 2:
            _ = left @ left
            torch.cuda.synchronize()
        assert spent.gpu_joules is not None
        assert 10 < spent.gpu_joules / spent.seconds < 2000  # watts


def test_the_gpu_is_named() -> None:
    found = describe(CUDA)
    assert found["device_name"] == torch.cuda.get_device_name()
    assert found["clock_mhz"] > 100
