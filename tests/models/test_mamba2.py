"""The Mamba-2 block against the block's equations, written out step by step in numpy."""

import numpy
import torch

from ssm4rec.models.mamba2 import Mamba2, Mamba2Config


def silu(x: numpy.ndarray) -> numpy.ndarray:
    return x / (1 + numpy.exp(-x))


def mamba2_by_hand(block: Mamba2, u: numpy.ndarray) -> numpy.ndarray:
    """One sequence u (L, D), one step at a time, from Dao & Gu (2024)."""
    weights = {name: value.detach().numpy() for name, value in block.named_parameters()}
    N, P, W = block.config.d_state, block.config.headdim, block.config.d_conv
    E, H = block.inner, block.n_heads
    projected = u @ weights["in_proj.weight"].T
    gate, mixed, raw_dt = projected[:, :E], projected[:, E : 2 * E + 2 * N], projected[:, 2 * E + 2 * N :]
    state = numpy.zeros((H, P, N))
    outputs = []
    for t in range(len(u)):
        past = [mixed[t - k] * weights["conv1d_weight"][:, W - 1 - k] for k in range(W) if t >= k]
        convolved = silu(sum(past) + weights["conv1d_bias"])
        x, b, c = convolved[:E].reshape(H, P), convolved[E : E + N], convolved[E + N :]
        dt = numpy.log1p(numpy.exp(raw_dt[t] + weights["dt_bias"]))
        y = numpy.empty((H, P))
        for h in range(H):
            decay = numpy.exp(-dt[h] * numpy.exp(weights["A_log"][h]))
            state[h] = decay * state[h] + dt[h] * numpy.outer(x[h], b)
            y[h] = state[h] @ c + weights["D"][h] * x[h]
        gated = y.reshape(E) * silu(gate[t])
        normalized = gated / numpy.sqrt((gated**2).mean() + 1e-5) * weights["norm_weight"]
        outputs.append(normalized @ weights["out_proj.weight"].T)
    return numpy.stack(outputs)


def test_equals_the_equations() -> None:
    torch.manual_seed(5)
    config = Mamba2Config(d_state=6, headdim=4, d_conv=4, expand=2, chunk_size=3)
    block = Mamba2(config, d_model=8).double()
    u = torch.randn(2, 11, 8, dtype=torch.float64)
    actual = block(u)[0].detach().numpy()
    for row in range(2):
        numpy.testing.assert_allclose(actual[row], mamba2_by_hand(block, u[row].numpy()), rtol=1e-10, atol=1e-12)


def test_equals_transformers() -> None:
    # 3 CPU seconds to import: not for those who run other tests.
    from transformers import Mamba2Config as TheirConfig
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(6)
    ours = Mamba2(Mamba2Config(d_state=6, headdim=4, d_conv=4, expand=2, chunk_size=5), d_model=8)
    with torch.no_grad():
        for parameter in (ours.D, ours.norm_weight):
            parameter.normal_(1, 0.3)
    sizes = {"hidden_size": 8, "state_size": 6, "num_heads": 4, "head_dim": 4, "n_groups": 1, "conv_kernel": 4}
    theirs = Mamba2Mixer(TheirConfig(**sizes, expand=2, chunk_size=4, layer_norm_epsilon=1e-5), 0).eval()
    theirs.load_state_dict(
        {
            "in_proj.weight": ours.in_proj.weight,
            "conv1d.weight": ours.conv1d_weight[:, None],
            "conv1d.bias": ours.conv1d_bias,
            "dt_bias": ours.dt_bias,
            "A_log": ours.A_log,
            "D": ours.D,
            "norm.weight": ours.norm_weight,
            "out_proj.weight": ours.out_proj.weight,
        }
    )
    x = torch.randn(3, 11, 8)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-5, atol=1e-6)


def test_initial_steps_and_decays_are_in_the_published_ranges() -> None:
    torch.manual_seed(0)
    block = Mamba2(Mamba2Config(32, 2, 4, 2, 32), d_model=512)  # 512 heads
    dt = torch.nn.functional.softplus(block.dt_bias)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert abs(dt.log().mean() - numpy.log(1e-2)) < 0.2  # log-uniform: the median is the geometric mean
    rate = block.A_log.exp()
    assert rate.min() >= 1
    assert rate.max() <= 16
