"""The sentences of a comparative study's report that depend on its numbers."""

import datetime
from collections.abc import Sequence
from typing import Any, Final

from ssm4rec.artifacts.names import LEAVE_ONE_OUT
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.report.findings import (
    MANY,
    PROFILE_CAUTIONS,
    SEEDS_FOR_A_SPREAD,
    comparability,
    other_copies,
    other_data,
    ran_out_of_epochs,
    tie_cautions,
)
from ssm4rec.report.markdown import bullets, escape, listed, plural
from ssm4rec.report.paper import PAPER, PaperTable
from ssm4rec.report.recommenders import Recommenders

_USERS_FOR_AN_INTERVAL: Final = 30
_TIME_TARGETS: Final = {
    "successive": "Every event of a user from then on is a target, with all events before it as its history. A metric "
    "is the mean over these targets; intervals and tests draw whole users with all their targets. Of a history longer "
    "than its window a model reads the last items, at least as many as half the window holds.",
    "last": "A user's target is their last event from then on, the history all before it.",
    "random": "A user's target is one of their events from then on, drawn at random, the history all before it.",
    "first": "A user's target is their first event from then on, the history all before it.",
}


def cautions(study: Recommenders, further: Sequence[str] = ()) -> str:
    """Return plainly what is under-trained, what the number of seeds cannot tell, and ``further`` cautions."""
    lines = []
    for profile, caution in PROFILE_CAUTIONS.items():
        models = [escape(model) for model, summary in study.models.items() if summary.profile == profile]
        if models:
            lines.append(f"Profile {profile} ({listed(models)}) {caution}.")
    lines += [
        f"{step['after']['users']:,} of {step['before']['users']:,} users were drawn by chance (DRAW_USERS): all "
        "numbers are of these and of their items."
        for step in study.manifest["filters"]
        if step["filter"] == "draw-users" and step["after"]["users"] < step["before"]["users"]
    ]
    refitted = [escape(model) for model, one in study.models.items() if one.recipe["training"].get("refit")]
    if refitted:
        usual = "the paper's and RecBole's" if study.manifest["dataset"] in PAPER else "RecBole's"
        lines.append(
            "Trained on the validation items, too, once these had chosen the epoch (`training.refit`): "
            f"{listed(refitted)}. That is another protocol than the usual one, {usual}: their "
            "numbers do not compare with published ones, nor with those of models without it."
        )
    order = study.manifest["event_order"]
    lines += tie_cautions(order)
    if order["targets_that_repeat"] > MANY:
        lines.append(
            f"{order['targets_that_repeat']:.0%} of the test targets are an item that their user had before. With the "
            "history masked such a target counts as missed: those numbers are means over all targets, of which a "
            "model can only hit those that are new to their user."
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
        if len(study.seeds(model)) < SEEDS_FOR_A_SPREAD
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


def alone(recommenders: Recommenders, paper: PaperTable | None) -> str:
    """Return why the paper's numbers do not stand next to those of this run; nothing if they do, or there are none."""
    if paper is None:
        return ""
    order = recommenders.manifest["event_order"]["name"]
    if order != RECBOLE:
        return (
            f"The paper's Table {paper.number} was made with RecBole, whose order of events is another than this run's "
            f"({escape(order)}): another item is the target of many users. So the two do not stand next to each other; "
            "EVENT_ORDER=recbole (and GLOBAL_TIME=none) makes the study that compares."
        )
    other = other_data(recommenders.manifest, paper)
    if not other and (recommenders.splitting, recommenders.split) == (LEAVE_ONE_OUT, "test"):
        return ""
    return (
        f"{comparability(recommenders, paper)} So the paper's Table {paper.number} does not stand next to this run's "
        f"numbers{f': {other}' if other else ''}."
    )


def of_these_trainings(study: Recommenders, *models: str) -> str:
    """Return what qualifies a verdict on models whose intervals are over users and whose seeds are too few to vary.

    Baselines among them have no training.
    """
    few = any(len(study.seeds(model)) < SEEDS_FOR_A_SPREAD for model in models if model in study.models)
    return ", of these trainings" if few else ""


def repeat_terms(study: Recommenders) -> str:
    """Return which of the models have a repeat term."""
    having = [escape(model) for model, summary in study.models.items() if summary.recipe["model"].get("repeat_term")]
    what = "a repeat term: one learned number that is added to the scores of items that the user had."
    if having and len(having) == len(study.models) > 1:
        return f"All have {what}"
    if having:
        return f"{listed(having)} {'has' if len(having) == 1 else 'have'} {what}"
    who = escape(next(iter(study.models))) + " has no" if len(study.models) == 1 else "None of them has a"
    return f"{who} repeat term, the learned number for items that a user had."


def time_split(split: dict[str, Any]) -> str:
    """Return where global-time cuts, and which events of a user are targets, from a manifest's ``split``."""
    validation, test = (
        f"{datetime.datetime.fromtimestamp(split[name] / 1000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
        for name in ("validation_from", "test_from")
    )
    return f"Training ends before {validation}, the test begins at {test}. {_TIME_TARGETS[split['time_target']]}"


def missing_curves(study: Recommenders) -> str:
    """Return which trainings have no learning curve; empty when all have one."""
    without = [
        f"{escape(evaluation.model)} seed {evaluation.seed}"
        for evaluation in study.trainings
        if (evaluation.model, evaluation.seed) not in study.curves
    ]
    return f"No learning curve was given of {listed(without)}." if without else ""
