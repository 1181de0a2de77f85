"""The fit on the 119 public runs of another group's scaling study.

``public_runs.csv`` was read from mercadolibre/srt (MIT licence, copyright 2023 MercadoLibre), commit
16345a357ef8a9fcbb8cc66b0a9647f7bb186078, file mlruns.sqlite.bz2: the code of Zivic, Vazquez and Sanchez (2024, "Scaling
sequential recommendation models with transformers", arXiv 2412.07585). Of its MLflow runs' parameters hidden_size,
n_layers, n_heads, nce_num_negatives, model_non_emb_params, the rest of model_total_params, n_inters, n_items; FLOPs as
their notebook counts them (total_flops n_inters / train_batch_size an epoch, 50 epochs); the highest valid/ndcg_at_5 of
the epochs and the last test/ndcg_at_5.

The loss here is -log NDCG@5 of validation: their own loss is over 100 or 300 sampled negatives, and grows with
the width where the model overfits. Runs of one cell differ by heads and negatives here: all had the same seed.
"""

import csv
import math
from pathlib import Path

import numpy
import pytest

from ssm4rec.scaling.forms import PARAMETERS, WIDTH_DEPTH
from ssm4rec.scaling.held_out import compare_forms, predict_largest
from ssm4rec.scaling.law import fit
from ssm4rec.scaling.runs import Run, columns


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Those of width 64 and more: narrower ones are far off any law."""
    with (Path(__file__).parent / "public_runs.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 119
    return [
        Run(
            int(row["parameters"]),
            int(row["width"]),
            int(row["layers"]),
            int(row["interactions"]),
            -math.log(row["valid_ndcg_at_5"]),
            row["flops"],
            seed,
        )
        for seed, row in enumerate(rows)
        if row["width"] >= 64
    ]


def regression(runs: list[Run], names: list[str]) -> tuple[numpy.ndarray, float]:
    """Return the slopes of log NDCG@5 and R^2 of ordinary least squares."""
    quality = -numpy.array([run.loss for run in runs])
    matrix = numpy.column_stack([numpy.ones(len(runs)), columns(runs, names)])
    found, squares, *_ = numpy.linalg.lstsq(matrix, quality)
    return found[1:], 1 - float(squares[0]) / float(((quality - quality.mean()) ** 2).sum())


def test_width_helps_and_depth_does_not(runs: list[Run]) -> None:
    slopes, explained = regression(runs, ["width", "depth", "data"])
    assert slopes == pytest.approx([0.347, -0.031, 0.126], abs=5e-4)
    assert explained == pytest.approx(0.945, abs=5e-4)
    assert regression(runs, ["parameters", "data"])[1] == pytest.approx(0.870, abs=5e-4)


def test_they_show_no_law_in_parameters(runs: list[Run]) -> None:
    law = fit(runs, PARAMETERS, resamples=2)
    assert law.floor.problem == "its interval reaches zero"
    assert not law.identified


def test_they_show_no_law_in_width_and_depth_either(runs: list[Run]) -> None:
    law = fit(runs, WIDTH_DEPTH, resamples=2)
    width, depth, data = law.exponents
    assert depth.problem == "any value fits"
    assert law.floor.problem.startswith("with an exponent of depth near zero")
    assert (width.value, data.value) == pytest.approx((1.42, 0.138), rel=0.01)
    assert width.estimate.low == pytest.approx(1.17, rel=0.02)


def test_width_and_depth_predict_better_than_parameters(runs: list[Run]) -> None:
    best, worse = compare_forms(runs, (PARAMETERS, WIDTH_DEPTH))
    assert best.form == WIDTH_DEPTH
    assert best.error == pytest.approx(0.0133, rel=0.02)
    assert worse.error == pytest.approx(0.0304, rel=0.02)
    assert worse.excess.sign > 0


def test_the_largest_are_predicted_closer_but_too_surely_by_width_and_depth(runs: list[Run]) -> None:
    """A fifth of the cells: 18 runs, at a nominal 90%."""
    by_parameters, by_shape = (predict_largest(runs, form, resamples=40) for form in (PARAMETERS, WIDTH_DEPTH))
    assert (by_parameters.error, by_shape.error) == pytest.approx((0.0289, 0.0200), rel=0.02)
    assert len(by_shape.runs) == 18
    assert by_parameters.as_announced
    assert by_parameters.inside >= 16
    assert 12 <= by_shape.inside <= 14
    assert by_shape.chance < 0.1
