"""The form of an operator: chosen once, logged, forced, and refused when it is not there."""

import logging
from collections.abc import Iterator

import pytest
import torch

from ssm4rec.ops import backend
from ssm4rec.ops.backend import MissingKernelError, backend_of, choose_backend
from ssm4rec.ops.convolution import causal_convolution

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    choose_backend("auto", CPU)


def test_forced_forms_compute() -> None:
    x, weight, bias = torch.randn(2, 5, 3), torch.randn(3, 4), torch.randn(3)
    results = []
    for form in ("sequential", "torch", "auto"):
        choose_backend(form, CPU)
        assert backend_of("causal_convolution", CPU) == ("torch" if form == "auto" else form)
        results.append(causal_convolution(x, weight, bias)[0])
    torch.testing.assert_close(results[0], results[1])
    assert torch.equal(results[1], results[2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the kernels may be")
def test_missing_kernels_are_named_when_asked_for_and_logged_when_not(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        MissingKernelError, match=r"no fused \w+ for cuda here \(No module named .*install the gpu extra"
    ):
        choose_backend("fused", CUDA)
    backend._load.cache_clear()
    with caplog.at_level(logging.INFO):
        assert backend_of("ssd", CUDA) == "torch"
        assert backend_of("ssd", CUDA) == "torch"
    assert [record.message for record in caplog.records] == [
        "ssd on cuda: torch operations (No module named 'mamba_ssm')"
    ]
