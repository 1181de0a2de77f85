"""The command line of train_generator, and what it accepts; apart from the stage, whose libraries load for seconds."""

import argparse
from dataclasses import replace

from ssm4rec.command_line import StageParser, naming, one_of
from ssm4rec.contracts import GENERATORS
from ssm4rec.device import choose_device
from ssm4rec.generator_recipes import generator_recipe
from ssm4rec.llm.generator_settings import GeneratorRecipe
from ssm4rec.llm.sources import check_source_here
from ssm4rec.outputs import input_addresses, input_path, output_file, output_folder
from ssm4rec.training_flags import add_language_model_flags, add_recipe_flags


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.train_generator",
        "Fine-tune a language model to write the next title, and tune BM25; after a kill the same command resumes.",
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--model", type=one_of(GENERATORS), required=True, help=f"generative recommender: {', '.join(GENERATORS)}"
    )
    add_recipe_flags(parser, "training.epochs=3,search.queries=5")
    parser.add_argument(
        "--language-model",
        type=input_addresses,
        default="",
        help="of the hub, a folder, s3://bucket/prefix, scratch:gpt2 or scratch:mamba2; empty: the recipe's",
    )
    add_language_model_flags(parser, "model, seed and changes; empty: next to the generator folder")
    parser.add_argument(
        "--generator-dir", type=output_folder("train_generator"), required=True, help="generator folder to write"
    )
    parser.add_argument(
        "--history", type=output_file("JSON"), required=True, help="history.json to write, a row per epoch"
    )
    return parser


def chosen_recipe(options: argparse.Namespace) -> GeneratorRecipe:
    """Return the recipe that the flags ask for.

    Raises:
        InputError: there is none such.
    """
    recipe = generator_recipe(options.model, options.profile, options.overrides)
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
