"""mine_preferences: from events to pairs.parquet, the same for the same seed, and bad inputs refused in one line."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.preferences import read_pairs
from ssm4rec.stages.mine_preferences.__main__ import run
from ssm4rec.stages.mine_preferences.settings import Settings
from ssm4rec.stages.prepare_data.__main__ import run as run_preparation
from ssm4rec.stages.prepare_data.settings import Settings as PrepareDataSettings
from ssm4rec.training.model_folder import read_model
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder
from tests.trained_models import write_random_model

Prepare = Callable[..., Path]


@pytest.fixture
def events(tmp_path: Path) -> list[dict[str, str]]:
    """Events in time order: users rate items 1 to 3, meet some again, and sometimes do not rate."""
    chance = random.Random(3)
    return [
        {"user_id": f"u{chance.randrange(50)}", "item_id": f"i{chance.randrange(40)}", "timestamp": str(time),
         "rating": chance.choice(["1", "2", "3", ""])}
        for time in range(1_500_000_000, 1_500_000_400)
    ]  # fmt: skip


@pytest.fixture
def prepare(tmp_path: Path, events: list[dict[str, str]]) -> Prepare:
    """Return a function that runs prepare_data on the events and returns the folder."""

    def run_with(*flags: str, folder: str = "dataset") -> Path:
        with (tmp_path / "events.csv").open("w") as file:
            writer = csv.DictWriter(file, events[0].keys())
            writer.writeheader()
            writer.writerows(events)
        source = ("--dataset=events", f"--source={tmp_path / 'events.csv'}", "--k-core=0")
        arguments = [*source, f"--dataset-dir={tmp_path / folder}", *flags]
        run_preparation(PrepareDataSettings.parser().parse_args(arguments))
        return tmp_path / folder

    return run_with


def mine(dataset: Path, out: Path, *flags: str) -> dict[str, object]:
    flags = (f"--dataset-dir={dataset}", f"--pairs={out / 'pairs'}", f"--counts={out / 'counts'}", *flags)
    run(Settings.parser().parse_args(["--epochs=3", "--components=4", *flags]))
    return json.loads((out / "counts").read_text())


@pytest.mark.parametrize("split", ["leave-one-out", "global-time"])
def test_pairs_of_events(split: str, prepare: Prepare, events: list[dict[str, str]], tmp_path: Path) -> None:
    folder, out = prepare("--rating-column=rating", f"--splitting={split}"), tmp_path / "out"
    executor_input = {
        "inputs": {"artifacts": {}},
        "outputs": {
            "artifacts": {"counts": {"artifacts": [{"name": "counts", "uri": str(out / "counts")}]}},
            "outputFile": str(out / "executor_output.json"),
        },
    }
    counts = mine(folder, out, "--executor-input", json.dumps(executor_input))

    dataset = read_sequences(folder)
    names = pyarrow.parquet.read_table(folder / "items.parquet").column("item_id").to_pylist()
    users = pyarrow.parquet.read_table(folder / "sequences.parquet").column("user_id").to_pylist()
    rows = pyarrow.parquet.read_table(out / "pairs").to_pylist()
    by_rating = {row["user"]: row for row in rows if row["origin"] == "ratings"}
    by_lightfm = {row["user"]: row for row in rows if row["origin"] == "lightfm"}
    assert len(by_rating) + len(by_lightfm) == len(rows) == counts["pairs"]
    assert len(by_rating) == counts["ratings"]["pairs"] > 5
    assert len(by_lightfm) == counts["lightfm"]["pairs"] > 25
    for user, user_id in enumerate(users):
        history = [(event["item_id"], event["rating"]) for event in events if event["user_id"] == user_id]
        training = history[: dataset.train_length[user]]
        last_two = training[-2:] if len(training) >= 3 else []
        expected = len({rating for _, rating in last_two} - {""}) == 2 and len({item for item, _ in last_two}) == 2
        assert (user in by_rating) == expected
        if user in by_rating:
            row = by_rating[user]
            pair = {(names[row[name] - 1], str(int(row[f"{name}_rating"]))) for name in ("winner", "loser")}
            assert pair == set(last_two)
            assert row["winner_rating"] > row["loser_rating"]
            assert row["history_length"] == len(training) - 2
        assert (user in by_lightfm) == (len(training) >= 2)
        if user in by_lightfm:
            row = by_lightfm[user]
            assert names[row["winner"] - 1] == training[-1][0]
            assert names[row["loser"] - 1] not in [item for item, _ in training]
            assert row["history_length"] == len(training) - 1
    assert len(read_pairs(out / "pairs", dataset)) == len(rows)

    shown = json.loads((out / "executor_output.json").read_text())["artifacts"]["counts"]["artifacts"][0]["metadata"]
    assert shown["lightfm/pairs"] == len(by_lightfm)
    assert shown["ratings/ties"] == counts["ratings"]["ties"] > 0
    assert all(isinstance(value, float) for value in shown.values())


def test_pairs_by_the_retriever(prepare: Prepare, tmp_path: Path, refusal: Refusal) -> None:
    """Losers are among its 20 best after the history, without what the user had in training; the seed draws which."""
    folder = prepare("--rating-column=rating")
    retriever = write_random_model(folder, tmp_path / "sasrec", "sasrec", validation=0.1, seed=3)
    by_retriever = ("--pairs-by=retriever", f"--retriever-dir={retriever}")
    counts, again = (mine(folder, tmp_path / out, *by_retriever) for out in ("out", "again"))
    assert counts == again
    assert counts["pairs_by"] == "retriever"
    assert counts["settings"] == {"retriever": {"model": "sasrec", "seed": 3}}
    dataset, model = read_sequences(folder), read_model(retriever).model
    pairs = read_pairs(tmp_path / "out" / "pairs", dataset)
    assert pairs.users.tolist() == numpy.flatnonzero(dataset.train_length >= 2).tolist()
    assert {*pairs.origins} == {"retriever"}
    for row, user in enumerate(pairs.users):
        *history, last = dataset.items[dataset.offsets[user] :][: dataset.train_length[user]].tolist()
        assert (pairs.winners[row], pairs.history_lengths[row]) == (last, len(history))
        shown = torch.tensor([history[-model.max_length :]])
        seen = torch.tensor(history) - 1
        scores = model.score_next(shown, torch.tensor([shown.shape[1]]), seen)[0].detach()
        scores[[item - 1 for item in (*history, last)]] = -torch.inf
        assert pairs.losers[row] in (scores.topk(20).indices + 1).tolist()
        assert pairs.loser_scores[row] == pytest.approx(scores[pairs.losers[row] - 1].item(), abs=1e-5)
    mine(folder, tmp_path / "other", *by_retriever, "--seed=1")
    other = read_pairs(tmp_path / "other" / "pairs", dataset)
    assert (other.losers != pairs.losers).mean() > 0.5

    files = (f"--pairs={tmp_path / 'no' / 'pairs'}", f"--counts={tmp_path / 'no' / 'counts'}")
    start = (f"--dataset-dir={folder}", *files, "--pairs-by=retriever")
    assert "--pairs-by retriever: whose candidates? give --retriever-dir" in refusal(run, *start)
    refit = write_random_model(folder, tmp_path / "refit", "sasrec", validation=0.1, overrides="training.refit=true")
    assert "refit: was trained on the validation items" in refusal(run, *start, f"--retriever-dir={refit}")
    otherwise = prepare("--rating-column=rating", "--splitting=global-time", folder="other-split")
    said = refusal(run, f"--dataset-dir={otherwise}", *files, "--pairs-by=retriever", f"--retriever-dir={retriever}")
    assert "give a retriever of these data" in said


def test_the_seed_decides_the_files(prepare: Prepare, tmp_path: Path) -> None:
    folder = prepare("--rating-column=rating")
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for out, seed in ((first, 5), (again, 5), (other, 6)):
        mine(folder, out, f"--seed={seed}")
    for name in ("pairs", "counts"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    rows = [pyarrow.parquet.read_table(out / "pairs").to_pylist() for out in (first, other)]
    parts = [[row for row in each if row["origin"] == "ratings"] for each in rows]
    assert parts[0] == parts[1], "LightFM decides nothing here"
    assert rows[0] != rows[1]


def test_data_without_ratings(prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    counts = mine(prepare(), tmp_path / "out")
    assert "by ratings: skipped, events has no ratings" in caplog.messages
    assert counts["ratings"]["pairs"] == counts["ratings"]["ties"] == 0 < counts["ratings"]["unrated"]
    assert {row["origin"] for row in pyarrow.parquet.read_table(tmp_path / "out" / "pairs").to_pylist()} == {"lightfm"}


@pytest.mark.parametrize("owners", [(0,), (0, 7), (39,), range(40)])
def test_users_who_have_every_item(owners: range, tmp_path: Path) -> None:
    """Others still get their pairs, and the AUC is over users for whom there is one."""
    chance = random.Random(4)
    sequences = [
        [*range(1, 16), 1, 2] if user in owners else chance.choices(range(1, 16), k=8) + [user % 15 + 1] * 2
        for user in range(40)
    ]
    folder = write_dataset_folder(tmp_path / "dataset", sequences)
    dataset = read_sequences(folder)
    ratings = chance.choices([1.0, 2.0, 3.0], k=len(dataset.items))
    table = pyarrow.table({"item": dataset.items, "rating": ratings})
    pyarrow.parquet.write_table(table, folder / "interactions.parquet")
    counts = mine(folder, tmp_path / "out", "--executor-input", "")
    pairs = read_pairs(tmp_path / "out" / "pairs", dataset)
    by_lightfm = set(pairs.users[pairs.origins == "lightfm"].tolist())
    assert by_lightfm.isdisjoint(owners)
    assert counts["lightfm"]["nothing_unseen"] == len(owners)
    auc = counts["lightfm"]["training_auc"]
    if len(owners) == 40:
        assert auc is None
    else:
        assert by_lightfm
        assert 0.4 < auc <= 1


def test_inputs_at_fault(prepare: Prepare, write_dataset: "object", tmp_path: Path, refusal: Refusal) -> None:
    folder, out = prepare("--rating-column=rating"), tmp_path / "out"

    def error(dataset: Path, *more: str) -> str:
        files = (f"--pairs={out / 'pairs'}", f"--counts={out / 'counts'}")
        said = refusal(run, f"--dataset-dir={dataset}", *files, *more)
        assert not out.exists() or not list(out.iterdir())
        return said

    assert "--epochs 0: at least 1" in error(folder, "--epochs=0")
    assert "--components -1: at least 1" in error(folder, "--components=-1")
    assert "--components 100000000: at most 1024" in error(folder, "--components=100000000")
    assert "--seed 4294967296: at most 4294967295" in error(folder, "--seed=4294967296")
    assert "missing/manifest.json: no such file; run prepare_data first" in error(tmp_path / "missing")

    # The paper's pairs are made without a retriever, and a wrong path may mean that another choice was wanted.
    said = error(folder, f"--retriever-dir={tmp_path / 'nowhere'}")
    assert f"--retriever-dir {tmp_path / 'nowhere'}: no such folder" in said
    assert "--pairs-by paper takes no candidates" in said

    # Users of three items: one for training, which is no pair.
    short = write_dataset([[1, 2, 3], [2, 3, 1]], folder="short")
    (short / "interactions.parquet").unlink()
    assert "interactions.parquet: no such file; run prepare_data first" in error(short)
    table = pyarrow.table({"item": [1, 2, 3, 2, 3, 1], "rating": [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]})
    pyarrow.parquet.write_table(table, short / "interactions.parquet")
    assert "data set toy: no preference pair" in error(short)

    interactions = folder / "interactions.parquet"
    table = pyarrow.parquet.read_table(interactions)
    for changed, expected in (
        (table.take(list(range(len(table)))[::-1]), "events are not those of sequences.parquet next to it"),
        (table.slice(1), "events are not those of sequences.parquet next to it"),
        (table.drop_columns("rating"), "not the interactions of a dataset folder"),
        (table.set_column(3, "rating", [["good"] * len(table)]), "not the interactions of a dataset folder"),
    ):
        pyarrow.parquet.write_table(changed, interactions)
        assert expected in error(folder)
    interactions.write_bytes(interactions.read_bytes()[:100])
    assert "not a readable Parquet file" in error(folder)
