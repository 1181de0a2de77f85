"""Flags that several training stages have."""

from ssm4rec.command_line import StageParser, one_of, seed
from ssm4rec.contracts import PROFILES
from ssm4rec.device import DEVICES
from ssm4rec.outputs import kept_folder


def add_recipe_flags(parser: StageParser, example: str) -> None:
    """Add the flags that choose a recipe and the random numbers; ``example`` is one of overrides."""
    parser.add_argument(
        "--profile", type=one_of(PROFILES), default="quick", help=f"size of the training: {', '.join(PROFILES)}"
    )
    parser.add_argument("--seed", type=seed, default=0, help="decides every random number")
    parser.add_argument("--overrides", default="", help=f"changes to the recipe, such as {example}")


def add_language_model_flags(parser: StageParser, subfolders: str) -> None:
    """Add the flags of every training of a language model.

    Args:
        parser: gets them.
        subfolders: what the folder of checkpoints holds one for each of, and where it is by default.
    """
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
        help=f"folder of checkpoints, one subfolder per {subfolders}",
    )
    parser.add_argument("--executor-input", default="", help="KFP's executor input; empty when run by hand")
