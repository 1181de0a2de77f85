"""The report of a long-history study: its findings against values worked out by hand, its words against the numbers."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.estimate import Difference
from ssm4rec.artifacts.latency import Crossing
from ssm4rec.report.document import render_html, render_markdown, write_figures
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.long_histories.findings import (
    best_window,
    crossing_words,
    how_sure,
    in_short,
    quality_verdict,
    what_it_shows_not,
)
from ssm4rec.studies.long_histories.report import make_report
from ssm4rec.studies.long_histories.study import LongHistoryStudy, gather_long_histories
from tests.evaluation.test_windows import dataset, ranks_of  # noqa: F401 - a fixture
from tests.report.trained import StudyBuilder
from tests.studies.comparative.test_language_models import rows_of
from tests.studies.long_histories.files import LENGTHS, STATES, evaluation, latency, long_history_study


@pytest.fixture
def study(dataset: SequenceDataset) -> LongHistoryStudy:  # noqa: F811
    return long_history_study(dataset)


def section(study: LongHistoryStudy, title: str) -> str:
    (found,) = [one.markdown for one in make_report(study).sections if one.title == title]
    return found


def test_best_window_and_the_shortest_that_loses_nothing(study: LongHistoryStudy) -> None:
    assert {model: best_window(study, model) for model in study.windows.windows} == {
        "sasrec": 20, "mamba4rec": 20, "lrurec": 5,
    }  # fmt: skip
    text = in_short(study)
    assert "**sasrec**: best with a window of 20 items, NDCG@10 1.0000 [1.0000, 1.0000]. Compared with its" in text
    assert text.count("longest window of 20: significantly worse with 5.") == 2
    assert "longest window of 20: not significant with any shorter one." in text


def test_only_what_is_significant_is_said(study: LongHistoryStudy) -> None:
    first = study.windows.to_longest[0]
    pairs = tuple(
        replace(
            first,
            model="lrurec",
            window=window,
            all_users=Difference(value, value - 0.001, value + 0.001, 40, p_holm=p, mde=0.001),
        )
        for window, p, value in ((5, 0.051, -0.1), (10, 0.049, -0.01), (15, 0.01, 0.01), (18, 0.01, 0.02))
    )
    text = quality_verdict(replace(study, windows=replace(study.windows, to_longest=pairs)), "lrurec")
    assert text.endswith("longest window of 20: significantly better with 15 and 18 and significantly worse with 10.")


def test_quality_and_what_shorter_windows_lose(study: LongHistoryStudy) -> None:
    quality = section(study, "Quality against the window").split("### ")[1]
    rows = {(row[0], row[1]): row[2:] for row in rows_of(quality)}
    assert [rows[model, window][1].split(" ")[0] for model in ("sasrec", "mamba4rec") for window in ("5", "20")] == [
        "0.7500", "1.0000", "0.5000", "1.0000",
    ]  # fmt: skip
    assert rows["mamba4rec", "5"][0].startswith("0.5000 [")  # HIT@10
    assert rows["sasrec", "5"][2].startswith("0.6667 [")  # MRR@10: (1 + 1 / 3) / 2
    assert rows["sasrec", "5"][3] == "1,640"
    losses = section(study, "What shorter windows lose").split("### ")[1]
    lost = {row[0]: row[1:] for row in rows_of(losses)}
    assert lost["mamba4rec"][:2] == ["5 \N{MINUS SIGN} 20", "significantly worse"]
    assert lost["mamba4rec"][4:] == ["20", "-1.0000 [-1.0000, -1.0000]"]
    assert lost["lrurec"][1:4] == ["not significant (no value differs)", "+0.0000 [+0.0000, +0.0000]", "1.000"]
    rivals = section(study, "Compared with sasrec at the same window").split("### ")[1]
    beside = {(row[0], row[1]): row[2:] for row in rows_of(rivals)}
    assert beside["mamba4rec", "5"][0] == "significantly worse"
    assert beside["mamba4rec", "5"][1].startswith("-0.2500 [")
    assert beside["lrurec", "5"][0] == "significantly better"
    assert beside["mamba4rec", "20"][0].startswith("not significant (no value differs)")
    text = in_short(study)
    assert "mamba4rec is significantly worse at 5 (at 20: +0.0000 [+0.0000, +0.0000], Holm-corrected p 1.000)" in text


def test_parts_by_history_length(study: LongHistoryStudy) -> None:
    (text,) = [
        part for part in section(study, "Whom a longer window serves").split("### ") if part.startswith("mamba4rec")
    ]
    rows = {row[0]: row[1:] for row in rows_of(text)}
    one, none = "1.0000 [1.0000, 1.0000]", "0.0000 [0.0000, 0.0000]"
    assert rows["5 items"] == ["20", one, one]
    assert rows["30 items"] == ["20", none, one]


def test_crossing_points_and_states_in_words(study: LongHistoryStudy) -> None:
    text = in_short(study)
    assert (
        "**Time of one user, whole history**: lrurec is slower than sasrec at every length measured (100 to 10,000): "
        "no crossing (intervals do not overlap at L = 100 and 10,000); mamba4rec is slower than sasrec up to about "
        "L = 1,000 and faster from there on (intervals do not overlap at L = 100 and 10,000)." in text
    )
    assert (
        "one more event**: lrurec is faster than sasrec at every length measured (100 to 10,000): no crossing "
        "(intervals do not overlap at L = 100 and 10,000); mamba4rec is slower than sasrec up to about L = 200 and "
        "faster" in text
    )
    assert (
        "lrurec keeps 2.0 KiB at every length; mamba4rec keeps 18.0 KiB at every length; sasrec 100.0 KiB after 100 "
        "items and 9.8 MiB after 10,000" in text
    )
    rows = {row[0]: row[1:] for row in rows_of(section(study, "State against key-value cache"))}
    assert rows["sasrec"] == ["100.0 KiB", "9.8 MiB"]
    costs = section(study, "Cost against the length of the history").split("### ")
    (real,) = [rows_of(part) for part in costs if part.startswith("Whole history, histories of users")]
    assert [row for row in real if row[0] == "sasrec"] == [["sasrec", "5.00 [5.00, 5.00]"]]
    assert study.states()["sasrec"] == {length: STATES["sasrec"](length) for length in LENGTHS}


def test_a_crossing_within_the_intervals_is_called_that(study: LongHistoryStudy) -> None:
    """A step costs 1e-4 and 2e-4 s at 100 items, 1e-2 and 2e-4 s at 10,000."""
    summary = study.latency.summary
    (crossing,) = [one for one in summary.crossings if (one.model, one.mode) == ("mamba4rec", "step")]
    for width, words in ((1.5, "intervals do not overlap at L = 10,000"), (90.0, "intervals overlap at every length")):
        wide = tuple(
            replace(one, median=replace(one.median, low=0.5 * one.median.value, high=width * one.median.value))
            for one in summary.results
        )
        noisy = replace(study, latency=replace(study.latency, summary=replace(summary, results=wide)))
        assert how_sure(noisy, crossing).startswith(words)


def test_curves_that_cross_back() -> None:
    one = Crossing("mamba4rec", "quick", 0, "step", "generated", (10, 100, 1000), (10,), (), (55.0,))
    assert crossing_words(one) == "mamba4rec is faster than sasrec up to about L = 55 and slower from there on"
    both = replace(one, cheaper_at=(100,), cheaper_from=(30.4,), dearer_from=(333.0,))
    assert crossing_words(both) == (
        "mamba4rec is slower than sasrec up to about L = 30, faster up to about L = 330 and slower from there on"
    )


def test_what_the_run_does_not_show_is_said(study: LongHistoryStudy, dataset: SequenceDataset) -> None:  # noqa: F811
    text = what_it_shows_not(study)
    assert "longest sequence holds 2,314 items: quality is shown up to there, and nothing is said of quality" in text
    assert "sasrec had random weights" in text
    assert "Under-trained" not in text
    assert "1 seed of each training" in text
    assert "other processes" not in in_short(study)
    training = study.recommenders.trainings[0].training | {"epochs": 12, "best_epoch": 12, "stopped": "epochs"}
    short = long_history_study(dataset, training=training)
    machine = study.latency.summary.machine | {"idle": False, "others_cores": 1.25}
    busy = replace(short, latency=replace(latency(), summary=replace(study.latency.summary, machine=machine)))
    assert "Under-trained: 6 of 6 models" in what_it_shows_not(busy)
    assert "other processes used 1.25 cores" in in_short(busy)


def test_the_order_of_events_is_named_and_a_warning_where_ties_decide_much(study: LongHistoryStudy) -> None:
    recommenders = study.recommenders
    for share, warned in ((0.1, False), (0.45, True)):
        order = recommenders.manifest["event_order"] | {"name": "exact", "targets_in_ties": share}
        changed = replace(
            study, recommenders=replace(recommenders, manifest=recommenders.manifest | {"event_order": order})
        )
        assert "Order `exact`" in section(changed, "Quality against the window")
        assert ("45% of the test targets have the time of another event" in what_it_shows_not(changed)) == warned


def test_page_figures_and_rows(study: LongHistoryStudy, tmp_path: Path) -> None:
    report = make_report(study)
    page, markdown = render_html(report), render_markdown(report)
    assert page.count("<svg") == sum(len(one.figures) for one in report.sections) == 6
    assert not re.findall(r"https?://(?!www\.w3\.org)", page)  # nothing is asked of anybody
    assert "nan" not in markdown
    write_figures(tmp_path / "figures", report.sections)
    names = {"state-against-length", "cost-against-length-full", "cost-against-length-step"}
    names |= {"ndcg-against-window-unmasked", "ndcg-against-window-masked", "ndcg-of-the-longest-histories"}
    assert {path.stem for path in (tmp_path / "figures").glob("*.csv")} == names
    with (tmp_path / "figures" / "ndcg-against-window-unmasked.csv").open() as file:
        points = {(row["model"], row["window"]): float(row["ndcg@10"]) for row in csv.DictReader(file)}
    assert points["sasrec", "5"] == pytest.approx(3 / 4)
    rows = study.results()
    assert {row["kind"] for row in rows} == {"quality", "to longest", "to baseline", "cost", "crossing"}
    (value,) = [
        row["value"]
        for row in rows
        if row["kind"] == "quality"
        and (row["model"], row["window"], row["protocol"], row["metric"]) == ("mamba4rec", 5, "unmasked", "ndcg@10")
    ]
    assert value == pytest.approx(1 / 2)
    assert {row["window"] for row in rows if row["kind"] == "quality" and row["model"] == "most-popular"} == {None}


def test_files_that_do_not_belong_together_are_refused(dataset: SequenceDataset) -> None:  # noqa: F811
    five, twenty = (ranks_of(dataset, "sasrec", rank) for rank in (3, 1))
    manifest = StudyBuilder().manifest()
    good = [(evaluation(five, 5), five), (evaluation(twenty, 20), twenty)]
    with pytest.raises(InputError, match="give ranks and evaluations in the same order"):
        gather_long_histories(manifest, dataset, [(good[0][0], twenty), (good[1][0], five)], latency(), 100)
    summary = latency().summary
    without = replace(latency(), summary=replace(summary, results=(), crossings=()))
    with pytest.raises(InputError, match="holds no lengths; run measure_latency with --lengths"):
        gather_long_histories(manifest, dataset, good, without, 100)
    protocol = {name: value for name, value in summary.protocol.items() if name != "lengths"}
    silent = replace(latency(), summary=replace(summary, protocol=protocol))
    with pytest.raises(InputError, match="does not say its lengths; run measure_latency again"):
        gather_long_histories(manifest, dataset, good, silent, 100)
    with pytest.raises(InputError, match="two evaluations of sasrec, 5 items seed 0"):
        gather_long_histories(manifest, dataset, [good[0], good[0]], latency(), 100)
    with pytest.raises(InputError, match="no model was evaluated with two windows"):
        gather_long_histories(manifest, dataset, good[:1], latency(), 100)
