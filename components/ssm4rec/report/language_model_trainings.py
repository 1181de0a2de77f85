"""Tables of how LlamaRec's rankers were fine-tuned and aligned, and how fast they rank."""

from collections.abc import Callable, Sequence
from typing import Final

from ssm4rec.artifacts.curve import VALIDATION
from ssm4rec.artifacts.rankings import ALIGNED, FINETUNED, RankingSummary
from ssm4rec.report.language_models import RANKER_NAMES, RankerRun
from ssm4rec.report.markdown import escape, setting_cell, table_of

Columns = dict[str, Callable[[RankingSummary], str]]

_RANKER: Final[Columns] = {
    "Language model": lambda one: escape(one.source),
    "Retriever": lambda one: escape(one.retriever),
}
_ALIGNMENT: Final[Columns] = {
    **_RANKER,
    "Pairs": lambda one: _number(one, "pairs"),
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
    "State": lambda one: RANKER_NAMES[FINETUNED if one.stage == "finetune_llm" else ALIGNED],
    "Device": lambda one: escape(one.device),
    "Prompts per second": lambda one: f"{one.prompts_per_second:.2f}",
    "Tokens per second": lambda one: f"{one.tokens_per_second:,.0f}",
    "CPU-seconds per prompt": lambda one: f"{one.cpu_seconds_per_prompt:.2f}",
    "Tokens per prompt": lambda one: f"{one.prompt_tokens:,.0f}",
}


def trainings(runs: Sequence[RankerRun]) -> str:
    """Return the tables, a row a ranker."""
    tuning: dict[str, Callable[[RankerRun], str]] = {
        "Language model": lambda run: escape(run.finetuned.source),
        "Retriever": lambda run: escape(run.finetuned.retriever),
        "Profile": lambda run: escape(run.finetuned.profile),
        "Prompts": lambda run: _number(run.finetuned, "prompts"),
        "of the best weights": lambda run: _number(run.finetuned, "best_prompts"),
        "Validation NDCG@10, before": _validation_before,
        "best after": lambda run: _number(run.finetuned, "validation_ndcg_10"),
        "Tokens per second": lambda run: _number(run.finetuned, "tokens_per_second"),
    }
    parts = ["### Fine-tuning", table_of(runs, tuning, text_columns=3)]
    if aligned := [run.aligned for run in runs if run.aligned]:
        told = "ORPO; accuracy, log odds ratio and margin are those of the held-out pairs."
        parts += ["### Alignment", told, table_of(aligned, _ALIGNMENT, text_columns=2)]
    ranked = [one for run in runs for one in (run.finetuned, run.aligned) if one]
    return "\n\n".join([*parts, "### Pace of ranking", table_of(ranked, _PACE, text_columns=4)])


def _validation_before(run: RankerRun) -> str:
    """Return validation NDCG@10 before the first step, if the learning curve was given."""
    return _cell(dict(run.tuning.against("step", "ndcg_10", VALIDATION)).get(0) if run.tuning else None)


def _number(one: RankingSummary, name: str) -> str:
    return _cell(one.training.get(name))


def _cell(value: object) -> str:
    if isinstance(value, float):  # counts are floats in a trainer's own words
        value = int(value) if value.is_integer() and abs(value) >= 1 else float(f"{value:.4g}")
    return setting_cell(value)
