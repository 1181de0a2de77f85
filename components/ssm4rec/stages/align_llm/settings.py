"""What align_llm is told; apart from the stage, whose libraries load for seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.recipes.rankers import ranker_recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.flags import Flag, Read, Written
from ssm4rec.settings.language_models import LanguageModelTraining
from ssm4rec.settings.outputs import output_file, output_folder


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelTraining):
    """Align a fine-tuned ranker to preference pairs by ORPO; after a kill the same command resumes."""

    pairs: Annotated[Path, Read("Artifact", "pairs.parquet, from mine_preferences")]
    adapter_dir: Annotated[Path, Read("Model", "adapter folder, from finetune_llm")]
    overrides: Annotated[str, Flag("changes to the recipe, such as align.pairs=500,align.steps.batch=2")] = ""
    winners_alone: Annotated[
        bool,
        Flag(
            "train on the pairs' winners alone, without ORPO's preference term: the control that tells what this term "
            "does from what more training does"
        ),
    ] = False
    aligned_dir: Annotated[
        Path,
        Written(
            "Model", output_folder("align_llm"), "adapter folder to write; its last numbers show in the KFP UI, too"
        ),
    ]
    curve: Annotated[Path, Written("Artifact", output_file("Parquet"), "curve.parquet to write, the learning curve")]

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        ranker_recipe(self.profile, self.overrides)

    def check_by_hand(self) -> None:
        """Raise InputError if overrides change what the alignment does not read.

        A study gives the same ones to the fine-tuning of its rankers, which does.
        """
        for pair in filter(None, map(str.strip, self.overrides.split(","))):
            if not pair.startswith(("align.", "ranker=")):
                raise InputError(
                    f"--overrides {pair}: changes nothing here, the fine-tuning has decided it; write align.… or leave "
                    "it out"
                )
