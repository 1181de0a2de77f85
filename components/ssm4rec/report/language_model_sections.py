"""What the report says of LlamaRec: rankings of a retriever's candidates by a language model, before and after ORPO."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from ssm4rec.artifacts.curve import VALIDATION
from ssm4rec.artifacts.names import METRICS, metric_name
from ssm4rec.artifacts.rankings import (
    ALIGNED,
    ALL_USERS,
    AMONG_CANDIDATES,
    BASE,
    BLENDED,
    FINETUNED,
    ORDERS,
    RANDOM,
    RETRIEVER,
    RETRIEVER_ORDER,
    SHUFFLED_ORDER,
    WINNERS,
    RankingSummary,
)
from ssm4rec.report.alignment_effect import alignment_sections, changes, named, preference_term, without_control
from ssm4rec.report.document import Section
from ssm4rec.report.language_model_figures import alignment_curves, before_and_after, first_places, tuning_curves
from ssm4rec.report.language_models import BASELINES, RANKER_NAMES, LanguageModels, RankerRun
from ssm4rec.report.markdown import MISSING, bullets, escape, listed, plural, setting_cell, table, table_of
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.ranker_verdicts import against_random, of_orpo, verdicts

_NOTES: Final = """\
- **Two populations.** *Among candidates*: users whose target the retriever found; what a ranker does with a fair
  chance. *All users*: a target that was not found counts as missed, so that no ranker can get above the retriever's
  HIT@20. A sample of the users found stands for all of them. These numbers and those of a full ranking never share a
  table.
- **Two orders.** LlamaRec shows the candidates in the retriever's order, so that a model that likes the first letters
  repeats the retriever. Shuffled, a liking for letters helps nobody.
- **Baselines.** A random order's numbers are expected values. most-popular orders the same candidates by their
  training interactions.
- **With the retriever.** The ranker's scores plus the retriever's, both standardized over a user's candidates; the
  weight of the retriever's was chosen on the validation users.
- **Intervals.** Brackets hold 95% intervals over users: Student's t for a number, a paired bootstrap
  over the same users for a difference. They are for the trained models as they are, and say nothing about other
  trainings; what several seeds of a ranker say together is under *What alignment changed*."""

Columns = dict[str, Callable[[RankingSummary], str]]

_RANKER: Final[Columns] = {
    "Language model": lambda one: escape(one.source),
    "Retriever": lambda one: escape(one.retriever),
}
_ALIGNMENT: Final[Columns] = {
    **_RANKER,
    "State": lambda one: RANKER_NAMES[one.state],
    "Pairs": lambda one: _number(one, "pairs"),
    "Pairs by": lambda one: _number(one, "pairs_by"),
    "Held out": lambda one: _number(one, "held_out"),
    "Steps": lambda one: _number(one, "steps"),
    "Accuracy, before": lambda one: _number(one, "accuracy_before"),
    "Accuracy, after": lambda one: _number(one, "accuracy"),
    "Log odds ratio, before": lambda one: _number(one, "log_odds_ratio_before"),
    "Log odds ratio, after": lambda one: _number(one, "log_odds_ratio"),
    "Margin, before": lambda one: _number(one, "margin_before"),
    "Margin, after": lambda one: _number(one, "margin"),
    "Tokens per second": lambda one: _number(one, "tokens_per_second"),
}
_PACE: Final[Columns] = {
    **_RANKER,
    "State": lambda one: RANKER_NAMES[one.state],
    "Device": lambda one: escape(one.device),
    "Prompts per second": lambda one: f"{one.prompts_per_second:.2f}",
    "Tokens per second": lambda one: f"{one.tokens_per_second:,.0f}",
    "CPU-seconds per prompt": lambda one: f"{one.cpu_seconds_per_prompt:.2f}",
    "Tokens per prompt": lambda one: f"{one.prompt_tokens:,.0f}",
}


def ranker_headlines(models: LanguageModels) -> list[str]:
    """Return what came out of each ranker, in a sentence or two each; of seeds that were aligned alike in one line."""
    groups = {(run.kind, run.finetuned.seed): runs for runs in models.aligned_groups() for run in runs}
    lines = []
    for run in models.rankers:
        runs = groups.get((run.kind, run.finetuned.seed), (run,))
        if runs[1:] and runs[0] is run:
            lines.append(seeds_together(runs))
        elif not runs[1:]:
            term = preference_term(changes(runs)) if run.control else ""
            words = [f"{run.title}, {escape(run.name)}, of this training:", term, against_random(run), of_orpo(run)]
            lines.append(" ".join(filter(None, words)))
    return lines


def seeds_together(runs: Sequence[RankerRun]) -> str:
    """Return the verdict on alignment over the seeds of a ranker, then each seed's own against chance."""
    change, *further = found = changes(runs)
    verdict = change.verdict("significantly better", "significantly worse")
    term = f"{further[-1].title}: {further[-1].stated()}." if further else ""
    chance = [
        f"{run.difference(FINETUNED, RANDOM, SHUFFLED_ORDER, 'ndcg').verdict('yes', 'no, significantly worse')} "
        f"(seed {run.finetuned.seed})"
        for run in runs
    ]
    shown = ", candidates shuffled" if runs[0].letters else ""
    words = [
        f"{runs[0].title}, {named(runs)}: ORPO against fine-tuning alone{change.whose}: {verdict}, {change.stated()}.",
        term,
        preference_term(found),
        without_control(runs),
        f"Each fine-tuned seed better than a random order{shown}: {listed(chance)}.",
    ]
    return " ".join(filter(None, words))


def ranker_cautions(models: LanguageModels, manifest: dict[str, Any]) -> list[str]:
    """Return how little the rankers were trained, and on how few users they were measured."""
    prefixes = manifest["split"]["training_interactions"] - manifest["counts"]["users"]
    lines = []
    for run in models.rankers:
        training, ndcg = run.finetuned.training, run.row(FINETUNED, SHUFFLED_ORDER, AMONG_CANDIDATES, "ndcg@10")
        lines.append(
            f"{run.title}, {escape(run.name)}: fine-tuned on {training['prompts']:,} prompts, the best weights after "
            f"{training['best_prompts']:,}. LlamaRec takes every prefix of every user once, about {prefixes:,} here. "
            f"It was measured on {plural(run.finetuned.ranked, 'user')}: NDCG@10 has a standard error of "
            f"{ndcg.standard_error:.3f}."
        )
    return lines


def ranker_sections(models: LanguageModels, paper: PaperTable | None) -> list[Section]:
    """Return a section a ranker, one of how they were trained, and how to read them; empty without rankers."""
    if not models.rankers:
        return []
    sections = [Section("Rankers side by side", _side_by_side(models.rankers))] if models.rankers[1:] else []
    sections += alignment_sections(models)
    sections += [
        Section(
            f"{run.title}: {run.name}",
            _ranking(run, paper if run.letters else None),
            (
                *(before_and_after(run, order, as_in_paper=paper is not None) for order in run.orders),
                *([first_places(run)] if run.letters else []),
            ),
        )
        for run in models.rankers
    ]
    figures = (*tuning_curves(models.rankers), *alignment_curves(models.rankers))
    return [*sections, Section("Rankers: training and pace", f"{trainings(models.rankers)}\n\n{_NOTES}", figures)]


def _side_by_side(runs: Sequence[RankerRun]) -> str:
    controls = [WINNERS] if any(run.control for run in runs) else []
    states = (RANDOM, RETRIEVER, BASE, FINETUNED, ALIGNED, *controls)
    rows = []
    for run in runs:
        cells = [
            run.estimate(run.row(state, SHUFFLED_ORDER, AMONG_CANDIDATES, "ndcg@10")).text()
            if state in run.rankers
            else MISSING
            for state in states
        ]
        change = run.difference(ALIGNED, FINETUNED, SHUFFLED_ORDER, "ndcg").text() if run.aligned else MISSING
        rows.append([escape(run.name), f"{run.finetuned.ranked:,}", *cells, change])
    header = ["Ranker", "Users", *(RANKER_NAMES[state] for state in states)]
    text = (
        "NDCG@10 of users whose target is among the candidates, candidates shuffled. Rows of other retrievers have "
        "other candidates and other users."
    )
    return f"{text}\n\n{table([*header, 'What ORPO changed'], rows, text_columns=len(header) + 1)}"


def _ranking(run: RankerRun, paper: PaperTable | None) -> str:
    facts = run.finetuned
    parts = [
        f"{escape(facts.retriever)} found the {facts.split} target of {facts.found:,} of {facts.users:,} users "
        f"({facts.found / facts.users:.1%}) among its {facts.candidates} candidates; {facts.ranked:,} of these were "
        f"ranked by {escape(facts.source)}.",
        bullets(verdicts(run)),
        f"### Users whose target is among the candidates ({facts.ranked:,} ranked of {facts.found:,})",
        _numbers(run, AMONG_CANDIDATES),
        f"### All {facts.users:,} users, the rest counted as missed",
        _numbers(run, ALL_USERS),
        f"### Differences on the same {facts.ranked:,} users",
        _differences(run),
    ]
    if paper:
        parts += ["### This run | the paper", _beside_the_paper(run, paper)]
    return "\n\n".join(parts)


def _numbers(run: RankerRun, population: str) -> str:
    rows = []
    for ranker in run.rankers:
        for order in ORDERS[:1] if ranker in BASELINES else run.orders:  # baselines see no order
            cells = []
            for metric in METRICS:
                row = run.row(ranker, order, population, metric_name(metric, 10))
                cells.append(run.estimate(row).text())
            cells.append(run.estimate(run.row(ranker, order, population, "hit@5")).text())
            sees_order = run.letters and ranker not in BASELINES
            rows.append([RANKER_NAMES[ranker], order if sees_order else MISSING, *cells])
    header = ["Ranker", "Order shown", "HIT@10", "NDCG@10", "MRR@10", "HIT@5"]
    return table(header, rows, text_columns=len(header))


def _differences(run: RankerRun) -> str:
    pairs = [
        (ALIGNED, FINETUNED),
        (WINNERS, FINETUNED),
        (ALIGNED, WINNERS),
        (FINETUNED, BASE),
        *((FINETUNED, baseline) for baseline in BASELINES),
    ]
    pairs += [(blend, RETRIEVER) for blend in BLENDED.values()]
    rows = [
        [
            f"{RANKER_NAMES[ranker]} \N{MINUS SIGN} {RANKER_NAMES[other]}",
            order if run.letters else MISSING,
            *(run.difference(ranker, other, order, metric).text() for metric in METRICS),
        ]
        for ranker, other in pairs
        if {ranker, other} <= {*run.rankers}
        for order in run.orders
    ]
    header = ["Difference", "Order shown", "HIT@10", "NDCG@10", "MRR@10"]
    return table(header, rows, text_columns=len(header))


def _beside_the_paper(run: RankerRun, paper: PaperTable) -> str:
    printed = next(row for row in paper.rows if row.model == "llamarec")
    rows = []
    for population in (AMONG_CANDIDATES, ALL_USERS):
        for state in run.states[1:] if BASE in run.states else run.states:
            numbers = [run.row(state, RETRIEVER_ORDER, population, metric_name(metric, 10)) for metric in METRICS]
            rows.append([RANKER_NAMES[state], population, *(run.estimate(row).text() for row in numbers)])
    rows.append(["paper, 7B", "not said", printed.hit_10, printed.ndcg_10, printed.mrr_10 or MISSING])
    header = ["Ranker", "Population", "HIT@10", "NDCG@10", "MRR@10"]
    return (
        f"Candidates in the retriever's order. The paper ({paper.title}, Table {paper.number}) names neither "
        "population nor number of users; its language model is Llama-2 with 7B parameters, so a smaller one stands "
        f"next to it for orientation only.\n\n{table(header, rows, text_columns=len(header))}"
    )


def trainings(runs: Sequence[RankerRun]) -> str:
    """Return the tables, a row a ranker."""
    tuning: dict[str, Callable[[RankerRun], str]] = {
        "Language model": lambda run: escape(run.finetuned.source),
        "Retriever": lambda run: escape(run.finetuned.retriever),
        "Profile": lambda run: escape(run.finetuned.profile),
        "Prompts": lambda run: _number(run.finetuned, "prompts"),
        "Prompts to the best weights": lambda run: _number(run.finetuned, "best_prompts"),
        "Validation NDCG@10, before": _validation_before,
        "Validation NDCG@10, best": lambda run: _number(run.finetuned, "validation_ndcg@10"),
        "Tokens per second": lambda run: _number(run.finetuned, "tokens_per_second"),
    }
    parts = ["### Fine-tuning", table_of(runs, tuning, text_columns=3)]
    if aligned := [one for run in runs for one in (run.aligned, run.control) if one]:
        told = "ORPO; accuracy, log odds ratio and margin are those of the held-out pairs."
        parts += ["### Alignment", told, table_of(aligned, _ALIGNMENT, text_columns=3)]
    ranked = [one for run in runs for one in (run.finetuned, run.aligned, run.control) if one]
    return "\n\n".join([*parts, "### Pace of ranking", table_of(ranked, _PACE, text_columns=4)])


def _validation_before(run: RankerRun) -> str:
    return _cell(dict(run.tuning.against("step", "ndcg@10", VALIDATION)).get(0) if run.tuning else None)


def _number(one: RankingSummary, name: str) -> str:
    return _cell(one.training.get(name))


def _cell(value: object) -> str:
    if isinstance(value, float):  # counts are floats in a trainer's own words
        value = int(value) if value.is_integer() and abs(value) >= 1 else float(f"{value:.4g}")
    return setting_cell(value)
