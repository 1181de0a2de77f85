"""The align_llm process: what it writes and reports, and what it refuses in one line."""

import json
import shutil
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, read_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.preferences import write_pairs
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.titles import titles_digest
from ssm4rec.llm.adapters import load_letter_ranker, new_ranker, write_adapter
from ssm4rec.llm.preferences import lightfm_pairs
from ssm4rec.llm.settings import LoraSettings
from ssm4rec.stages.align_llm.__main__ import run
from ssm4rec.stages.align_llm.settings import Settings

CPU = torch.device("cpu")
OVERRIDES = (
    "align.pairs=0,align.negatives=3,align.steps.warmup=1,align.steps.learning_rate=1e-2,align.evaluations=2,"
    "align.steps.batch=2,align.steps.accumulation=2"
)


@pytest.fixture
def dataset(write_dataset, add_titles) -> Path:
    return add_titles(write_dataset([[(user + step) % 20 + 1 for step in range(6 + user % 3)] for user in range(16)]))


@pytest.fixture
def pairs(dataset, tmp_path) -> Path:
    """A pair a user: the last training item against the item behind the user's back."""
    data = read_sequences(dataset)
    losers = (data.items[data.offsets[:-1]] - 2) % 20 + 1
    found, _ = lightfm_pairs(data, losers, lambda users, items: numpy.zeros(len(users), numpy.float32))
    write_pairs(tmp_path / "pairs.parquet", data, found)
    return tmp_path / "pairs.parquet"


@pytest.fixture
def adapter(dataset, language_model, tmp_path) -> Path:
    source, data = str(language_model("llama")), read_sequences(dataset)
    torch.manual_seed(0)
    ranker = new_ranker(source, "none", LoraSettings(dropout=0.0), tmp_path, CPU)
    facts = RankerFacts(
        source=source,
        quantization="none",
        stage="finetune_llm",
        dataset=data.name,
        fingerprint=data.fingerprint,
        seed=0,
        profile="smoke",
        retriever="sasrec",
        recipe={"finetune": {"prompts": 8}},
        training={"prompts": 8},
    )
    write_adapter(tmp_path / "adapter", ranker.model, facts)
    return tmp_path / "adapter"


def flags(dataset: Path, pairs: Path, adapter: Path, out: Path, *more: str) -> list[str]:
    given = {
        "dataset-dir": dataset, "pairs": pairs, "adapter-dir": adapter, "profile": "smoke", "overrides": OVERRIDES,
        "device": "cpu", "cache-dir": out / "cache", "aligned-dir": out / "aligned", "curve": out / "curve",
    }  # fmt: skip
    return [text for name, value in given.items() for text in (f"--{name}", str(value))] + list(more)


def test_what_is_written(dataset, pairs, adapter, tmp_path):
    out = tmp_path / "out"
    uri = str(out / "aligned")
    outputs = {"aligned": {"artifacts": [{"name": "aligned", "uri": uri}]}}
    executor_input = {"outputs": {"artifacts": outputs, "outputFile": str(out / "executor_output.json")}}
    run(
        Settings.parser().parse_args(
            flags(dataset, pairs, adapter, out, "--executor-input", json.dumps(executor_input), "--seed", "3")
        )
    )
    curve = read_curve(out / "curve", "align_llm")
    # 16 users with a pair each, a quarter held out: 12 pairs, 2 x 2 a step.
    accuracy = curve.series[HELD_OUT, "accuracy"]
    assert (list(curve.series[TRAIN, "loss"]), list(accuracy)) == ([1, 2, 3], [0, 2, 3])
    assert (curve.training.dataset, curve.training.seed) == ("toy", 3)
    data = read_sequences(dataset)
    facts = RankerFacts.read(out / "aligned", data)
    assert (facts.stage, facts.seed, facts.retriever) == ("align_llm", 3, "sasrec")
    assert facts.recipe["finetune"] == {"prompts": 8}
    assert facts.recipe["align"]["negatives"] == 3
    assert facts.training["finetuning"] == {"prompts": 8}
    assert (facts.training["pairs"], facts.training["held_out"], facts.training["steps"]) == (12, 4, 3)
    assert (facts.training["accuracy_before"], facts.training["accuracy"]) == (accuracy[0], accuracy[3])
    before = load_letter_ranker(RankerFacts.read(adapter, data), adapter, tmp_path, CPU).model.state_dict()
    after = load_letter_ranker(facts, out / "aligned", tmp_path, CPU).model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora" in name for name in changed)
    shown = json.loads((out / "executor_output.json").read_text())["artifacts"]["aligned"]["artifacts"][0]["metadata"]
    assert shown["log_odds_ratio"] == curve.values("log_odds_ratio", HELD_OUT)[-1]
    assert all(isinstance(value, float) for value in shown.values())


def test_a_control_is_kept_apart_from_the_alignment(dataset, pairs, adapter, tmp_path):
    """Both may share a folder of checkpoints, and their files say which is which."""
    written = {}
    for control in ("false", "true"):
        out = tmp_path / control
        shared = ("--checkpoint-dir", str(tmp_path / "checkpoints"), "--winners-alone", control)
        run(Settings.parser().parse_args(flags(dataset, pairs, adapter, out, *shared)))
        facts = RankerFacts.read(out / "aligned", read_sequences(dataset))
        curve = read_curve(out / "curve", "align_llm")
        assert facts.winners_alone == (control == "true")
        assert (curve.values("loss", HELD_OUT) == curve.values("nll", HELD_OUT)) == facts.winners_alone
        written[control] = (facts.recipe, facts.training["pairs"], facts.training["held_out"])
        written[control, "weights"] = (out / "aligned" / "adapter_model.safetensors").read_bytes()
    assert written["true"] == written["false"], "trained alike but for the term"
    assert written["true", "weights"] != written["false", "weights"]


def test_the_same_command_again_writes_the_same(dataset, pairs, adapter, tmp_path):
    """From the finished checkpoint, without a step."""
    out = tmp_path / "out"
    arguments = Settings.parser().parse_args(flags(dataset, pairs, adapter, out))
    written = []
    for _ in range(2):
        run(arguments)
        written.append([(out / "aligned" / "adapter_model.safetensors").read_bytes(), (out / "curve").read_bytes()])
    assert written[0] == written[1]
    assert RankerFacts.read(out / "aligned", read_sequences(dataset)).training["tokens_per_second"] == 0


def test_too_little_memory_is_said(dataset, pairs, adapter, tmp_path, refusal, monkeypatch):
    def fill(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of ...")

    monkeypatch.setattr("ssm4rec.stages.align_llm.__main__.align", fill)
    said = refusal(run, *flags(dataset, pairs, adapter, tmp_path / "out"))
    assert "too small (CUDA out of memory); lower align.steps.batch, align.prompt" in said


def test_what_is_refused(dataset, pairs, adapter, write_dataset, tmp_path, refusal):
    out = tmp_path / "out"

    def message(*more, pairs=pairs, dataset=dataset):
        return refusal(run, *flags(dataset, pairs, adapter, out, *more))

    other = write_dataset([[1, 2, 3, 4, 5]] * 9, name="other", folder="other")
    said = message(dataset=other)
    assert "adapter: trained on toy" in said
    assert "; rank and align with the data trained on" in said
    for pair in ("source=./another", "finetune.lora.rank=16", "quantization=nf4"):
        said = message("--overrides", f"align.pairs=2,{pair}")
        assert f"--overrides {pair}: changes nothing here, the fine-tuning has decided it; write align.… or" in said
    renamed = shutil.copytree(adapter, tmp_path / "renamed")
    described = json.loads((renamed / "ranker.json").read_text()) | {"titles": titles_digest(["", "Another"])}
    (renamed / "ranker.json").write_text(json.dumps(described))
    assert "renamed: trained with other titles" in refusal(run, *flags(dataset, pairs, renamed, out))
    for stage, alone, why in (
        ("align_llm", False, "aligned already; give the folder of finetune_llm"),
        ("align_llm", True, "aligned already; give the folder of finetune_llm"),
        ("finetune_llm", True, "winners_alone is true, but finetune_llm trains no control"),
    ):
        changed = {"titles": "", "stage": stage, "winners_alone": alone}
        (renamed / "ranker.json").write_text(json.dumps(described | changed))
        assert why in refusal(run, *flags(dataset, pairs, renamed, out))
    (tmp_path / "nothing").mkdir()
    assert "nothing/ranker.json: no such file; run finetune_llm or align_llm first" in refusal(
        run, *flags(dataset, pairs, tmp_path / "nothing", out)
    )
    assert "--seed -1: at least 0" in message("--seed", "-1")
    assert "--profile tiny: unknown" in message("--profile", "tiny")
    assert "--overrides align.pair=3: no field 'pair'" in message("--overrides", "align.pair=3")
    assert "align.negatives=28: negatives is at most 24" in message("--overrides", "align.negatives=28")
    assert "align.evaluations=0: evaluations is at least 1" in message("--overrides", "align.evaluations=0")
    assert "a prompt without any history" in message("--overrides", "align.prompt.maximum_tokens=20")

    empty = tmp_path / "empty.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(pairs).slice(0, 0), empty)
    assert "empty.parquet: empty, not the preference pairs" in message(pairs=empty)
    one = tmp_path / "one.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(pairs).slice(0, 1), one)
    assert "one.parquet: of one user alone, none can be held out; mine more pairs" in message(pairs=one)
    empty.write_text("nothing")
    assert "empty.parquet: not a readable Parquet file" in message(pairs=empty)
    assert "missing.parquet: no such file; run mine_preferences first" in message(pairs=tmp_path / "missing.parquet")
    assert not list(out.glob("aligned"))
    assert not list(out.glob("curve"))
