"""The sentences of the report that depend on its numbers."""

import datetime
import statistics
from collections.abc import Sequence
from typing import Any, Final

from ssm4rec.artifacts.names import MASKED, PROTOCOLS, UNMASKED
from ssm4rec.data.event_order import EXACT, RANDOM_TIES, RECBOLE
from ssm4rec.report.markdown import bullets, escape, listed, metric_cell, plural, population
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.study import Study

_SEEDS_FOR_A_SPREAD: Final = 3
_PROTOCOL_WORDS: Final = {UNMASKED: "History unmasked (the paper's protocol)", MASKED: "History masked"}
_MANY_TIES: Final = 0.1
_MANY_REPEATS: Final = 0.1
_USERS_FOR_AN_INTERVAL: Final = 30
_ORDER_WORDS: Final = {
    EXACT: "Order `exact`: by time, events of equal times as in the file.",
    RECBOLE: "Order `recbole`: by time in float32 seconds, as RecBole has it, events of equal times as in the file.",
    RANDOM_TIES: "Order `random-ties`: by time, events of equal times in a random order.",
}
_TIME_TARGETS: Final = {
    "successive": "Every event of a user from then on is a target, with all events before it as its history. A metric "
    "is the mean over these targets; intervals and tests draw whole users with all their targets. Of a history longer "
    "than its window a model reads the last items, at least as many as half the window holds.",
    "last": "A user's target is their last event from then on, the history all before it.",
    "random": "A user's target is one of their events from then on, drawn at random, the history all before it.",
    "first": "A user's target is their first event from then on, the history all before it.",
}
PROFILE_CAUTIONS: Final = {
    "smoke": "trains for seconds, to see that everything works: the numbers say nothing about the models",
    "quick": "trains for minutes on a CPU: real data and honest numbers, of models that are untuned or under-trained",
}


def headline(study: Study) -> str:
    """Return what was studied and which model came out best in each protocol, next to the baselines."""
    first = study.trainings[0]
    models = listed([f"{escape(model)} ({_seed_list(study.seeds(model))})" for model in study.models])
    profiles = sorted({summary.profile for summary in study.models.values()})
    noun = "profile" if len(profiles) == 1 else "profiles"
    lines = [
        f"This study trained {models} on the data set {escape(first.dataset)} with the {noun} "
        f"{listed([escape(profile) for profile in profiles])}. For each of {population(first.users, first.targets)} "
        f"({study.split} split), every model ranked all {plural(first.items, 'item')} by how likely each is the next. "
        f"{_repeat_terms(study)}",
        "",
    ]
    return "\n".join([*lines, bullets([_best(study, protocol) for protocol in PROTOCOLS])])


def cautions(study: Study, further: Sequence[str] = ()) -> str:
    """Return plainly what is under-trained, what the number of seeds cannot tell, and ``further`` cautions."""
    lines = []
    for profile, caution in PROFILE_CAUTIONS.items():
        models = [escape(model) for model, summary in study.models.items() if summary.profile == profile]
        if models:
            lines.append(f"Profile {profile} ({listed(models)}) {caution}.")
    lines += refitted(study)
    order = study.manifest["event_order"]
    if order["targets_in_ties"] > _MANY_TIES:
        lines.append(
            f"The order of ties decides much here: {order['targets_in_ties']:.0%} of the test targets have the time of "
            f"another event of their user. These numbers are of the order {order['name']} and compare only with "
            "numbers of the same order."
        )
    if order["targets_that_repeat"] > _MANY_REPEATS:
        lines.append(
            f"{order['targets_that_repeat']:.0%} of the test targets are an item that their user had before. With the "
            "history masked such a target counts as missed: those numbers are of new items alone."
        )
    lines += few_users(study.trainings[0].users)
    unfinished = [escape(model) for model in study.models if ran_out_of_epochs(study, model)]
    if unfinished:
        lines.append(
            f"Under-trained: {listed(unfinished)}. Training ended because its epochs ran out, and the best epoch was "
            "among the last two: more epochs may give better numbers."
        )
    few = [
        f"{escape(model)} ({len(study.seeds(model))})"
        for model in study.models
        if len(study.seeds(model)) < _SEEDS_FOR_A_SPREAD
    ]
    if few:
        lines.append(
            f"Fewer than three seeds say nothing about the spread between seeds: {listed(few)}. A difference between "
            "two models may be chance."
        )
    lines += other_copies(study)
    if not lines:
        lines = ["No recommender was still improving when its training ended, and each has at least three seeds."]
    return bullets([*lines, *further])


def few_users(users: int) -> list[str]:
    """Return what intervals by the bootstrap over so few users are worth; nothing if there are enough."""
    if users >= _USERS_FOR_AN_INTERVAL:
        return []
    return [
        f"{plural(users, 'user')} {'has' if users == 1 else 'have'} test targets: intervals and tests draw whole "
        "users, and of so few they are too narrow."
    ]


def refitted(study: Study) -> list[str]:
    """Return which models were trained on the validation items at last, which few others do."""
    models = [escape(model) for model, one in study.models.items() if one.recipe["training"].get("refit")]
    if not models:
        return []
    return [
        f"Trained on the validation items, too, once these had chosen the epoch (`training.refit`): {listed(models)}. "
        "That is another protocol than the usual one, the paper's and RecBole's: their numbers do not compare with "
        "published ones, nor with those of models without it."
    ]


def other_copies(study: Study) -> list[str]:
    """Return which files of the data have another checksum than the published ones."""
    return [
        f"The data may not be the published ones: {escape(source['file'])} has another checksum (md5 {source['md5']}) "
        "than the published one and was accepted as it is."
        for source in study.manifest["sources"]
        if source["checksum"] == "accepted unverified"
    ]


def comparability(study: Study, paper: PaperTable) -> str:
    """Return whether data and split are the paper's, which comes before any comparison of metrics."""
    lines = []
    ours: dict[str, int] = study.manifest["recbole_counts"]
    printed = {"users": paper.counts.users, "items": paper.counts.items, "interactions": paper.counts.interactions}
    different = [
        f"{ours[noun]:,} {noun} here, {printed[noun]:,} there" for noun in printed if ours[noun] != printed[noun]
    ]
    if different:
        lines.append(
            f"The data are not the paper's: counted as RecBole counts, {listed(different)} (Table 4). Its metrics "
            "stand beside ours for orientation only."
        )
    else:
        lines.append("The data have the counts of the paper's Table 4.")
    if study.manifest["split"]["name"] != "leave-one-out" or study.split != "test":
        lines.append(
            f"This run's numbers are on the {study.split} targets of the split "
            f"{escape(str(study.manifest['split']['name']))}, not on each user's last item as in leave-one-out, so "
            "they cannot be compared with the paper's."
        )
    return " ".join(lines)


def other_order(order: str, paper: PaperTable) -> str:
    """Return why the paper's numbers do not stand next to those of this run."""
    return (
        f"The paper's Table {paper.number} was made with RecBole, whose order of events is another than this run's "
        f"({escape(order)}): another item is the target of many users. So the two do not stand next to each other; "
        "EVENT_ORDER=recbole (and GLOBAL_TIME=none) makes the study that compares."
    )


def event_order(facts: dict[str, Any]) -> str:
    """Return in which order events stand whose times tie, and what hangs on it."""
    alike = facts["pairs_in_one_order"]
    leak = (
        ""
        if alike is None
        else f" Of two users whose ties hold the same two items, {alike:.1%} have them in the same order: 50% is "
        "chance, and what is above it gives the next item away."
    )
    return (
        f"{_ORDER_WORDS[facts['name']]} {facts['neighbours_that_tie']:.1%} of the events next to each other tie.{leak} "
        f"{facts['targets_in_ties']:.1%} of the test targets tie with another event of their user, "
        f"{facts['targets_that_repeat']:.1%} are an item that the user had before."
    )


def time_split(split: dict[str, Any]) -> str:
    """Return where global-time cuts, and which events of a user are targets, from a manifest's ``split``."""
    return (
        f"Training ends before {_moment(split['validation_from'])}, the test begins at {_moment(split['test_from'])}. "
        f"{_TIME_TARGETS[split['time_target']]}"
    )


def sequence_lengths(study: Study) -> str:
    """Return how long the users' sequences are."""
    length: dict[str, Any] = study.manifest["sequence_length"]
    return (
        f"A user's sequence holds {length['mean']:,.1f} items on average, {length['median']:,g} in the median and "
        f"{length['maximum']:,} at most."
    )


def missing_curves(study: Study) -> str:
    """Return which trainings have no learning curve; empty when all have one."""
    without = [
        f"{escape(evaluation.model)} seed {evaluation.seed}"
        for evaluation in study.trainings
        if (evaluation.model, evaluation.seed) not in study.curves
    ]
    return f"No learning curve was given of {listed(without)}." if without else ""


def _repeat_terms(study: Study) -> str:
    having = [escape(model) for model, summary in study.models.items() if summary.recipe["model"].get("repeat_term")]
    if not having:
        return "None of them has a repeat term, the learned number for items that a user had."
    which = (
        "All have" if len(having) == len(study.models) else f"{listed(having)} {'has' if len(having) == 1 else 'have'}"
    )
    return f"{which} a repeat term: one learned number that is added to the scores of items that the user had."


def _seed_list(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"


def _mean(study: Study, model: str, protocol: str) -> float:
    return statistics.mean(study.values(model, study.split, protocol, "ndcg@10"))


def _numbers(study: Study, model: str, protocol: str) -> str:
    hit, ndcg, mrr = (
        metric_cell(study.values(model, study.split, protocol, metric)) for metric in ("hit@10", "ndcg@10", "mrr@10")
    )
    return f"HIT@10 {hit}, NDCG@10 {ndcg}, MRR@10 {mrr}"


def _best(study: Study, protocol: str) -> str:
    best = max(study.models, key=lambda model: _mean(study, model, protocol))
    verdict = "best by NDCG@10 is"
    if len(study.models) == 1:
        verdict = "the only model is"
    baselines = "; ".join(f"{name} has {_numbers(study, name, protocol)}" for name in study.baselines)
    return (
        f"{_PROTOCOL_WORDS[protocol]}: {verdict} **{escape(best)}** with {_numbers(study, best, protocol)}; "
        f"{baselines}. {_not_beaten(study, protocol)}"
    )


def _not_beaten(study: Study, protocol: str) -> str:
    """Say which models do not beat the best baseline of a protocol."""
    best = max(study.baselines, key=lambda name: _mean(study, name, protocol))
    reached = _mean(study, best, protocol)
    short = [escape(model) for model in study.models if _mean(study, model, protocol) <= reached]
    if not short:
        return f"By NDCG@10, every model beats the best baseline, {best}."
    verb = "does" if len(short) == 1 else "do"
    return f"By NDCG@10, {listed(short)} {verb} not beat the best baseline, {best}."


def ran_out_of_epochs(study: Study, model: str) -> bool:
    """Return whether a training ended because its epochs ran out, with the best epoch among the last two."""
    return any(
        evaluation.training["stopped"] == "epochs"
        and evaluation.training["best_epoch"] >= evaluation.training["epochs"] - 1
        for evaluation in study.trainings
        if evaluation.model == model
    )


def _moment(milliseconds: int) -> str:
    return f"{datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
