"""The head of a comparative study's report: which model is best, how sure that is, and what is served."""

import statistics
from collections import Counter
from typing import Final

from ssm4rec.artifacts.names import CUTOFFS, MASKED, METRICS, MOST_POPULAR, PROTOCOLS, UNMASKED, metric_name
from ssm4rec.artifacts.rankings import ALL_USERS, RETRIEVER, RETRIEVER_ORDER
from ssm4rec.report.comparison_sections import pair_row
from ssm4rec.report.document import Section
from ssm4rec.report.figures import COLOURS, INK, Figure, cells, drawing, whiskers
from ssm4rec.report.findings import SEEDS_FOR_A_SPREAD
from ssm4rec.report.markdown import bullets, escape, listed, metric_cell, plural, population
from ssm4rec.report.paper import PAPER
from ssm4rec.studies.comparative.findings import of_these_trainings, repeat_terms
from ssm4rec.studies.comparative.study import Study

_QUICK: Final = "quick"
_BASELINE: Final = "the best baseline, "


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
    if study.comparison and not study.smoke:
        text += (
            " Brackets hold 95% intervals over users. MDE, the minimum detectable effect: the smallest true difference "
            f"that a test on these users would find with a chance of {study.comparison.power:.0%}."
        )
    of_models = [] if study.smoke else further
    verdicts, also = _verdicts(study), [*_retrievers(study), *_unsaid(study)]
    lines = [*of_models, *verdicts, *also] if study.about_rankers else [*verdicts, _champion(study), *also, *of_models]
    return Section("In short", f"{text}\n\n{bullets(lines)}", (_picture(study),))


def _picture(study: Study) -> Figure:
    """Draw every model's NDCG@10 in both protocols, best first, and the baselines."""
    names = sorted([*study.models, *study.baselines], key=lambda name: _mean(study, name, UNMASKED))
    caption = (
        f"NDCG@10 of every model, best on top; filled circles: history unmasked{_papers(study)}, open squares: "
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
                )
                figure.rows.append((name, protocol, *cells(mean)))
            figure.axes.axvline(_mean(study, MOST_POPULAR, protocol), color=INK, linewidth=0.8, linestyle=":")
        figure.axes.set_yticks(range(len(names)), names)
        figure.axes.set_xlim(left=-0.02 * figure.axes.get_xlim()[1])  # a mark at 0 is whole
    return figure


def _papers(study: Study) -> str:
    """Return what to add to "history unmasked" where the paper has a table on the data set."""
    return " (the paper's protocol)" if study.manifest["dataset"] in PAPER else ""


def _verdicts(study: Study) -> list[str]:
    """Return what each protocol says; one line where all models have the same numbers in both."""
    if all(
        study.values(model, study.split, UNMASKED, name) == study.values(model, study.split, MASKED, name)
        for model in study.models
        for name in (metric_name(metric, cutoff) for metric in METRICS for cutoff in CUTOFFS)
    ):
        alike = "the models rank alike" if len(study.models) > 1 else "the model has the same numbers"
        return [_best(study, f"**Both protocols** ({alike} under both protocols here)", PROTOCOLS)]
    return [
        _best(study, f"**History unmasked**{_papers(study)}", (UNMASKED,)),
        _best(study, "**History masked**", (MASKED,)),
    ]


def _best(study: Study, words: str, protocols: tuple[str, ...]) -> str:
    """Say which model is best in protocols that give all models the same numbers, and how the baselines do in each."""
    first = protocols[0]
    ordered = sorted(study.models, key=lambda model: -_mean(study, model, first))
    top = f"**{escape(ordered[0])}** with {', '.join(_metrics_of(study, ordered[0], first))}"
    popular = _by_protocol({one: ", ".join(_metrics_of(study, MOST_POPULAR, one)) for one in protocols})
    ahead = _ahead(study, ordered[0], protocols)
    if study.smoke:
        highest = f"that of {ahead}; of the models that of {top}" if ahead else f"that of {top}"
        return f"{words}: nothing is judged. The highest NDCG@10 is {highest}; {MOST_POPULAR} has {popular}."
    verdict = "the only model is" if len(ordered) == 1 else "best by NDCG@10 is"
    if ahead:
        verdict = f"best of all by NDCG@10: {ahead}; best trained model:"
    against = _by_protocol({one: _against_baselines(study, one) for one in protocols})
    return (
        f"{words}: {verdict} {top}; {MOST_POPULAR} has {popular}."
        f"{_how_sure(study, ordered, protocols)} By NDCG@10, {against}."
    )


def _ahead(study: Study, model: str, protocols: tuple[str, ...]) -> str:
    """Return the best baseline and its NDCG@10 where it is above the best model; "" where it is in no protocol."""
    found = {}
    for protocol in protocols:
        baseline = _best_baseline(study, protocol)
        if (reached := _mean(study, baseline, protocol)) > _mean(study, model, protocol):
            found[protocol] = f"**{baseline}** (a baseline), {reached:.4f}"
    if not found:
        return ""
    where = "" if len(found) == len(protocols) else f" with the history {next(iter(found))}"
    return f"{_by_protocol(found)}{where}"


def _by_protocol(said: dict[str, str]) -> str:
    """Return what is said of protocols, by their names; once where it is the same, or only the baseline differs."""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    first, *others = [
        f"{words[:-1]}; history {protocol})" if words.endswith(")") else f"{words} (history {protocol})"
        for protocol, words in said.items()
    ]
    beginning = "".join(first.partition(_BASELINE)[:2])
    if all(_BASELINE in one and one.startswith(beginning) for one in others):
        return " and ".join([first, *(one.removeprefix(beginning) for one in others)])
    return "; ".join([first, *others])


def _best_baseline(study: Study, protocol: str) -> str:
    return max(study.baselines, key=lambda name: _mean(study, name, protocol))


def _metrics_of(study: Study, model: str, protocol: str) -> list[str]:
    """Return a model's three metrics at 10 as they stand in a sentence."""
    return [
        f"{metric.upper()} {metric_cell(study.values(model, study.split, protocol, metric))}"
        for metric in ("hit@10", "ndcg@10", "mrr@10")
    ]


def _how_sure(study: Study, ordered: list[str], protocols: tuple[str, ...]) -> str:
    """Say how sure it is that the best model is better than the one after it.

    Of several protocols that give the models the same numbers, the one with the largest corrected p: Holm's correction
    takes in most-popular's pairs, whose numbers differ.
    """
    if study.comparison is None or len(ordered) < 2:
        return ""
    first, second = ordered[:2]
    found = []
    for protocol in protocols:
        if row := pair_row(study.comparison, first, second, protocol, "ndcg@10"):
            found.append(row.difference)
        elif row := pair_row(study.comparison, second, first, protocol, "ndcg@10"):
            found.append(row.difference.reversed())
    if not found:
        return ""
    difference = max(found, key=lambda one: (not one.sign, one.p_holm or 0.0))
    verdict = difference.verdict("significant", "significantly negative")
    whose = f"{escape(second)}{of_these_trainings(study, first, second)}"
    larger = " (the larger of the two protocols')" if len({one.p_holm for one in found}) > 1 else ""
    return f" Its lead over the next, {whose}: {verdict}, NDCG@10 {difference.stated()}{larger}."


def _against_baselines(study: Study, protocol: str) -> str:
    """Say which models are not above the best baseline of a protocol: by the test of the pair, if there is one."""
    best = _best_baseline(study, protocol)
    reached = _mean(study, best, protocol)
    signs = {model: _sign(study, model, best, protocol) for model in study.models}
    tested = [sign for sign in signs.values() if sign is not None]
    above = "significantly above" if tested else "above"
    short = [
        escape(model)
        for model, sign in signs.items()
        if (sign or 0) <= 0 and (tested or _mean(study, model, protocol) <= reached)
    ]
    baseline = f"{_BASELINE}{best} ({reached:.4f}{'' if tested else '; not tested'})"
    if tested:
        baseline += of_these_trainings(study, *study.models)
    if not short:
        who = "every model" if len(study.models) > 1 else listed([*map(escape, study.models)])
        return f"{who} is {above} {baseline}"
    return f"{listed(short)} {'is' if len(short) == 1 else 'are'} **not** {above} {baseline}"


def _sign(study: Study, model: str, baseline: str, protocol: str) -> int | None:
    """Return 1 where a model is significantly above a baseline, -1 below, 0 neither; None: not tested."""
    if study.comparison is None:
        return None
    if row := pair_row(study.comparison, model, baseline, protocol, "ndcg@10"):
        return row.difference.sign
    row = pair_row(study.comparison, baseline, model, protocol, "ndcg@10")
    return None if row is None else -row.difference.sign


def _retrievers(study: Study) -> list[str]:
    """Say of each retriever of the language models that is not compared how it did, and how to make it compete."""
    runs = {run.finetuned.retriever: run for run in study.language_models.rankers}
    best = max(study.models, key=lambda model: _mean(study, model, MASKED))
    lines = []
    for name, run in runs.items():
        model, facts = name.partition(" ")[0], run.finetuned
        if model in study.models or facts.split != study.split:
            continue
        found = run.estimate(run.row(RETRIEVER, RETRIEVER_ORDER, ALL_USERS, "ndcg@10")).text()
        drawn = "" if facts.ranked == facts.found else f", estimated from {facts.ranked:,} of the {facts.found:,} found"
        how = f"MODELS={escape(','.join([*study.models, model]))}"
        lines.append(
            f"**Not compared**: {escape(name)}, trained as the retriever of the language models, is not one of the "
            f"compared models. With the history masked it has NDCG@10 {found} over {plural(facts.users, 'user')}"
            f"{drawn}; {escape(best)}, the highest of the compared models there, has {_mean(study, best, MASKED):.4f} "
            "(the two were not tested against each other)."
            + ("" if study.about_rankers else f" {how} makes it compete, and be offered as champion.")
        )
    return lines


def _champion(study: Study) -> str:
    """Say which training is offered for serving, by the rule of ``registry/champion.py``, and what became of it."""
    chosen = min(study.trainings, key=lambda one: (-one.training["validation_ndcg@10"], one.model, one.seed))
    if chosen.profile == "smoke":
        return (
            f"**No new champion**: {escape(chosen.model)} seed {chosen.seed}, highest by validation, stays without the "
            "alias champion: trained with profile smoke. A champion of an earlier run stays as it is."
        )
    validated = f"NDCG@10 {chosen.training['validation_ndcg@10']:.4f} (history unmasked; test targets decide nothing)"
    best = f"**{escape(chosen.model)} seed {chosen.seed}**, {validated}"
    name, tracked = f"ssm4rec-{study.manifest['dataset']}", "With MLFLOW_TRACKING_URI set to the store, "
    champions = f"{_serving(f'models:/{name}@champion')} serves whichever is champion."
    known = study.registration
    if known is None:
        return (
            f"**This run's best by validation**: {best}, offered as champion of {escape(name)} in MLflow. This report "
            "was made without `registration.json`: the run's last lines and the log of register_champion say whether "
            f"the model was registered, or why not. {tracked}{champions}"
        )
    outcome = f"this run's best by validation: {best}, {escape(known.outcome)}."
    if known.champion:
        return f"**Champion**: {outcome} {tracked}{champions}"
    if known.version:
        own = _serving(f"models:/{name}/{known.version}")
        return f"**Not champion**: {outcome} {tracked}{own} serves this one, {champions}"
    return f"**Not registered**: {outcome} {_serving('champion')} in the study's folder serves it."


def _serving(model: str) -> str:
    """Return the command that serves an MLflow model."""
    return f"`mlflow models serve -m {escape(model)} --env-manager local -p 5001`"


def _unsaid(study: Study) -> list[str]:
    """Return what this run cannot say, in one line; nothing where there is nothing of the kind."""
    if study.smoke:
        return ["**This run cannot say** anything about the models: profile smoke trains for seconds."]
    reasons = []
    if any(summary.profile == _QUICK for summary in study.models.values()):
        reasons.append("what the models reach when they are tuned and trained longer: profile quick trains for minutes")
    few = [model for model in study.models if len(study.seeds(model)) < SEEDS_FOR_A_SPREAD]
    kinds = Counter(run.kind for run in study.language_models.rankers)
    few += [source for (source, *_), seeds in sorted(kinds.items()) if seeds < SEEDS_FOR_A_SPREAD]
    if few:
        reasons.append(
            f"how the numbers of {listed([*map(escape, dict.fromkeys(few))])} vary between trainings: fewer than three "
            "seeds, so verdicts are of these trainings"
        )
    if not study.comparison:
        reasons.append("how sure the differences are: the models were not compared user by user")
    return [f"**This run cannot say** {'; nor '.join(reasons)}."] if reasons else []


def _seed_list(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"


def _mean(study: Study, model: str, protocol: str) -> float:
    return statistics.mean(study.values(model, study.split, protocol, "ndcg@10"))
