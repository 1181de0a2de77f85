"""What pre-training gains, from evaluations made by hand: pairs, intervals, words, and what is refused."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.scaling.report import make_report
from ssm4rec.studies.scaling.study import ScalingStudy
from ssm4rec.studies.scaling.transfer import LOSS, NDCG, Pretrained, Transfer, gather_transfer
from tests.conftest import WriteDataset
from tests.report.trained import StudyBuilder

SHARES = (0.05, 0.2, 1.0)
SEEDS = (0, 1, 2, 3)
PRETRAINED = Pretrained(
    {"model": "sasrec", "dataset": "books", "fingerprint": "b" * 64, "training": {"cpu_seconds": 61.2}}, "d" * 64
)


@pytest.fixture
def dataset(write_dataset: WriteDataset) -> SequenceDataset:
    """200 users of 10 training events each."""
    return read_sequences(write_dataset([[(user + step) % 12 + 1 for step in range(12)] for user in range(200)]))


def evaluation(dataset: SequenceDataset, share: float, seed: int, ndcg: float, **changes: Any) -> EvaluationSummary:
    """Of a loss that is 6 less ten times the NDCG@10."""
    made = StudyBuilder("toy").evaluation("sasrec", seed, ndcg)
    loss = 6 - 10 * ndcg
    told = {
        "fingerprint": dataset.fingerprint,
        "recipe": {"model": {"d_model": 8}, "training": {"users_share": share}},
        "nll": Estimate(loss, loss - 0.1, loss + 0.1, 200),
        "initial_model": "",
    }
    return replace(made, **(told | changes))


def arms(dataset: SequenceDataset, gains: Sequence[float]) -> tuple[list[EvaluationSummary], list[EvaluationSummary]]:
    """From scratch and fine-tuned, with that gain on average at each size."""
    rng = numpy.random.default_rng(0)
    scratch, finetuned = [], []
    for place, (share, gain) in enumerate(zip(SHARES, gains, strict=True)):
        for seed in SEEDS:
            plain = 0.1 + 0.02 * place + rng.normal(0, 0.01)
            scratch.append(evaluation(dataset, share, seed, plain))
            tuned = plain + gain + rng.normal(0, 0.002)
            finetuned.append(evaluation(dataset, share, seed, tuned, initial_model=PRETRAINED.weights))
    return scratch, finetuned


def transfer_of(dataset: SequenceDataset, gains: Sequence[float]) -> Transfer:
    scratch, finetuned = arms(dataset, gains)
    target = StudyBuilder("films").manifest(irreducible_loss=4.4), dataset
    return gather_transfer(PRETRAINED, target, scratch[::-1], finetuned)


def test_gains_are_paired_by_seed_and_tested_together(dataset: SequenceDataset) -> None:
    transfer = transfer_of(dataset, (0.03, 0.02, 0.0))
    assert [(size.share, size.users, size.events) for size in transfer.sizes] == [
        (0.05, 10, 100), (0.2, 40, 400), (1.0, 200, 2000)
    ]  # fmt: skip
    scratch, finetuned = arms(dataset, (0.03, 0.02, 0.0))
    values = numpy.array([[next(iter(one.rows)).value for one in arm] for arm in (scratch, finetuned)]).reshape(2, 3, 4)
    tests = [scipy.stats.ttest_rel(values[1, place], values[0, place]) for place in range(3)]
    raw = [float(test.pvalue) for test in tests]
    smallest, middle, largest = sorted(raw)
    holm = {smallest: 3 * smallest, middle: 2 * middle, largest: largest}
    for gain, test, p in zip(transfer.gains(NDCG), tests, raw, strict=True):
        interval = test.confidence_interval(0.95)
        assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
        assert gain.p_holm == pytest.approx(holm[p])
    assert [gain.sign for gain in transfer.gains(NDCG)] == [1, 1, 0]
    for gain, less in zip(transfer.gains(NDCG), transfer.gains(LOSS), strict=True):
        assert less.value == pytest.approx(10 * gain.value)


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.03, 0.02, 0.0), "significant at 10, 40 users, none seen from 200 users on"),
        ((0.03, 0.02, 0.02), "significant at all sizes, up to 200 users"),
        ((0.0, 0.0, 0.0), "significant at no size;"),
        ((0.0, 0.0, -0.03), "significant at no size; significantly worse at 200 users;"),
        ((0.03, 0.0, 0.02), "significant at 10, 200 users;"),
    ],
)
def test_the_report_says_where_it_gains(dataset: SequenceDataset, gains: Sequence[float], said: str) -> None:
    transfer = transfer_of(dataset, gains)
    report = make_report(ScalingStudy(StudyBuilder("toy").manifest(), (), None, transfer))
    text = render_markdown(report)
    first = text.split("## In short")[1].split("\n## ")[0]
    assert "**Pre-training** of sasrec on books, fine-tuned on films: NDCG@10: a gain of " in first
    assert said in first
    assert "Pre-training took 61 CPU-seconds. The least loss possible on the test targets is 4.400." in text
    assert render_html(report).count("<svg") == 2
    figures = {figure.name: figure for section in report.sections for figure in section.figures}
    for (start, users, events, seeds, mean, low, high), size in zip(
        figures["transfer-ndcg-10"].rows[3:], transfer.sizes, strict=True
    ):
        ours = [one.rows[0].value for one in size.finetuned]
        reach = scipy.stats.sem(ours) * scipy.stats.t.ppf(0.975, 3)
        assert (start, users, events, seeds) == ("pre-trained", size.users, size.events, 4)
        assert (mean, low, high) == pytest.approx((numpy.mean(ours), mean - reach, mean + reach))
    rows = [row for row in report.results if row["kind"] == "transfer"]
    assert len(rows) == 2 * 3 * 4
    assert len([row for row in report.results if row["kind"] == "gain"]) == 2 * 3


def test_one_seed_has_no_interval_and_no_verdict(dataset: SequenceDataset) -> None:
    target = StudyBuilder("films").manifest(), dataset
    tuned = evaluation(dataset, 1.0, 7, 0.2, initial_model=PRETRAINED.weights)
    pair = [evaluation(dataset, 1.0, 7, 0.1)], [tuned]
    transfer = gather_transfer(PRETRAINED, target, *pair)
    text = render_markdown(make_report(ScalingStudy(StudyBuilder("toy").manifest(), (), None, transfer)))
    assert "NDCG@10: a gain of +0.1000 at 200 users, not tested with one seed" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fingerprint": "f" * 64}, "--finetuned-evaluations: an evaluation of sasrec seed 0 is of other data than"),
        ({"split": "validation"}, "seed 0 has no loss on test targets; run evaluate again, with --split test"),
        ({"nll": None}, "seed 0 has no loss on test targets"),
        ({"model": "mamba4rec"}, "an evaluation of mamba4rec seed 0, and --pretrained is a sasrec"),
        ({"seed": 1}, "an evaluation of sasrec seed 1 on share 0.05 is there twice"),
        ({"seed": 9}, "not a pair of one recipe for share 0.05 of the users, seed 0"),
        (
            {"recipe": {"model": {"d_model": 16}, "training": {"users_share": 0.05}}},
            "not a pair of one recipe for share 0.05 of the users, seed 0",
        ),
        (
            {"initial_model": ""},
            "--finetuned-evaluations: an evaluation of sasrec seed 0 on share 0.05 began from scratch",
        ),
        (
            {"initial_model": "e" * 64},
            "seed 0 on share 0.05 began with other weights; give trainings that began with the",
        ),
        (
            {"initial_model": None},
            "does not say what its training began with, an earlier version wrote it; run evaluate",
        ),
    ],
)
def test_what_does_not_belong_is_refused(dataset: SequenceDataset, changes: dict[str, Any], said: str) -> None:
    scratch, finetuned = arms(dataset, (0.0, 0.0, 0.0))
    target = StudyBuilder("films").manifest(), dataset
    with pytest.raises(InputError, match=said):
        gather_transfer(PRETRAINED, target, scratch, [replace(finetuned[0], **changes), *finetuned[1:]])


def test_the_two_starts_given_the_wrong_way_round_are_refused(dataset: SequenceDataset) -> None:
    scratch, finetuned = arms(dataset, (0.0, 0.0, 0.0))
    target = StudyBuilder("films").manifest(), dataset
    with pytest.raises(
        InputError, match=r"--scratch-evaluations: .* seed 0 on share 0.05 began with other weights; give"
    ):
        gather_transfer(PRETRAINED, target, finetuned, scratch)


def test_a_model_of_the_same_data_is_refused(dataset: SequenceDataset) -> None:
    target = StudyBuilder("films").manifest(), dataset
    own = replace(PRETRAINED, config={**PRETRAINED.config, "fingerprint": dataset.fingerprint})
    with pytest.raises(InputError, match="--pretrained: was trained on the data of --target-dataset"):
        gather_transfer(own, target, *arms(dataset, (0.0, 0.0, 0.0)))


def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    config = {
        **PRETRAINED.config, "profile": "quick", "seed": 0, "items": 12,
        "parameters": 2, "parameters_without_embeddings": 1,
        "recipe": {"model": {}, "training": {}},
        "training": {"epochs": 1, "best_epoch": 1, "stopped": "epochs", "validation_ndcg@10": 0.1, "cpu_seconds": 1.0},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"model\.safetensors: no such file; train the model again"):
        Pretrained.read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert Pretrained.read(tmp_path).weights == hashlib.sha256(b"weights").hexdigest()
