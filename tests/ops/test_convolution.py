"""The causal convolution equals its definition, sum by sum."""

import torch

from ssm4rec.ops.convolution import causal_convolution


def test_equals_the_definition() -> None:
    B, L, C, W = 2, 7, 3, 4
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(B, L, C, generator=generator, dtype=torch.float64)
    weight = torch.randn(C, W, generator=generator, dtype=torch.float64)
    bias = torch.randn(C, generator=generator, dtype=torch.float64)
    expected = torch.empty(B, L, C, dtype=torch.float64)
    for b in range(B):
        for t in range(L):
            for c in range(C):
                past = [weight[c, W - 1 - k] * x[b, t - k, c] for k in range(W) if t >= k]
                expected[b, t, c] = bias[c] + sum(past)
    torch.testing.assert_close(causal_convolution(x, weight, bias), expected)
