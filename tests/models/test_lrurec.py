"""LRURec against LlamaRec's equations, written out in numpy with complex numbers; and all ways of reading a history."""

import dataclasses
import math

import numpy
import pytest
import torch
from torch.nn import functional

from ssm4rec.models.lrurec import LRURec, LRURecConfig
from ssm4rec.models.recommender import parameter_counts

NOTHING = torch.empty(0, dtype=torch.long)
CONFIG = LRURecConfig(
    max_length=50,
    d_model=8,
    n_layers=2,
    d_ff=12,
    dropout=0.3,
    expand=2,
    minimum_modulus=0.8,
    maximum_modulus=0.99,
    output_bias=True,
)
ITEMS = 30
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def make_model(dtype: torch.dtype = torch.float64, **changes) -> LRURec:
    """Return a model in evaluation; weights ten times the initial ones, so that every part matters."""
    torch.manual_seed(4)
    model = LRURec(dataclasses.replace(CONFIG, **changes), ITEMS).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.layers.named_parameters():
            if "log_" not in name and "norm" not in name:
                parameter *= 10
    return model


def draw_items(*shape: int) -> torch.Tensor:
    return torch.randint(1, ITEMS + 1, shape, generator=torch.Generator().manual_seed(1))


def normalize(x: numpy.ndarray, epsilon: float = 1e-5) -> numpy.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / numpy.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


def lrurec_by_hand(model: LRURec, items: list[int]) -> numpy.ndarray:
    """Scores (L, V) after each item of one history, one step at a time, from LlamaRec:model/lru.py."""
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    gelu = numpy.vectorize(lambda number: 0.5 * number * (1 + math.erf(number / math.sqrt(2))))
    x = normalize(weights["item_embedding.weight"][items])
    for index in range(len(model.layers)):
        part = {
            name.removeprefix(f"layers.{index}."): value
            for name, value in weights.items()
            if name.startswith(f"layers.{index}.")
        }
        unit = {name.removeprefix("mixer."): value for name, value in part.items()}
        into = unit["real_in.weight"] + 1j * unit["imaginary_in.weight"]
        into_bias = unit["real_in.bias"] + 1j * unit["imaginary_in.bias"]
        out = unit["real_out.weight"] + 1j * unit["imaginary_out.weight"]
        nu, theta, gamma = (numpy.exp(unit[name]) for name in ("log_rate", "log_phase", "log_scale"))
        state = numpy.zeros(len(nu), dtype=complex)
        for t in range(len(items)):
            state = numpy.exp(-nu + 1j * theta) * state + gamma * (into @ x[t] + into_bias)
            mixed = normalize((out @ state + unit["real_out.bias"]).real + x[t], 1e-12)
            inner = gelu(part["after.feed_forward.expand.weight"] @ mixed + part["after.feed_forward.expand.bias"])
            outer = part["after.feed_forward.contract.weight"] @ inner + part["after.feed_forward.contract.bias"]
            x[t] = normalize(outer + mixed, 1e-12)
    return x @ weights["item_embedding.weight"][1:].T + weights.get("item_bias", 0)


@pytest.mark.parametrize("output_bias", [True, False])
def test_equals_the_equations(output_bias: bool) -> None:
    model = make_model(output_bias=output_bias)
    items = draw_items(2, 37)
    actual = model.score(model(items), NOTHING).detach().numpy()
    for row in range(2):
        expected = lrurec_by_hand(model, items[row].tolist())
        numpy.testing.assert_allclose(actual[row], expected, rtol=1e-10, atol=1e-12)


def test_outputs_depend_on_the_past_only() -> None:
    model, items = make_model(), draw_items(3, 40)
    changed = items.clone()
    changed[:, 25:] = items[:, 25:] % ITEMS + 1
    before, after = model(items), model(changed)
    torch.testing.assert_close(before[:, :25], after[:, :25], rtol=0, atol=1e-14)
    assert ((before[:, 25:] != after[:, 25:]).any(-1)).all()


def test_the_first_item_reaches_the_last_position() -> None:
    model, items = make_model(), draw_items(1, 40)
    changed = items.clone()
    changed[:, 0] = items[:, 0] % ITEMS + 1
    assert (model(items)[:, -1] - model(changed)[:, -1]).abs().max() > 1e-4


def test_padding_changes_nothing() -> None:
    model = make_model()
    short, long = draw_items(1, 9), draw_items(1, 40)
    together = torch.zeros(2, 40, dtype=torch.long)
    together[0, :9], together[1] = short, long
    lengths = torch.tensor([9, 40])
    scores, state = model.score_next(together, lengths), model.prefill(together, lengths)
    for row, alone in enumerate((short, long)):
        torch.testing.assert_close(scores[[row]], model.score_next(alone, lengths[[row]]), rtol=0, atol=1e-12)
        for one, other in zip(state.tensors(), model.prefill(alone, lengths[[row]]).tensors(), strict=True):
            torch.testing.assert_close(one[[row]], other, rtol=0, atol=1e-12)
    assert scores.shape == (2, ITEMS)


def test_packing_changes_nothing() -> None:
    model = make_model()
    parts = draw_items(1, 45).split([3, 18, 1, 23], dim=1)
    segments = torch.cat([torch.full_like(part, index) for index, part in enumerate(parts)], dim=1)
    packed = model(torch.cat(parts, dim=1), segments)
    torch.testing.assert_close(packed, torch.cat([model(part) for part in parts], dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("output_bias", [True, False])
def test_prefill_and_steps_equal_reading_again(dtype: torch.dtype, output_bias: bool) -> None:
    model = make_model(dtype, output_bias=output_bias)
    items = draw_items(3, 60)
    with torch.no_grad():
        expected = model.score(model(items), NOTHING)  # (B, L, V)
        lengths = torch.tensor([5, 1, 20])
        state = model.prefill(items[:, :20], lengths)
        rows = torch.arange(3)
        for read in range(40):
            scores = model.score_state(state)
            torch.testing.assert_close(scores, expected[rows, lengths - 1 + read], rtol=0, atol=TOLERANCE[dtype])
            state, after = model.step(state, items[rows, lengths + read])
            torch.testing.assert_close(after, expected[rows, lengths + read], rtol=0, atol=TOLERANCE[dtype])
    assert state.events.tolist() == [45, 41, 60]


def test_gradients_reach_every_parameter() -> None:
    model = make_model().train()
    items = draw_items(2, 20)
    logits = model(items[:, :-1]) @ model.item_vectors().T
    functional.cross_entropy(logits.flatten(0, 1), items[:, 1:].flatten() - 1).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
        assert not parameter.is_complex(), name


def test_autocast_keeps_the_recurrence_in_single_precision() -> None:
    model, items = make_model(torch.float32), draw_items(2, 30)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, memory = model.read(items, None, None, None)
    assert {tensor.dtype for tensor in memory} == {torch.float32}
    torch.testing.assert_close(hidden, model(items), rtol=0, atol=0.1)  # bfloat16 has 8 bits


@pytest.mark.parametrize("output_bias", [True, False])
def test_parameter_count(output_bias: bool) -> None:
    D, C, E, V = 64, 128, 256, 3416
    config = dataclasses.replace(CONFIG, d_model=D, d_ff=E, output_bias=output_bias)
    ring, into, out = 3 * C, 2 * (D * C + C), 2 * C * D + D
    layer = ring + into + out + 2 * D + (D * E + E) + (E * D + D) + 2 * D
    total, without = parameter_counts(LRURec(config, V))
    assert without == 2 * layer + 2 * D + (V if output_bias else 0)
    assert total - without == (V + 1) * D


def test_initial_values_are_the_published_ones() -> None:
    torch.manual_seed(0)
    model = LRURec(dataclasses.replace(CONFIG, d_model=512, n_layers=1), ITEMS)
    unit = model.layers[0].mixer
    decay, scale = unit.decay().detach(), unit.log_scale.detach().exp()
    assert decay.abs().min() >= 0.8 - 1e-6
    assert decay.abs().max() <= 0.99 + 1e-6
    # Uniform over the ring: the mean of the squared modulus is midway, the mean of the phases' directions is 0.
    assert abs((decay.abs() ** 2).mean() - (0.8**2 + 0.99**2) / 2) < 0.02
    assert abs((decay / decay.abs()).mean()) < 0.1
    torch.testing.assert_close(scale**2 + decay.abs() ** 2, torch.ones(1024), rtol=0, atol=1e-5)
    for name, parameter in model.named_parameters():
        if "log_" not in name and "norm" not in name:
            assert parameter.abs().max() <= 0.04, name
    # The standard deviation of N(0, 0.02) cut at two deviations.
    assert abs(unit.real_in.weight.std() / 0.02 - 0.8796) < 0.01
    assert (model.item_embedding.weight[0] == 0).all()
    assert (model.item_embedding.weight[1:] != 0).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expand": 0}, "expand is at least 1"),
        ({"minimum_modulus": 0.99, "maximum_modulus": 0.8}, r"moduli 0\.99 and 0\.8"),
        ({"maximum_modulus": 1.0}, "maximum < 1"),
        ({"minimum_modulus": -0.1}, "0 <= minimum"),
        ({"dropout": 1.0}, "dropout"),
        ({"n_layers": 0}, "layers"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)
