"""The report of a scaling study on evaluations whose losses follow a law."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy
import pytest

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.forms import PARAMETERS, WIDTH_DEPTH
from ssm4rec.studies.scaling.report import make_report
from ssm4rec.studies.scaling.study import EQUALS, ScalingStudy, gather_scaling
from tests.report.trained import StudyBuilder

FLOOR = 4.5
SHARES = (0.02, 0.1, 0.3, 1.0)


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    """200 users of 10 training events each."""
    return read_sequences(write_dataset([[(user + step) % 12 + 1 for step in range(12)] for user in range(200)]))


def law(width: int, data: int) -> float:
    """Depth adds nothing."""
    return FLOOR + 6 * width**-1.0 + 30 * data**-0.6


def evaluation(dataset: SequenceDataset, size: Sequence[float], seed: int = 0, **changes: Any) -> EvaluationSummary:
    """Of a training of a width, depth and share of the users; the loss is the law's, off by a thousandth or so."""
    width, depth, share = size
    data = round(2000 * share)
    noise = numpy.random.default_rng([int(width), int(depth), data, seed]).normal(0, 0.001)
    loss = law(int(width), data) * (1 + noise)
    parameters = int(12 * depth * width**2)
    seen = 20 * data
    made = StudyBuilder("toy").evaluation("sasrec", seed, 0.2)
    told = {
        "fingerprint": dataset.fingerprint,
        "parameters_without_embeddings": parameters,
        "training": made.training | {"flops": 7 * parameters * seen, "output_flops": 1, "targets_seen": seen},
        "recipe": {
            "model": {"d_model": int(width), "n_layers": int(depth)},
            "training": {"users_share": share},
        },
        "nll": Estimate(loss, loss - 0.1, loss + 0.1, 200),
    }
    return replace(made, **(told | changes))


def made_of(dataset: SequenceDataset, shares: Sequence[float] = SHARES, **manifest: float) -> ScalingStudy:
    sizes = [
        (size, seed)
        for size in itertools.product((8, 16, 32), (1, 2, 3), shares)
        for seed in ((0, 1, 2) if size[:2] == (8, 1) else (0,))
    ]
    found = [evaluation(dataset, size, seed) for size, seed in sizes]
    return gather_scaling({**StudyBuilder("toy").manifest(), **manifest}, dataset, found, resamples=20)


def test_the_law_is_found_and_said(dataset: SequenceDataset) -> None:
    study = made_of(dataset, irreducible_loss=FLOOR)
    (one,) = study.models
    assert one.fitted is not None
    best = one.fitted.laws[0]
    assert best.form == WIDTH_DEPTH
    assert [round(number.value, 1) for number in (best.exponents[0], best.exponents[2])] == [1.0, 0.6]
    assert one.best.run.width == 32
    assert one.best.run.data == 2000
    report = make_report(study)
    text = render_markdown(report)
    assert "The best form is width, depth and data" in text
    assert f"above the known floor of {FLOOR:.3f}" in text
    fitted = [law.floor.estimate for law in one.fitted.laws]
    assert [estimate.low <= FLOOR <= estimate.high for estimate in fitted] == [True, False]
    assert "The known floor: inside the interval of the law in width, depth and data, 4." in text
    assert "; outside the interval of the law in parameters and data, " in text
    assert "The law in parameters and data predicts cells held out significantly worse" in text
    assert "The floor, by the law in width, depth and data: 4." in text
    assert "not identified (by width, depth and data, with an exponent of depth near zero" in text
    assert "not identified: the form does not fit" in text  # by parameters, where depth counts and should not
    assert "| width, depth and data | exponent of depth |" in text
    assert "not identified: any value fits" in text
    assert "1.17 to 1.17 times 6 N D" in text  # 7 / 6
    html = render_html(report)
    assert html.count("<svg") == 3 + 1 + 1
    figures = {figure.name: figure for section in report.sections for figure in section.figures}
    widths = {row[0]: row for row in figures["sasrec-depth1-data"].rows if row[2] == 2000}
    assert widths[8][3] == 3
    assert widths[8][4] == pytest.approx(law(8, 2000), rel=2e-3)
    isoflop = figures["sasrec-isoflop"].rows
    for budget, _, _, parameters, events, *_ in isoflop:
        assert events == pytest.approx(budget / (7 * parameters * 20), rel=0.01, abs=1)
    joined = [line.get_xdata() for line in figures["sasrec-isoflop"].axes.lines if line.get_linestyle() != "None"]
    depths = {row[3]: row[2] for row in isoflop}
    assert joined
    assert all(len({depths[parameters] for parameters in line}) == 1 for line in joined)
    hollow = [line for line in figures["sasrec-isoflop"].axes.lines if line.get_markerfacecolor() == "white"]
    shown = [len(line.get_xdata()) for line in hollow if line.get_marker() != "*"]
    assert sum(shown) == sum(row[4] > 2000 for row in isoflop) > 0
    assert "; means over up to 3 seeds." in figures["sasrec-depth1-data"].caption
    assert "; one seed." in figures["sasrec-depth2-data"].caption
    rows = json.loads(json.dumps(report.results, allow_nan=False))
    assert {row["kind"] for row in rows} == {"run", "law", "form", "largest", "floor"}
    floors = {row["form"]: row for row in rows if row["kind"] == "law" and row["number"] == "floor"}
    assert floors[WIDTH_DEPTH.name]["value"] == pytest.approx(FLOOR, abs=0.3)
    assert PARAMETERS.name in floors
    assert floors[EQUALS] == {**floors[WIDTH_DEPTH.name], "form": EQUALS, "problem": floors[EQUALS]["problem"]}
    fits = {row["form"]: row["lack_of_fit_p"] for row in rows if row["kind"] == "form"}
    assert fits[WIDTH_DEPTH.name] >= 0.05 > fits[PARAMETERS.name]


def test_runs_too_few_for_a_law_are_shown_without_one(dataset: SequenceDataset) -> None:
    study = made_of(dataset, (0.1, 1.0))
    text = render_markdown(make_report(study))
    assert "No law was fitted: 2 values of data: a saturating law in data needs 3 or more; train more sizes." in text
    assert "The least loss that is possible on these targets is not known." in text
    assert {row["kind"] for row in study.results()} == {"run"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fingerprint": "f" * 64}, "is of other data than --dataset-dir"),
        ({"split": "validation"}, "run evaluate with --split test"),
        ({"nll": None}, "has no nll, an earlier version wrote it; run evaluate again"),
        ({"training": {"epochs": 1}}, "has no flops; train it again with --count-flops true"),
        ({"recipe": {"model": {}, "training": {}}}, "has no training.users_share in its recipe"),
    ],
)
def test_what_does_not_belong_is_refused(dataset: SequenceDataset, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gather_scaling(StudyBuilder("toy").manifest(), dataset, [evaluation(dataset, (8, 1, 1.0), **changes)])


def test_a_training_given_twice_is_refused(dataset: SequenceDataset) -> None:
    twice = [evaluation(dataset, (8, 1, 1.0))] * 2
    with pytest.raises(InputError, match="an evaluation of sasrec seed 0 is there twice"):
        gather_scaling(StudyBuilder("toy").manifest(), dataset, twice)
