"""The studies' parameters on a command line or in a file, the same for ``make run`` and ``make submit``."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from ssm4rec.command_line import StageParser, boolean
from ssm4rec.contracts import (
    DEFAULT_LANGUAGE_MODEL,
    GENERATORS,
    LEAVE_ONE_OUT,
    MODELS,
    ORDER_CHECKED,
    PAPER_RECOMMENDERS,
    PROFILES,
)
from ssm4rec.errors import InputError
from ssm4rec.latency.protocol import FEWEST_SAMPLES
from ssm4rec.llm.adapter_sweep import SCALES as ADAPTER_SCALES
from ssm4rec.llm.adapter_sweep import adapter_sweep
from ssm4rec.optim.batch_size import ControllerName
from ssm4rec.training.sweep import COMPARED, SCALES, SHORT, sweep
from ssm4rec.training.windows import COMPARED as WINDOWED
from ssm4rec.training.windows import LATENCY_LENGTHS, WINDOWS, window_trainings

LLM_PARTS = ("none", "llamarec", "all")

_OF_ALL_STUDIES = {
    "source": ("", "address of the events instead of the official one: a path, file://, http(s):// or s3://"),
    "items_source": ("", "address of the item titles instead of the official one"),
    "cache_dir": ("", "folder of downloads; empty: ~/.cache/ssm4rec"),
    "overrides": ("", "changes to the recipes, such as training.epochs=3,model.dropout=0.1"),
    "device": ("auto", "cpu, cuda, or auto: cuda where there is one"),
    "precision": ("auto", "of the trainings: fp32, tf32, bf16, or auto: bf16 on a GPU"),
    "kernels": ("auto", "form of the operators: sequential, torch, fused, or auto"),
    "checkpoint_dir": ("", "folder of checkpoints that outlives a task"),
}
_OF_THE_ALIGNMENT = {
    name: _OF_ALL_STUDIES[name] for name in ("source", "items_source", "cache_dir", "device", "checkpoint_dir")
} | {"llm_overrides": ("", "changes to the language models' recipe, such as finetune.prompts=500")}
_OF_THE_COMPARISON = {
    "llm_overrides": _OF_THE_ALIGNMENT["llm_overrides"],
    "generator_overrides": ("", "changes to the generators' recipe, such as training.epochs=3"),
    "form": ("raw", "of Amazon'23 data: raw or rating_only"),
    "format": ("auto", "of events: auto, csv, jsonl or parquet"),
    "user_column": ("user_id", "of events"),
    "item_column": ("item_id", "of events"),
    "time_column": ("timestamp", "of events"),
    "time_unit": ("auto", "of events: auto, s, ms, us, ns or order"),
    "rating_column": ("", "of events; empty: no ratings"),
    "title_column": ("title", "of the items file of events"),
    "deduplicate": ("none", "a user's repeated items: none, first or last stays"),
    "minimum_rating": ("none", "leave out interactions rated lower; none keeps all"),
    "split": (LEAVE_ONE_OUT, "leave-one-out or global-time"),
}
_QUICK_GLOBAL_TIME = "training.patience=6"
"""What profile quick changes in the global-time trainings, before the user's own changes: it is to take minutes.
On ML-100K, seed 0, the weights kept are those of the profile's own patience of 10."""


class ParametersParser(StageParser):
    """A command line whose flags may also stand in a YAML file, over which the command line wins."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--parameters", default="", help="YAML file of flags, such as `seeds: [0, 1, 2]`")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the flags of the parameters file, if one is given, and then those of the command line."""
        arguments = list(sys.argv[1:] if args is None else args)
        found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        found.add_argument("--parameters", default="")
        path = found.parse_known_args(arguments)[0].parameters
        return super().parse_args([*self._flags_of_file(path), *arguments] if path else arguments, namespace)

    def _flags_of_file(self, path: str) -> list[str]:
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            self.error(f"--parameters {path}: {' '.join(str(error).split())}")
        if not isinstance(document, dict):
            self.error(f"--parameters {path}: write a line `name: value` for each flag")
        flags = []
        for name, value in document.items():
            flag = f"--{str(name).replace('_', '-')}"
            if flag not in self._option_string_actions or flag in ("--help", "--parameters"):
                self.error(f"--parameters {path}: there is no parameter {name!r}")
            flags.append(f"{flag}={_as_flag(value)}")  # in one word: a value may begin with a dash
        return flags


class StudyParser(ParametersParser):
    """The flags of the comparative study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; events for your own")
        self.add_argument(
            "--models", default=",".join(PAPER_RECOMMENDERS), help=f"recommenders to train, of {', '.join(MODELS)}"
        )
        self.add_argument(
            "--llm", default="all", choices=LLM_PARTS, help="language models: none, the ranker (llamarec), or all"
        )
        self.add_argument(
            "--language-model",
            default="",
            help="of the ranker: wheel:, a folder, s3:// or a hub id; empty: the profile's",
        )
        self.add_argument(
            "--retriever", default="lrurec", help=f"recommender whose candidates it ranks, of {', '.join(MODELS)}"
        )
        self.add_argument("--seeds", default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--global-time",
            default="auto",
            help="models to train once more, split by global-time; none; or auto: "
            f"{' and '.join(ORDER_CHECKED)}, where a leave-one-out study of a published data set trains them",
        )
        self.add_argument("--validation-fraction", type=float, default=0.1, help="of the events, for global-time")
        self.add_argument("--test-fraction", type=float, default=0.1, help="of the events, for global-time")
        self.add_argument(
            "--latency-samples", type=int, default=0, help="timed for each recommender; 0: 30 (paper, best) or 10"
        )
        self.add_argument(
            "--latency-users", type=int, default=0, help="of each sample, drawn anew; 0: 1,500 (paper, best) or 64"
        )
        self.add_argument(
            "--latency-batches", default="", help="users a request, by commas; empty: 1,64,256 (paper, best) or 1,64"
        )
        _add_passed_on(self, _OF_ALL_STUDIES | _OF_THE_COMPARISON)


class OptimizerStudyParser(ParametersParser):
    """The flags of the optimizer study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set")
        self.add_argument("--models", default="2mamba4rec", help=f"recommenders to train, of {', '.join(MODELS)}")
        self.add_argument(
            "--optimizers", default=",".join(COMPARED), help=f"to tune and compare, of {', '.join(SCALES)}"
        )
        self.add_argument("--controls", default="fixed,paper,inverse,noise-scale", help="ways to choose batches")
        self.add_argument("--seeds", default="0,1,2", help="seeds of the comparison, separated by commas")
        _add_passed_on(self, _OF_ALL_STUDIES)
        self.set_defaults(overrides=SHORT)


class AdapterStudyParser(ParametersParser):
    """The flags of the adapter study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; its items need titles")
        self.add_argument("--language-model", default="", help="to fine-tune: its source; empty: the profile's")
        self.add_argument("--retriever", default="lrurec", help=f"whose candidates it ranks, of {', '.join(MODELS)}")
        self.add_argument(
            "--optimizers", default=",".join(ADAPTER_SCALES), help=f"to compare, of {', '.join(ADAPTER_SCALES)}"
        )
        self.add_argument("--seeds", default="0", help="seeds to train each scale with, separated by commas")
        _add_for_language_models(self)


class LongHistoryStudyParser(ParametersParser):
    """The flags of the long-history study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set")
        self.add_argument("--models", default=",".join(WINDOWED), help=f"recommenders to train, of {', '.join(MODELS)}")
        self.add_argument(
            "--lengths", default=",".join(map(str, WINDOWS)), help="windows: the most items of a history that are read"
        )
        self.add_argument("--seeds", default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--latency-lengths",
            default=",".join(map(str, LATENCY_LENGTHS)),
            help="of the histories at which one user is timed, separated by commas",
        )
        self.add_argument("--latency-samples", type=int, default=10, help="timed of each model at each length")
        _add_passed_on(self, _OF_ALL_STUDIES)
        self.set_defaults(overrides=SHORT)


class OrpoStudyParser(ParametersParser):
    """The flags of the alignment study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; its items need titles")
        self.add_argument(
            "--language-models", default=DEFAULT_LANGUAGE_MODEL, help="sources to fine-tune and align, by commas"
        )
        self.add_argument("--retriever", default="lrurec", help=f"whose candidates they rank, of {', '.join(MODELS)}")
        self.add_argument("--seeds", default="0", help="seeds to train each with, separated by commas")
        _add_for_language_models(self)


def _add_for_language_models(parser: ParametersParser) -> None:
    """Add what the studies of language models alone have in common."""
    parser.add_argument("--profile", default="quick", help=f"size of the trainings: {', '.join(PROFILES)}")
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument("--k-core", type=int, default=5, help="fewest interactions of a user and of an item")
    for name, (default, description) in _OF_THE_ALIGNMENT.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def _add_passed_on(parser: ParametersParser, flags: dict[str, tuple[str, str]]) -> None:
    """Add what goes to the pipeline as it is, and what all studies have."""
    parser.add_argument("--profile", default="quick", help=f"size of the trainings: {', '.join(PROFILES)}")
    parser.add_argument("--compile", type=boolean, default=False, help="send the models through torch.compile")
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument("--gpus", type=int, default=1, help="of one node, for each training; as many processes")
    parser.add_argument("--k-core", type=int, default=5, help="fewest interactions of a user and of an item")
    for name, (default, description) in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def _as_flag(value: Any) -> str:
    """Write a value of a YAML file as it would be typed.

    >>> [_as_flag(value) for value in (True, [0, 1], {"pool": "a100"}, None, 4.5)]
    ['true', '0,1', '{"pool": "a100"}', '', '4.5']
    """
    match value:
        case bool() | dict():
            return json.dumps(value)
        case list():
            return ",".join(_as_flag(entry) for entry in value)
        case None:
            return ""
        case _:
            return str(value)


def study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparative study's arguments for parsed flags.

    Raises:
        InputError: an unknown model or profile, or a seed that is no number.
    """
    models, seeds = _models(options), _seeds(options)
    _check_retriever(options)
    ranker = {"language_model": options.language_model, "retriever": options.retriever, "seed": seeds[0]}
    # The paper's 30 samples of 1,500 users; the small profiles take fewer, and the report says how many.
    samples, users, batches = (30, 1500, "1,64,256") if options.profile in ("paper", "best") else (10, 64, "1,64")
    return {
        # Language models take long: one seed of each, the first.
        "rankers": [ranker] if options.llm != "none" else [],
        "generators": [{"model": name, "seed": seeds[0]} for name in GENERATORS] if options.llm == "all" else [],
        "latency_samples": options.latency_samples or samples,
        "latency_users": options.latency_users or users,
        "latency_batches": options.latency_batches or batches,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        "trainings": [{"model": model, "seed": seed} for model in models for seed in seeds],
        "global_time_trainings": _global_time_trainings(options, models, seeds[0]),
        **_shared_arguments(options, _OF_ALL_STUDIES | _OF_THE_COMPARISON),
    }


def _global_time_trainings(options: argparse.Namespace, models: list[str], seed: int) -> list[dict[str, Any]]:
    """Return the trainings of the second split, of one seed.

    Left to itself, only where it cannot fail the study: a published data set has times, own events may not.
    """
    again = [] if options.global_time == "none" else _listed(options.global_time)
    if again == ["auto"]:
        possible = options.split == LEAVE_ONE_OUT and options.dataset != "events" and {*ORDER_CHECKED} <= {*models}
        again = list(ORDER_CHECKED) if possible else []
    for name in again:
        if name not in models:
            raise InputError(f"--global-time {name}: not in the study; choose from --models {','.join(models)}")
    if again and options.split != LEAVE_ONE_OUT:
        raise InputError(f"--global-time {options.global_time}: the study's own split is it (--split); leave it out")
    if again and options.time_unit == "order":
        raise InputError(f"--global-time {options.global_time}: --time-unit order gives no times to split by")
    shorter = _QUICK_GLOBAL_TIME if options.profile in ("quick", "llm-small") else ""
    overrides = ",".join(filter(None, (shorter, options.overrides)))
    return [{"model": model, "seed": seed, "overrides": overrides} for model in again]


def optimizer_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the optimizer study's arguments for parsed flags.

    Raises:
        InputError: an unknown model, optimizer or profile, or a seed that is no number.
    """
    _seeds(options)
    controls = _listed(options.controls)
    for name in controls:
        if name not in get_args(ControllerName):
            raise InputError(f"--controls {name}: unknown; choose from {', '.join(get_args(ControllerName))}")
    return {
        "trainings": sweep(_models(options), _listed(options.optimizers), options.overrides),
        "controls": ",".join(controls),
        "seeds": options.seeds,
        **_shared_arguments(options, _OF_ALL_STUDIES),
    }


def adapter_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the adapter study's arguments for parsed flags.

    Raises:
        InputError: an unknown retriever, optimizer or profile, or a seed that is no number.
    """
    optimizers = _listed(options.optimizers)
    if not optimizers:
        raise InputError("--optimizers: name at least one")
    return {
        "adapters": adapter_sweep(options.language_model, optimizers, _seeds(options), options.llm_overrides),
        **_language_model_arguments(options),
    }


def long_history_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the long-history study's arguments for parsed flags.

    Raises:
        InputError: an unknown model or profile, a seed or length that is no number, fewer than two windows, a length
            below 1, or too few samples for an interval.
    """
    models, seeds = _models(options), _seeds(options)
    windows, lengths = (
        list(dict.fromkeys(_whole_numbers(flag, text, "50,200")))
        for flag, text in (("--lengths", options.lengths), ("--latency-lengths", options.latency_lengths))
    )
    if not lengths or min(lengths) < 1:
        raise InputError(f"--latency-lengths {options.latency_lengths}: at least one, each at least 1")
    if options.latency_samples < FEWEST_SAMPLES:
        raise InputError(
            f"--latency-samples {options.latency_samples}: at least {FEWEST_SAMPLES}, or there is no interval"
        )
    shared = _shared_arguments(options, _OF_ALL_STUDIES)
    del shared["overrides"]  # they stand in each training
    return {
        "trainings": window_trainings(models, windows, seeds, options.overrides),
        "latency_lengths": ",".join(map(str, lengths)),
        "latency_samples": options.latency_samples,
        **shared,
    }


def orpo_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the alignment study's arguments for parsed flags.

    Raises:
        InputError: an unknown retriever or profile, no language model, or a seed that is no number.
    """
    sources, seeds = _listed(options.language_models), _seeds(options)
    if not sources:
        raise InputError("--language-models: name at least one")
    return {
        "trainings": [{"model": options.retriever, "seed": 0}],
        "rankers": [{"language_model": source, "seed": seed} for source in sources for seed in seeds],
        "llm_overrides": options.llm_overrides,
        **_language_model_arguments(options),
    }


def _language_model_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the studies of language models alone have in common."""
    _check_retriever(options)
    _check_profile(options)
    passed_on = ("dataset", "profile", "any_checksum", "k_core", "retriever", *_OF_THE_ALIGNMENT)
    return {name: getattr(options, name) for name in passed_on if name != "llm_overrides"}


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _models(options: argparse.Namespace) -> list[str]:
    models = _listed(options.models)
    for name in models:
        if name not in MODELS:
            raise InputError(f"--models {name}: unknown; choose from {', '.join(MODELS)}")
    if not models:
        raise InputError("--models and --seeds: name at least one of each")
    return models


def _seeds(options: argparse.Namespace) -> list[int]:
    seeds = _whole_numbers("--seeds", options.seeds, "0,1,2")
    if not seeds:
        raise InputError("--models and --seeds: name at least one of each")
    return seeds


def _whole_numbers(flag: str, text: str, example: str) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise InputError(f"{flag} {text}: write whole numbers separated by commas, such as {example}") from None


def _check_retriever(options: argparse.Namespace) -> None:
    if options.retriever not in MODELS:
        raise InputError(f"--retriever {options.retriever}: unknown; choose from {', '.join(MODELS)}")


def _check_profile(options: argparse.Namespace) -> None:
    if options.profile not in PROFILES:
        raise InputError(f"--profile {options.profile}: unknown; choose from {', '.join(PROFILES)}")


def _shared_arguments(options: argparse.Namespace, passed_on: Iterable[str]) -> dict[str, Any]:
    _check_profile(options)
    if options.gpus < 1:
        raise InputError(f"--gpus {options.gpus}: at least 1; without a GPU, that many processes share the cores")
    return {
        "dataset": options.dataset,
        "profile": options.profile,
        "any_checksum": options.any_checksum,
        "compile": options.compile,
        "gpus": str(options.gpus),
        "k_core": options.k_core,
        **{name: getattr(options, name) for name in passed_on},
    }
