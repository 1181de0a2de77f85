"""Reads the files of a study's language models and checks that they belong together.

A ranker's files come in lists, one of each kind for every ranker, in the same order; what a file does not say of itself
(whose rankings or learning curve it is) is checked against the summary in the same place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy

from ssm4rec.artifacts.curve import HELD_OUT, VALIDATION, Curve, read_curve
from ssm4rec.artifacts.dataset import Int32s
from ssm4rec.artifacts.earlier_names import metrics_of_today
from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.artifacts.names import CUTOFFS, METRICS, MOST_POPULAR, metric_name
from ssm4rec.artifacts.rankings import (
    ALIGNED,
    AMONG_CANDIDATES,
    FINETUNED,
    ORDERS,
    POPULATIONS,
    RANDOM,
    RETRIEVER_ORDER,
    WINNERS,
    RankingSummary,
    read_rankings,
)
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.report.language_models import BASELINES, LanguageModels, RankerRun, added_by
from ssm4rec.report.markdown import plural
from ssm4rec.report.recommenders import check_data
from ssm4rec.runtime.errors import InputError

_TOLERANCE: Final = 1e-9
_OF_CANDIDATES: Final = ("users", "found", "ranked", "candidates")
_COUNTED: Final = ("pairs", "held_out", "steps")
_OF_PAIRS: Final = ("pairs_by", *_COUNTED, "finetuning")
"""What a training says of the pairs, and of the fine-tuning before it."""

_MAKERS: Final = {
    FINETUNED: "finetune_llm",
    ALIGNED: "align_llm",
    WINNERS: "align_llm --winners-alone true",
}

Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class RankerFiles:
    """The files of the study's rankers, a path each, in the same order in every list; a list may be empty."""

    finetuned_rankings: Sequence[Path] = ()
    finetuned_summaries: Sequence[Path] = ()
    aligned_rankings: Sequence[Path] = ()
    aligned_summaries: Sequence[Path] = ()
    tunings: Sequence[Path] = ()
    alignments: Sequence[Path] = ()
    control_rankings: Sequence[Path] = ()
    control_summaries: Sequence[Path] = ()


def gather_language_models(manifest: dict[str, Any], files: RankerFiles, generations: Sequence[Path]) -> LanguageModels:
    """Read the files, check that they belong to the data set and to each other, and return them.

    Raise InputError for a file of another data set; lists that do not fit each other; a ranker or a generator twice, or
    without a number that it must have; an aligned ranker without the fine-tuned one, or of other users or candidates.
    """
    _check_lengths(files)
    runs: dict[Key, RankerRun] = {}
    for place, path in enumerate(files.finetuned_summaries):
        summary = _summary(path, manifest, FINETUNED)
        if _key(summary) in runs:
            raise InputError(f"{path}: a second ranking by {_named(summary)}; give each one once")
        users, ranks = _ranks(files.finetuned_rankings[place], summary, FINETUNED)
        tuning = _tuning(files.tunings[place], summary) if files.tunings else None
        runs[_key(summary)] = RankerRun(summary, None, users, ranks, tuning)
    for place, path in enumerate(files.aligned_summaries):
        run = _trained_further(path, files.aligned_rankings[place], _summary(path, manifest, ALIGNED), runs)
        alignment = _alignment(files.alignments[place], run.aligned) if files.alignments and run.aligned else None
        runs[_key(run.finetuned)] = replace(run, alignment=alignment)
    for place, path in enumerate(files.control_summaries):
        summary = _summary(path, manifest, WINNERS)
        run = _trained_further(path, files.control_rankings[place], summary, runs)
        _check_control(path, summary, run.aligned)
        runs[_key(summary)] = run
    return LanguageModels(tuple(runs[key] for key in sorted(runs)), _generators(manifest, generations))


def _trained_further(path: Path, rankings: Path, summary: RankingSummary, runs: Mapping[Key, RankerRun]) -> RankerRun:
    """Return the fine-tuned ranker that an aligned one, or its control, was made of, with what that adds."""
    run = runs.get(_key(summary))
    if run is None:
        raise InputError(f"{path}: the fine-tuned ranking by {_named(summary)} is missing; add it")
    _check_origin(path, summary, run.finetuned)
    kind, known = ("aligned", run.aligned) if summary.state == ALIGNED else ("control", run.control)
    if known:
        raise InputError(f"{path}: a second {kind} ranking by {_named(summary)}; give each one once")
    users, ranks = _ranks(rankings, summary, summary.state)
    if not numpy.array_equal(users, run.users):
        raise InputError(f"{path}: other users than the fine-tuned ranking's; rank both with one --seed and --users")
    if any(getattr(summary, name) != getattr(run.finetuned, name) for name in _OF_CANDIDATES) or not all(
        numpy.array_equal(ranks[key], run.ranks[key]) for key in product(BASELINES[1:], [RETRIEVER_ORDER])
    ):
        raise InputError(f"{path}: other candidates than the fine-tuned ranking's; rank both with one --candidates")
    ranks = run.ranks | {key: values for key, values in ranks.items() if key[0] in added_by(summary)}
    return (
        replace(run, ranks=ranks, aligned=summary) if kind == "aligned" else replace(run, ranks=ranks, control=summary)
    )


def _check_origin(path: Path, further: RankingSummary, tuned: RankingSummary) -> None:
    """Raise InputError if a ranker was trained further from another fine-tuning than the one in the report."""
    before = further.training.get("finetuning", tuned.training)
    recipes = [{name: part for name, part in one.recipe.items() if name != "align"} for one in (further, tuned)]
    trained = metrics_of_today(before) if isinstance(before, dict) else before
    if trained != tuned.training or recipes[0] != recipes[1]:
        what = "recipe" if trained == tuned.training else "training"
        raise InputError(
            f"{path}: made of another fine-tuning than the one ranked as {_named(tuned)}, its {what} differs; give the "
            "rankings of one fine-tuning and of what was made of it"
        )


def _check_control(path: Path, control: RankingSummary, aligned: RankingSummary | None) -> None:
    """Raise InputError if a control's training differs from the aligned ranker's by more than the preference term."""
    if aligned is None:
        raise InputError(f"{path}: the aligned ranking by {_named(control)} is missing, whose control it is; add it")
    if silent := [name for name in _COUNTED if name not in control.training]:
        raise InputError(f"{path}: does not say what it was trained on ({', '.join(silent)}); run align_llm again")
    differing = [
        name
        for name, ours, theirs in (
            ("profile", control.profile, aligned.profile),
            ("recipe", control.recipe, aligned.recipe),
            *((name, control.training.get(name), aligned.training.get(name)) for name in _OF_PAIRS),
        )
        if ours != theirs
    ]
    if differing:
        raise InputError(
            f"{path}: no control of the aligned ranking by {_named(control)}, they differ in {', '.join(differing)}; "
            "train both on the same pairs with the same settings"
        )


def _check_lengths(files: RankerFiles) -> None:
    for name, paths, others, optional in (
        ("finetuned-rankings", files.finetuned_rankings, files.finetuned_summaries, False),
        ("tunings", files.tunings, files.finetuned_summaries, True),
        ("aligned-rankings", files.aligned_rankings, files.aligned_summaries, False),
        ("alignments", files.alignments, files.aligned_summaries, True),
        ("control-rankings", files.control_rankings, files.control_summaries, False),
    ):
        if len(paths) != len(others) and not (optional and not paths):
            kind = {"a": "aligned", "c": "control"}.get(name[0], "finetuned")
            raise InputError(
                f"--{name}: {plural(len(paths), 'file')}, but {len(others)} in --{kind}-summaries; give one for each, "
                "in the same order"
            )


def _key(summary: RankingSummary) -> Key:
    return summary.source, summary.ranker, summary.retriever, summary.seed, summary.split


def _named(summary: RankingSummary) -> str:
    return f"{summary.source} seed {summary.seed} on the {summary.split} candidates of {summary.retriever}"


def _summary(path: Path, manifest: dict[str, Any], state: str) -> RankingSummary:
    summary = RankingSummary.read(path)
    check_data(f"{path}:", summary.dataset, summary.fingerprint, manifest)
    if summary.state != state:
        raise InputError(
            f"{path}: a ranker of {_MAKERS[summary.state]}, but one of {_MAKERS[state]} belongs in this list"
        )
    for name in ("prompts", "best_prompts") if state == FINETUNED else ():
        if name not in summary.training:
            raise InputError(f"{path}: does not say how it was trained ({name}); run rank_candidates again")
    orders = {(state, order) for order in ORDERS} | {(baseline, RETRIEVER_ORDER) for baseline in BASELINES}
    there = {(row.ranker, row.order, row.population, row.metric) for row in summary.rows}
    for (ranker, order), population, metric, cutoff in product(sorted(orders), POPULATIONS, METRICS, CUTOFFS):
        if (ranker, order, population, metric_name(metric, cutoff)) not in there:
            raise InputError(
                f"{path}: has no {metric_name(metric, cutoff)} of {ranker} ({population}); run rank_candidates again"
            )
    return summary


def _ranks(path: Path, summary: RankingSummary, state: str) -> tuple[Int32s, dict[tuple[str, str], Int32s]]:
    found = read_rankings(path, summary.fingerprint)
    values = {(row.ranker, row.order): row.value for row in summary.rows
              if (row.population, row.metric) == (AMONG_CANDIDATES, "ndcg@10") and row.ranker != RANDOM}  # fmt: skip
    users = found[state, RETRIEVER_ORDER][0] if (state, RETRIEVER_ORDER) in found else numpy.array([], numpy.int32)
    fits = found.keys() == values.keys() and all(
        numpy.array_equal(its_users, users)
        and math.isclose(metric_at("ndcg", ranks, 10), values[key], rel_tol=_TOLERANCE)
        for key, (its_users, ranks) in found.items()
    )
    if not fits or len(users) != summary.ranked:
        raise InputError(f"{path}: not the rankings that the summary in its place is of; give both lists in one order")
    if any(ranks.max() > summary.candidates for _, ranks in found.values()):
        raise InputError(f"{path}: ranks above the {summary.candidates} candidates; run rank_candidates again")
    return users, {key: ranks for key, (_, ranks) in found.items()}


def _tuning(path: Path, summary: RankingSummary) -> Curve:
    curve = read_curve(path, "finetune_llm")
    reached = [value for step, value in curve.against("step", "ndcg@10", VALIDATION) if step > 0]
    _check_curve(path, max(reached, default=math.nan), summary.training.get("validation_ndcg@10"))
    return curve


def _alignment(path: Path, summary: RankingSummary) -> Curve:
    curve = read_curve(path, "align_llm")
    told = summary.training
    # Accuracies are shares of few pairs: the aligned ranker's and its control's are often the same.
    for name in ("accuracy", *({"log_odds_ratio", "nll"} & {*told})):
        _check_curve(path, curve.values(name, HELD_OUT)[-1], told.get(name))
    return curve


def _check_curve(path: Path, reached: float, told: object) -> None:
    if not (isinstance(told, float | int) and math.isclose(reached, told, rel_tol=_TOLERANCE)):
        raise InputError(f"{path}: not the learning curve of the ranker in its place; give the lists in one order")


def _generators(manifest: dict[str, Any], paths: Sequence[Path]) -> tuple[GenerationSummary, ...]:
    found: dict[tuple[str, int, str], GenerationSummary] = {}
    for path in paths:
        summary = GenerationSummary.read(path)
        check_data(f"{path}:", summary.dataset, summary.fingerprint, manifest)
        key = (summary.model, summary.seed, summary.split)
        if key in found:
            raise InputError(f"{path}: a second evaluation of {summary.model} seed {summary.seed}; give each one once")
        there = {(row.model, row.metric) for row in summary.rows}
        for model, metric in product((summary.model, MOST_POPULAR), METRICS):
            if (model, metric_name(metric, 10)) not in there:
                raise InputError(f"{path}: has no {metric_name(metric, 10)} of {model}; run evaluate_generator again")
        found[key] = summary
    return tuple(found[key] for key in sorted(found))
