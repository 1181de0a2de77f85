"""A CPU's freed memory stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from ssm4rec.training.device import choose_device
if {keeping}:
    choose_device("cpu")
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
for _ in range(20):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(*, keeping: bool) -> int:
    """Return the page faults of 20 tensors of 64 MiB, one after the other, in a new process."""
    program = [sys.executable, "-c", PROGRAM.format(keeping=keeping)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    return after - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_large_tensors_take_memory_from_the_kernel_once() -> None:
    assert page_faults(keeping=True) < page_faults(keeping=False) / 10
