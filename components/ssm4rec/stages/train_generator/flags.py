"""The command line of train_generator, and what it accepts; apart from the stage, whose libraries load for seconds."""

import argparse
from dataclasses import replace

from ssm4rec.command_line import StageParser, naming, one_of, seed
from ssm4rec.contracts import GENERATORS, PROFILES
from ssm4rec.device import DEVICES, choose_device
from ssm4rec.generator_recipes import generator_recipe
from ssm4rec.llm.generator_settings import GeneratorRecipe
from ssm4rec.llm.sources import check_source_here
from ssm4rec.outputs import input_addresses, input_path, kept_folder, output_file, output_folder


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.train_generator",
        "Fine-tune a language model to write the next title, and tune BM25; killed, the same command goes on.",
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--model", type=one_of(GENERATORS), required=True, help=f"generative recommender: {', '.join(GENERATORS)}"
    )
    parser.add_argument(
        "--profile", type=one_of(PROFILES), default="quick", help=f"size of the training: {', '.join(PROFILES)}"
    )
    parser.add_argument("--seed", type=seed, default=0, help="decides every random number")
    parser.add_argument(
        "--overrides", default="", help="changes to the recipe, such as training.epochs=3,search.queries=5"
    )
    parser.add_argument(
        "--language-model",
        type=input_addresses,
        default="",
        help="of the hub, a folder, s3://bucket/prefix, scratch:gpt2 or scratch:mamba2; empty: the recipe's",
    )
    parser.add_argument(
        "--device", type=one_of(DEVICES), default="auto", help="cpu, cuda, or auto: cuda where there is one"
    )
    parser.add_argument(
        "--cache-dir", type=kept_folder, default="", help="folder that keeps language models; empty: ~/.cache/ssm4rec"
    )
    parser.add_argument(
        "--language-model-version",
        default="",
        help="state of the language model's files when the run started, as a study finds it out",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=kept_folder,
        default="",
        help="folder of checkpoints, one subfolder per model, seed and changes; empty: beside the generator folder",
    )
    parser.add_argument(
        "--generator-dir", type=output_folder("train_generator"), required=True, help="generator folder to write"
    )
    parser.add_argument(
        "--history", type=output_file("JSON"), required=True, help="history.json to write, a row per epoch"
    )
    parser.add_argument("--executor-input", default="", help="KFP's executor input; empty when run by hand")
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
