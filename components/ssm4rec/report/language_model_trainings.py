"""Tables of how LlamaRec's rankers were fine-tuned and aligned, and how fast they rank."""

from collections.abc import Sequence
from typing import Any

from ssm4rec.artifacts.curve import VALIDATION
from ssm4rec.artifacts.rankings import ALIGNED, FINETUNED, RankingSummary
from ssm4rec.report.language_models import RANKER_NAMES, RankerRun
from ssm4rec.report.markdown import escape, setting_cell, table


def trainings(runs: Sequence[RankerRun]) -> str:
    """Return the tables, a row a ranker."""
    tuned = [
        [
            escape(run.finetuned.source),
            escape(run.finetuned.retriever),
            escape(run.finetuned.profile),
            *_facts(
                {**run.finetuned.training, "validation_before": _validation_before(run)},
                "prompts", "best_prompts", "validation_before", "validation_ndcg_10", "tokens_per_second",
            ),
        ]
        for run in runs
    ]  # fmt: skip
    aligned = [
        [
            escape(run.aligned.source),
            escape(run.aligned.retriever),
            *_facts(
                run.aligned.training, "pairs", "held_out", "steps", "accuracy_before", "accuracy",
                "log_odds_ratio_before", "log_odds_ratio", "margin_before", "margin", "tokens_per_second",
            ),
        ]
        for run in runs if run.aligned
    ]  # fmt: skip
    paces = [
        _pace(summary, name)
        for run in runs
        for summary, name in ((run.finetuned, FINETUNED), (run.aligned, ALIGNED))
        if summary
    ]
    header = ["Language model", "Retriever"]
    counted = ["Prompts", "of the best weights", "Validation NDCG@10, before", "best after", "Tokens per second"]
    parts = ["### Fine-tuning", table([*header, "Profile", *counted], tuned, text_columns=3)]
    if aligned:
        changes = [
            f"{what}, {when}" for what in ("Accuracy", "Log odds ratio", "Margin") for when in ("before", "after")
        ]
        looked = "ORPO; accuracy, log odds ratio and margin are those of the held-out pairs."
        columns = [*header, "Pairs", "Held out", "Steps", *changes, "Tokens per second"]
        parts += ["### Alignment", looked, table(columns, aligned, text_columns=2)]
    pace = ["Prompts per second", "Tokens per second", "CPU-seconds per prompt", "Tokens per prompt"]
    return "\n\n".join(
        [*parts, "### Pace of ranking", table([*header, "State", "Device", *pace], paces, text_columns=4)]
    )


def _validation_before(run: RankerRun) -> float | None:
    """Return validation NDCG@10 before the first step, None where no learning curve was given."""
    return dict(run.tuning.against("step", "ndcg_10", VALIDATION)).get(0) if run.tuning else None


def _facts(training: dict[str, Any], *names: str) -> list[str]:
    return [setting_cell(_rounded(training.get(name))) for name in names]


def _rounded(value: object) -> object:
    """Numbers of counts are floats in a trainer's own words."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) >= 1 else float(f"{value:.4g}")
    return value


def _pace(summary: RankingSummary, state: str) -> list[str]:
    return [
        escape(summary.source),
        escape(summary.retriever),
        RANKER_NAMES[state],
        escape(summary.device),
        f"{summary.prompts_per_second:.2f}",
        f"{summary.tokens_per_second:,.0f}",
        f"{summary.cpu_seconds_per_prompt:.2f}",
        f"{summary.prompt_tokens:,.0f}",
    ]
