"""Every loss against its definition; the chunked full softmax against torch's cross-entropy, with its gradients."""

import dataclasses

import numpy
import pytest
import torch
from torch.nn import functional

from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.losses import (
    Criterion,
    Repeats,
    SeenItems,
    binary_loss,
    full_softmax_loss,
    gbce_power,
    sampled_softmax_loss,
)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("targets", [1, 31, 32, 33, 200])
def test_full_softmax_equals_cross_entropy(targets: int) -> None:
    V, D = 9000, 6  # 2**18 // 9000 = 29 rows a chunk, raised to 32
    hidden, vectors = draw(targets, D), draw(V, D, seed=1)
    target = torch.randint(1, V + 1, (targets,), generator=torch.Generator().manual_seed(2))
    ours = full_softmax_loss(hidden, vectors, target)
    theirs = functional.cross_entropy(hidden @ vectors.T, target - 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (hidden, vectors)),
        torch.autograd.grad(3 * theirs, (hidden, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def repeats_by_hand(items: torch.Tensor, rows: torch.Tensor, counts: torch.Tensor, item_count: int) -> torch.Tensor:
    """Return ones (T, V) where an item is shown before a target."""
    seen = torch.zeros(len(rows), item_count, dtype=torch.float64)
    for place, (row, count) in enumerate(zip(rows.tolist(), counts.tolist(), strict=True)):
        for item in items[row, :count].tolist():
            if 0 < item <= item_count:
                seen[place, item - 1] = 1.0
    return seen


def draw_seen(targets: int, item_count: int) -> tuple[SeenItems, torch.Tensor]:
    """Return rows with repeated items, a mask token and padding, and targets, some of which repeat."""
    generator = torch.Generator().manual_seed(2)
    items = torch.randint(1, item_count + 1, (20, 7), generator=generator)
    items[:, 3], items[:, 6] = item_count + 1, 0
    items[:, 4] = items[:, 0]
    rows = torch.randint(0, 20, (targets,), generator=generator)
    counts = torch.randint(0, 8, (targets,), generator=generator)
    target = torch.randint(1, item_count + 1, (targets,), generator=generator)
    target[::3] = items[rows[::3], 1]
    return SeenItems(items, rows, counts), target


@pytest.mark.parametrize("targets", [1, 33, 200])
def test_a_repeat_term_in_the_full_softmax_equals_its_definition(targets: int) -> None:
    V, D = 9000, 6
    hidden, vectors = draw(targets, D), draw(V, D, seed=1)
    weight = torch.tensor(-1.7, dtype=torch.float64, requires_grad=True)
    seen, target = draw_seen(targets, V)
    logits = hidden @ vectors.T + weight * repeats_by_hand(seen.items, seen.rows, seen.counts, V)
    expected = functional.cross_entropy(logits, target - 1)
    actual = full_softmax_loss(hidden, vectors, target, Repeats(weight, seen))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * actual, (hidden, vectors, weight)),
        torch.autograd.grad(3 * expected, (hidden, vectors, weight)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_the_gradient_of_the_repeat_term_against_finite_differences() -> None:
    V = 11
    hidden, vectors = draw(40, 3), draw(V, 3, seed=1)
    seen, target = draw_seen(40, V)
    negatives = torch.randint(1, V + 1, (40, 4), generator=torch.Generator().manual_seed(5))
    probability = torch.full((V,), 1 / V, dtype=torch.float64)

    def losses(weight: torch.Tensor) -> torch.Tensor:
        repeats = Repeats(weight, seen)
        return torch.stack(
            [
                full_softmax_loss(hidden, vectors, target, repeats),
                sampled_softmax_loss(hidden, vectors, target, negatives[0], probability, repeats),
                binary_loss(hidden, vectors, target, negatives[0], 0.5, repeats),
                binary_loss(hidden, vectors, target, negatives, 1.0, repeats),
            ]
        )

    weight = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(losses, (weight,), eps=1e-6, atol=1e-8)


def test_a_repeat_term_in_the_sampled_losses_equals_its_definition() -> None:
    V, weight = 50, torch.tensor(2.5, dtype=torch.float64)
    hidden, vectors = draw(60, 3), draw(V, 3, seed=1)
    seen, target = draw_seen(60, V)
    scores = hidden @ vectors.T + weight * repeats_by_hand(seen.items, seen.rows, seen.counts, V)
    negatives = torch.randint(1, V + 1, (60, 4), generator=torch.Generator().manual_seed(5))
    absent = negatives == target[:, None]
    own, others = scores.gather(1, target[:, None] - 1)[:, 0], scores.gather(1, negatives - 1)
    pushed = functional.softplus(others).masked_fill(absent, 0.0).sum(1)
    expected = ((functional.softplus(-own) + pushed) / 5).mean()
    actual = binary_loss(hidden, vectors, target, negatives, 1.0, Repeats(weight, seen))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    # With every item a negative once, the sampled softmax is the full one.
    everything, uniform = torch.arange(1, V + 1), torch.full((V,), 1 / V, dtype=torch.float64)
    sampled = sampled_softmax_loss(hidden, vectors, target, everything, uniform, Repeats(weight, seen))
    torch.testing.assert_close(sampled, functional.cross_entropy(scores, target - 1), rtol=1e-10, atol=1e-10)


def test_full_softmax_under_autocast_is_near_and_returns_gradients_of_the_weights_type() -> None:
    hidden, vectors = draw(100, 16, dtype=torch.float32), draw(3000, 16, seed=1, dtype=torch.float32)
    target = torch.randint(1, 3001, (100,), generator=torch.Generator().manual_seed(2))
    exact = functional.cross_entropy(hidden @ vectors.T, target - 1)
    with torch.autocast("cpu", torch.bfloat16):
        ours = full_softmax_loss(hidden, vectors, target)
    torch.testing.assert_close(ours, exact, rtol=5e-3, atol=5e-3)
    for one, other in zip(
        torch.autograd.grad(ours, (hidden, vectors)), torch.autograd.grad(exact, (hidden, vectors)), strict=True
    ):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_large_logits_stay_finite() -> None:
    hidden = torch.full((2, 1), 1e4, requires_grad=True)
    vectors = torch.tensor([[1.0], [-1.0]])
    loss = full_softmax_loss(hidden, vectors, torch.tensor([1, 2]))
    assert loss.item() == pytest.approx(1e4)  # mean of 0 and 2e4


def test_sampled_softmax_by_hand() -> None:
    hidden, vectors = draw(2, 3), draw(5, 3, seed=1)
    target, negatives = torch.tensor([2, 5]), torch.tensor([1, 5, 1])
    probability = torch.tensor([0.4, 0.1, 0.1, 0.1, 0.3], dtype=torch.float64)
    logits = hidden @ vectors.T - (3 * probability).log()
    expected = -(
        (logits[0, 1] - logits[0, [1, 0, 4, 0]].logsumexp(0)) + (logits[1, 4] - logits[1, [4, 0, 0]].logsumexp(0))
    )
    actual = sampled_softmax_loss(hidden, vectors, target, negatives, probability)
    torch.testing.assert_close(actual, expected / 2)


def test_sampled_softmax_corrects_for_popularity() -> None:
    """The gradient with many drawn negatives is that of the full softmax, however unevenly they are drawn."""
    V = 6
    vectors = draw(V, 4, seed=1)
    hidden = draw(1, 4)
    target = torch.tensor([3])
    probability = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.05, 0.05], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    negatives = torch.multinomial(probability, 400_000, True, generator=generator) + 1
    loss = sampled_softmax_loss(hidden, vectors, target, negatives, probability)
    # The target stands for itself among very many: what is left is the partition function over the other items.
    others = [item for item in range(V) if item != 2]
    expected = (vectors @ hidden[0])[others].logsumexp(0)
    own = hidden[0] @ vectors[2] - (400_000 * probability[2]).log()
    torch.testing.assert_close(loss + own, expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_binary_loss_by_hand(shared: bool) -> None:
    hidden, vectors = draw(2, 3), draw(5, 3, seed=1)
    target = torch.tensor([2, 5])
    negatives = torch.tensor([1, 5]) if shared else torch.tensor([[1, 4], [3, 5]])
    scores = (hidden @ vectors.T).sigmoid()
    pushed = [[1, 5], [1]] if shared else [[1, 4], [3]]  # the second row's 5 is its own target
    expected = 0.0
    for row in range(2):
        expected -= 0.7 * scores[row, target[row] - 1].log()
        for item in pushed[row]:
            expected -= (1 - scores[row, item - 1]).log()
    torch.testing.assert_close(binary_loss(hidden, vectors, target, negatives, 0.7), expected / (2 * 3))


def test_gbce_is_bce_uncalibrated_and_published_value_calibrated() -> None:
    assert gbce_power(256, 3417, 0.0) == 1.0
    rate = 256 / 3416
    assert gbce_power(256, 3417, 0.75) == pytest.approx(0.75 * rate + 0.25)  # rate (t (1 - 1/rate) + 1/rate)
    assert gbce_power(5, 1, 0.75) == 1.0


@pytest.mark.parametrize("loss", ["softmax", "sampled-softmax", "gbce", "bce"])
def test_negatives_have_their_shape_and_distribution(loss: str) -> None:
    counts = numpy.array([0, 99, 0, 24, 0])  # of items 1..4; one more each, to the power 1/2: 10, 1, 5, 1
    settings = dataclasses.replace(
        recipe("sasrec", "smoke", "long").training, loss=loss, negatives=20, negative_power=0.5
    )
    criterion = Criterion(settings, counts)
    targets = torch.ones(100, 7, dtype=torch.long)
    drawn = criterion.negatives(targets, torch.Generator().manual_seed(0))
    assert drawn.shape == {"softmax": (0,), "bce": (100, 7, 20)}.get(loss, (20,))
    many = torch.cat(
        [criterion.negatives(targets, torch.Generator().manual_seed(seed)).flatten() for seed in range(50)]
    )
    if loss != "softmax":
        share = torch.bincount(many, minlength=5)[1:] / len(many)
        torch.testing.assert_close(share, torch.tensor([10, 1, 5, 1]) / 17, rtol=0, atol=0.05)
