"""Counted operations against closed forms and against torch's counter on real batches with real numbers."""

from collections.abc import Iterator

import numpy
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.models.recommender import parameter_counts
from ssm4rec.models.table import MODELS
from ssm4rec.ops.backend import choose_backend
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.flops import training_flops
from ssm4rec.training.task import Task

CPU = torch.device("cpu")
ITEMS, USERS, TRAINED = 50, 12, 11
SIZES = "model.d_model=16,model.d_ff=64,model.n_layers=2,model.dropout=0.0,model.repeat_term=false"


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    """Users of equal length, so that an epoch is one batch of 12 rows of 10 inputs, as TRAINED less one."""
    rng = numpy.random.default_rng(3)
    sequences = rng.integers(1, ITEMS + 1, size=(USERS, TRAINED + 2))
    sequences[0, 0] = ITEMS
    return read_sequences(write_dataset(sequences.tolist()))


@pytest.fixture
def torch_alone() -> Iterator[None]:
    choose_backend("torch", CPU)
    yield
    choose_backend("auto", CPU)


def counted(name: str, dataset: SequenceDataset, epochs: int = 1, more: str = "") -> dict[str, int]:
    return training_flops(Task(name, recipe(name, "smoke", "long", SIZES + more), dataset, 0), epochs)


def test_attention_and_linear_layers_have_closed_forms(dataset: SequenceDataset) -> None:
    D, F, L, layers = 16, 64, TRAINED - 1, 2
    weights = 4 * D * D + 2 * D * F
    forward = USERS * L * layers * (2 * weights + 4 * L * D)  # per token: each weight, and the scores and the mix
    found = counted("sasrec", dataset, epochs=5)
    assert found["flops"] == 5 * 3 * forward  # backward: two products for each of forward
    assert found["targets_seen"] == 5 * USERS * L
    assert found["output_flops"] == 5 * 3 * 2 * USERS * L * D * ITEMS


def test_nearly_six_per_parameter_and_target(dataset: SequenceDataset) -> None:
    chosen = recipe("sasrec", "smoke", "long", SIZES + ",model.d_model=128,model.d_ff=512")
    found = training_flops(Task("sasrec", chosen, dataset, 0), 1)
    with torch.device("meta"):
        model = chosen.model.build(ITEMS)
    parameters = parameter_counts(model)[1]
    assert found["flops"] == pytest.approx(6 * parameters * found["targets_seen"], rel=0.03)


@pytest.mark.parametrize("name", ["sasrec", "2mamba4rec"])
def test_as_torch_counts_a_real_batch(dataset: SequenceDataset, torch_alone: None, name: str) -> None:
    model = recipe(name, "smoke", "long", SIZES).model.build(ITEMS)
    rows = torch.from_numpy(dataset.items.reshape(USERS, -1)[:, :TRAINED].astype(numpy.int64))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        scores = model(rows[:, :-1]) @ model.item_vectors().T
        cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten() - 1).backward()
    found = counted(name, dataset)
    assert found["flops"] + found["output_flops"] == counter.get_total_flops()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_counted(dataset: SequenceDataset, name: str) -> None:
    found = counted(name, dataset)
    with torch.device("meta"):
        parameters = parameter_counts(recipe(name, "smoke", "long", SIZES).model.build(ITEMS))[1]
    seen = USERS * (TRAINED - 1)  # inputs; cloze has fewer targets
    assert 0.8 * 6 * parameters * seen < found["flops"] < 4 * 6 * parameters * seen


def test_a_share_of_the_users_costs_its_share(dataset: SequenceDataset) -> None:
    whole, half = counted("sasrec", dataset), counted("sasrec", dataset, more=",training.users_share=0.5")
    assert {name: 2 * number for name, number in half.items()} == whole


def test_prefixes_are_read_to_one_target_each(dataset: SequenceDataset) -> None:
    found = counted("sasrec", dataset, more=",training.objective=every-prefix")
    assert found["targets_seen"] == USERS * (TRAINED - 1)
    assert found["flops"] > counted("sasrec", dataset)["flops"]
