"""finetune_llm and rank_candidates: from a retriever's candidates to an adapter and its ranking."""

import json
import shutil
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.candidates import read_candidates
from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, VALIDATION, read_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.preferences import write_pairs
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.rankings import RankingSummary, read_rankings
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.llm.blending import WEIGHTS
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.preferences import lightfm_pairs
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.align_llm import __main__ as aligning
from ssm4rec.stages.evaluate import __main__ as evaluating
from ssm4rec.stages.finetune_llm import __main__ as finetuning
from ssm4rec.stages.rank_candidates import __main__ as ranking
from ssm4rec.stages.train_recommender import __main__ as training
from tests.datasets import write_dataset_folder, write_items
from tests.language_models import write_titles

OVERRIDES = "finetune.lora.rank=2,finetune.steps.learning_rate=0.003"


def process(stage, *flags):
    run_stage(stage.Settings.parser(), stage.run, [str(flag) for flag in flags])


@pytest.fixture(scope="module")
def circle(tmp_path_factory):
    """A data set with titles, and the validation and test candidates of a small SASRec."""
    folder = tmp_path_factory.mktemp("circle")
    circle = [[(user + step) % 40 + 1 for step in range(9)] for user in range(60)]
    dataset = write_titles(write_dataset_folder(folder / "dataset", circle))
    model = folder / "model"
    process(training, "--dataset-dir", dataset, "--model", "sasrec", "--profile", "smoke", "--model-dir", model,
            "--curve", folder / "curve.parquet")  # fmt: skip
    for split in ("validation", "test"):
        process(evaluating, "--dataset-dir", dataset, "--model-dir", model, "--split", split,
                "--ranks", folder / "ranks", "--candidates", folder / f"{split}.parquet",
                "--metrics", folder / "metrics")  # fmt: skip
    return folder


def finetune_flags(circle, source, out, *more):
    return ["--dataset-dir", circle / "dataset", "--candidates", circle / "validation.parquet",
            "--language-model", source, "--profile", "smoke", "--overrides", OVERRIDES,
            "--adapter-dir", out / "adapter", "--curve", out / "curve.parquet", *more]  # fmt: skip


def rank_flags(circle, adapter, out, *more):
    return ["--dataset-dir", circle / "dataset", "--candidates", circle / "test.parquet", "--adapter-dir", adapter,
            "--rankings", out / "rankings", "--ranking", out / "ranking", "--users", 0, *more]  # fmt: skip


@pytest.fixture(scope="module")
def adapter(circle, language_model):
    process(finetuning, *finetune_flags(circle, language_model("llama"), circle / "tuned"))
    return circle / "tuned" / "adapter"


def test_an_adapter_and_its_learning_curve(circle, adapter, language_model):
    facts = json.loads((adapter / "ranker.json").read_text())
    assert facts["source"] == str(language_model("llama"))
    assert (facts["stage"], facts["retriever"], facts["profile"]) == ("finetune_llm", "sasrec", "smoke")
    assert facts["recipe"]["finetune"]["lora"]["rank"] == 2
    assert facts["training"]["validation_users"] == facts["recipe"]["finetune"]["validation_users"] == 4
    curve = read_curve(circle / "tuned" / "curve.parquet", "finetune_llm")
    assert curve.series.keys() >= {(TRAIN, "loss"), (TRAIN, "learning_rate"), (VALIDATION, "ndcg@10")}
    assert max(curve.values("seen")) == facts["training"]["prompts"] == 8
    assert curve.training.optimizer == facts["recipe"]["finetune"]["steps"]["optimizer"]


def test_rankings_and_summary_agree(circle, adapter, tmp_path, capfd):
    outputs = {"shown": {"artifacts": [{"name": "shown", "uri": str(tmp_path / "shown")}]}}
    executor_input = {"outputs": {"artifacts": outputs, "outputFile": str(tmp_path / "executor_output.json")}}
    process(
        ranking,
        *rank_flags(circle, adapter, tmp_path, "--base", "true", "--executor-input", json.dumps(executor_input)),
    )
    assert "user/s]" not in capfd.readouterr().err, "a bar is for a terminal"
    dataset = read_sequences(circle / "dataset")
    summary = RankingSummary.read(tmp_path / "ranking")
    found = read_rankings(tmp_path / "rankings", dataset.fingerprint)
    assert set(found) == {
        ("retriever", "retriever"), ("most-popular", "retriever"),
        ("finetuned", "retriever"), ("finetuned", "shuffled"), ("base", "retriever"), ("base", "shuffled"),
        ("finetuned+retriever", "retriever"), ("finetuned+retriever", "shuffled"),
    }  # fmt: skip
    candidates = pyarrow.parquet.read_table(circle / "test.parquet").to_pylist()
    targets = dataset.items[dataset.offsets[:-1] + dataset.test_position]
    places = [
        row["items"].index(target) + 1
        for row, target in zip(candidates, targets, strict=True)
        if target in row["items"]
    ]
    assert found["retriever", "retriever"][1].tolist() == places
    assert (summary.users, summary.found, summary.ranked) == (60, len(places), len(places))
    values = {(row.ranker, row.order, row.population, row.metric): row for row in summary.rows}
    for (ranker, order), (_, ranks) in found.items():
        row = values[ranker, order, "among candidates", "ndcg@10"]
        assert row.value == pytest.approx(metric_at("ndcg", ranks, 10))
        everybody = numpy.concatenate([ranks, numpy.full(60 - len(ranks), 10**6)])
        overall = values[ranker, order, "all users", "ndcg@10"]
        assert overall.value == pytest.approx(metric_at("ndcg", everybody, 10))
        # The formula's standard error beside that of the plain mean over all users.
        gains = numpy.where(everybody <= 10, 1 / numpy.log2(everybody + 1), 0)
        assert overall.standard_error == pytest.approx(gains.std(ddof=1) / 60**0.5, rel=0.05)
    assert values["random", "retriever", "among candidates", "hit@10"].value == pytest.approx(0.5)
    assert sum(summary.first_places["base/shuffled"]) == summary.ranked
    shown = json.loads((tmp_path / "executor_output.json").read_text())["artifacts"]["shown"]["artifacts"][0][
        "metadata"
    ]
    assert (
        shown["finetuned/shuffled/ndcg_at_10"] == values["finetuned", "shuffled", "among candidates", "ndcg@10"].value
    )


def test_a_sample_of_users(circle, adapter, tmp_path):
    process(ranking, *rank_flags(circle, adapter, tmp_path, "--users", 5, "--split", "test"))
    summary = RankingSummary.read(tmp_path / "ranking")
    assert summary.ranked == 5 < summary.found
    expected = {"finetuned", "finetuned+retriever", "random", "retriever", "most-popular"}
    assert {row.ranker for row in summary.rows} == expected


OF_ALIGNMENT = "align.pairs=0,align.steps.learning_rate=1e-3"
ITEMS = (
    "items.layers=1,items.features=8,items.id_width=4,items.query_width=8,items.history=6,items.steps=40,"
    "items.positions=128,items.learning_rate=1e-2,items.layers_rate=3e-3,items.evaluations=2,items.validation_users=0,"
    + OF_ALIGNMENT
)


def test_a_ranker_of_items_is_trained_aligned_and_ranked_with(circle, language_model, tmp_path):
    """The same three stages; after the first no language model is needed."""
    nothing = tmp_path / "nothing"
    llama = language_model("llama")
    process(finetuning, *finetune_flags(circle, llama, tmp_path, "--ranker", "items", "--overrides", ITEMS,
                                        "--retriever-dir", circle / "model"))  # fmt: skip
    dataset, ranker = read_sequences(circle / "dataset"), tmp_path / "adapter"
    facts = RankerFacts.read(ranker, dataset)
    assert (facts.ranker, facts.stage, facts.source) == ("items", "finetune_llm", str(llama))
    assert facts.retriever_weight in WEIGHTS
    assert facts.training["validation_ndcg@10"] > 0.7
    candidates = read_candidates(circle / "validation.parquet", dataset)
    assert facts.training["validation_users"] == ranking_task(dataset, candidates, "validation", 0, 0).found
    curve = read_curve(tmp_path / "curve.parquet", "finetune_llm")
    assert max(curve.values("seen")) == facts.training["prompts"]
    (ranker / "ranker.json").write_text((ranker / "ranker.json").read_text().replace(str(llama), str(nothing)))

    pairs, _ = lightfm_pairs(dataset, (dataset.items[dataset.offsets[:-1]] + 20) % 40 + 1, scored)
    write_pairs(tmp_path / "pairs.parquet", dataset, pairs)
    for name, control in (("aligned", "false"), ("winners", "true")):
        process(aligning, "--dataset-dir", circle / "dataset", "--pairs", tmp_path / "pairs.parquet", "--adapter-dir",
                ranker, "--profile", "smoke", "--overrides", OF_ALIGNMENT, "--cache-dir", nothing, "--winners-alone",
                control, "--aligned-dir", tmp_path / name, "--curve", tmp_path / f"{name}.parquet")  # fmt: skip
    orpo = read_curve(tmp_path / "aligned.parquet", "align_llm")
    aligned, winners = tmp_path / "aligned", tmp_path / "winners"
    assert RankerFacts.read(aligned, dataset).training["accuracy"] == orpo.values("accuracy", HELD_OUT)[-1]
    assert (aligned / "model.safetensors").read_bytes() != (ranker / "model.safetensors").read_bytes()

    for name, folder in (("finetuned", ranker), ("aligned", aligned), ("winners", winners)):
        process(ranking, *rank_flags(circle, folder, tmp_path / f"by-{name}", "--base", "true", "--cache-dir", nothing))
        found = read_rankings(tmp_path / f"by-{name}" / "rankings", dataset.fingerprint)
        assert {one for one, _ in found} == {"retriever", "most-popular", name, f"{name}+retriever"}
        for one in (name, f"{name}+retriever"):
            # No order of the candidates enters.
            assert numpy.array_equal(found[one, "retriever"][1], found[one, "shuffled"][1])
        assert metric_at("ndcg", found[name, "retriever"][1], 10) > 0.6  # a random order: 0.23


def scored(users, _):
    return numpy.zeros(len(users), numpy.float32)


def test_what_cannot_be_used_is_said_in_one_line(circle, adapter, language_model, write_dataset, tmp_path, refusal):
    out, llama = tmp_path / "out", language_model("llama")
    other = write_dataset([[1, 2, 3, 4, 5]] * 9, name="other", folder="other")
    say = lambda *more: refusal(finetuning.run, *finetune_flags(circle, llama, out, *more))  # noqa: E731
    assert "column title" in say("--dataset-dir", untitled(other))
    assert "another data set" in say("--dataset-dir", write_titles(other))
    assert "of the test split, not of validation" in say("--candidates", circle / "test.parquet")
    assert "negatives is at most 25: each candidate of a prompt has a letter of 26" in say(
        "--overrides", "finetune.negatives=29"
    )
    assert "--seed -1: at least 0" in say("--seed", -1)
    assert "--profile tiny: unknown" in say("--profile", "tiny")
    assert "no field 'rounds'" in say("--overrides", "finetune.rounds=2")
    assert "no such file" in say("--candidates", tmp_path / "nothing.parquet")
    assert "config.json: no such file" in say("--language-model", f"{tmp_path}/nothing")
    assert f"--overrides source=./x: --language-model {llama} names the model; leave one of them out" in say(
        "--overrides", "finetune.prompts=8,source=./x"
    )
    gpt = refusal(finetuning.run, *finetune_flags(circle, language_model("gpt2"), out, "--overrides",
                                                     "finetune.lora.modules=q_proj+v_proj"))  # fmt: skip
    assert "LoRA does not fit it" in gpt
    assert "finetune.lora.rank=2: a ranker of items has items.... instead; choose --ranker letters" in say(
        "--ranker", "items"
    )
    assert "model: sasrec seed 0, but the candidates are those of sasrec seed 1" in say(
        "--retriever-dir", circle / "model", "--candidates", of_seed_1(circle / "validation.parquet", tmp_path)
    )
    say = lambda *more: refusal(ranking.run, *rank_flags(circle, adapter, out, *more))  # noqa: E731
    assert "--split training: unknown" in say("--split", "training")
    assert "of the validation split, not of test" in say("--candidates", circle / "validation.parquet")
    assert "adapter: trained on toy" in say("--dataset-dir", other)
    renamed = write_items(shutil.copytree(circle / "dataset", tmp_path / "renamed"), [f"Title {n}" for n in range(40)])
    assert "adapter: trained with other titles" in say("--dataset-dir", renamed)
    assert "--users -2: at least -1" in say("--users", -2)
    assert "one user does not say how sure a mean is; set --users 0 for all" in say("--users", 1)
    assert not out.exists()


def of_seed_1(candidates: Path, folder: Path) -> Path:
    table = pyarrow.parquet.read_table(candidates)
    changed = folder / "seed-1.parquet"
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"ssm4rec.seed": b"1"}), changed
    )
    return changed


def untitled(dataset: Path) -> Path:
    table = pyarrow.table({"item": [1], "item_id": ["a"], "title": pyarrow.array([None], pyarrow.string())})
    pyarrow.parquet.write_table(table, dataset / "items.parquet")
    return dataset


def test_curve_and_rankings_that_are_none(tmp_path):
    from ssm4rec.runtime.errors import InputError

    (tmp_path / "file").write_text("no")
    for read in (
        lambda path: read_curve(path, "finetune_llm"),
        lambda path: read_rankings(path, ""),
        RankingSummary.read,
    ):
        for name in ("file", "missing"):
            with pytest.raises(InputError, match=name) as raised:
                read(tmp_path / name)
            assert "\n" not in str(raised.value)
