"""Comparison and latency in the report: numbers recomputed, words against what they must not say, files that fit."""

import csv
import json
import math
import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.evaluation import statistics
from ssm4rec.report.comparison_sections import comparison_sections
from ssm4rec.report.document import render_markdown, write_figures
from ssm4rec.report.latency_sections import latency_cautions, machine_table
from ssm4rec.report.markdown import MISSING
from ssm4rec.report.measurements import Latency, gather_comparison, gather_latency
from ssm4rec.report.paper import PAPER
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.comparative.figures import against_hits
from ssm4rec.studies.comparative.report import make_report
from ssm4rec.studies.comparative.study import Study
from tests.report.measured_study import (
    MEANS,
    SECONDS,
    UNTESTED,
    comparison,
    latency_summary,
    samples,
    timed,
    write_measurements,
)
from tests.report.trained import StudyBuilder
from tests.studies.comparative.test_language_models import rows_of, section

TRAININGS = {(model, 0) for model in SECONDS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_measurements(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def study(builder: StudyBuilder, files: dict[str, Path]) -> Study:
    manifest = builder.manifest()
    return replace(
        builder.study(*(builder.evaluation(model) for model in SECONDS)),
        comparison=gather_comparison(manifest, TRAININGS, "test", files["comparison"]),
        latency=gather_latency(manifest, TRAININGS, files["latency"], files["latency_samples"]),
    )


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0.1], "1"), ([0.1, 0.14], "0.1000 and 0.1400"), ([0.1, 0.12, 0.14], "± 0.0200 [0.0703, 0.1697]")],
)
def test_two_seeds_are_shown_as_they_are_and_three_with_their_interval(values: list[float], shown: str) -> None:
    found = statistics.mean_over_seeds(values) if len(values) > 1 else None
    deviation = float(numpy.std(values, ddof=1)) if len(values) > 1 else None
    seeds = list(range(len(values)))
    of_seeds = {"seeds": seeds, "seed_values": values, "seed_deviation": deviation, "over_seeds": found}
    made = comparison()
    rows = [replace(row, **of_seeds) if row.model == "sasrec" else row for row in made.models]
    text = comparison_sections(replace(made, models=tuple(rows)))[0].markdown
    (row, *_) = [line for line in text.splitlines() if line.startswith("| sasrec |")]
    assert row.rstrip("| ").endswith(shown if found else f"{shown} | {MISSING}")


def test_what_else_the_evaluations_differ_in_is_said() -> None:
    noted = replace(comparison(), notes=("Ranked by different numbers of shards (1: a*b seed 0).",))
    assert r"Ranked by different numbers of shards (1: a\*b seed 0)." in comparison_sections(noted)[0].markdown


def test_every_pair_has_interval_corrected_p_and_mde(study: Study) -> None:
    text = section(study, "Which differences")
    (tables,) = [part.folded for part in make_report(study).sections if part.title.startswith("Which differences")]
    assert list(tables) == [
        f"History {protocol}: {metric} of every pair"
        for protocol in ("unmasked", "masked")
        for metric in ("NDCG@10", "HIT@10")
    ]
    pairs = {row[0]: row[1:] for row in rows_of(tables["History unmasked: NDCG@10 of every pair"])[2:]}
    assert len(pairs) == math.comb(len(MEANS), 2)
    assert pairs["mamba4rec \N{MINUS SIGN} sasrec"] == [
        "mamba4rec is significantly better",
        "+0.0200 [+0.0100, +0.0300]",
        "0.010",
        "0.0140",
    ]
    assert pairs["most-popular \N{MINUS SIGN} sasrec"][0] == "sasrec is significantly better"
    (means,) = [part for part in text.split("### ") if part.startswith("History masked: means")]
    rows = {row[0]: row[1:] for row in rows_of(means)}
    assert rows["sasrec"][1] == "0.2000 [0.1900, 0.2100]"
    assert list(rows)[-4:] == list(BASELINES)


def test_a_comparison_from_before_the_baselines_is_refused(builder: StudyBuilder, tmp_path: Path) -> None:
    whole = comparison()
    replace(whole, models=tuple(row for row in whole.models if row.model != "markov")).write(tmp_path / "old.json")
    with pytest.raises(InputError, match=r"old.json: has no markov; run evaluate and compare_models again$"):
        gather_comparison(builder.manifest(), TRAININGS, "test", tmp_path / "old.json")


def test_baselines_and_repeated_targets_are_explained(builder: StudyBuilder) -> None:
    order = builder.manifest()["event_order"] | {"targets_that_repeat": 0.853}
    text = section(builder.study(builder.evaluation(), event_order=order), "How ranks and metrics are defined")
    for name in BASELINES:
        assert f"- **{name}.** " in text
    assert "85.3% of the test targets here are an item that the user had before" in text
    assert "no HIT can be above 14.7%" in text


def test_slices_and_recommendations(study: Study) -> None:
    text = section(study, "Whom a model serves")
    rows = rows_of(text)
    for model, value in (MEANS | UNTESTED).items():
        for by, protocol in product((("3-17", "18-90"), ("head", "tail")), (0.0, 0.1)):
            assert ["Model", *(f"{part}, 3,020 targets" for part in by)] in rows
            means = [value + protocol + more for more in (0, 0.001)]
            bounds = [(max(0.0, mean - 1.96 * 0.002), mean + 1.96 * 0.002) for mean in means]
            shown = [f"{mean:.4f} [{low:.4f}, {high:.4f}]" for mean, (low, high) in zip(means, bounds, strict=True)]
            assert [model, *shown] in rows
    shown = ["0.12500 [0.12000, 0.13000]", "0.125 [0.120, 0.130]", "0.1250 [0.1200, 0.1300]"]
    assert ["hydra4rec", "0", "50.0%", "0.750", "2.50 [2.40, 2.60]", *shown] in rows
    assert ["most-popular", MISSING, "10.0%", "0.750", "1.50 [1.40, 1.60]", *shown] in rows


def test_a_single_target_has_no_standard_error(study: Study) -> None:
    compared = study.comparison
    assert compared is not None
    single = tuple(replace(row, targets=1, standard_error=None) for row in compared.slices)
    text = section(replace(study, comparison=replace(compared, slices=single)), "Whom a model serves")
    assert ["Model", "3-17, 1 target", "18-90, 1 target"] in rows_of(text)
    assert "±" not in text
    assert ["sasrec", "0.1000", "0.1010"] in rows_of(text)


def test_latency_stands_beside_the_paper_with_and_without_outliers(study: Study) -> None:
    text = section(study, "Latency")
    (table,) = [part for part in text.split("### ") if part.startswith("10 users per request")]
    rows = {row[0]: row[1:] for row in rows_of(table)}
    times = [1.0, 1.02, 1.04, 1.06, 1.08, 3.0]  # milliseconds; the last is outside the fences
    hydra = rows["hydra4rec seed 0"]
    assert hydra[1].startswith(f"{numpy.mean(times):.2f} [")
    assert hydra[2].startswith(f"{numpy.mean(times[:5]):.2f} [")
    assert hydra[3].startswith(f"{numpy.median(times):.2f} [")
    assert hydra[4] == "1 of 6"
    (requests,) = [part for part in text.split("### ") if part.startswith("Requests")]
    (asked,) = [row for row in rows_of(requests) if row[:3] == ["hydra4rec seed 0", "whole history", "10"]]
    assert asked[3] == f"{1000 / numpy.mean(times):,.0f}"


def costs(study: Study, **changes: Any) -> str:
    """Return what the report says of costs when the summary of the latency is changed."""
    assert study.latency
    measured = replace(study.latency, summary=replace(study.latency.summary, **changes))
    return section(replace(study, latency=measured), "What it costs")


def test_costs_have_one_section_and_stand_in_results_too(study: Study) -> None:
    assert study.latency
    text = costs(study)
    assert "1,000 users" not in section(study, "Latency")
    assert "J per 1,000 users" not in text
    (asked,) = [row for row in rows_of(text) if row[:3] == ["hydra4rec seed 0", "whole history", "10"]]
    times = [1.0, 1.02, 1.04, 1.06, 1.08, 3.0]
    result = study.latency.of_model("hydra4rec", 10)
    assert result
    cost = numpy.mean(times) * result.cpu_per_wall  # seconds of 1,000 users: milliseconds of one
    assert asked[-1] == f"{cost:.3f}"
    rows = {
        (row["model"], row["seed"], row["split"], row["protocol"], row["metric"]): row["value"]
        for row in study.results_document()
    }
    training = study.models["hydra4rec"].training
    assert rows["hydra4rec", 0, "train", "cost", "cpu_seconds"] == training["cpu_seconds"]
    answered = ("hydra4rec", 0, "test", "whole history, 10 users per request", "cpu_seconds_per_1000_users")
    assert rows[answered] == pytest.approx(cost)


def test_cpu_seconds_of_the_rounds_are_what_users_cost_and_how_is_said(study: Study) -> None:
    assert study.latency
    summary = study.latency.summary
    clocked = tuple(replace(one, cpu_seconds_per_user=Estimate(2e-4, 1e-4, 3e-4, 9)) for one in summary.results)
    text = costs(study, results=clocked, protocol=summary.protocol | {"cost_rule": "one thread, median"})
    (table,) = [part for part in text.split("### ") if part.startswith("Lists for 1,000 users")]
    assert {row[-1] for row in rows_of(table)[2:]} == {"0.200 [0.100, 0.300]"}
    assert "without loading the model: one thread, median. Brackets are 95% bootstrap intervals over requests" in table
    assert not re.search(r"differed|\d of \d+ rows", table)  # what other machines did is no finding of this run
    single = tuple(replace(one, cpu_seconds_per_user=Estimate(2e-4, 2e-4, 2e-4, 1)) for one in summary.results)
    (_, table) = costs(study, results=single).split("### Lists for 1,000 users")
    assert {row[-1] for row in rows_of(table)[2:]} == {"0.200"}
    assert "Brackets" not in table


def test_joules_stand_next_to_the_seconds_with_what_they_count(study: Study) -> None:
    assert study.latency
    found = study.latency.summary.results
    powered = tuple(replace(one, package_watts=50.0 if one.model != "sasrec" else None) for one in found)
    text = costs(study, results=powered)
    rows = {row[0]: row[-1] for row in rows_of(text) if row[1:3] == ["whole history", "10"]}
    times = [1.0, 1.02, 1.04, 1.06, 1.08, 3.0]
    assert rows["hydra4rec seed 0"] == f"{50 * numpy.mean(times):.3g}"
    assert rows["sasrec seed 0"] == MISSING
    assert "whole processor packages" in text
    assert "whatever else ran" in text
    assert "whole GPU" not in text


def test_why_there_are_no_joules_is_said_once_and_of_what_answered(study: Study) -> None:
    assert study.latency
    missing = {"package": "only root may read it", "gpu": "no pynvml"}
    for device, said in (("cpu", "only root may read it."), ("cuda", "only root may read it; no pynvml.")):
        text = costs(study, machine={**study.latency.summary.machine, "device": device, "energy_missing": missing})
        assert text.count(f"Joules were not readable here: {said}") == text.count("oules") == 1


def test_cost_is_of_the_gpu_where_one_answers(study: Study) -> None:
    assert study.latency
    text = costs(study, machine={**study.latency.summary.machine, "device": "cuda"})
    assert "GPU-s per 1,000 users" in text
    assert "CPU-s per 1,000 users" not in text


def test_what_is_recommended_stands_in_results_too(study: Study) -> None:
    assert study.comparison
    found = {
        (row["model"], row["seed"], row["metric"]): row["value"]
        for row in study.results_document()
        if (row["protocol"] == "masked" and "novelty" in row["metric"]) or "coverage" in row["metric"]
    }
    expected = {(row.model, row.seed, "novelty@10"): row.novelty.value for row in study.comparison.recommendations}
    expected |= {(row.model, row.seed, "coverage@10"): row.coverage for row in study.comparison.recommendations}
    assert found == expected


def test_latency_stands_beside_the_papers_as_printed(study: Study) -> None:
    text = section(study, "Latency")
    (table,) = [part for part in text.split("### ") if part.startswith("10 users per request")]
    rows = {row[0]: row[1:] for row in rows_of(table)}
    assert [rows[f"{model} seed 0"][-1] for model in SECONDS] == ["0.128", "0.0020", "0.0005"]
    assert "This study measured no latency" not in section(study, "This run | the paper")


def test_latency_on_own_data_is_no_matter_of_the_paper(study: Study) -> None:
    assert "(paper: 30 of 1,500)" in section(study, "Latency")
    assert study.latency
    assert "as in the paper's Appendix B" in against_hits(study, study.latency, 10).caption
    own = replace(study, manifest={**study.manifest, "dataset": "own-shop"})
    assert "aper" not in section(own, "Latency")
    assert "paper" not in against_hits(own, study.latency, 10).caption


def test_how_many_times_as_fast_is_paired_by_sample(study: Study) -> None:
    assert study.latency
    ratio = study.latency.times_as_fast("mamba4rec", "sasrec", 10)
    assert ratio
    # Both models slow down together from sample to sample: of the ratio nothing is left to chance.
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    spread = study.latency.times_as_fast("hydra4rec", "mamba4rec", 10)
    factors = numpy.array([1.0, 1.02, 1.04, 1.06, 1.08, 1.1])
    ours, theirs = 1e-3 * numpy.array([*factors[:5], 3.0]), 4e-3 * factors
    assert spread
    assert spread.value == pytest.approx(theirs.mean() / ours.mean())
    draws = numpy.random.default_rng(1).integers(6, size=(20_000, 6))
    low, high = numpy.quantile(theirs[draws].mean(axis=1) / ours[draws].mean(axis=1), (0.025, 0.975))
    assert (spread.low, spread.high) == (pytest.approx(low, rel=0.05), pytest.approx(high, rel=0.05))
    assert replace(study.latency, samples=()).times_as_fast("hydra4rec", "mamba4rec", 10) is None
    assert study.latency.times_as_fast("2mamba4rec", "sasrec", 10) is None


def test_claims_follow_the_numbers(study: Study) -> None:
    text = section(study, "The paper's claims")
    assert "mamba4rec: yes, of these trainings, NDCG@10 +0.0200 [+0.0100, +0.0300], Holm-corrected p 0.010" in text
    # 4.2 over 1.37 ms, with an outlier among six samples: the interval is wide, and reaches four.
    assert "with 10 users per request: open, four times lies in the interval, 3.07 [" in text
    printed = {row.model: float(row.latency or "nan") for row in PAPER["ml-1m"].rows}
    assert f"give {printed['mamba4rec'] / printed['hydra4rec']:.1f} times" in text
    assert "Not judged: no aligned ranker" in text
    assert "USGM" in text
    unsure = section(replace(study, comparison=comparison(p_holm=0.2)), "The paper's claims")
    assert "mamba4rec: not significant (MDE 0.0140)" in unsure
    without = section(replace(study, comparison=None, latency=replace(study.latency, samples=())), "The paper's claims")
    assert "Not judged: the models were not compared" in without
    assert "Not judged: samples of one of the two are missing" in without


def test_sasrec_ahead_is_a_no(study: Study) -> None:
    assert study.comparison
    ahead = Difference(-0.02, -0.03, -0.01, 6040, p_holm=0.01, mde=0.014)
    pairs = tuple(replace(row, difference=ahead) if row.second == "sasrec" else row for row in study.comparison.pairs)
    text = section(replace(study, comparison=replace(study.comparison, pairs=pairs)), "The paper's claims")
    assert (
        "hydra4rec: no, SASRec is significantly better, of these trainings, NDCG@10 -0.0200 [-0.0300, -0.0100]" in text
    )


def test_curves_over_lengths_and_where_they_cross(study: Study) -> None:
    text = section(study, "Cost against the length")
    # 1e-9 L^2 = 1e-6 L at L = 1000.
    assert [
        "mamba4rec",
        "whole history",
        "generated",
        "from about L = 1,000",
        MISSING,
        "at L = 5,000",
        "50 to 5,000",
    ] in rows_of(text)
    assert ["sasrec", "0.0026 [0.0025, 0.0026]", "25.5 [25.0, 26.0]"] in rows_of(text)


def test_a_busy_machine_is_a_caution(study: Study) -> None:
    assert latency_cautions(study.latency) == latency_cautions(None) == []
    assert study.latency
    machine = study.latency.summary.machine | {"idle": False, "others_cores": 1.5}
    busy = Latency(replace(study.latency.summary, machine=machine))
    assert "1.50 cores" in latency_cautions(busy)[0]
    assert "1.50 cores" in section(replace(study, latency=busy), "Latency")


def test_the_machine_is_described_in_words_and_two_decimals(study: Study) -> None:
    assert study.latency
    machine = study.latency.summary.machine | {"load_average": 4.56201, "clock_mhz_after": 2445.437}
    rows = rows_of(machine_table(Latency(replace(study.latency.summary, machine=machine))))
    assert ["load average", "4.56"] in rows
    assert ["clock after, MHz", "2,445.44"] in rows
    assert ["idle", "yes"] in rows


def test_each_figure_is_a_png_and_its_numbers_a_csv(study: Study, tmp_path: Path) -> None:
    sections = make_report(study).sections
    write_figures(tmp_path / "figures", sections)
    names = [figure.name for section in sections for figure in section.figures]
    assert len(set(names)) == len(names)
    assert sorted(path.name for path in (tmp_path / "figures").glob("[!.]*")) == sorted(
        f"{name}.{ending}" for name in names for ending in ("csv", "png")
    )
    assert all((tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)
    with (tmp_path / "figures" / "hit-against-latency-10.csv").open(encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == sorted(SECONDS)
    times = numpy.array([1.0, 1.02, 1.04, 1.06, 1.08])
    assert float(rows["hydra4rec"]["latency_ms"]) == pytest.approx(times.mean())
    assert (
        float(rows["hydra4rec"]["latency_low"]) <= scipy.stats.tmean(times) <= float(rows["hydra4rec"]["latency_high"])
    )
    hits = [float(rows["sasrec"][name]) for name in ("hit_low", "hit@10", "hit_high")]
    assert hits == pytest.approx([0.09, 0.10, 0.11])


@pytest.mark.parametrize("half", [0.0016, 0.0069, 0.0295, 0.0704])
def test_numbers_of_a_difference_axis_do_not_touch(half: float) -> None:
    whole = comparison()
    pairs = tuple(
        replace(row, difference=replace(row.difference, value=0.0, low=-half, high=0.8 * half)) for row in whole.pairs
    )
    (figure, *_) = comparison_sections(replace(whole, pairs=pairs))[0].figures
    figure.canvas.draw_without_rendering()
    low, high = figure.axes.get_xlim()
    boxes = [
        label.get_window_extent() for label in figure.axes.get_xticklabels() if low <= label.get_position()[0] <= high
    ]
    assert len(boxes) >= 3
    space = boxes[0].height / 3
    assert all(left.x1 + space < right.x0 for left, right in pairwise(boxes))


def test_figures_are_told_apart_without_colour(study: Study) -> None:
    figures = {figure.name: figure for section in make_report(study).sections for figure in section.figures}
    axes = figures["cost-against-length-full"].canvas.axes[0]
    drawn = [container.lines[0] for container in axes.containers]
    assert len({(line.get_marker(), line.get_linestyle()) for line in drawn}) == len(SECONDS)
    points = [
        container.lines[0].get_marker() for container in figures["hit-against-latency-10"].canvas.axes[0].containers
    ]
    assert len(set(points)) == len(SECONDS)
    assert figures["hit-against-latency-10"].canvas.axes[0].get_xscale() == "log"


def test_a_study_without_measurements_says_so_and_nothing_else(builder: StudyBuilder) -> None:
    study = builder.study(builder.evaluation())
    markdown = render_markdown(make_report(study))
    assert "This study measured no latency." in markdown
    for word in ("The paper's claims", "Which differences", "## Latency", "## Cost against"):
        assert word not in markdown


def test_latency_that_could_not_be_measured_is_a_caution(builder: StudyBuilder) -> None:
    study = replace(builder.study(builder.evaluation("sasrec")), latency_failure="the GPU's memory is too small")
    text = render_markdown(make_report(study))
    assert text.count("Latency was not measured: the GPU's memory is too small") == 1
    assert "## Latency" not in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [("models", "models lack "), ("pairs", "lack"), ("slices", "slices lack history_length, ")],
)
def test_a_comparison_that_lacks_a_row_is_refused(
    builder: StudyBuilder, files: dict[str, Path], tmp_path: Path, content: str, expected: str
) -> None:
    document = json.loads(files["comparison"].read_text())
    del document[content][0]
    (tmp_path / "comparison.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=expected):
        gather_comparison(builder.manifest(), TRAININGS, "test", tmp_path / "comparison.json")


def test_an_interval_whose_bounds_are_swapped_is_refused(
    builder: StudyBuilder, files: dict[str, Path], tmp_path: Path
) -> None:
    document = json.loads(files["latency"].read_text())
    median = document["results"][0]["median"]
    median["low"], median["high"] = median["high"] + 1, median["low"]
    (tmp_path / "latency.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"results\.0\.median: low is above high\); run measure_latency again"):
        gather_latency(builder.manifest(), TRAININGS, tmp_path / "latency.json", None)


def test_a_value_outside_its_interval_is_drawn(study: Study) -> None:
    """Rounding may put a bound on the wrong side of the value, by a little; matplotlib refuses negative bars."""
    assert study.latency
    assert study.comparison
    summary = study.latency.summary
    results = tuple(
        replace(one, mean_without_outliers=replace(time, value=time.high * 1.001), median=replace(time, value=time.low))
        for one in summary.results
        for time in [one.mean_without_outliers]
    )
    models = tuple(replace(row, mean=replace(row.mean, value=row.mean.low - 1e-9)) for row in study.comparison.models)
    pairs = tuple(
        replace(row, difference=replace(row.difference, value=row.difference.high + 1e-9))
        for row in study.comparison.pairs
    )
    changed = replace(
        study,
        latency=replace(study.latency, summary=replace(summary, results=results)),
        comparison=replace(study.comparison, models=models, pairs=pairs),
    )
    assert "## Latency" in render_markdown(make_report(changed))


def test_files_that_do_not_belong_together_are_refused(
    builder: StudyBuilder, files: dict[str, Path], tmp_path: Path
) -> None:
    manifest = builder.manifest()

    def refusal_of_comparison(trainings: set[tuple[str, int]], split: str, path: Path) -> str:
        with pytest.raises(InputError) as caught:
            gather_comparison(manifest, trainings, split, path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path = tmp_path / "comparison.json"
    comparison(fingerprint="feedfeedfeedfeed").write(path)
    good = files["comparison"]
    assert "feedfeedfeed" in refusal_of_comparison(TRAININGS, "test", path)
    assert "the study is about validation" in refusal_of_comparison(TRAININGS, "validation", good)
    assert "sasrec seed 1 is missing in it" in refusal_of_comparison(TRAININGS | {("sasrec", 1)}, "test", good)
    assert "sasrec seed 0 is not in the study" in refusal_of_comparison(TRAININGS - {("sasrec", 0)}, "test", good)

    def refusal_of_latency(trainings: set[tuple[str, int]], path: Path | None, samples: Path | None) -> str:
        with pytest.raises(InputError) as caught:
            gather_latency(manifest, trainings, path, samples)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    path = tmp_path / "latency.json"
    few = [row for row in samples() if row.kind == "users"]
    latency_summary(few, fingerprint="feedfeedfeedfeed").write(path)
    rows = files["latency_samples"]
    assert "feedfeedfeed" in refusal_of_latency(TRAININGS, path, None)
    assert "samples without their summary" in refusal_of_latency(TRAININGS, None, rows)
    assert "times sasrec seed 0, which no evaluation is of" in refusal_of_latency(
        TRAININGS - {("sasrec", 0)}, files["latency"], None
    )
    latency_summary([timed(1e-3 * (1 + number), number) for number in range(5)]).write(path)
    assert "not the samples that" in refusal_of_latency(TRAININGS, path, rows)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.2, "no, hydra4rec is significantly slower"),
        (1.0, "no, not four times as fast"),
        (3.0, "significantly faster, but not four times as fast"),
        (4.5, "yes"),
    ],
)
def test_the_claim_about_hydra_is_judged_by_the_interval(study: Study, factor: float, words: str) -> None:
    assert study.latency
    jitter = [1.0, 1.02, 0.98, 1.01, 0.99, 1.03]
    costs = [("hydra4rec", 4e-3 / factor, number * 7 % 6, number) for number in range(6)]
    costs += [("mamba4rec", 4e-3, number, number) for number in range(6)]
    rows = [timed(cost * jitter[place], number, model=model) for model, cost, place, number in costs]
    latency = Latency(latency_summary(rows), rows)
    assert f"with 10 users per request: {words}, " in section(replace(study, latency=latency), "The paper's claims")
