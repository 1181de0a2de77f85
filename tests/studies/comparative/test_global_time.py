"""The second split in the report: what is said of the order, that no other part takes its numbers, files that fit."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.names import BASELINES, MOST_POPULAR_LATELY, TIME_BASELINES
from ssm4rec.data.splitting import later_training_shares
from ssm4rec.report.document import render_markdown
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.comparative.report import make_report
from ssm4rec.studies.comparative.study import Files, GlobalTime, Study, gather_global_time
from tests.report.measured_study import UNTESTED, comparison
from tests.report.trained import BASELINE_VALUES, LATELY_VALUES, StudyBuilder
from tests.studies.comparative.test_language_models import rows_of, section

TITLE = "Without looking into the future"
SPLIT = {
    "name": "global-time",
    "training_interactions": 800_000,
    "time_target": "successive",
    "validation_users": 700,
    "validation_targets": 90_000,
    "test_users": 600,
    "test_targets": 70_000,
    "test_targets_unseen_in_training": 8,
    "validation_from": 889_214_284_000,
    "test_from": 891_380_200_000,
}
OTHER = "feedfeedfeedfeed"
FIRST = {"sasrec": 0.2011, "mamba4rec": 0.3022, "hydra4rec": 0.1533}


def compared(
    means: dict[str, float], half_width: float, p_holm: float, *, by_time: bool = False, **changes: Any
) -> Comparison:
    """A comparison whose means and differences are those of ``means``, and whose intervals are as wide as told."""
    template = comparison()
    tested = {*means, "most-popular"}
    means = {**means, "most-popular": 0.03, **UNTESTED, **({MOST_POPULAR_LATELY: 0.02} if by_time else {})}
    row, pair = template.models[0], template.pairs[0]
    settings = [(one, metric) for one in ("unmasked", "masked") for metric in ("hit@10", "ndcg@10", "mrr@10")]
    models = tuple(
        replace(row, model=model, protocol=protocol, metric=metric, seeds=[] if model in TIME_BASELINES else [0],
                mean=Estimate(mean, mean - half_width, mean + half_width, 6040))
        for protocol, metric in settings for model, mean in means.items()
    )  # fmt: skip
    pairs = tuple(
        replace(pair, first=first, second=second, protocol=protocol, metric=metric,
                difference=Difference(gap, gap - reach, gap + reach, 6040, p_holm, 1.4 * half_width))
        for protocol, metric in settings for first, second in combinations(sorted(tested), 2)
        for gap in [means[first] - means[second]]
        for reach in [min(half_width, abs(gap) / 2) if p_holm < 0.05 else half_width]  # as the test says
    )  # fmt: skip
    return replace(template, models=models, pairs=pairs, slices=(), recommendations=(), **changes)


def both(builder: StudyBuilder, second: dict[str, float], p_first: float = 0.001, p_second: float = 0.001) -> Study:
    """A study of three models, two of which are there with a second split, too: 6,040 users and 600."""
    first = builder.study(*(builder.evaluation(model, value=value) for model, value in FIRST.items()))
    slices, recommendations = comparison().slices, comparison().recommendations
    own = replace(compared(FIRST, 0.01, p_first), slices=slices, recommendations=recommendations)
    again = [
        builder.evaluation(
            model, value=value, users=600, targets=70_000, fingerprint=OTHER, baseline=(0.017, 0.018), by_time=True
        )
        for model, value in second.items()
    ]
    by_time = builder.study(*again, fingerprint=OTHER, split=SPLIT)
    of_times = compared(second, 0.05, p_second, by_time=True, fingerprint=OTHER, users=600, targets=70_000)
    by_time = replace(by_time, comparison=of_times)
    return replace(first, comparison=own, global_time=GlobalTime(by_time, users_with_later=0.991, later_events=0.47))


def test_what_leaks_and_where_the_cuts_are(builder: StudyBuilder) -> None:
    text = section(both(builder, {"sasrec": 0.11, "mamba4rec": 0.12}), TITLE)
    assert "99.1% of the 6,040 test users" in text
    assert "47% of all training events are later" in text
    assert "Training ends before 1998-03-06 19:58 UTC, the test begins at 1998-03-31 21:36 UTC." in text
    assert "before and after the start of the test are test users: 600 of 6,040, where leave-one-out has 6,040" in text
    assert "Every event of a user from then on is a target" in text
    assert "draw whole users with all their targets" in text
    assert "8 targets of 70,000 are items that training never saw" in text
    assert "70,000 targets of 600 users instead of 6,040 users" in text
    assert "reach 0.0500 to either side instead of 0.0100" in text
    assert "No hit at 10" not in text
    none = section(both(builder, {"sasrec": 0.0, "mamba4rec": 0.12}), TITLE)
    assert "No hit at 10 of sasrec among the 70,000 targets of 600 users of global-time" in none
    assert "a HIT@10 of up to 0.005 gives none" in none  # 3 / 600
    assert "the smallest of these pairs' is 0.0700 with global-time and 0.0140 with leave-one-out" in text
    assert "So mamba4rec and sasrec were trained once more" in text
    assert "So sasrec was trained once more" in section(both(builder, {"sasrec": 0.11}), TITLE)


def test_both_splits_stand_side_by_side_with_intervals(builder: StudyBuilder) -> None:
    text = section(both(builder, {"sasrec": 0.11, "mamba4rec": 0.12}), TITLE)
    (part,) = [part for part in text.split("### ") if part.startswith("History unmasked")]
    rows = {row[0]: row[1:] for row in rows_of(part)}
    mamba = ["0.3022 [0.2922, 0.3122]", "0.1200 [0.0700, 0.1700]"]
    assert rows["mamba4rec"] == mamba * 2  # HIT@10 and NDCG@10
    assert {"sasrec", "mamba4rec", *BASELINES} <= rows.keys()
    lately = rows["most-popular-lately"]
    assert lately == ["\N{EN DASH}", "0.0200 [-0.0300, 0.0700]"] * 2, "there is none with leave-one-out"
    assert "hydra4rec" not in rows, "it has no second split"


@pytest.mark.parametrize(
    ("second", "p_first", "p_second", "order", "verdict"),
    [
        (
            {"sasrec": 0.11, "mamba4rec": 0.12}, 0.001, 0.001, "**the same**",
            "mamba4rec is significantly better in both splits",
        ),
        (
            {"sasrec": 0.13, "mamba4rec": 0.12}, 0.001, 0.001, "**not the same**",
            "reversed: mamba4rec is significantly better with leave-one-out, sasrec with global-time",
        ),
        (
            {"sasrec": 0.13, "mamba4rec": 0.12}, 0.001, 0.6, "**not the same**",
            "mamba4rec is significantly better with leave-one-out; not significant with global-time",
        ),
        (
            {"sasrec": 0.11, "mamba4rec": 0.12}, 0.05, 0.001, "**the same**",
            "not significant with leave-one-out; mamba4rec is significantly better with global-time",
        ),
        ({"sasrec": 0.11, "mamba4rec": 0.12}, 0.05, 0.6, "**the same**", "not significant in either split"),
    ],
)  # fmt: skip
def test_the_order_and_each_pair_are_judged(
    builder: StudyBuilder, second: dict[str, float], p_first: float, p_second: float, order: str, verdict: str
) -> None:
    text = section(both(builder, second, p_first, p_second), TITLE)
    for protocol in ("unmasked", "masked"):
        (part,) = [part for part in text.split("### ") if part.startswith(f"History {protocol}")]
        (sentence,) = [line for line in part.splitlines() if line.startswith("By NDCG@10 the order is ")]
        assert order in sentence
        told = [3 if p < 0.05 else 0 for p in (p_first, p_second)]
        assert f"{told[0]} of 3 pairs with leave-one-out and {told[1]} of 3 pairs with global-time" in sentence
        assert ("the order of the other pairs may be chance" in sentence) == (0 in told)
        assert "Baselines" not in sentence
        rows = {row[0]: row[1:] for row in rows_of(part)}
        pair = rows["mamba4rec \N{MINUS SIGN} sasrec"]
        assert f"- mamba4rec and sasrec, of these trainings: {verdict}." in part
        assert "Significantly different, of these trainings: " in sentence
        assert pair[3].startswith(f"{second['mamba4rec'] - second['sasrec']:+.4f} [")


@pytest.mark.parametrize(("first", "second"), [(3, 3), (3, 2), (2, 3)])
def test_verdicts_are_of_these_trainings_unless_both_splits_have_three_seeds(
    builder: StudyBuilder, first: int, second: int
) -> None:
    study = both(builder, {"sasrec": 0.11, "mamba4rec": 0.12})
    assert study.global_time

    def with_seeds(one: Study, count: int) -> Study:
        models = [made for made in one.evaluations if made.model in ("sasrec", "mamba4rec")]
        return replace(one, evaluations=tuple(replace(made, seed=seed) for made in models for seed in range(count)))

    again = replace(study.global_time, study=with_seeds(study.global_time.study, second))
    text = section(replace(with_seeds(study, first), global_time=again), TITLE)
    few = min(first, second) < 3
    assert ("- mamba4rec and sasrec, of these trainings: " in text) == few
    assert ("- mamba4rec and most-popular, of these trainings: " in text) == few
    assert text.count("of these trainings") == (8 if few else 0), "two protocols, three pairs and their count"


def test_baselines_above_the_order_are_named(builder: StudyBuilder) -> None:
    text = section(both(builder, {"sasrec": 0.001, "mamba4rec": 0.002}), TITLE)
    above = "Baselines, not in this order, that are above all of it (not tested): most-popular-lately with global-time."
    assert text.count(above) == 1, "unmasked"


def test_a_baseline_with_the_same_value_is_not_above(builder: StudyBuilder) -> None:
    """most-popular-lately has 0.02 unmasked, a name that sorts before sasrec's, as mamba4rec's does."""
    text = section(both(builder, {"sasrec": 0.02, "mamba4rec": 0.002}), TITLE)
    assert "Baselines, not in this order, that are above all of it" not in text.split("### History masked")[0]


def test_without_comparisons_means_and_order_remain(builder: StudyBuilder) -> None:
    study = both(builder, {"sasrec": 0.13, "mamba4rec": 0.12})
    assert study.global_time
    bare = replace(study.global_time, study=replace(study.global_time.study, comparison=None))
    text = section(replace(study, global_time=bare), TITLE)
    assert "**not the same**" in text
    assert "was not tested" in text
    assert "is better" not in text
    assert "0.1300" in text


def test_settings_and_seeds_that_differ_are_named(builder: StudyBuilder) -> None:
    study = both(builder, {"sasrec": 0.11, "mamba4rec": 0.12})
    assert study.global_time
    assert "Settings that differ" not in section(study, TITLE)
    changed = [
        replace(one, recipe={**one.recipe, "training": {"learning_rate": 0.002, "betas": [0.9, 0.98]}})
        for one in study.global_time.study.evaluations
    ]
    again = replace(study.global_time.study, evaluations=tuple(changed))
    more = (*study.evaluations, builder.evaluation("sasrec", seed=1, value=0.2))
    study = replace(study, evaluations=more, global_time=replace(study.global_time, study=again))
    text = section(study, TITLE)
    assert "training.learning_rate of sasrec (0.001 with leave-one-out, 0.002 with global-time)" in text
    assert "Seeds with leave-one-out and with global-time: sasrec (2 and 1)." in text


def test_no_other_part_takes_the_second_split_s_numbers(builder: StudyBuilder) -> None:
    study = both(builder, {"sasrec": 0.13, "mamba4rec": 0.12})
    alone = replace(study, global_time=None)

    def others(one: Study) -> list[Any]:
        found = [made for made in make_report(one).sections if made.title != TITLE]
        return [(made.title, made.markdown, [(figure.name, figure.rows) for figure in made.figures]) for made in found]

    assert others(study) == others(alone)
    assert len(make_report(study).sections) == len(others(study)) + 1
    assert TITLE not in render_markdown(make_report(alone))


def test_results_say_of_which_split_they_are(builder: StudyBuilder) -> None:
    study = both(builder, {"sasrec": 0.13, "mamba4rec": 0.12})
    rows = study.results_document()
    own = [row for row in rows if row["splitting"] == "leave-one-out"]
    assert own == replace(study, global_time=None).results_document()
    again = rows[len(own) :]
    baselines = {name: unmasked for name, (unmasked, _) in (BASELINE_VALUES | LATELY_VALUES).items()}
    expected = {**baselines, "most-popular": 0.017}.items()
    assert {row["splitting"] for row in again} == {"global-time"}
    assert {(row["model"], row["value"]) for row in again if row["protocol"] == "unmasked"} == {
        ("sasrec", 0.13), ("mamba4rec", 0.12), *expected,
    }  # fmt: skip


def write_times(folder: Path, times: list[int]) -> None:
    items = read_sequences(folder).items[: len(times)]
    pyarrow.parquet.write_table(pyarrow.table({"item": items, "time": times}), folder / "interactions.parquet")


def test_the_share_of_training_events_after_the_target(write_dataset: Any) -> None:
    folder = write_dataset([[1, 2, 3, 4], [1, 2, 3], [1, 2]])
    #             trained | validation, test    trained | v, t   trained, no target
    write_times(folder, [10, 20, 30, 40, 35, 36, 37, 37, 50])
    # training events: 10, 20, 35, 37, 50; targets at 40 and 37, the latter at the time of another's event
    assert later_training_shares(folder) == pytest.approx(numpy.array([1 / 5, 1 / 5]))
    write_times(folder, [10, 20, 30, 40, 1, 2, 3, 37, 50])
    assert later_training_shares(folder) == pytest.approx(numpy.array([1 / 5, 4 / 5]))
    write_times(folder, [10, 20])
    with pytest.raises(InputError, match=r"not those of sequences\.parquet"):
        later_training_shares(folder)
    (folder / "interactions.parquet").unlink()
    with pytest.raises(InputError, match="no such file"):
        later_training_shares(folder)


def gathered(folder: Path, dataset: Path | None, evaluations: list[Path]) -> GlobalTime | None:
    return gather_global_time(
        Files(dataset_dir=folder, evaluations=[], global_time_dataset=dataset, global_time_evaluations=evaluations)
    )


def test_files_that_do_not_belong_are_refused(builder: StudyBuilder, write_dataset: Any, tmp_path: Path) -> None:
    folder = write_dataset([[1, 2, 3, 4]], "ml-1m")
    write_times(folder, [1, 2, 3, 4])

    def prepared(name: str, **changes: Any) -> Path:
        place = tmp_path / name
        place.mkdir()
        (place / "manifest.json").write_text(json.dumps(builder.manifest(**{"split": SPLIT, **changes})))
        return place

    builder.evaluation(by_time=True).write(tmp_path / "metrics.json")
    evaluations = [tmp_path / "metrics.json"]
    good = prepared("good")
    found = gathered(folder, good, evaluations)
    assert found
    assert found.study.models.keys() == {"sasrec"}
    assert (found.users_with_later, found.later_events) == (0, 0)
    assert gathered(folder, good, []) is None
    assert gathered(good, good, evaluations) is None, "the study's own split is global-time"
    for named, dataset in {
        "--global-time-dataset: none": None,
        "ml-100k, global-time; give ml-1m": prepared("other", dataset="ml-100k"),
        "ml-1m, leave-one-out; give": prepared("split", split=SPLIT | {"name": "leave-one-out"}),
        OTHER[:12]: prepared("fingerprint", fingerprint=OTHER),
    }.items():
        with pytest.raises(InputError, match=named) as caught:
            gathered(folder, dataset, evaluations)
        assert "\n" not in str(caught.value)
