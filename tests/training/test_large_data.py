"""Of a data set whose items lie in a file, and which is counted in blocks, everything is that of one in memory."""

from pathlib import Path
from typing import Any

import numpy
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts import dataset as dataset_module
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.evaluation import baselines
from ssm4rec.evaluation.baselines import baseline_rankings
from ssm4rec.evaluation.cold_items import warm_and_cold
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.loop import train
from ssm4rec.training.task import Task
from tests.conftest import WriteDataset

CPU = torch.device("cpu")
OVERRIDES = "training.epochs=2,training.tokens_per_batch=64"


def outcome(dataset: SequenceDataset, checkpoints: Path) -> dict[str, Any]:
    """Train and evaluate; return arrays, and what is said of cold items, by name."""
    task = Task("sasrec", recipe("sasrec", "smoke", "long", OVERRIDES), dataset, 0)
    model = train(task, Distributed(CPU), checkpoints, lambda _: None).model
    times = 10**12 + 3_600_000 * numpy.arange(len(dataset.items))
    rankings = {
        "sasrec": full_ranking(model.score_next, dataset, "test", model.max_length, CPU, 5, one_pass=model.causal),
        **baseline_rankings(dataset, "test", CPU, times),
    }
    found = {f"weight {name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for name, ranking in rankings.items():
        found |= {f"{name} {column}": values for column, values in vars(ranking).items()}
    parts = warm_and_cold(dataset, rankings)
    assert len(parts) == 2
    return {**found, "parts": parts}


def test_weights_and_ranks_are_those_of_memory(
    write_dataset: WriteDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = numpy.random.default_rng(0)
    histories = [rng.integers(1, 41, rng.integers(1, 30)).tolist() for _ in range(60)]
    histories[7] += [41]  # cold: of no training item
    folder = write_dataset(histories)
    expected = outcome(read_sequences(folder), tmp_path / "expected")
    path = folder / "sequences.parquet"
    table = pyarrow.parquet.read_table(path)
    monkeypatch.setattr(dataset_module, "BLOCK_EVENTS", 100)
    monkeypatch.setattr(baselines, "_COUNTED_TOGETHER", 100)
    for groups in (1, 2, 7):
        pyarrow.parquet.write_table(table, path, row_group_size=-(-60 // groups))
        assert pyarrow.parquet.ParquetFile(path).num_row_groups == groups
        dataset = dataset_module._read_sequences(folder, in_memory=0)
        assert len([*dataset.blocks()]) > 5
        found = outcome(dataset, tmp_path / str(groups))
        assert found.pop("parts") == expected["parts"]
        assert all(numpy.array_equal(values, expected[name]) for name, values in found.items())
        assert len(found) == len(expected) - 1
