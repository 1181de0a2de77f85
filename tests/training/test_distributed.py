"""Several processes train as one: the same gradients, the same weights, one writer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.distributed import Distributed, choose_precision
from tests.datasets import write_items

STAGE = "ssm4rec.stages.train_recommender"


def arguments(dataset: Path, folder: Path, model: str, overrides: str) -> list[str]:
    return [
        "--dataset-dir", str(dataset), "--model", model, "--profile", "smoke", "--overrides", overrides,
        "--device", "cpu", "--model-dir", str(folder / "model"), "--curve", str(folder / "curve.parquet"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("2mamba4rec", ""),
        pytest.param(
            "sasrec", "training.loss=bce,training.negatives=3,training.objective=every-prefix", marks=pytest.mark.slow
        ),
        ("sasrec", "model.item_vectors=id+text,model.id_dropout=0"),
    ],
)
def test_two_processes_train_as_one(cycle_dataset: Path, tmp_path: Path, model: str, overrides: str) -> None:
    """Dropout is off: it is the one thing that the processes draw apart. A batch of 8 cells leaves some a row short."""
    write_items(cycle_dataset, [f"item {number}" for number in range(12)])
    chosen = f"model.dropout=0.0,training.tokens_per_batch=24,training.epochs=1,{overrides}"
    alone, together = tmp_path / "alone", tmp_path / "together"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", STAGE, *arguments(cycle_dataset, alone, model, chosen)]
    two = [sys.executable, "-m", STAGE, *arguments(cycle_dataset, together, model, chosen), "--processes", "2"]
    for command in (one, two):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (alone, together))
    for name, weights in first.items():
        torch.testing.assert_close(
            second[name], weights, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_several_processes_end_with_the_status_of_the_one_that_failed(cycle_dataset: Path, tmp_path: Path) -> None:
    """A rate that diverges fails in the processes, not in the one that starts them."""
    chosen = "training.learning_rate=1e30,training.epochs=2"
    command = [sys.executable, "-m", STAGE, *arguments(cycle_dataset, tmp_path, "sasrec", chosen), "--processes", "2"]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    begun, line = done.stderr.splitlines()  # each once
    assert begun.endswith("sasrec seed 0 epoch 0/2: starts")
    assert "error: sasrec diverged: " in line
    assert not (tmp_path / "model").exists()


def test_one_message_for_flags_that_are_wrong_in_every_process(cycle_dataset: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", STAGE, *arguments(cycle_dataset, tmp_path, "gru4rec", ""), "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("--model gru4rec: unknown") == 1


def test_rows_are_shared_out_and_a_process_without_rows_goes_along_for_nothing() -> None:
    processes = [Distributed(torch.device("cpu"), rank=rank, world_size=3) for rank in range(3)]
    assert [list(range(7))[distributed.shard(7)[0]] for distributed in processes] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [distributed.shard(2) for distributed in processes] == [
        (slice(0, None, 3), True),
        (slice(1, None, 3), True),
        (slice(0, 1), False),
    ]


def test_precision_is_chosen_by_device_and_checked() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert (choose_precision("auto", cpu), choose_precision("auto", cuda)) == ("fp32", "bf16")
    assert choose_precision("tf32", cuda) == "tf32"
    with pytest.raises(InputError, match="--precision tf32: only a GPU has it"):
        choose_precision("tf32", cpu)


def test_scores_under_autocast_are_not_rounded() -> None:
    """A hundred items' scores in bfloat16 would tie, and ties count against the model."""
    torch.manual_seed(0)
    model = recipe("sasrec", "best", "long").model.build(2000).eval()
    items, lengths = torch.randint(1, 2001, (2, 9)), torch.tensor([9, 9])
    with Distributed(torch.device("cpu"), "bf16").autocast(), torch.no_grad():
        scores = model.score_next(items, lengths)
    assert scores.dtype == torch.float32
    assert all(len(row.unique()) > 1990 for row in scores)
