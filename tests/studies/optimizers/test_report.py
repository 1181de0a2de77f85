"""The report of an optimizer study: its numbers against closed forms, its words against what they must not say."""

from dataclasses import replace

import pytest

from ssm4rec.artifacts.curve import Curve
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.markdown import MISSING
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.optimizers.plan import SCALES
from ssm4rec.studies.optimizers.report import make_report, verdict
from ssm4rec.studies.optimizers.study import Method, OptimizerStudy, gather_optimizers
from ssm4rec.training.epochs import learning_curve
from tests.epoch_rows import epoch_row
from tests.report.trained import StudyBuilder

MODEL = "2mamba4rec"


def curve(optimizer: str, scale: float, control: str, seed: int, best: float, dataset: str = "ml-100k") -> Curve:
    """Three epochs that reach ``best`` in the second; steps of 10 and 20 targets."""
    rows = [
        epoch_row(
            epoch,
            dataset=dataset,
            model=MODEL,
            seed=seed,
            train_loss=7.0 - epoch,
            validation_ndcg_10=value,
            targets=30,
            targets_seen=30 * epoch,
            cpu_seconds=2.0 * epoch,
            optimizer=optimizer,
            scale=scale,
            batch_control=control,
            batch_targets=[10, 20],
        )
        for epoch, value in enumerate((0.0, best, best / 2), 1)
    ]
    return learning_curve(rows)


def study(adam: list[float], usgm: list[float], scale: float = 1.0) -> OptimizerStudy:
    """Adam with fixed batches against USGM with the paper's, a value per seed."""
    sweep = [curve(name, tried, "fixed", 0, 0.01) for name in ("adam", "usgm") for tried in SCALES[name]]
    compared = [curve("adam", 2e-3, "fixed", seed, value) for seed, value in enumerate(adam)]
    compared += [curve("usgm", scale, "paper", seed, value) for seed, value in enumerate(usgm)]
    compared += [curve("usgm", scale, "fixed", seed, value / 2) for seed, value in enumerate(usgm)]
    return gather_optimizers(sweep, compared)


def test_difference_is_paired_by_seed() -> None:
    """Seeds that differ much, methods that differ by the same: the pairing sees it."""
    made = study([0.05, 0.10, 0.15], [0.06, 0.111, 0.159])
    difference = made.difference(Method(MODEL, "usgm", "paper"), Method(MODEL, "adam", "fixed"))
    assert difference.value == pytest.approx(0.01)
    assert 0 < difference.low < difference.value < difference.high < 0.02


def test_figures_carry_the_numbers_they_show() -> None:
    """Of curves that are 0, best, best / 2 over epochs of two steps, 10 and 20 targets."""
    figures = {
        figure.name: [dict(zip(figure.columns, row, strict=True)) for row in figure.rows]
        for section in make_report(study([0.05, 0.07], [0.06, 0.08])).sections
        for figure in section.figures
    }
    adam = [row for row in figures[f"{MODEL}-targets_seen-validation_ndcg"] if row["optimizer"] == "adam"]
    shown = [
        (row["epoch"], row["targets_seen_mean"], row["validation_ndcg@10_lowest"], row["validation_ndcg@10_highest"])
        for row in adam
    ]
    assert shown == [(1, 30, 0, 0), (2, 60, 0.05, 0.07), (3, 90, 0.025, 0.035)]
    assert adam[1]["validation_ndcg@10_mean"] == pytest.approx(0.06)
    batches = [row for row in figures[f"{MODEL}-batches"] if row["batch_control"] == "paper"]
    assert [row["targets"] for row in batches] == [10, 20] * 3
    assert [row["targets_seen"] for row in batches] == [10, 30, 40, 60, 70, 90]
    tried = [(row["optimizer"], row["scale"]) for row in figures[f"{MODEL}-sensitivity"]]
    assert tried == [(name, scale) for name in ("adam", "usgm") for scale in sorted(SCALES[name])]


@pytest.mark.parametrize(
    ("adam", "usgm", "words"),
    [
        (
            [0.05, 0.051, 0.052],
            [0.08, 0.081, 0.083],
            "is significantly better than Adam here",
        ),
        (
            [0.08, 0.081, 0.083],
            [0.05, 0.051, 0.052],
            "is significantly worse than Adam here",
        ),
        ([0.05, 0.08, 0.06], [0.07, 0.05, 0.065], "not significant (MDE"),
        ([0.05], [0.08], "not tested (n = 1)"),
    ],
)
def test_verdict_says_what_the_interval_allows(adam: list[float], usgm: list[float], words: str) -> None:
    assert words in verdict(study(adam, usgm), MODEL)


def test_a_scale_at_the_edge_of_the_sweep_is_said() -> None:
    middle, edge = SCALES["usgm"][1], SCALES["usgm"][-1]
    assert "edge" not in verdict(study([0.05, 0.06], [0.05, 0.06], middle), MODEL)
    assert "The best scale of usgm was at the edge" in verdict(study([0.05, 0.06], [0.05, 0.06], edge), MODEL)


def test_report_holds_every_training_and_every_figure() -> None:
    made = study([0.05, 0.06, 0.055], [0.04, 0.05, 0.045])
    report = make_report(made)
    markdown, page = render_markdown(report), render_html(report)
    assert f"| adam | fixed | 0.002 | 0.0550 [0.0426, 0.0674] | {MISSING} | 4.000 | 6 | 6 | 3 |" in markdown
    assert "| usgm | paper | 1 | 0.0450 [0.0326, 0.0574] | -0.0100 [-0.0100, -0.0100] | 4.000 | 6 | 6 | 3 |" in markdown
    assert page.count("<svg") == 5
    assert "mathdefault" not in page  # text that nothing typesets
    assert ">0.001</text>" in page
    assert "Optimizers and batch sizes on ml-100k" in page
    rows = made.results()
    assert len(rows) == 8 + 9
    (row,) = [row for row in rows if (row["optimizer"], row["batch_control"], row["seed"]) == ("usgm", "paper", 2)]
    assert (row["best_validation_ndcg@10"], row["steps"], row["targets_seen"]) == (0.045, 6, 90)


def test_the_order_of_events_is_named_and_a_warning_where_ties_decide_much() -> None:
    made, facts = study([0.05, 0.06], [0.04, 0.05]), StudyBuilder().manifest()["event_order"]
    assert "## Data" not in render_markdown(make_report(made))
    for share, warned in ((0.1, False), (0.45, True)):
        order = facts | {"name": "exact", "targets_in_ties": share}
        text = render_markdown(make_report(replace(made, manifest={"event_order": order})))
        assert "Order `exact`" in text.split("## Data")[1]
        assert ("45% of the test targets have the time of another event" in text) == warned


def test_curves_that_do_not_belong_together_are_refused() -> None:
    one = curve("adam", 1e-3, "fixed", 0, 0.1)
    with pytest.raises(InputError, match="needs the learning curves of its sweep and of its comparison"):
        gather_optimizers([one], [])
    with pytest.raises(InputError, match="of several data sets: ml-100k, ml-1m"):
        gather_optimizers([one], [curve("adam", 1e-3, "fixed", 0, 0.1, "ml-1m")])
    with pytest.raises(InputError, match="--sweep: no training of 2mamba4rec by adam, fixed, which --curves has"):
        gather_optimizers([curve("usgm", 1e-3, "fixed", 0, 0.1)], [one])
    with pytest.raises(
        InputError, match=r"--curves: two learning curves of 2mamba4rec, adam, fixed, seed 0; .* with --sweep$"
    ):
        gather_optimizers([one], [one, one])
    with pytest.raises(
        InputError, match=r"--sweep: two learning curves of 2mamba4rec, adam at 0\.001; .* with --curves$"
    ):
        gather_optimizers([one, curve("adam", 1e-3, "fixed", 1, 0.1)], [one])
