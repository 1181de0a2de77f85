"""The report of an adapter study: its numbers against hand-made curves, its words against what they must not say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Point, Training, read_curve, write_curve
from ssm4rec.evaluation.statistics import difference_over_seeds, mean_over_seeds
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.adapters.report import make_report, verdict
from ssm4rec.studies.adapters.study import AdapterStudy, Files, read_study
from tests.report.trained import StudyBuilder


def fine_tuning(folder: Path, optimizer: str, scale: float, seed: int, late: float, **facts: Any) -> tuple[Path, Path]:
    """An adapter folder and its learning curve: four logged losses, the last of which alone is late."""
    adapter = folder / f"{optimizer}-{scale}-{seed}"
    adapter.mkdir()
    steps = {"optimizer": optimizer, "learning_rate": 1e-3, "diameter": 1.0, "batch": 4, "accumulation": 1}
    steps["diameter" if optimizer == "usgm" else "learning_rate"] = scale
    recipe = {"finetune": {"prompts": 32, "steps": steps}}
    described = {"dataset": "toy", "fingerprint": "f", "source": "tiny", "retriever": "lrurec", "recipe": recipe}
    described |= {"quantization": "none", "stage": "finetune_llm", "profile": "smoke", "training": {}}
    (adapter / "ranker.json").write_text(json.dumps({**described, "seed": seed, **facts}))
    points = [Point(2 * place, TRAIN, {"seen": 8 * place}) for place in range(5)]
    points += [Point(0, VALIDATION, {"ndcg@10": 0.2}), Point(8, VALIDATION, {"ndcg@10": 0.25})]
    for place, loss in enumerate((9.0, 5.0, 4.0, late), 1):
        points.append(Point(2 * place, TRAIN, {"loss": loss, "letter_loss": 3.5}))
    training = Training("finetune_llm", "toy", "tiny", seed, optimizer, scale)
    write_curve(adapter / "curve.parquet", Curve.of(training, points))
    return adapter, adapter / "curve.parquet"


def gather(adapters: list[Path], curves: list[Path]) -> AdapterStudy:
    return read_study(Files(adapters=adapters, curves=curves))


def study(folder: Path, adamw: list[float], usgm: list[float]) -> AdapterStudy:
    """Two scales of each optimizer, a late loss per seed at the better one."""
    pairs = [fine_tuning(folder, "adamw_torch", 1e-3, seed, late) for seed, late in enumerate(adamw)]
    pairs += [fine_tuning(folder, "adamw_torch", 3e-3, seed, 8.0) for seed in range(len(adamw))]
    pairs += [fine_tuning(folder, "adamw_torch", 3e-4, seed, 8.0) for seed in range(len(adamw))]
    pairs += [fine_tuning(folder, "usgm", 0.1, seed, late) for seed, late in enumerate(usgm)]
    pairs += [fine_tuning(folder, "usgm", 1.0, seed, 8.0) for seed in range(len(usgm))]
    return gather(*map(list, zip(*pairs, strict=True)))


@pytest.mark.parametrize(
    ("adamw", "usgm", "words"),
    [
        ([2.0, 2.1, 2.2], [1.5, 1.6, 1.71], "USGM trains this adapter significantly better"),
        ([1.5, 1.6, 1.71], [2.0, 2.1, 2.2], "USGM trains this adapter significantly worse"),
        ([1.5, 2.0, 1.7], [1.8, 1.6, 1.9], "not significant (MDE"),
        ([1.5], [2.0], "not tested (n = 1)"),
    ],
)
def test_verdict_says_what_the_interval_allows(
    tmp_path: Path, adamw: list[float], usgm: list[float], words: str
) -> None:
    said = verdict(study(tmp_path, adamw, usgm))
    assert words in said
    assert "The best scale of usgm was at the edge" in said  # two scales have no middle; AdamW had three
    assert "adamw_torch was" not in said


def test_every_trial_is_there(tmp_path: Path) -> None:
    made = study(tmp_path, [2.0, 2.2], [1.5, 1.9])
    assert made.late("adamw_torch", 1e-3) == mean_over_seeds([2.0, 2.2])
    assert made.difference("usgm", "adamw_torch") == difference_over_seeds([1.5 - 2.0, 1.9 - 2.2])
    report = make_report(made)
    assert "| usgm | 1 | 8.0000 [8.0000, 8.0000] | 3.500 | 0.2000 | 0.2500 | 2 |" in render_markdown(report)
    assert "32 prompts, 4 per step." in render_markdown(report)
    assert render_html(report).count("<svg") == 2
    rows = made.results()
    assert len(rows) == 10
    (row,) = [row for row in rows if (row["optimizer"], row["scale"], row["seed"]) == ("usgm", 0.1, 1)]
    assert (row["late_loss"], row["late_letter_loss"], row["prompts"]) == (1.9, 3.5, 32)
    figures = [figure for section in report.sections for figure in section.figures]
    assert [len(figure.rows) for figure in figures] == [2 * 2 * 4, 5]


def test_the_order_of_events_is_named(tmp_path: Path) -> None:
    made = study(tmp_path, [2.0], [1.5])
    assert "## Data" not in render_markdown(make_report(made))
    text = render_markdown(make_report(replace(made, manifest=StudyBuilder().manifest())))
    assert "Order `recbole`" in text.split("## Data")[1]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    one, its = fine_tuning(tmp_path, "usgm", 0.1, 0, 2.0)
    with pytest.raises(InputError, match="0 adapters and 0 learning curves"):
        gather([], [])
    with pytest.raises(InputError, match="2 adapters and 1 learning curves"):
        gather([one, one], [its])
    with pytest.raises(InputError, match=r"a second fine-tuning by usgm at 0\.1, seed 0"):
        gather([one, one], [its, its])
    series = read_curve(its, "finetune_llm").series
    start = {key: {step: value for step, value in values.items() if not step} for key, values in series.items()}
    whole = {key: values for key, values in series.items() if key[1] != "letter_loss"}
    for left in (start, whole):
        write_curve(tmp_path / "cut.parquet", Curve(Training("finetune_llm", "toy", "tiny", 0, "usgm", 0.1), left))
        with pytest.raises(InputError, match=r"cut\.parquet: it ends without a train (letter_)?loss of any"):
            gather([one], [tmp_path / "cut.parquet"])
    other, curve = fine_tuning(tmp_path, "usgm", 1.0, 0, 2.0, source="large")
    with pytest.raises(InputError, match="source large, others have tiny"):
        gather([one, other], [its, curve])
    third, theirs = fine_tuning(tmp_path, "usgm", 10.0, 0, 2.0)
    with pytest.raises(InputError, match=r"not the learning curve of usgm at 0\.1, seed 0, the adapter in its place"):
        gather([one, third], [theirs, its])
