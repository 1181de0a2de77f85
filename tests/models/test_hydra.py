"""The Hydra block against the dense quasiseparable matrix it stands for, and its indifference to padding."""

import numpy
import pytest
import torch

from ssm4rec.models.hydra import Hydra, HydraConfig

CONFIG = HydraConfig(d_state=6, headdim=4, d_conv=7, expand=2, chunk_size=4)


def hydra(config: HydraConfig = CONFIG, d_model: int = 8) -> Hydra:
    """Return a block none of whose parameters is at a special value (initially A = -1 and D = 1 in every head)."""
    torch.manual_seed(5)
    block = Hydra(config, d_model).double()
    with torch.no_grad():
        for parameter in (block.dt_bias, block.A_log, block.D, block.norm_weight):
            parameter.copy_(torch.randn_like(parameter))
    return block


def everywhere(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def silu(x: numpy.ndarray) -> numpy.ndarray:
    return x / (1 + numpy.exp(-x))


def hydra_by_hand(block: Hydra, u: numpy.ndarray) -> numpy.ndarray:
    """One sequence u (L, D) through one dense (L, L) matrix a head, element by element, from Hwang et al. (2024)."""
    weights = {name: value.detach().numpy() for name, value in block.named_parameters()}
    N, P, W = block.config.d_state, block.config.headdim, block.config.d_conv
    E, H, L = block.inner, block.n_heads, len(u)
    gate, mixed, dt = numpy.split(u @ weights["in_proj.weight"].T, [E, 2 * E + 4 * N], axis=1)
    padded = numpy.pad(mixed, ((W // 2, W // 2), (0, 0)))
    convolved = silu(sum(padded[k : k + L] * weights["conv1d_weight"][:, k] for k in range(W))
                     + weights["conv1d_bias"])  # fmt: skip
    x, b_forward, c_forward, b_backward, c_backward = numpy.split(convolved, [E, E + N, E + 2 * N, E + 3 * N], axis=1)
    dt_forward, dt_backward = (numpy.log1p(numpy.exp(raw + weights["dt_bias"])) for raw in numpy.split(dt, 2, axis=1))
    rate = -numpy.exp(weights["A_log"])
    diagonal = x @ weights["fc_D.weight"].T + weights["D"]
    y = numpy.empty((L, H, P))
    for h in range(H):
        M = numpy.zeros((L, L))
        for i in range(L):
            for j in range(L):
                if i > j:
                    decay = numpy.exp(rate[h] * dt_forward[j + 1 : i, h].sum())
                    M[i, j] = c_forward[i - 1] @ b_forward[j] * decay * dt_forward[j, h]
                elif i < j:
                    decay = numpy.exp(rate[h] * dt_backward[i + 1 : j, h].sum())
                    M[i, j] = c_backward[i + 1] @ b_backward[j] * decay * dt_backward[j, h]
                else:
                    M[i, j] = diagonal[i, h]
        y[:, h] = M @ x.reshape(L, H, P)[:, h]
    y = y.reshape(L, E)
    y = y / numpy.sqrt((y**2).mean(1, keepdims=True) + 1e-5) * weights["norm_weight"] * silu(gate)
    return y @ weights["out_proj.weight"].T


@pytest.mark.parametrize("L", [1, 2, 5, 13])
def test_equals_the_quasiseparable_matrix(L: int) -> None:
    block, u = hydra(), draw(2, L, 8)
    actual = block(u, everywhere(u)).detach().numpy()
    for row in range(2):
        numpy.testing.assert_allclose(actual[row], hydra_by_hand(block, u[row].numpy()), rtol=1e-10, atol=1e-12)


def test_what_stands_at_pads_changes_nothing() -> None:
    block, u = hydra(), draw(3, 14, 8)
    present = torch.rand(3, 14, generator=torch.Generator().manual_seed(1)) < 0.6  # in the middle too
    present[2, 5:] = False
    other = torch.where(present[..., None], u, torch.nan)
    expected, actual = block(u, present), block(other, present)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert (actual[~present] == 0).all()
    weights = draw(3, 14, 8)
    other.requires_grad_()
    (gradient,) = torch.autograd.grad((block(other, present) * weights).sum(), other)
    assert (gradient[~present] == 0).all()
    assert (gradient[present] != 0).all()


@pytest.mark.parametrize(("left", "right"), [(0, 1), (0, 30), (1, 0), (9, 0), (3, 11)])
def test_the_length_of_padding_changes_nothing(left: int, right: int) -> None:
    block, u = hydra(), draw(2, 10, 8)
    padded = torch.cat([9 * draw(2, left, 8), u, 9 * draw(2, right, 8)], dim=1)
    present = torch.zeros(2, left + 10 + right, dtype=torch.bool)
    present[:, left : left + 10] = True
    actual = block(padded, present)[:, left : left + 10]
    torch.testing.assert_close(actual, block(u, everywhere(u)), rtol=1e-12, atol=1e-12)


def test_rows_of_a_batch_know_nothing_of_each_other() -> None:
    block, u = hydra(), draw(4, 11, 8)
    lengths = torch.tensor([11, 1, 6, 3])
    together = block(u, torch.arange(11) < lengths[:, None])
    for row, length in enumerate(lengths.tolist()):
        alone = u[row : row + 1, :length]
        torch.testing.assert_close(
            together[row : row + 1, :length], block(alone, everywhere(alone)), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("chunk", [3, 4, 32])
def test_packed_sequences_are_read_as_if_alone(chunk: int) -> None:
    block = hydra(HydraConfig(6, 4, 7, 2, chunk))
    u = draw(2, 15, 8)
    ids = torch.tensor([[3] * 4 + [4] * 1 + [7] * 8 + [8] * 2, [0] * 9 + [1] * 6])
    present = torch.ones(2, 15, dtype=torch.bool)
    present[0, 13:] = False  # the row's end, with an id of its own
    present[1, 12:] = False  # and with the last sequence's
    packed = block(u, present, ids)
    for row, start, end in [(0, 0, 4), (0, 4, 5), (0, 5, 13), (1, 0, 9), (1, 9, 12)]:
        alone = u[row : row + 1, start:end]
        expected = block(alone, everywhere(alone))
        torch.testing.assert_close(packed[row : row + 1, start:end], expected, rtol=1e-12, atol=1e-12)


def test_one_segment_is_no_segment() -> None:
    block, u = hydra(), draw(2, 9, 8)
    same = block(u, everywhere(u), torch.full((2, 9), 6))
    torch.testing.assert_close(same, block(u, everywhere(u)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients(packed: bool) -> None:
    block = hydra(HydraConfig(2, 2, 3, 1, 2), d_model=4)
    u = draw(1, 5, 4).requires_grad_()
    present = torch.tensor([[True, True, True, True, False]])
    ids = torch.tensor([[0, 0, 1, 1, 1]]) if packed else None
    names, parameters = zip(*block.named_parameters(), strict=True)

    def of(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x, present, ids))

    assert torch.autograd.gradcheck(of, (u, *parameters))


def test_ten_thousand_events_in_single_precision() -> None:
    torch.manual_seed(0)
    block = Hydra(HydraConfig(8, 8, 7, 2, 50), 8)
    u = draw(1, 10_000, 8)
    y = block(u.float(), everywhere(u))
    y.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in block.parameters())
    with torch.no_grad():
        expected = block.double()(u, everywhere(u))
    torch.testing.assert_close(y, expected.float(), rtol=1e-4, atol=1e-5)


def test_initial_values_are_the_references() -> None:
    torch.manual_seed(0)
    block = Hydra(HydraConfig(32, 2, 7, 2, 32), d_model=512)  # 512 heads
    dt = torch.nn.functional.softplus(block.dt_bias)
    assert dt.min() >= 1e-3 * 0.999
    assert dt.max() <= 1e-1 * 1.001
    assert (block.A_log.exp() == 1).all()
    assert (block.D == 1).all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="d_conv 4 is even"):
        HydraConfig(6, 4, 4, 2, 4)
    with pytest.raises(ValueError, match="inner width 2 x 9 is not a multiple of headdim 4"):
        Hydra(CONFIG, 9)
