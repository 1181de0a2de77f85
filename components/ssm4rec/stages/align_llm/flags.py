"""The command line of align_llm, and what it accepts; apart from the stage, whose libraries load for seconds."""

import argparse

from ssm4rec.command_line import StageParser
from ssm4rec.device import choose_device
from ssm4rec.llm_recipes import ranker_recipe
from ssm4rec.outputs import input_path, output_file, output_folder
from ssm4rec.training_flags import add_language_model_flags, add_recipe_flags


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.align_llm", "Align a ranker to preference pairs; after a kill the same command resumes."
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument("--pairs", type=input_path, required=True, help="pairs.parquet, from mine_preferences")
    parser.add_argument("--adapter-dir", type=input_path, required=True, help="adapter folder, from finetune_llm")
    add_recipe_flags(parser, "align.pairs=500,align.steps.batch=2")
    add_language_model_flags(parser, "retriever, seed and overrides; empty: next to the aligned folder")
    parser.add_argument("--aligned-dir", type=output_folder("align_llm"), required=True, help="adapter folder to write")
    parser.add_argument(
        "--history",
        type=output_file("Parquet"),
        required=True,
        help="alignment.parquet to write, a row per logged step",
    )
    return parser


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine."""
    ranker_recipe(options.profile, options.overrides)


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    choose_device(options.device)
