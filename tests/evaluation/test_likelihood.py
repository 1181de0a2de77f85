"""The negative log-likelihood of targets against a softmax written out, history by history."""

from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.evaluation.likelihood import mean_loss, target_losses
from ssm4rec.models.recommender import Recommender
from ssm4rec.recipes.recommenders import recipe
from tests.datasets import write_events

CPU = torch.device("cpu")


def model_of(name: str, item_count: int, change: float, max_length: int) -> Recommender:
    """A small model with random weights, and a repeat term that the loss moved by so much from a start of 0."""
    torch.manual_seed(0)
    chosen = recipe(name, "smoke", "long", f"model.max_length={max_length},model.repeat_term=true")
    model = chosen.model.build(item_count).eval()
    torch.nn.init.normal_(model.item_embedding.weight)
    torch.nn.init.constant_(model.repeat_term.change, change)
    return model


def written_out(model: Recommender, dataset: SequenceDataset) -> list[float]:
    losses = []
    for user, place in zip(*dataset.targets("test"), strict=True):
        start = dataset.offsets[user]
        history, target = dataset.items[start : start + place], int(dataset.items[start + place])
        read = torch.from_numpy(history[-model.max_length :].astype(numpy.int64))[None]
        with torch.no_grad():
            scores = (model.next_hidden(read, torch.tensor([read.shape[1]])) @ model.item_vectors().T)[0]
        term = 10 * model.repeat_term.change.item()
        weights = [float(score) + term * (item in history) for item, score in enumerate(scores, start=1)]
        losses.append(numpy.log(numpy.exp(weights).sum()) - weights[target - 1])
    return losses


@pytest.mark.parametrize("name", ["sasrec", "2mamba4rec", "hydra4rec"])
@pytest.mark.parametrize("change", [0.2, -0.1])
def test_losses_are_those_of_a_softmax_over_the_catalog(write_dataset: "object", name: str, change: float) -> None:
    """Above 0 the term ranks nothing, and yet it was trained with: it counts."""
    rng = numpy.random.default_rng(1)
    dataset = read_sequences(write_dataset([rng.integers(1, 21, size=size).tolist() for size in range(3, 30)]))
    model = model_of(name, dataset.item_count, change, max_length=8)
    assert target_losses(model, dataset, "test", CPU) == pytest.approx(written_out(model, dataset), rel=1e-4, abs=1e-5)


def test_several_targets_of_a_user(tmp_path: Path) -> None:
    """Split by time, they share windows; the mean is over targets, its interval over users."""
    rng = numpy.random.default_rng(2)
    events = [(f"u{user}", int(rng.integers(1, 9)), 60 * step) for step in range(30) for user in range(20)]
    dataset = write_events(tmp_path / "dataset", events)
    model = model_of("sasrec", dataset.item_count, -0.1, max_length=30)
    users, _ = dataset.targets("test")
    assert len(users) > len(set(users))
    losses = target_losses(model, dataset, "test", CPU)
    assert losses == pytest.approx(written_out(model, dataset), rel=1e-4, abs=1e-5)
    found = mean_loss(losses, users)
    assert found.value == pytest.approx(losses.mean())
    assert found.low < found.value < found.high
    assert found.n == len(set(users))


def test_users_are_drawn_with_all_their_targets() -> None:
    found = mean_loss(numpy.array([1.0, 1.0, 2.0]), numpy.array([0, 0, 1]))
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(4 / 3), 1.0, 2.0, 2)
