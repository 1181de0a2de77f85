"""The tables that only a comparative study's report has: its recommenders next to the paper's, and every metric."""

from typing import Final

from ssm4rec.artifacts.names import CUTOFFS, METRICS, UNMASKED, metric_name
from ssm4rec.report.markdown import MISSING, escape, metric_cell, plural, table
from ssm4rec.report.paper import PaperTable
from ssm4rec.studies.comparative.study import Study

NOT_TRAINED: Final = "not trained"


def paper_comparison(study: Study, paper: PaperTable) -> str:
    """Return "this run | the paper": all the paper's rows, then what only this run has; history unmasked.

    Of language models it says that they are there: their protocols are others, and their numbers in other tables.
    """
    columns = [f"{metric}, {whose}" for metric in ("HIT@10", "NDCG@10", "MRR@10") for whose in ("this run", "paper")]
    header = ["Model", "Trained here", *columns]
    rows = []
    for row in paper.rows:
        ours = _paper_metrics(study, row.model)
        printed = (row.hit_10, row.ndcg_10, row.mrr_10)
        cells = [cell or MISSING for pair in zip(ours, printed, strict=True) for cell in pair]
        rows.append([row.model, _trained(study, row.model), *cells])
    in_paper = {row.model for row in paper.rows}
    for model in (*(model for model in study.models if model not in in_paper), *study.baselines):
        cells = [cell for metric in _paper_metrics(study, model) for cell in (metric, MISSING)]
        rows.append([escape(model), "baseline" if model in study.baselines else _trained(study, model), *cells])
    # Aligned left, the decimal points of metrics with and without ± stand in one column.
    return table(header, rows, text_columns=len(header))


def parameter_comparison(study: Study, paper: PaperTable) -> str:
    """Return the sizes of the models beside the paper's, and the latencies that the paper prints."""
    header = ["Model", "Parameters, this run", "paper", "Without embeddings, this run", "paper", "Latency, paper"]
    printed = {row.model: row for row in paper.rows}
    rows = []
    for model in (*printed, *(model for model in study.models if model not in printed)):
        row, trained = printed.get(model), study.models.get(model)
        elsewhere = study.language_models.size(model)
        rows.append(
            [
                escape(model),
                f"{trained.parameters:,}" if trained else escape(elsewhere or NOT_TRAINED),
                row.parameters if row else MISSING,
                f"{trained.parameters_without_embeddings:,}" if trained else MISSING if elsewhere else NOT_TRAINED,
                (row and row.parameters_without_embeddings) or MISSING,
                (row and row.latency) or MISSING,
            ]
        )
    return table(header, rows)


def this_run(study: Study) -> str:
    """Return the paper's metrics (history unmasked) and sizes of this run alone, for a data set not in the paper."""
    rows = [
        [
            escape(model),
            _trained(study, model),
            *_paper_metrics(study, model),
            f"{summary.parameters:,}",
            f"{summary.parameters_without_embeddings:,}",
        ]
        for model, summary in study.models.items()
    ]
    rows += [[name, "baseline", *_paper_metrics(study, name), MISSING, MISSING] for name in study.baselines]
    header = ["Model", "Trained here", "HIT@10", "NDCG@10", "MRR@10", "Parameters", "Without embeddings"]
    return table(header, rows, text_columns=5)


def all_metrics(study: Study, split: str, protocol: str) -> str:
    """Return every metric at every cutoff, a row each, of every model and baseline, in one protocol."""
    models = [*study.models, *study.baselines]
    header = ["Metric", *map(escape, models)]
    rows = [["Seeds", *(str(len(study.seeds(model)) or MISSING) for model in models)]]
    rows += [
        [name.upper(), *(metric_cell(study.values(model, split, protocol, name)) for model in models)]
        for name in (metric_name(metric, cutoff) for metric in METRICS for cutoff in CUTOFFS)
    ]
    return table(header, rows, text_columns=len(header))


def _trained(study: Study, model: str) -> str:
    if seeds := study.seeds(model):
        return plural(len(seeds), "seed")
    if seeds := study.language_models.seeds(model):
        return f"{plural(len(seeds), 'seed')}, own protocol: below"
    return NOT_TRAINED


def _paper_metrics(study: Study, model: str) -> list[str]:
    """Return HIT@10, NDCG@10 and MRR@10 of this run with the history unmasked, the paper's protocol."""
    values = [study.values(model, study.split, UNMASKED, metric_name(metric, 10)) for metric in METRICS]
    return [metric_cell(seeds) if seeds else MISSING for seeds in values]
