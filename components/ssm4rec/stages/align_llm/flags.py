"""The command line of align_llm, and what it accepts; apart from the stage, whose libraries load for seconds."""

import argparse

from ssm4rec.command_line import StageParser, one_of, seed
from ssm4rec.contracts import PROFILES
from ssm4rec.device import DEVICES, choose_device
from ssm4rec.llm_recipes import ranker_recipe
from ssm4rec.outputs import input_path, kept_folder, output_file, output_folder


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.align_llm", "Align a ranker to preference pairs; after a kill the same command resumes."
    )
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument("--pairs", type=input_path, required=True, help="pairs.parquet, from mine_preferences")
    parser.add_argument("--adapter-dir", type=input_path, required=True, help="adapter folder, from finetune_llm")
    parser.add_argument(
        "--profile", type=one_of(PROFILES), default="quick", help=f"size of the training: {', '.join(PROFILES)}"
    )
    parser.add_argument("--seed", type=seed, default=0, help="decides every random number")
    parser.add_argument(
        "--overrides", default="", help="changes to the recipe, such as align.pairs=500,align.steps.batch=2"
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
        help="folder of checkpoints, one subfolder per retriever, seed and overrides; empty: beside the aligned folder",
    )
    parser.add_argument("--aligned-dir", type=output_folder("align_llm"), required=True, help="adapter folder to write")
    parser.add_argument(
        "--history",
        type=output_file("Parquet"),
        required=True,
        help="alignment.parquet to write, a row per logged step",
    )
    parser.add_argument("--executor-input", default="", help="KFP's executor input; empty when run by hand")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine."""
    ranker_recipe(options.profile, options.overrides)


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    choose_device(options.device)
