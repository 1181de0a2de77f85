"""Hydra4Rec: what it reads, what it must not see, and when its backward half learns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.models.hydra import HydraConfig
from ssm4rec.models.hydra4rec import Hydra4Rec, Hydra4RecConfig
from ssm4rec.models.repeat_term import cells_of

V, M = 40, 12
READOUTS = ("last", "mean", "mask")
CONFIG = Hydra4RecConfig(
    max_length=M, d_model=8, n_layers=2, d_ff=16, dropout=0.3, readout="mask",
    mixer=HydraConfig(d_state=4, headdim=4, d_conv=7, expand=2, chunk_size=5),
)  # fmt: skip


def recommender(**changes: object) -> Hydra4Rec:
    """Return a model with weights large enough that every path through it counts."""
    torch.manual_seed(3)
    model = Hydra4Rec(replace(CONFIG, **changes), V).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and "norm" not in name:
                parameter.mul_(10)
    return model


def draw_items(*shape: int) -> Tensor:
    return torch.randint(1, V + 1, shape, generator=torch.Generator().manual_seed(4))


def ragged(lengths: list[int]) -> tuple[Tensor, Tensor]:
    counts = torch.tensor(lengths)
    items = draw_items(len(lengths), max(lengths))
    return items.masked_fill(torch.arange(max(lengths)) >= counts[:, None], 0), counts


def backward_half(model: Hydra4Rec, layer: int) -> list[Tensor]:
    """Return the gradients of the parameters that only a layer's backward half reads: of its b, c and dt."""
    mixer = model.layers[layer].mixer
    E, N, H = mixer.inner, mixer.config.d_state, mixer.n_heads
    projection = mixer.in_proj.weight.grad
    maps = slice(E + 2 * N, E + 4 * N)  # among the channels of the convolution
    return [
        projection[E:][maps], projection[-H:], mixer.conv1d_weight.grad[maps], mixer.conv1d_bias.grad[maps]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "readout", "learns"),
    [(1, "last", False), (1, "mask", False), (1, "mean", True), (2, "last", True), (2, "mask", True)],
)
def test_one_layer_read_at_its_end_never_trains_the_backward_half(layers: int, readout: str, learns: bool) -> None:
    model = recommender(n_layers=layers, readout=readout)
    functional.cross_entropy(model.score_next(*ragged([9, 4, 7])), draw_items(3) - 1).backward()
    for gradient in backward_half(model, layer=0):
        assert (gradient != 0).any() if learns else (gradient == 0).all()


def test_cloze_trains_the_backward_half_of_one_layer() -> None:
    model = recommender(n_layers=1)
    items = draw_items(3, 9)
    target = items[:, 4].clone()
    items[:, 4] = model.mask_token
    functional.cross_entropy(model.score(model(items)[:, 4], cells_of(items, V)), target - 1).backward()
    for gradient in backward_half(model, layer=0):
        assert (gradient != 0).any()


def test_the_backward_half_of_the_last_layer_needs_another_readout() -> None:
    """Two layers bring the first one's backward half to use, not the second one's."""
    model = recommender(n_layers=2, readout="last")
    model.score_next(*ragged([9, 4, 7])).square().sum().backward()
    assert all((gradient == 0).all() for gradient in backward_half(model, layer=1))


@pytest.mark.parametrize("readout", READOUTS)
def test_padding_and_company_change_nothing(readout: str) -> None:
    model = recommender(readout=readout)
    items, lengths = ragged([10, 1, 4, 7])
    together = model.next_hidden(items, lengths)
    longer = model.next_hidden(functional.pad(items, (0, 20)), lengths)
    torch.testing.assert_close(longer, together, rtol=1e-12, atol=1e-12)
    for row, length in enumerate(lengths.tolist()):
        alone = model.next_hidden(items[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("readout", READOUTS)
def test_the_embedding_of_padding_counts_for_nothing(readout: str) -> None:
    model = recommender(readout=readout)
    batch = ragged([10, 1, 4])
    before = model.next_hidden(*batch)
    with torch.no_grad():
        model.item_embedding.weight[0] = 100 * torch.randn(8, dtype=torch.float64)
    torch.testing.assert_close(model.next_hidden(*batch), before, rtol=0, atol=0)


def test_packed_histories_are_read_as_if_alone() -> None:
    model = recommender()
    items = draw_items(1, 14)
    ids = torch.tensor([[0] * 5 + [1] * 9])
    alone = torch.cat([model(items[:, :5]), model(items[:, 5:])], dim=1)
    torch.testing.assert_close(model(items, ids), alone, rtol=1e-12, atol=1e-12)


def test_the_mask_is_read_after_the_last_items() -> None:
    """A history longer than M - 1 keeps its last M - 1 items."""
    model = recommender()
    items, lengths = ragged([3, M - 1, M, M + 9])
    hidden = model.next_hidden(items, lengths)
    for row, length in enumerate(lengths.tolist()):
        history = items[row, :length][1 - M :]
        asked = torch.cat([history, torch.tensor([V + 1])])[None]
        torch.testing.assert_close(hidden[row], model(asked)[0, -1], rtol=1e-12, atol=1e-12)


def test_other_readouts_are_the_last_state_and_the_mean() -> None:
    items, lengths = ragged([3, M])
    last, mean = recommender(readout="last"), recommender(readout="mean")
    for row, length in enumerate([3, M]):
        alone = items[row : row + 1, :length]
        torch.testing.assert_close(last.next_hidden(items, lengths)[row], last(alone)[0, -1], rtol=1e-12, atol=1e-12)
        expected = mean(alone)[0].sum(0) / length
        torch.testing.assert_close(mean.next_hidden(items, lengths)[row], expected, rtol=1e-12, atol=1e-12)


def test_a_hidden_item_cannot_be_peeked_at() -> None:
    """The state at a masked position has no path to what stood there: neither the id nor its embedding."""
    model = recommender()
    items = draw_items(1, 9)
    items[items == 17] = 18
    items[0, 4] = 17
    others = model(items)[0]
    masked = items.masked_fill(items == 17, model.mask_token)
    hidden = model(masked)[0, 4]
    (gradient,) = torch.autograd.grad(hidden.square().sum(), model.item_embedding.weight)
    assert (gradient[17] == 0).all()
    assert (gradient[items[0, 8]] != 0).any()  # what follows is seen
    with torch.no_grad():
        model.item_embedding.weight[17] += 1
    torch.testing.assert_close(model(masked)[0, 4], hidden, rtol=0, atol=0)
    assert (model(items)[0] != others).any(dim=1).all()  # unmasked, every state of the row knows it
    assert not model.causal


@pytest.mark.parametrize("layers", [1, 2])
def test_is_the_shell_of_mamba4rec(layers: int) -> None:
    """With more than one layer the mixer has a residual; with one it has none."""
    model = recommender(n_layers=layers)
    items = draw_items(2, 9)

    def norm(x: Tensor) -> Tensor:  # the weights of every LayerNorm are still 1 and 0
        return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)

    x = norm(model.item_embedding.weight[items])
    for layer in model.layers:
        mixed = layer.mixer(x, torch.ones_like(items, dtype=torch.bool))
        x = norm(mixed + x if layers > 1 else mixed)
        x = norm(x + layer.after.feed_forward.contract(functional.gelu(layer.after.feed_forward.expand(x))))
    torch.testing.assert_close(model(items), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("readout", READOUTS)
def test_only_items_are_scored(readout: str) -> None:
    model = recommender(readout=readout)
    assert len(model.item_embedding.weight) == V + (2 if readout == "mask" else 1)
    assert model.mask_token == (V + 1 if readout == "mask" else None)
    torch.testing.assert_close(model.item_vectors(), model.item_embedding.weight[1 : V + 1], rtol=0, atol=0)
    assert model.score_next(*ragged([5, 2])).shape == (2, V)
    assert (Hydra4Rec(replace(CONFIG, readout=readout), V).item_embedding.weight[0] == 0).all()


def test_parameters_of_a_layer() -> None:
    config = Hydra4RecConfig(
        max_length=200,
        d_model=64,
        n_layers=1,
        d_ff=256,
        dropout=0.2,
        readout="last",
        mixer=HydraConfig(32, 32, 7, 2, 32),
    )
    count = sum(parameter.numel() for parameter in Hydra4Rec(config, V).layers.parameters())
    projections = 64 * (2 * 128 + 4 * 32 + 2 * 4) + 128 * 64
    convolution = (128 + 4 * 32) * (7 + 1)
    heads = 3 * 4 + 128 * 4  # dt_bias, A, D and the linear map of the diagonal
    feed_forward = 2 * 64 * 256 + 256 + 64
    assert count == projections + convolution + heads + 128 + feed_forward + 4 * 64 == 69_324


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no readout called 'first': last, mean, mask"):
        replace(CONFIG, readout="first")
    with pytest.raises(ValueError, match="at least 2: an item and the mask token"):
        replace(CONFIG, max_length=1)
    with pytest.raises(ValueError, match="not a multiple of headdim"):
        replace(CONFIG, d_model=9)
    with pytest.raises(ValueError, match="not in"):
        replace(CONFIG, dropout=1.0)
