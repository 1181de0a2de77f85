"""Of a data set whose items lie in a file, and which is counted in blocks, everything is that of one in memory."""

from pathlib import Path
from typing import Any

import numpy
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts import candidates, ranks
from ssm4rec.artifacts import dataset as dataset_module
from ssm4rec.artifacts.candidates import write_candidates
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.items import SourceIds, read_source_ids
from ssm4rec.artifacts.ranks import Origin, read_ranks, write_ranks
from ssm4rec.evaluation import baselines
from ssm4rec.evaluation.baselines import baseline_rankings, baseline_scorers
from ssm4rec.evaluation.cold_items import warm_and_cold
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime import large_arrays
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.loop import train
from ssm4rec.training.task import Task
from tests.conftest import WriteDataset

CPU = torch.device("cpu")
OVERRIDES = "training.epochs=1,training.tokens_per_batch=64"


def outcome(dataset: SequenceDataset, ids: SourceIds, folder: Path) -> dict[str, Any]:
    """Train and evaluate; return arrays, columns of the files, and what is said of cold items, by name."""
    task = Task("sasrec", recipe("sasrec", "smoke", "long", OVERRIDES), dataset, 0)
    model = train(task, Distributed(CPU), folder, lambda _: None).model
    times = 10**12 + 3_600_000 * numpy.arange(len(dataset.items))
    rankings = {
        "sasrec": full_ranking(model.score_next, dataset, "test", model.max_length, CPU, 20, one_pass=model.causal),
        **baseline_rankings(baseline_scorers(dataset, CPU, times), dataset, "test", CPU),
    }
    found = {f"weight {name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for name, ranking in rankings.items():
        found |= {f"{name} {column}": values for column, values in vars(ranking).items()}
    origin = Origin(dataset, "sasrec", 0, "test", ids)
    evaluated = rankings["sasrec"], {name: one for name, one in rankings.items() if name != "sasrec"}
    write_ranks(folder / "ranks.parquet", origin, *evaluated)
    write_candidates(folder / "candidates.parquet", origin, *evaluated)
    for name in ("ranks", "candidates"):
        table = pyarrow.parquet.read_table(folder / f"{name}.parquet")
        found |= {f"{name} {column}": table.column(column).to_pylist() for column in table.column_names}
    assert read_ranks(folder / "ranks.parquet", dataset).unmasked.tolist() == rankings["sasrec"].unmasked.tolist()
    parts = warm_and_cold(dataset, rankings)
    assert len(parts) == 2
    return {**found, "parts": parts}


def same(found: Any, expected: Any) -> bool:
    return numpy.array_equal(found, expected) if isinstance(found, numpy.ndarray) else bool(found == expected)


def test_weights_and_ranks_are_those_of_memory(
    write_dataset: WriteDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = numpy.random.default_rng(0)
    histories = [rng.integers(1, 41, rng.integers(1, 30)).tolist() for _ in range(60)]
    histories[7] += [41]  # cold: of no training item
    folder = write_dataset(histories)
    ids = read_source_ids(folder)
    expected = outcome(read_sequences(folder), ids, tmp_path / "expected")
    path = folder / "sequences.parquet"
    table = pyarrow.parquet.read_table(path)
    monkeypatch.setattr(dataset_module, "BLOCK_EVENTS", 100)
    monkeypatch.setattr(baselines, "_COUNTED_TOGETHER", 100)
    monkeypatch.setattr(large_arrays, "IN_MEMORY", 100)
    monkeypatch.setattr(ranks, "_TARGETS_AT_ONCE", 11)
    monkeypatch.setattr(candidates, "_USERS_AT_ONCE", 11)
    for groups in (1, 2, 7):
        pyarrow.parquet.write_table(table, path, row_group_size=-(-60 // groups))
        assert pyarrow.parquet.ParquetFile(path).num_row_groups == groups
        dataset = dataset_module._read_sequences(folder, in_memory=0)
        assert len([*dataset.blocks()]) > 5
        found = outcome(dataset, ids, tmp_path / str(groups))
        assert found.pop("parts") == expected["parts"]
        assert [name for name, values in found.items() if not same(values, expected[name])] == []
        assert len(found) == len(expected) - 1
