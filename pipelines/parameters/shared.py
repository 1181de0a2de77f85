"""What several studies have in common: flags, and how their texts are read."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.parameters.parser import ParametersParser
from ssm4rec.command_line import boolean, one_of, whole_number
from ssm4rec.contracts import PROFILES
from ssm4rec.data.names import data_set_name
from ssm4rec.training.reproduction import DATASET as REPRODUCED_DATA

OF_ALL_STUDIES = {
    "name": ("", "name of your own data set (--dataset events); empty: that of its file, or of the folder of several"),
    "source": ("", "address of the events instead of the official one: a path, file://, http(s):// or s3://"),
    "items_source": ("", "address of the item titles instead of the official one"),
    "data_version": ("", "state of the source files; empty: found out when the study starts"),
    "event_order": ("exact", "exact, recbole or random-ties: how events of equal times are ordered"),
    "cache_dir": ("", "folder of downloads; empty: ~/.cache/ssm4rec"),
    "overrides": ("", "changes to the recipes, such as training.epochs=3,model.dropout=0.1"),
    "device": ("auto", "cpu, cuda, or auto: cuda where there is one"),
    "precision": ("auto", "of the trainings: fp32, tf32, bf16, or auto: bf16 on a GPU"),
    "kernels": ("auto", "form of the operators: sequential, torch, fused, or auto"),
    "checkpoint_dir": ("", "folder of checkpoints that outlives a task"),
}


OF_LANGUAGE_MODELS = {
    name: OF_ALL_STUDIES[name]
    for name in (
        "name",
        "source",
        "items_source",
        "data_version",
        "event_order",
        "cache_dir",
        "device",
        "checkpoint_dir",
    )
} | {
    "language_model_version": ("", "state of the language models' files; empty: found out when the study starts"),
    "llm_overrides": ("", "changes to the language models' recipe, such as finetune.prompts=500"),
}


def add_passed_on(parser: ParametersParser, flags: dict[str, tuple[str, str]]) -> None:
    """Add what goes to the pipeline as it is, and what all studies have."""
    add_profile(parser)
    parser.add_argument("--compile", type=boolean, default=False, help="send the models through torch.compile")
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument(
        "--gpus", type=whole_number(1), default=1, help="of one node, for each training; as many processes"
    )
    parser.add_argument(
        "--k-core", type=whole_number(0), default=5, help="fewest interactions of a user and of an item"
    )
    for name, (default, description) in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def add_profile(parser: ParametersParser) -> None:
    """Add the size of a study."""
    parser.add_argument(
        "--profile", type=one_of(PROFILES), default="quick", help=f"size of the trainings: {', '.join(PROFILES)}"
    )


def add_for_language_models(parser: ParametersParser) -> None:
    """Add what the studies of language models alone have in common."""
    add_profile(parser)
    parser.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
    parser.add_argument(
        "--k-core", type=whole_number(0), default=5, help="fewest interactions of a user and of an item"
    )
    for name, (default, description) in OF_LANGUAGE_MODELS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def shared_arguments(options: argparse.Namespace, passed_on: Iterable[str]) -> dict[str, Any]:
    """Return what the studies of recommenders have in common, and the flags that go to the pipeline as they are."""
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


def data_and_profile(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Return the data set and the profiles of a study, from its pipeline's arguments, as people call them.

    The reproduction study has no parameter for them: its data set is fixed, its trainings have a profile each.

    >>> data_and_profile({"trainings": [{"profile": "best"}, {"profile": "paper"}]})
    ('ml-1m', 'best,paper')
    """
    profiles = dict.fromkeys(entry["profile"] for entry in arguments.get("trainings", ()) if "profile" in entry)
    data = arguments.get("name") or arguments.get("dataset", REPRODUCED_DATA)
    return data, arguments.get("profile", ",".join(profiles))


def language_model_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the studies of language models alone have in common."""
    passed_on = ("dataset", "profile", "any_checksum", "k_core", "retriever", *OF_LANGUAGE_MODELS)
    return {
        **{name: getattr(options, name) for name in passed_on if name != "llm_overrides"},
        "name": data_set_name(options.dataset, options.name, options.source),
    }
