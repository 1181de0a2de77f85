"""What the report says of GPT4Rec and MamRec, which write queries that find items."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from ssm4rec.artifacts.estimate import normal_difference
from ssm4rec.artifacts.generations import GenerationRow, GenerationSummary
from ssm4rec.artifacts.names import METRICS, MOST_POPULAR, metric_name
from ssm4rec.report.document import Section
from ssm4rec.report.language_models import LanguageModels
from ssm4rec.report.markdown import MISSING, bullets, escape, plural, table, table_of
from ssm4rec.report.paper import PaperTable

_PRETRAINED: Final = {"gpt4rec": "GPT-2", "mamrec": "mamba2-130m"}

_NOTE: Final = (
    "Masked lists: a generator's queries find a short list of items that the user has not had yet; a target that is "
    "not in the list is missed. So these numbers compare with a full ranking whose history is masked, and not with one "
    "whose history is unmasked{papers}. most-popular is evaluated on the same "
    "users. Brackets hold 95% intervals over users (1.96 standard errors)."
)


def generator_headlines(models: LanguageModels) -> list[str]:
    """Return how each generator compares with most-popular on the same users."""
    lines = []
    for summary in models.generators:
        ours, popular = (_row(summary, model, "ndcg") for model in (summary.model, MOST_POPULAR))
        # Their standard errors are taken as independent, which for the same users is on the careful side.
        errors = [math.nan if row.standard_error is None else row.standard_error for row in (ours, popular)]
        found = normal_difference(ours.value - popular.value, math.hypot(*errors), summary.users)
        verdict = found.verdict("significantly better", "significantly worse")
        lines.append(
            f"{_named(summary)}, of this training, masked lists: NDCG@10 {ours.shown}, most-popular {popular.shown} on "
            f"the same {plural(summary.users, 'user')}: {verdict}, {found.stated()}."
        )
    return lines


def generator_cautions(models: LanguageModels) -> list[str]:
    """Return which generators are not what their names promise."""
    return [
        f"{_named(summary)} was trained from nothing ({escape(summary.source)}, {summary.parameters:,} parameters) "
        f"instead of being fine-tuned from {_PRETRAINED.get(summary.model, 'a pretrained model')}: its numbers say "
        "that the method runs, not how good it is."
        for summary in models.generators
        if summary.from_scratch
    ]


def generator_sections(models: LanguageModels, paper: PaperTable | None) -> list[Section]:
    """Return the section of the generators; empty when there are none."""
    if not models.generators:
        return []
    note = _NOTE.format(papers=", which is taken to be the paper's protocol" if paper else "")
    parts = [note, bullets([*generator_headlines(models), *generator_cautions(models)]), _metrics(models.generators)]
    if paper:
        parts += [
            "### This run | the paper",
            f"Next to Table {paper.number} ({paper.title}), whose protocol is not stated and taken to be unmasked; "
            "with the history masked numbers are higher, for orientation only. The paper prints tokens per second as "
            "these models' latency.",
            _beside_the_paper(models.generators, paper),
        ]
    parts += ["### Queries and pace", _pace(models.generators)]
    return [Section("GPT4Rec and MamRec", "\n\n".join(parts))]


def _named(summary: GenerationSummary) -> str:
    return f"{escape(summary.model)} seed {summary.seed}"


def _row(summary: GenerationSummary, model: str, metric: str) -> GenerationRow:
    name = metric_name(metric, 10)
    return next(row for row in summary.rows if (row.model, row.metric) == (model, name))


def _metrics(summaries: Sequence[GenerationSummary]) -> str:
    rows = []
    for summary in summaries:
        for model in (summary.model, MOST_POPULAR):
            cells = [_row(summary, model, metric).shown for metric in METRICS]
            name = _named(summary) if model == summary.model else f"{MOST_POPULAR}, the same users"
            source = escape(summary.source) if model == summary.model else MISSING
            rows.append([name, source, f"{summary.users:,} of {summary.users_in_split:,}, {summary.split}", *cells])
    header = ["Model", "Language model", "Users", "HIT@10, masked", "NDCG@10, masked", "MRR@10, masked"]
    return table(header, rows, text_columns=len(header))


def _beside_the_paper(summaries: Sequence[GenerationSummary], paper: PaperTable) -> str:
    printed = {row.model: row for row in paper.rows}
    metrics = [f"{metric}@10, {whose}" for metric in ("HIT", "NDCG", "MRR") for whose in ("this run, masked", "paper")]
    sizes = ["Parameters, this run", "Parameters, paper", "Tokens per second, this run", "Tokens per second, paper"]
    rows = []
    for summary in summaries:
        row = printed.get(summary.model)
        theirs = (row.hit_10, row.ndcg_10, row.mrr_10, row.parameters, row.latency) if row else (None,) * 5
        ours = [f"{_row(summary, summary.model, metric).value:.4f}" for metric in METRICS]
        ours += [f"{summary.parameters:,}", f"{summary.tokens_per_second:,.0f}"]
        pairs = zip(ours, theirs, strict=True)
        rows.append([_named(summary), *(cell or MISSING for pair in pairs for cell in pair)])
    return table(["Model", *metrics, *sizes], rows, text_columns=7)


def _pace(summaries: Sequence[GenerationSummary]) -> str:
    columns: dict[str, Callable[[GenerationSummary], str]] = {
        "Model": _named,
        "Device": lambda one: escape(one.device),
        "From": lambda one: "nothing" if one.from_scratch else "pretrained",
        "Parameters": lambda one: f"{one.parameters:,}",
        "Tokens per second": lambda one: f"{one.tokens_per_second:,.0f}",
        "Users per batch": lambda one: f"{one.batch:,}",
        "Queries per user": lambda one: f"{one.queries:,}",
        "k1": lambda one: f"{one.k1:g}",
        "b": lambda one: f"{one.b:g}",
    }
    paces = table_of(summaries, columns, text_columns=3)
    return f"{paces}\n\nk1 and b are BM25's, chosen on validation users after training."
