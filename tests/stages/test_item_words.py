"""Recommenders of items with words, from the data to the metrics: cold items are found by what they are called."""

import json
import shutil
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.items import read_items
from ssm4rec.data.added_items import with_added
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.runtime.errors import InputError
from ssm4rec.stages.evaluate.__main__ import run as run_evaluation
from ssm4rec.stages.recommend_all.__main__ import run as recommend_all
from ssm4rec.stages.recommend_all.settings import Settings as RecommendSettings
from ssm4rec.stages.register_champion.__main__ import run as register
from ssm4rec.stages.train_recommender.__main__ import run
from ssm4rec.stages.train_recommender.settings import Settings
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.initial_model import start_from
from ssm4rec.training.loop import train as train_task
from ssm4rec.training.model_folder import read_model
from ssm4rec.training.start import read_start
from ssm4rec.training.task import Task
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder, write_items

pytestmark = pytest.mark.filterwarnings(  # MLflow's own: at import, and about the input example
    "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
)

COLOURS = ("red", "blue", "green", "grey")
WARM = 32
OVERRIDES = "model.item_vectors=id+text,model.vocabulary=300"


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """Users who like one colour; items 33..36, one of each, are the test targets of every other user and no more."""
    drawn = numpy.random.default_rng(0)
    sequences = []
    for user in range(80):
        own = drawn.permutation(numpy.arange(user % 4, WARM, 4))[:7] + 1
        sequences.append([*own.tolist(), WARM + 1 + user % 4] if user % 8 < 4 else own.tolist())
    folder = write_dataset_folder(tmp_path / "dataset", sequences)
    return write_items(folder, [f"{COLOURS[item % 4]} thing {item}" for item in range(WARM + 4)])


def flags(dataset: Path, out: Path, overrides: str = OVERRIDES, name: str = "sasrec") -> list[str]:
    return [
        f"--dataset-dir={dataset}", f"--model={name}", "--profile=smoke", f"--overrides={overrides}",
        f"--model-dir={out / 'model'}", f"--curve={out / 'curve'}", f"--checkpoint-dir={out / 'checkpoints'}",
    ]  # fmt: skip


def train(dataset: Path, out: Path, overrides: str = OVERRIDES, name: str = "sasrec") -> Path:
    run(Settings.parser().parse_args(flags(dataset, out, overrides, name)))
    return out / "model"


def evaluate(dataset: Path, model: Path, out: Path) -> EvaluationSummary:
    outputs = [f"--{name}={out / name}" for name in ("ranks", "candidates", "metrics")]
    parser = run_evaluation.__annotations__["options"].parser()
    run_evaluation(parser.parse_args([f"--dataset-dir={dataset}", f"--model-dir={model}", *outputs]))
    return EvaluationSummary.read(out / "metrics")


def test_items_without_events_are_found_by_their_words(coloured: Path, tmp_path: Path) -> None:
    more = "training.epochs=25,training.patience=25,training.learning_rate=0.01,training.tokens_per_batch=60"
    more += ",model.dropout=0"
    summary = evaluate(coloured, train(coloured, tmp_path, f"{OVERRIDES},{more}"), tmp_path)
    warm, cold = summary.parts
    assert (warm.part, warm.targets, warm.items, cold.part, cold.targets, cold.items) == ("warm", 40, 32, "cold", 40, 4)
    ranks = pyarrow.parquet.read_table(tmp_path / "ranks").to_pandas()
    ranks = ranks[ranks.target > WARM]
    found = {(row.model, row.protocol, row.metric): (row.value, row.standard_error) for row in cold.rows}
    hits = (ranks.rank_masked <= 10).to_numpy()
    assert found["sasrec", "masked", "hit@10"] == pytest.approx((hits.mean(), hits.std(ddof=1) / 40**0.5))
    gains = numpy.where(ranks.rank_unmasked <= 5, 1 / numpy.log2(ranks.rank_unmasked + 1), 0)
    assert found["sasrec", "unmasked", "ndcg@5"] == pytest.approx((gains.mean(), gains.std(ddof=1) / 40**0.5))
    assert found["most-popular", "masked", "hit@10"] == (0, 0)
    assert found["random", "unmasked", "hit@10"] == pytest.approx((10 / 36, 0))
    assert found["random", "masked", "mrr@5"] == pytest.approx((sum(1 / rank for rank in range(1, 6)) / (36 - 7), 0))
    assert hits.mean() > 0.9
    own = load_file(tmp_path / "model" / "model.safetensors")["item_embedding.ids.weight"]
    assert not own[WARM + 1 :].any()
    assert own[1 : WARM + 1].any(dim=1).all()


@pytest.mark.parametrize("name", ["hydra4rec", "lrurec"])
def test_a_model_folder_knows_its_words(coloured: Path, tmp_path: Path, name: str) -> None:
    folder = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1", name)
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    shutil.rmtree(coloured)
    model = read_model(moved).model
    items, lengths = torch.tensor([[1, 5, 9]]), torch.tensor([3])
    with torch.no_grad():
        assert torch.equal(model.score_next(items, lengths), read_model(moved).model.score_next(items, lengths))
    assert json.loads((moved / "config.json").read_text())["recipe"]["model"]["item_vectors"] == "id+text"


def test_other_titles_or_another_tokenizer_than_trained_with_are_refused(
    coloured: Path, tmp_path: Path, refusal: Refusal
) -> None:
    folder = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1")

    def refused() -> str:
        outputs = [f"--{name}={tmp_path / name}" for name in ("ranks", "candidates", "metrics")]
        return refusal(run_evaluation, "--dataset-dir", coloured, "--model-dir", folder, *outputs)

    kept = (folder / "items.parquet").read_bytes()
    write_items(folder, ["other"] * (WARM + 4))
    assert f"{folder / 'items.parquet'}: not the titles, or tokenizer.json next to it" in refused()
    (folder / "items.parquet").write_bytes(kept)
    (folder / "tokenizer.json").write_text("{}")
    assert f"{folder / 'tokenizer.json'}: not a tokenizer" in refused()
    (folder / "tokenizer.json").unlink()
    assert f"{folder / 'tokenizer.json'}: no such file; train the model again" in refused()


def test_words_need_titles(cycle_dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    line = refusal(run, *flags(cycle_dataset, tmp_path, "model.item_vectors=text"))
    assert f"--overrides model.item_vectors=text: {cycle_dataset / 'items.parquet'} has no titles; " in line
    assert "--items-source" in line
    assert "no item_vectors called 'name': id, text, id+text" in refusal(
        run, *flags(cycle_dataset, tmp_path, "model.item_vectors=name")
    )
    assert not (tmp_path / "model").exists()


def test_a_training_resumes_to_the_same_weights_but_not_with_other_titles(
    coloured: Path, tmp_path: Path, refusal: Refusal
) -> None:
    """All that is random of an epoch, the vectors left out included, is of seed and epoch."""
    overrides = f"{OVERRIDES},training.epochs=3"
    chosen, dataset = recipe("sasrec", "smoke", "short", overrides), read_sequences(coloured)
    task = Task("sasrec", chosen, dataset, 0, read_start(chosen.model, dataset, coloured))

    def stop(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_task(task, Distributed(torch.device("cpu")), tmp_path / "checkpoint", stop)
    resumed = train_task(task, Distributed(torch.device("cpu")), tmp_path / "checkpoint", lambda _: None).model
    weights = load_file(train(coloured, tmp_path, overrides) / "model.safetensors")
    assert weights.keys() == resumed.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in resumed.state_dict().items())
    write_items(coloured, [f"thing {item}" for item in range(WARM + 4)])
    line = refusal(run, *flags(coloured, tmp_path, overrides))
    assert "a checkpoint of another training: words is " in line


@pytest.fixture
def next_day(coloured: Path, tmp_path: Path) -> Path:
    """The same users a day later: items 33..36 have been had, and there is a new one, the last."""
    table = pyarrow.parquet.read_table(coloured / "sequences.parquet")
    sequences = [[*row, row[0] % 4 + WARM + 1, WARM + 5] for row in table.column("items").to_pylist()]
    titles = [f"{COLOURS[item % 4]} thing {item}" for item in range(WARM + 5)]
    return write_items(write_dataset_folder(tmp_path / "next-day", sequences), titles)


def test_a_training_starts_from_the_model_of_the_day_before(
    coloured: Path, next_day: Path, tmp_path: Path, refusal: Refusal
) -> None:
    """Frozen, its item vectors alone change; a training from scratch next to it has a checkpoint of its own."""
    overrides = f"{OVERRIDES},training.epochs=2"
    yesterday = train(coloured, tmp_path / "yesterday", overrides)
    frozen = f"{overrides},training.frozen_epochs=1"
    chosen, dataset = recipe("sasrec", "smoke", "short", frozen), read_sequences(next_day)
    start = start_from(yesterday, "sasrec", chosen.model, dataset, next_day)

    def stop(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_task(
            Task("sasrec", chosen, dataset, 0, start), Distributed(torch.device("cpu")), tmp_path / "stopped", stop
        )
    stopped = load_file(tmp_path / "stopped" / "checkpoint.safetensors")
    before = load_file(yesterday / "model.safetensors")
    after = {name: stopped[f"model.{name}"] for name in before}
    assert len(after["item_embedding.ids.weight"]) == len(before["item_embedding.ids.weight"]) + 1
    changed = {name for name in after if after[name].shape != before[name].shape or not after[name].equal(before[name])}
    assert changed == {f"item_embedding.{part}.weight" for part in ("words", "linear", "ids")}
    run(Settings.parser().parse_args([*flags(next_day, tmp_path, frozen), f"--initial-model={yesterday}"]))
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (yesterday / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["initial_model"]
    train(next_day, tmp_path, overrides)
    assert "initial_model" not in json.loads((tmp_path / "model" / "config.json").read_text())
    assert len([*(tmp_path / "checkpoints").glob("sasrec-seed0-*-from-*/checkpoint.safetensors")]) == 1
    assert "--same-items false: is about the items of --initial-model; give one, or leave it out" in refusal(
        run, *flags(next_day, tmp_path, overrides), "--same-items=false"
    )
    assert "--overrides training.frozen_epochs: is about the layers of --initial-model; give one" in refusal(
        run, *flags(next_day, tmp_path, frozen)
    )
    assert "training.frozen_epochs must be below training.epochs" in refusal(
        run, *flags(next_day, tmp_path, f"{overrides},training.frozen_epochs=2"), f"--initial-model={yesterday}"
    )
    assert "does not go with usgm" in refusal(
        run, *flags(next_day, tmp_path, "training.frozen_epochs=1,training.optimizer=usgm")
    )


def test_a_model_is_evaluated_on_later_data_if_told_so(
    coloured: Path, next_day: Path, tmp_path: Path, refusal: Refusal
) -> None:
    model = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1")
    outputs = [f"--{name}={tmp_path / name}" for name in ("ranks", "candidates", "metrics")]
    told = [f"--dataset-dir={next_day}", f"--model-dir={model}", *outputs]
    assert "evaluate on the data trained on, or say --other-data true" in refusal(run_evaluation, *told)
    run_evaluation(run_evaluation.__annotations__["options"].parser().parse_args([*told, "--other-data=true"]))
    summary = EvaluationSummary.read(tmp_path / "metrics")
    assert summary.items == WARM + 5
    ids = train(coloured, tmp_path / "ids", "training.epochs=1")
    line = refusal(run_evaluation, *told[:1], f"--model-dir={ids}", *outputs, "--other-data=true")
    assert "1 items, such as 'i37', are not among those of" in line


def test_data_without_titles_change_no_score(coloured: Path, tmp_path: Path) -> None:
    """Prepared again, without --items-source: evaluate, the lists and a champion still have the model's words."""
    model = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1")
    said = []
    for titles in (read_items(coloured).titles, [None] * (WARM + 4)):
        write_items(coloured, titles)
        outputs = [f"--recommendations-dir={tmp_path / 'lists'}", "--k=36", "--masked=false"]
        recommend_all(
            RecommendSettings.parser().parse_args([f"--dataset-dir={coloured}", f"--model-dir={model}", *outputs])
        )
        write_mlflow_model(tmp_path / "champion", model, read_items(coloured), {})
        champion = tmp_path / "champion" / "artifacts" / "recommender"
        answers = CatalogRecommender.read(champion, champion).recommend([["i1", "red thing 4"]], 9, masked=True)
        said.append((evaluate(coloured, model, tmp_path), answers, pyarrow.parquet.read_table(tmp_path / "lists")))
    assert said[0] == said[1]
    with pytest.raises(InputError, match=f"champion: a champion folder .* or the champion's own, {champion}"):
        read_model(tmp_path / "champion")


def test_a_champion_carries_its_added_items_to_other_data(
    coloured: Path, next_day: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind the data's, which have an item more than the day before; what came into the data since is there once."""
    caplog.set_level("INFO")
    model = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1")
    added = tmp_path / "added.csv"
    added.write_text("item_id,title\nn1,red thing\ni37,red thing 36\n")
    write_mlflow_model(tmp_path / "champion", model, with_added(read_items(coloured), str(added)), {})
    added.write_text("item_id,title\nn1,red thing\nn2,blue thing\n")
    told = [f"--dataset-dir={next_day}", "--masked=false", "--k=38", "--other-data=true"]
    told += [f"--recommendations-dir={tmp_path / 'lists'}"]
    listed = {}
    for place in ("champion", "model"):
        flag = [f"--added-items={added}"] if place == "model" else []
        recommend_all(RecommendSettings.parser().parse_args([*told, *flag, f"--model-dir={tmp_path / place}"]))
        listed[place] = pyarrow.parquet.read_table(tmp_path / "lists")
    assert {*listed["champion"]["item_id"].to_pylist()} == {f"i{item}" for item in range(1, 38)} | {"n1"}
    assert "38 items: 37 of " in caplog.text
    assert ", 1 added to the champion, 0 of --added-items" in caplog.text
    assert ", 0 added to the champion, 2 of --added-items" in caplog.text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("item_id,title\nn1,a thing\n,red thing\n", "added.csv, column item_id, row 2: the id is missing"),
        ("item_id,title\nn1,a thing\n n1,red thing\n", "added.csv: the id ' n1' has spaces around it; write 'n1'"),
        ("item_id,title\ni1 ,red thing\n", "added.csv: the id 'i1 ' has spaces around it; write 'i1'"),
        (
            "item_id,name\nn1,red thing\n",
            "no column 'title'; its columns are item_id, name; one must be called title",
        ),
    ],
)
def test_added_items_that_are_none(coloured: Path, tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "added.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        with_added(read_items(coloured), str(tmp_path / "added.csv"))
    assert str(caught.value).startswith(f"--added-items {tmp_path / 'added.csv'}")
    assert line in str(caught.value)


def test_a_registered_model_recommends_items_added_since(coloured: Path, tmp_path: Path) -> None:
    model = train(coloured, tmp_path, f"{OVERRIDES},training.epochs=1")
    added = tmp_path / "added.csv"
    added.write_text("item_id,title\nn1,red thing\ni1,known already\nn2,\nn3,blue thing\nn1,red again\n")
    told = [f"--dataset-dir={coloured}", "--models", str(model), f"--champion-dir={tmp_path / 'champion'}"]
    told += [f"--registration={tmp_path / 'registration.json'}"]
    parser = register.__annotations__["options"].parser()
    register(parser.parse_args([*told, f"--added-items={added}"]))
    (folder,) = (path.parent for path in (tmp_path / "champion").rglob("model.safetensors"))
    recommender = CatalogRecommender.read(folder, folder)
    assert recommender.catalog.item_ids[-3:] == ["i36", "n1", "n3"]
    assert recommender.catalog.titles[-2:] == ["red thing", "blue thing"]
    (answer,) = recommender.recommend([["i1", "i5"]], 99, masked=True)
    assert {"n1", "n3"} < {*answer.item_ids}
    assert len(answer.item_ids) == WARM + 4 + 2 - 2
    (by_new_item,) = recommender.recommend([["n1", "n3"]], 3, masked=True)
    assert (by_new_item.unknown, by_new_item.error) == ([], "")
    lists = []
    for place, more in ((tmp_path / "champion", []), (model, [f"--added-items={added}"])):
        outputs = [f"--recommendations-dir={tmp_path / 'lists'}", "--k=38", "--masked=false", *more]
        recommend_all(RecommendSettings.parser().parse_args([told[0], f"--model-dir={place}", *outputs]))
        lists.append(pyarrow.parquet.read_table(tmp_path / "lists"))
    assert {*lists[0]["item_id"].to_pylist()} > {"i1", "n1", "n3"}
    assert lists[0] == lists[1]
    added.write_text("item_id,title\ni1,\n")
    with pytest.raises(InputError, match=r"--added-items .*added.csv: no item with a title; leave it out, or list"):
        register(parser.parse_args([*told, f"--added-items={added}"]))
    ids = train(coloured, tmp_path / "ids", "training.epochs=1")
    with pytest.raises(InputError, match=r"--added-items .*ids/model, knows items by their ids alone"):
        register(parser.parse_args([told[0], "--models", str(ids), *told[-2:], f"--added-items={added}"]))
