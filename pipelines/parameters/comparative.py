"""The comparative study's parameters."""

import argparse
from typing import Any

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import (
    OF_ALL_STUDIES,
    OF_LANGUAGE_MODELS,
    add_passed_on,
    shared_arguments,
)
from ssm4rec.command_line import boolean, listed, names, number, one_of, seeds, whole_number
from ssm4rec.contracts import GENERATORS, LEAVE_ONE_OUT, MODELS, ORDER_CHECKED, PAPER_RECOMMENDERS, SUCCESSIVE
from ssm4rec.data.data_sets import is_published
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.errors import InputError

LLM_PARTS = ("none", "llamarec", "all")
_OF_THE_COMPARISON = {
    "llm_overrides": OF_LANGUAGE_MODELS["llm_overrides"],
    "language_model_version": OF_LANGUAGE_MODELS["language_model_version"],
    "generator_overrides": ("", "changes to the generators' recipe, such as training.epochs=3"),
    "form": ("raw", "of Amazon'23 data: raw or rating_only"),
    "format": ("auto", "of events: auto, csv, jsonl or parquet"),
    "delimiter": ("auto", "of events in CSV files: auto, comma, tab, semicolon, pipe or space"),
    "encoding": ("auto", "of events in CSV and JSONL files: auto, or a name such as latin-1 or utf-16"),
    "bad_rows": ("refuse", "refuse a file with rows that cannot be read, or drop them and count them"),
    "user_column": ("user_id", "of events"),
    "item_column": ("item_id", "of events"),
    "time_column": ("timestamp", "of events"),
    "time_unit": ("auto", "of events: auto, s, ms, us, ns or order"),
    "rating_column": ("", "of events; empty: no ratings"),
    "title_column": ("title", "of the items file of events"),
    "deduplicate": ("none", "a user's repeated items: none, first or last stays"),
    "minimum_rating": ("none", "leave out interactions rated lower; none keeps all"),
    "split": (LEAVE_ONE_OUT, "leave-one-out or global-time"),
    "time_target": (
        SUCCESSIVE,
        "of global-time: successive (every later event of a user is a target), or the last, a random one or the first",
    ),
}
_QUICK_GLOBAL_TIME = "training.patience=6"
"""What profile quick changes in the global-time trainings, before the user's own changes: it is to take minutes.
On ML-100K, seed 0, the weights kept are those of the profile's own patience of 10."""


class StudyParser(ParametersParser):
    """The flags of the comparative study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; events for your own")
        self.add_argument(
            "--models",
            type=names(MODELS),
            default=",".join(PAPER_RECOMMENDERS),
            help=f"recommenders to train, of {', '.join(MODELS)}",
        )
        self.add_argument(
            "--llm", type=one_of(LLM_PARTS), default="all", help="language models: none, the ranker (llamarec), or all"
        )
        self.add_argument(
            "--language-model",
            default="",
            help="of the ranker: wheel:, a folder, s3:// or a hub id; empty: the profile's",
        )
        self.add_argument(
            "--retriever",
            type=one_of(MODELS),
            default="lrurec",
            help=f"recommender whose candidates it ranks, of {', '.join(MODELS)}",
        )
        self.add_argument("--seeds", type=seeds, default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--global-time",
            default="auto",
            help="models to train once more, split by global-time; none; or auto: "
            f"{' and '.join(ORDER_CHECKED)}, where a leave-one-out study of a published data set trains them",
        )
        self.add_argument("--validation-fraction", type=number, default=0.1, help="of the events, for global-time")
        self.add_argument("--test-fraction", type=number, default=0.1, help="of the events, for global-time")
        self.add_argument(
            "--replace-champion",
            type=boolean,
            default=False,
            help="let the best model take the alias champion from one of other data or another split, too",
        )
        self.add_argument(
            "--latency-samples",
            type=whole_number(0),
            default=0,
            help="timed for each recommender; 0: 30 (paper, best) or 10",
        )
        self.add_argument(
            "--latency-users",
            type=whole_number(0),
            default=0,
            help="of each sample, drawn for it; 0: 1,500 (paper, best) or 64",
        )
        self.add_argument(
            "--latency-batches", default="", help="users per request, by commas; empty: 1,64,256 (paper, best) or 1,64"
        )
        add_passed_on(self, OF_ALL_STUDIES | _OF_THE_COMPARISON)


def study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparative study's arguments for parsed flags.

    Raises:
        InputError: models to train once more that cannot be.
    """
    models, first = options.models, options.seeds[0]
    ranker = {"language_model": options.language_model, "retriever": options.retriever, "seed": first}
    # The paper's 30 samples of 1,500 users; the small profiles take fewer, and the report says how many.
    samples, users, batches = (30, 1500, "1,64,256") if options.profile in ("paper", "best") else (10, 64, "1,64")
    return {
        # Language models take long: one seed of each, the first.
        "rankers": [ranker] if options.llm != "none" else [],
        "generators": [{"model": name, "seed": first} for name in GENERATORS] if options.llm == "all" else [],
        "latency_samples": options.latency_samples or samples,
        "latency_users": options.latency_users or users,
        "latency_batches": options.latency_batches or batches,
        "replace_champion": options.replace_champion,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        "trainings": [{"model": model, "seed": seed} for model in models for seed in options.seeds],
        "global_time_trainings": _global_time_trainings(options, models, first),
        **shared_arguments(options, OF_ALL_STUDIES | _OF_THE_COMPARISON),
    }


def _global_time_trainings(options: argparse.Namespace, models: list[str], seed: int) -> list[dict[str, Any]]:
    """Return the trainings of the second split, of one seed.

    Left to itself, only where it cannot fail the study: a published data set has times, own events may not.
    """
    again = [] if options.global_time == "none" else listed(options.global_time)
    if again == ["auto"]:
        possible = options.split == LEAVE_ONE_OUT and is_published(options.dataset) and {*ORDER_CHECKED} <= {*models}
        again = list(ORDER_CHECKED) if possible and options.event_order != RECBOLE else []
    for name in again:
        if again.count(name) > 1:
            raise InputError(f"--global-time {options.global_time}: names {name} twice")
        if name not in models:
            raise InputError(f"--global-time {name}: not in the study; choose from --models {','.join(models)}")
    if again and options.split != LEAVE_ONE_OUT:
        raise InputError(f"--global-time {options.global_time}: the study's own split is it (--split); leave it out")
    if again and options.time_unit == "order":
        raise InputError(f"--global-time {options.global_time}: --time-unit order gives no times to split by")
    if again and options.event_order == RECBOLE:
        raise InputError(f"--global-time {options.global_time}: --event-order recbole rounds the times to split by")
    shorter = _QUICK_GLOBAL_TIME if options.profile in ("quick", "llm-small") else ""
    overrides = ",".join(filter(None, (shorter, options.overrides)))
    return [{"model": model, "seed": seed, "overrides": overrides} for model in again]
