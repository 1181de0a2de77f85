"""What several studies have in common: flags, and how their texts are read."""

import argparse
from collections.abc import Iterable
from typing import Any

from pipelines.parameters.parser import ParametersParser
from ssm4rec.command_line import boolean
from ssm4rec.contracts import MODELS, PROFILES
from ssm4rec.data.names import data_set_name
from ssm4rec.errors import InputError

OF_ALL_STUDIES = {
    "name": ("", "name of your own data set (--dataset events); empty: that of its file, or of the folder of several"),
    "source": ("", "address of the events instead of the official one: a path, file://, http(s):// or s3://"),
    "items_source": ("", "address of the item titles instead of the official one"),
    "data_version": ("", "state of the source files; empty: found out when the study starts"),
    "cache_dir": ("", "folder of downloads; empty: ~/.cache/ssm4rec"),
    "overrides": ("", "changes to the recipes, such as training.epochs=3,model.dropout=0.1"),
    "device": ("auto", "cpu, cuda, or auto: cuda where there is one"),
    "precision": ("auto", "of the trainings: fp32, tf32, bf16, or auto: bf16 on a GPU"),
    "kernels": ("auto", "form of the operators: sequential, torch, fused, or auto"),
    "checkpoint_dir": ("", "folder of checkpoints that outlives a task"),
}


OF_LANGUAGE_MODELS = {
    name: OF_ALL_STUDIES[name]
    for name in ("name", "source", "items_source", "data_version", "cache_dir", "device", "checkpoint_dir")
} | {
    "language_model_version": ("", "state of the language models' files; empty: found out when the study starts"),
    "llm_overrides": ("", "changes to the language models' recipe, such as finetune.prompts=500"),
}


def add_passed_on(parser: ParametersParser, flags: dict[str, tuple[str, str]]) -> None:
    """Add what goes to the pipeline as it is, and what all studies have."""
    parser.add_argument("--profile", default="quick", help=f"size of the trainings: {', '.join(PROFILES)}")
    parser.add_argument("--compile", type=boolean, default=False, help="send the models through torch.compile")
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument("--gpus", type=int, default=1, help="of one node, for each training; as many processes")
    parser.add_argument("--k-core", type=int, default=5, help="fewest interactions of a user and of an item")
    for name, (default, description) in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def add_for_language_models(parser: ParametersParser) -> None:
    """Add what the studies of language models alone have in common."""
    parser.add_argument("--profile", default="quick", help=f"size of the trainings: {', '.join(PROFILES)}")
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument("--k-core", type=int, default=5, help="fewest interactions of a user and of an item")
    for name, (default, description) in OF_LANGUAGE_MODELS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def shared_arguments(options: argparse.Namespace, passed_on: Iterable[str]) -> dict[str, Any]:
    """Return what the studies of recommenders have in common, and the flags that go to the pipeline as they are.

    Raises:
        InputError: an unknown profile, or no GPU at all.
    """
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
        "name": data_set_name(options.dataset, options.name, options.source),
    }


def language_model_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the studies of language models alone have in common."""
    check_retriever(options)
    _check_profile(options)
    passed_on = ("dataset", "profile", "any_checksum", "k_core", "retriever", *OF_LANGUAGE_MODELS)
    return {
        **{name: getattr(options, name) for name in passed_on if name != "llm_overrides"},
        "name": data_set_name(options.dataset, options.name, options.source),
    }


def listed(text: str) -> list[str]:
    """Return the names of a text such as ``sasrec, lrurec``."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(flag: str, text: str, example: str) -> list[int]:
    """Return the numbers of a text such as ``0,1,2``.

    Raises:
        InputError: one of them is none; the line names the flag and shows the example.
    """
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise InputError(f"{flag} {text}: write whole numbers separated by commas, such as {example}") from None


def chosen_models(options: argparse.Namespace) -> list[str]:
    """Return the recommenders of ``--models``.

    Raises:
        InputError: none, or an unknown one.
    """
    models = listed(options.models)
    for name in models:
        if name not in MODELS:
            raise InputError(f"--models {name}: unknown; choose from {', '.join(MODELS)}")
    if not models:
        raise InputError("--models and --seeds: name at least one of each")
    return models


def chosen_seeds(options: argparse.Namespace) -> list[int]:
    """Return the numbers of ``--seeds``.

    Raises:
        InputError: none, or one that is no number.
    """
    seeds = whole_numbers("--seeds", options.seeds, "0,1,2")
    if not seeds:
        raise InputError("--models and --seeds: name at least one of each")
    return seeds


def check_retriever(options: argparse.Namespace) -> None:
    """Raise InputError where ``--retriever`` names no recommender."""
    if options.retriever not in MODELS:
        raise InputError(f"--retriever {options.retriever}: unknown; choose from {', '.join(MODELS)}")


def _check_profile(options: argparse.Namespace) -> None:
    if options.profile not in PROFILES:
        raise InputError(f"--profile {options.profile}: unknown; choose from {', '.join(PROFILES)}")
