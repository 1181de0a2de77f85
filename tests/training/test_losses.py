"""The chunked full softmax equals torch's cross-entropy, with its gradients."""

import pytest
import torch
from torch.nn import functional

from ssm4rec.training.losses import full_softmax_loss


@pytest.mark.parametrize("targets", [1, 31, 32, 33, 200])
def test_equals_cross_entropy(targets: int) -> None:
    V, D = 9000, 6  # 2**18 // 9000 = 29 rows a chunk, raised to 32
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(targets, D, generator=generator, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(V, D, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, V + 1, (targets,), generator=generator)
    ours = full_softmax_loss(hidden, vectors, target)
    theirs = functional.cross_entropy(hidden @ vectors.T, target - 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (hidden, vectors)),
        torch.autograd.grad(3 * theirs, (hidden, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_large_logits_stay_finite() -> None:
    hidden = torch.full((2, 1), 1e4, requires_grad=True)
    vectors = torch.tensor([[1.0], [-1.0]])
    loss = full_softmax_loss(hidden, vectors, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(1e4)  # mean of 0 and 2e4
