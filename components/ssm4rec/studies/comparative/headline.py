"""The head of a comparative study's report: which model is best, how sure that is, and what is served."""

import statistics
from typing import Final

from ssm4rec.artifacts.names import MASKED, MOST_POPULAR, PROTOCOLS, UNMASKED
from ssm4rec.report.comparison_sections import pair_row
from ssm4rec.report.document import Section
from ssm4rec.report.figures import COLOURS, INK, Figure, cells, drawing, whiskers
from ssm4rec.report.markdown import bullets, escape, listed, metric_cell, plural, population
from ssm4rec.studies.comparative.findings import SEEDS_FOR_A_SPREAD, repeat_terms
from ssm4rec.studies.comparative.study import Study

_PROTOCOL_WORDS: Final = {UNMASKED: "**History unmasked** (the paper's protocol)", MASKED: "**History masked**"}
_QUICK: Final = "quick"


def headline_section(study: Study, further: list[str]) -> Section:
    """Return what the study found, in a picture and few lines; ``further`` ones are of language models."""
    first = study.trainings[0]
    models = listed([f"{escape(model)} ({_seed_list(study.seeds(model))})" for model in study.models])
    profiles = sorted({summary.profile for summary in study.models.values()})
    noun = "profile" if len(profiles) == 1 else "profiles"
    text = (
        f"This study trained {models} on the data set {escape(first.dataset)} with the {noun} "
        f"{listed([escape(profile) for profile in profiles])}. For each of {population(first.users, first.targets)} "
        f"({study.split} split), every model ranked all {plural(first.items, 'item')} by how likely each is the next. "
        f"{repeat_terms(study)}"
    )
    if any(len(study.seeds(model)) > 1 for model in study.models):
        text += " A ± is the standard deviation over seeds."
    if study.comparison:
        text += (
            " Brackets hold 95% intervals over users. MDE, the minimum detectable effect: the smallest true difference "
            f"that a test on these users would find with a chance of {study.comparison.power:.0%}."
        )
    lines = [*(_best(study, protocol) for protocol in PROTOCOLS), _champion(study), *_unsaid(study), *further]
    return Section("In short", f"{text}\n\n{bullets(lines)}", (_picture(study),))


def _picture(study: Study) -> Figure:
    """Draw every model's NDCG@10 in both protocols, best first, and the baselines."""
    names = sorted([*study.models, *study.baselines], key=lambda name: _mean(study, name, UNMASKED))
    caption = (
        "NDCG@10 of every model, best on top; filled circles: history unmasked (the paper's protocol), open squares: "
        "masked. Grey: baselines, of which the dotted lines are most-popular."
        + (" Bars: 95% intervals over users." if study.comparison else "")
    )
    columns = ("model", "protocol", "ndcg@10", "low", "high")
    height = 1.4 + 0.3 * len(names)
    with drawing("models", caption, columns, ("NDCG@10", ""), height=height, legend_columns=2) as figure:
        for protocol, marker, shift in ((UNMASKED, "o", 0.12), (MASKED, "s", -0.12)):
            for place, name in enumerate(names):
                mean = study.estimate(name, protocol, "ndcg@10")
                figure.axes.errorbar(
                    [mean.value],
                    [place + shift],
                    xerr=whiskers([mean]),
                    fmt=marker,
                    color=COLOURS[0 if name in study.models else -1],
                    markerfacecolor=None if protocol == UNMASKED else "none",
                    label=f"history {protocol}" if place == len(names) - 1 else None,
                    capsize=2,
                    markersize=5,
                    linewidth=1.2,
                    clip_on=False,  # a mark at 0 is whole
                )
                figure.rows.append((name, protocol, *cells(mean)))
            figure.axes.axvline(_mean(study, MOST_POPULAR, protocol), color=INK, linewidth=0.8, linestyle=":")
        figure.axes.set_yticks(range(len(names)), names)
        figure.axes.set_xlim(left=0)
    return figure


def _best(study: Study, protocol: str) -> str:
    ordered = sorted(study.models, key=lambda model: -_mean(study, model, protocol))
    verdict = "the only model is" if len(ordered) == 1 else "best by NDCG@10 is"
    popular = ", ".join(_metrics_of(study, MOST_POPULAR, protocol))
    return (
        f"{_PROTOCOL_WORDS[protocol]}: {verdict} **{escape(ordered[0])}** with "
        f"{', '.join(_metrics_of(study, ordered[0], protocol))}; {MOST_POPULAR} has {popular}."
        f"{_how_sure(study, ordered, protocol)} {_not_beaten(study, protocol)}"
    )


def _metrics_of(study: Study, model: str, protocol: str) -> list[str]:
    """Return a model's three metrics at 10 as they stand in a sentence."""
    return [
        f"{metric.upper()} {metric_cell(study.values(model, study.split, protocol, metric))}"
        for metric in ("hit@10", "ndcg@10", "mrr@10")
    ]


def _how_sure(study: Study, ordered: list[str], protocol: str) -> str:
    """Say how sure it is that the best model is better than the one after it."""
    if study.comparison is None or len(ordered) < 2:
        return ""
    first, second = ordered[:2]
    if row := pair_row(study.comparison, first, second, protocol, "ndcg@10"):
        difference = row.difference
    elif row := pair_row(study.comparison, second, first, protocol, "ndcg@10"):
        difference = row.difference.reversed()
    else:
        return ""
    verdict = difference.verdict("significant", "significantly negative")
    return f" Its lead over the next, {escape(second)}: {verdict}, NDCG@10 {difference.stated()}."


def _not_beaten(study: Study, protocol: str) -> str:
    """Say which models do not beat the best baseline of a protocol."""
    best = max(study.baselines, key=lambda name: _mean(study, name, protocol))
    reached = _mean(study, best, protocol)
    short = [escape(model) for model in study.models if _mean(study, model, protocol) <= reached]
    if not short:
        return f"By NDCG@10, every model beats the best baseline, {best} ({reached:.4f})."
    verb = "does" if len(short) == 1 else "do"
    return f"By NDCG@10, {listed(short)} {verb} **not** beat the best baseline, {best} ({reached:.4f})."


def _champion(study: Study) -> str:
    """Say which training is registered for serving, by the rule of ``registry/champion.py``."""
    chosen = min(study.trainings, key=lambda one: (-one.training["validation_ndcg@10"], one.model, one.seed))
    name = escape(f"ssm4rec-{study.manifest['dataset']}")
    served = (
        "It becomes the champion unless an earlier one was better on the same data (the run's last lines say which); "
        f"with MLFLOW_TRACKING_URI set to the store, `mlflow models serve -m models:/{name}@champion --env-manager "
        "local -p 5001` serves the champion."
    )
    if chosen.profile == "smoke":
        served = "One of profile smoke never becomes the champion that is served."
    return (
        f"**To be served**: **{escape(chosen.model)} seed {chosen.seed}**, the best by validation NDCG@10 "
        f"({chosen.training['validation_ndcg@10']:.4f}, history unmasked; test targets decide nothing), registered in "
        f"MLflow as {name}. {served}"
    )


def _unsaid(study: Study) -> list[str]:
    """Return what this run cannot say, in one line; nothing where there is nothing of the kind."""
    reasons = []
    if any(summary.profile == "smoke" for summary in study.models.values()):
        reasons.append("anything about the models: profile smoke trains for seconds")
    if any(summary.profile == _QUICK for summary in study.models.values()):
        reasons.append("what the models reach when they are tuned and trained longer: profile quick trains for minutes")
    if any(len(study.seeds(model)) < SEEDS_FOR_A_SPREAD for model in study.models):
        reasons.append("how numbers vary between trainings: fewer than three seeds, so verdicts are of these trainings")
    if not study.comparison:
        reasons.append("how sure the differences are: the models were not compared user by user")
    return [f"**This run cannot say** {'; nor '.join(reasons)}."] if reasons else []


def _seed_list(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"


def _mean(study: Study, model: str, protocol: str) -> float:
    return statistics.mean(study.values(model, study.split, protocol, "ndcg@10"))
