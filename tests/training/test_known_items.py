"""A model with words is trained on the items with training events as if the catalog held no others."""

import numpy
import pytest
import torch

from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.known_items import KnownItems
from ssm4rec.training.losses import Criterion, Repeats, SeenItems, full_softmax_loss

COUNTS = numpy.array([0, 4, 0, 1, 2, 0, 7, 3])  # padding, then items 1..7: 2 and 5 are unknown
KNOWN = [0, 2, 3, 5, 6]


def test_the_loss_is_the_cross_entropy_among_known_items() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    vectors = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    targets = torch.tensor([1, 3, 4, 6, 7, 7])
    inputs = torch.tensor([[1, 4, 4, 8], [7, 3, 0, 0]])  # 8 is the mask token
    seen = SeenItems(inputs, torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([1, 2, 4, 1, 2, 2]))
    weight = torch.tensor(0.7, dtype=torch.float64)
    logits = hidden @ vectors.T
    for row, (user, count) in enumerate(zip(seen.rows.tolist(), seen.counts.tolist(), strict=True)):
        for item in {item for item in inputs[user, :count].tolist() if 0 < item < 8}:
            logits[row, item - 1] += 0.7
    expected = torch.nn.functional.cross_entropy(logits[:, KNOWN], torch.tensor([0, 1, 2, 3, 4, 4]))
    rows, numbers, shown = KnownItems(COUNTS)(vectors, targets, seen)
    torch.testing.assert_close(full_softmax_loss(hidden, rows, numbers, Repeats(weight, shown)), expected)


@pytest.mark.parametrize("loss", ["sampled-softmax", "gbce", "bce"])
def test_negatives_are_known_items_by_their_numbers(loss: str) -> None:
    overrides = f"training.loss={loss},training.negatives=400,training.negative_power=1.0"
    criterion = Criterion(recipe("sasrec", "smoke", "long", overrides).training, KnownItems(COUNTS).training_counts)
    drawn = criterion.negatives(torch.ones(2, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {1, 2, 3, 4, 5}
