"""evaluate: the files it writes agree with each other, and foreign or damaged inputs are refused in one line."""

import json
import shutil
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.curve import VALIDATION, read_curve
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import BASELINES, TIME_BASELINES
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.stages.evaluate.__main__ import run
from ssm4rec.stages.evaluate.settings import Settings
from ssm4rec.stages.train_recommender.__main__ import run as run_training
from ssm4rec.stages.train_recommender.settings import Settings as TrainRecommenderSettings
from tests.conftest import Refusal
from tests.datasets import write_events


@pytest.fixture
def model(cycle_dataset: Path, tmp_path: Path) -> Path:
    return train(cycle_dataset, tmp_path / "model", "sasrec")


def train(dataset: Path, folder: Path, name: str, overrides: str = "") -> Path:
    flags = ["--dataset-dir", dataset, "--model", name, "--profile", "smoke", "--model-dir", folder]
    flags += ["--overrides", overrides]
    run_training(TrainRecommenderSettings.parser().parse_args([*map(str, flags), "--curve", f"{folder}.curve.parquet"]))
    return folder


def flags(dataset: Path, model: Path, out: Path, *more: str) -> list[str]:
    outputs = [f"--{name}={out / name}" for name in ("ranks", "candidates", "metrics")]
    return [f"--dataset-dir={dataset}", f"--model-dir={model}", *outputs, *more]


def test_files_agree(cycle_dataset: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs = {name: {"artifacts": [{"name": name, "uri": str(out / name)}]} for name in ("shown", "ranks")}
    executor_input = {"outputs": {"artifacts": outputs, "outputFile": str(out / "executor_output.json")}}
    run(Settings.parser().parse_args(flags(cycle_dataset, model, out, "--executor-input", json.dumps(executor_input))))
    summary = EvaluationSummary.read(out / "metrics")
    ranks = pyarrow.parquet.read_table(out / "ranks").to_pydict()
    for name, prefix in (("sasrec", ""), *((name, f"{name.replace('-', '_')}_") for name in BASELINES)):
        for protocol in ("unmasked", "masked"):
            found = {row.metric: row.value for row in summary.rows if (row.model, row.protocol) == (name, protocol)}
            assert found == all_metrics(numpy.array(ranks[f"{prefix}rank_{protocol}"]))
    assert len(summary.rows) == (1 + 4) * 2 * 3 * 3
    assert summary.users == len(ranks["user"]) == 40
    assert summary.initial_model == ""
    assert summary.nll is not None
    assert 0 < summary.nll.low < summary.nll.value < summary.nll.high
    candidates = pyarrow.parquet.read_table(out / "candidates").to_pylist()
    for user, rank, target in zip(candidates, ranks["rank_unmasked"], ranks["target"], strict=True):
        assert user["unmasked_items"].index(target) < rank  # at its rank, or above items of the same score
        assert sorted(user["unmasked_items"]) == list(range(1, 13))
    for user, rank, target in zip(candidates, ranks["rank_masked"], ranks["target"], strict=True):
        # 12 items less those of the history; scores descend; the target stands at its rank unless it was seen before.
        assert user["scores"] == sorted(user["scores"], reverse=True)
        assert target not in user["items"] or user["items"].index(target) + 1 <= rank
    users = pyarrow.parquet.read_table(cycle_dataset / "sequences.parquet").column("user_id").to_pylist()
    items = ["", *read_items(cycle_dataset).ids]
    for table in (ranks, pyarrow.parquet.read_table(out / "candidates").to_pydict()):
        assert table["user_id"] == [users[user] for user in table["user"]]
    assert ranks["item_id"] == [items[target] for target in ranks["target"]]
    assert all(one["item_ids"] == [items[item] for item in one["items"]] for one in candidates)
    shown = json.loads((out / "executor_output.json").read_text())["artifacts"]["shown"]["artifacts"][0]["metadata"]
    for name, model in (("masked/ndcg_at_10", "sasrec"), ("versus/markov/masked/ndcg_at_10", "markov")):
        assert shown[name] == next(
            row.value for row in summary.rows if (row.model, row.protocol, row.metric) == (model, "masked", "ndcg@10")
        )
    assert all(isinstance(value, float) for value in shown.values())


@pytest.mark.parametrize("name", ["2mamba4rec", "hydra4rec"])
def test_every_later_event_is_a_target_of_data_split_by_time(name: str, tmp_path: Path) -> None:
    """Trained with validation of the same kind; metrics.json, ranks.parquet and candidates.parquet agree."""
    random = numpy.random.default_rng(4)
    events = [
        (f"u{user}", (user + step) % 9 + 1, int(start) + 50 * step)
        for user, start in enumerate(random.integers(0, 500, 30))
        for step in range(12)
    ]
    folder, out = tmp_path / "dataset", tmp_path / "out"
    dataset = write_events(folder, events)
    model = train(folder, tmp_path / "model", name, "training.epochs=1")
    validated = read_curve(tmp_path / "model.curve.parquet", "train_recommender").values("hit@10", VALIDATION)[-1]
    assert (validated * dataset.validation_targets.sum()) % 1 == pytest.approx(0, abs=1e-9)
    run(Settings.parser().parse_args(flags(folder, model, out)))
    summary = EvaluationSummary.read(out / "metrics")
    ranks = pyarrow.parquet.read_table(out / "ranks").to_pydict()
    assert summary.targets == len(ranks["user"]) == dataset.test_targets.sum()
    assert summary.users == len({*ranks["user"]}) == (dataset.test_position > 0).sum() < summary.targets
    assert {row.model for row in summary.rows} == {name, *TIME_BASELINES}
    for owner, prefix in ((name, ""), ("most-popular-lately", "most_popular_lately_")):
        found = {row.metric: row.value for row in summary.rows if (row.model, row.protocol) == (owner, "masked")}
        assert found == all_metrics(numpy.array(ranks[f"{prefix}rank_masked"]))
    candidates = pyarrow.parquet.read_table(out / "candidates").to_pydict()
    assert candidates["user"] == sorted({*ranks["user"]})


def test_a_refitted_model_is_refused_on_the_items_it_was_trained_on(
    cycle_dataset: Path, tmp_path: Path, refusal: Refusal
) -> None:
    refitted = train(cycle_dataset, tmp_path / "refitted", "sasrec", "training.epochs=1,training.refit=true")
    out = tmp_path / "out"
    said = refusal(run, *flags(cycle_dataset, refitted, out, "--split", "validation"))
    assert "trained on the validation items (training.refit)" in said
    assert not out.exists()
    run(Settings.parser().parse_args(flags(cycle_dataset, refitted, out)))
    assert EvaluationSummary.read(out / "metrics").users == 40


def test_foreign_and_damaged_inputs(
    cycle_dataset: Path, model: Path, tmp_path: Path, write_dataset: "object", refusal: Refusal
) -> None:
    out = tmp_path / "out"
    other_data = write_dataset([[1, 2, 3, 4, 5]] * 9, name="other", folder="other")
    assert "trained on toy" in refusal(run, *flags(other_data, model, out))

    mixed_data = tmp_path / "mixed"
    shutil.copytree(cycle_dataset, mixed_data)
    shutil.copy(other_data / "sequences.parquet", mixed_data)
    assert "belongs to another dataset than manifest.json" in refusal(run, *flags(mixed_data, model, out))

    mixed_model = train(cycle_dataset, tmp_path / "mamba", "2mamba4rec")
    shutil.copy(model / "model.safetensors", mixed_model)
    assert "weights of another model than the 2mamba4rec" in refusal(run, *flags(cycle_dataset, mixed_model, out))

    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    assert "damaged" in refusal(run, *flags(cycle_dataset, model, out))
    weights.unlink()
    assert "no such file; train the model again" in refusal(run, *flags(cycle_dataset, model, out))
    (model / "config.json").write_text("{}")
    assert "not the config of a recommender" in refusal(run, *flags(cycle_dataset, model, out))
    assert "--split training: unknown" in refusal(run, *flags(cycle_dataset, model, out, "--split", "training"))
    assert not out.exists()
