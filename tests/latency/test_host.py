"""Clocks of the machine and of the work."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ssm4rec.latency.host import describe, others_cores, peak_process_bytes, read_clocks
from ssm4rec.latency.meter import Meter, meter_of

BURN = "import time\nwhile time.process_time() < 0.4: pass"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux says what other processes do")
def test_what_another_process_computes_is_seen() -> None:
    before = read_clocks()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    after = read_clocks()
    others = others_cores(before, after)
    assert others is not None
    # The kernel counts in steps of 10 ms.
    assert others * (after.wall - before.wall) > 0.3
    assert after.process - before.process < 0.3


def test_what_is_said_of_the_machine() -> None:
    found = describe(torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["cores"] >= 1
    assert found["threads"] == torch.get_num_threads()
    assert "selective_scan" in found["kernels"]
    assert peak_process_bytes() > 50 * 2**20  # torch alone takes more


def test_laps_of_a_cpu() -> None:
    meter = meter_of(torch.device("cpu"))
    assert isinstance(meter, Meter)
    for _ in range(2):
        meter.start()
        time.sleep(0.02)
        meter.lap()
        meter.lap()
        long, short = meter.seconds()
        assert long >= 0.02
        assert short >= 0
        assert meter.cpu_seconds < 0.01  # sleeping takes none
        before = time.process_time()
        meter.start()
        while time.process_time() - before < 0.02:
            pass
        meter.lap()
        (spent,) = meter.seconds()
        assert 0.019 < meter.cpu_seconds <= spent + 1e-3
    assert meter.working_bytes is None
