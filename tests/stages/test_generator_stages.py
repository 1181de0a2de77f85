"""train_generator and evaluate_generator: from titles to lists and metrics, a kill in between, and what is refused."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, read_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.evaluate_generator import __main__ as evaluating
from ssm4rec.stages.train_generator import __main__ as training
from tests.datasets import write_items
from tests.language_models import title


def process(stage, *flags):
    run_stage(stage.Settings.parser(), stage.run, [str(flag) for flag in flags])


def training_flags(dataset, out, *more, model="gpt4rec"):
    return ["--dataset-dir", dataset, "--model", model, "--profile", "smoke", "--generator-dir", out / "generator",
            "--curve", out / "curve.parquet", *more]  # fmt: skip


def evaluation_flags(dataset, generator, out, *more):
    return ["--dataset-dir", dataset, "--generator-dir", generator, "--lists", out / "lists",
            "--metrics", out / "metrics", *more]  # fmt: skip


def executor_input(out, name):
    outputs = {name: {"artifacts": [{"name": name, "uri": str(out / name)}]}}
    return json.dumps({"outputs": {"artifacts": outputs, "outputFile": str(out / "executor_output.json")}})


def shown(out, name):
    return json.loads((out / "executor_output.json").read_text())["artifacts"][name]["artifacts"][0]["metadata"]


@pytest.fixture
def circle(cycle_dataset, add_titles):
    return add_titles(cycle_dataset)


def most_popular_rank(dataset, user, position):
    """The target's rank by training counts among the items that the user has not had; ties count against it.

    A target that the user had is missed.
    """
    items = dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]]
    counts, target = dataset.training_counts(), items[position]
    if target in items[:position]:
        return math.inf
    others = set(range(1, dataset.item_count + 1)) - set(items[:position].tolist()) - {int(target)}
    return 1 + sum(counts[other] >= counts[target] for other in others)


@pytest.mark.parametrize("model", ["gpt4rec", "mamrec"])
def test_the_files_agree(model, circle, tmp_path):
    given = ("--executor-input", executor_input(tmp_path, "generator"))
    process(training, *training_flags(circle, tmp_path, *given, model=model))
    facts = json.loads((tmp_path / "generator" / "generator.json").read_text())
    assert (facts["model"], facts["from_scratch"], facts["profile"]) == (model, True, "smoke")
    curve = read_curve(tmp_path / "curve.parquet", "train_generator")
    rows = curve.values("loss", VALIDATION)
    assert curve.values("epoch") == [1, 2]
    assert curve.series[TRAIN, "loss"].keys() == curve.series[VALIDATION, "loss"].keys()
    told = facts["training"]
    assert (told["epochs"], told["best_epoch"], told["validation_loss"]) == (2, rows.index(min(rows)) + 1, min(rows))
    best = max(facts["training"]["tuning"], key=lambda pair: pair["ndcg@10"])
    assert (facts["k1"], facts["b"]) == (best["k1"], best["b"])
    assert shown(tmp_path, "generator")["validation_ndcg_at_10"] == best["ndcg@10"]

    more = ("--executor-input", executor_input(tmp_path, "shown"))
    process(evaluating, *evaluation_flags(circle, tmp_path / "generator", tmp_path, *more))
    summary = GenerationSummary.read(tmp_path / "metrics")
    lists = pyarrow.parquet.read_table(tmp_path / "lists").to_pylist()
    dataset = read_sequences(circle)
    assert [row["user"] for row in lists] == list(range(40))
    assert (summary.users, summary.users_in_split, summary.queries) == (40, 40, 5)
    assert summary.tokens_per_second > 0
    assert summary.from_scratch
    for row in lists:
        position = dataset.test_position[row["user"]]
        *history, target = dataset.items[dataset.offsets[row["user"]] :][: position + 1].tolist()
        assert (row["target"], row["history_length"]) == (target, len(history))
        assert len(row["queries"]) == 5
        assert len(row["items"]) == len(set(row["items"])) <= 20
        assert not set(history) & set(row["items"])
        assert row["rank"] == (row["items"].index(target) + 1 if target in row["items"] else 0)
    popular = [most_popular_rank(dataset, row["user"], dataset.test_position[row["user"]]) for row in lists]
    for name, ranks in ((model, [row["rank"] or math.inf for row in lists]), ("most-popular", popular)):
        found = {row.metric: row.value for row in summary.rows if row.model == name}
        assert found["hit@10"] == sum(rank <= 10 for rank in ranks) / 40
        assert found["mrr@5"] == pytest.approx(sum(1 / rank for rank in ranks if rank <= 5) / 40)
        gains = [1 / numpy.log2(rank + 1) for rank in ranks if rank <= 20]
        assert found["ndcg@20"] == pytest.approx(sum(gains) / 40)
    assert shown(tmp_path, "shown")["masked/hit_at_10"] == next(
        row.value for row in summary.rows if row.metric == "hit@10"
    )
    assert shown(tmp_path, "shown")["tokens_per_second"] == summary.tokens_per_second


def test_a_generator_learns_the_circle(circle, tmp_path):
    changes = "training.epochs=16,training.examples=4,training.tokens_per_batch=400,search.new_tokens=16,search.users=9"
    process(training, *training_flags(circle, tmp_path, "--overrides", changes, model="mamrec"))
    process(evaluating, *evaluation_flags(circle, tmp_path / "generator", tmp_path))
    summary = GenerationSummary.read(tmp_path / "metrics")
    assert (summary.users, summary.users_in_split) == (9, 40)
    lists = pyarrow.parquet.read_table(tmp_path / "lists").to_pylist()
    # The next title is certain: once learned, it is the first query, and finds its item first, if that is a new one.
    assert numpy.mean([row["queries"][0] == title(row["target"]) for row in lists]) > 0.8
    new = numpy.mean([row["history_length"] < 12 for row in lists])
    assert 0 < new < 1
    assert next(row.value for row in summary.rows if row.metric == "mrr@10") == new


def test_a_pretrained_model(circle, language_model, tmp_path):
    more = ("--language-model", language_model("gpt2"), "--overrides", "training.epochs=1")
    process(training, *training_flags(circle, tmp_path, *more))
    facts = json.loads((tmp_path / "generator" / "generator.json").read_text())
    assert (facts["source"], facts["from_scratch"]) == (str(language_model("gpt2")), False)
    before, after = (
        load_file(folder / "model.safetensors") for folder in (language_model("gpt2"), tmp_path / "generator")
    )
    assert before.keys() == after.keys()
    assert not any(before[name].equal(after[name]) for name in before if "weight" in name)  # all of them are trained


@pytest.fixture
def one_thread():
    """The same sums as a process under OMP_NUM_THREADS=1."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_killed_stage_resumes_to_the_same_weights(circle, tmp_path, one_thread, caplog):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ("--overrides", "training.epochs=6,training.patience=6,training.examples=2")
    program = [sys.executable, "-m", "ssm4rec.stages.train_generator", *map(str, training_flags(circle, killed, *more))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL) as running:
        while not list(killed.glob("generator.checkpoints/*/checkpoint-*")):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    assert not (killed / "generator").exists()
    assert not (killed / "curve.parquet").exists()
    with caplog.at_level("INFO"):
        process(training, *training_flags(circle, killed, *more))
    assert "resumed after step" in caplog.text
    process(training, *training_flags(circle, whole, *more))
    ours, theirs = (load_file(folder / "generator" / "model.safetensors") for folder in (killed, whole))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_what_training_refuses(cycle_dataset, circle, tmp_path, refusal):
    out = tmp_path / "out"
    for more, message in (
        (["--model", "gpt5rec"], "--model gpt5rec: unknown; choose from gpt4rec, mamrec"),
        (["--profile", "huge"], "--profile huge: unknown; choose from smoke"),
        (["--seed", "-1"], "--seed -1: at least 0"),
        (["--overrides", "training.speed=3"], "no field 'speed'; choose from loss_on, examples"),
        (["--language-model", "./nowhere"], "config.json: no such file"),
        (["--overrides", "prompt.maximum_tokens=5"], "more than prompt.maximum_tokens=5"),
    ):
        assert message in refusal(training.run, *training_flags(circle, out, *more))
    table = pyarrow.parquet.read_table(circle / "items.parquet")
    nothing = pyarrow.nulls(len(table), pyarrow.string())
    pyarrow.parquet.write_table(table.set_column(2, "title", nothing), circle / "items.parquet")
    assert "column title is empty, and language models read titles" in refusal(
        training.run, *training_flags(circle, out)
    )
    (circle / "items.parquet").unlink()
    assert "no such file; run prepare_data first" in refusal(training.run, *training_flags(circle, out))
    assert not out.exists()


def test_what_evaluation_refuses(circle, write_dataset, add_titles, tmp_path, refusal):
    process(training, *training_flags(circle, tmp_path))
    generator, out = tmp_path / "generator", tmp_path / "out"
    assert "--split train: unknown" in refusal(
        evaluating.run, *evaluation_flags(circle, generator, out, "--split", "train")
    )
    other = add_titles(write_dataset([[1, 2, 3, 4, 5]] * 9, name="other", folder="other"))
    assert "trained on toy" in refusal(evaluating.run, *evaluation_flags(other, generator, out))
    renamed = write_items(shutil.copytree(circle, tmp_path / "renamed"), [f"Title {n}" for n in range(12)])
    assert "generator: trained with other titles" in refusal(evaluating.run, *evaluation_flags(renamed, generator, out))
    weights = generator / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors: damaged" in refusal(evaluating.run, *evaluation_flags(circle, generator, out))
    shutil.rmtree(generator)
    assert "generator.json: no such file; run train_generator first" in refusal(
        evaluating.run, *evaluation_flags(circle, generator, out)
    )
    assert not out.exists()


def test_what_decides_a_training_decides_the_folder_of_its_checkpoint(circle, add_titles, tmp_path):
    """A checkpoint of other titles would be resumed: they are in the prompts, and in no fingerprint."""
    dataset = read_sequences(circle)
    folders = set()
    for titles, more in ((["", "Old"], []), (["", "New"], []), (["", "New"], ["--overrides", "training.epochs=3"])):
        options = training.Settings.parser().parse_args(list(map(str, training_flags(circle, tmp_path, *more))))
        folders.add(training._checkpoint_folder(options, dataset, titles))
    folders.add(training._checkpoint_folder(options, replace(dataset, fingerprint="other"), ["", "New"]))
    assert len(folders) == 4
    assert training._checkpoint_folder(options, replace(dataset, name="renamed"), ["", "New"]) in folders
