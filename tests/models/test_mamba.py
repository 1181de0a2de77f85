"""The Mamba block against transformers' with the same weights, and read in parts, padded, packed."""

import pytest
import torch

from ssm4rec.models.mamba import Mamba, MambaConfig
from ssm4rec.models.recommender import initialize

CONFIG = MambaConfig(d_state=5, d_conv=4, expand=2, dt_rank=0, init="mamba")


def block(config: MambaConfig = CONFIG, d_model: int = 24) -> Mamba:
    torch.manual_seed(5)
    return Mamba(config, d_model)


def test_equals_transformers() -> None:
    # 3 CPU seconds to import: not for those who run other tests.
    from transformers import MambaConfig as TheirConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    ours = block().double()
    theirs = MambaMixer(TheirConfig(hidden_size=24, state_size=5, conv_kernel=4, expand=2, time_step_rank=2), 0)
    theirs = theirs.double().eval()
    names = {
        "in_proj.weight": ours.in_proj.weight,
        "conv1d.weight": ours.conv1d_weight[:, None],
        "conv1d.bias": ours.conv1d_bias,
        "x_proj.weight": ours.x_proj.weight,
        "dt_proj.weight": ours.dt_proj_weight,
        "dt_proj.bias": ours.dt_bias,
        "A_log": ours.A_log + 0.1,
        "D": ours.D * 1.5,
        "out_proj.weight": ours.out_proj.weight,
    }
    with torch.no_grad():
        ours.A_log += 0.1
        ours.D *= 1.5
    theirs.load_state_dict(names)
    x = torch.randn(3, 11, 24, dtype=torch.float64)
    # Their A is rounded to float32.
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-6, atol=1e-7)


def test_parameters_are_those_of_the_published_model() -> None:
    """Mamba4Rec's layer, 72,128: this block, a feed-forward of 4D, and two LayerNorms."""
    D, N, W, R = 64, 32, 4, 4
    E = 2 * D
    count = sum(parameter.numel() for parameter in Mamba(MambaConfig(N, W, 2, 0, "paper"), D).parameters())
    assert count == D * 2 * E + E * W + E + E * (R + 2 * N) + R * E + E + E * N + E + E * D == 38_784
    feed_forward = D * 4 * D + 4 * D + 4 * D * D + D
    assert count + feed_forward + 2 * 2 * D == 72_128


def test_initial_steps() -> None:
    """Whatever the shell does to linear layers: log-uniform in [0.001, 0.1], or near log 2 as in Mamba4Rec."""
    steps = {}
    for init in ("mamba", "paper"):
        mixer = block(MambaConfig(8, 4, 2, 4, init), d_model=256).apply(initialize)
        steps[init] = torch.nn.functional.softplus(mixer.dt_bias.detach())
        bound = {"mamba": 0.5 / 3**0.5, "paper": 0.02}[init]
        assert abs(float(mixer.dt_proj_weight.detach().std()) / bound - 1) < 0.1
    assert steps["mamba"].min() >= 1e-3 * 0.999
    assert steps["mamba"].max() <= 1e-1 * 1.001
    assert abs(float(steps["mamba"].log().mean()) - torch.tensor(1e-2).log()) < 0.2
    torch.testing.assert_close(steps["paper"], torch.full((512,), 2.0).log())


def test_initial_decays_are_one_to_n() -> None:
    torch.testing.assert_close(block().A_log.exp(), torch.arange(1.0, 6.0).repeat(48, 1))


@pytest.mark.parametrize("config", [{"init": "other"}, {"d_conv": 1}, {"dt_rank": -1}])
def test_refuses_what_no_block_can_be(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"init|at least"):
        MambaConfig(**({"d_state": 5, "d_conv": 4, "expand": 2, "dt_rank": 0, "init": "mamba"} | config))


def test_prefill_and_steps_equal_the_whole() -> None:
    mixer = block()
    x = torch.randn(3, 12, 24)
    whole, last = mixer(x)
    part, state = mixer(x[:, :7])
    outputs = [part]
    for t in range(7, 12):
        out, state = mixer(x[:, t : t + 1], state=state)
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=1e-5, atol=1e-5)
    for one, other in zip(state, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_padding_changes_neither_outputs_nor_state() -> None:
    mixer = block()
    x = torch.randn(4, 9, 24)
    before = mixer(torch.randn(4, 5, 24))[1]
    lengths = torch.tensor([9, 1, 4, 2])
    for state in (None, before):
        padded, states = mixer(x, state=state, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            own = None if state is None else tuple(tensor[row : row + 1] for tensor in state)
            alone, last = mixer(x[row : row + 1, :length], state=own)
            torch.testing.assert_close(padded[row, :length], alone[0], rtol=1e-5, atol=1e-6)
            for one, other in zip(states, last, strict=True):
                torch.testing.assert_close(one[row], other[0], rtol=1e-5, atol=1e-6)


def test_packed_sequences_are_as_if_each_stood_alone() -> None:
    mixer = block()
    sequences = [torch.randn(1, length, 24) for length in (5, 1, 2, 6)]
    segments = torch.tensor([[0] * 5 + [1] + [2] * 2 + [3] * 6])
    packed, state = mixer(torch.cat(sequences, dim=1), segments)
    alone = [mixer(sequence) for sequence in sequences]
    torch.testing.assert_close(packed, torch.cat([out for out, _ in alone], dim=1), rtol=1e-5, atol=1e-6)
    for one, other in zip(state, alone[-1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
