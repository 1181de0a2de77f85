"""What align_llm is told; apart from the stage, whose libraries load for seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ssm4rec.device import choose_device
from ssm4rec.llm_recipes import ranker_recipe
from ssm4rec.outputs import kept_folder, output_file, output_folder
from ssm4rec.settings import Flag, Read, StageSettings, Written
from ssm4rec.shared_settings import (
    DatasetDir,
    Device,
    FromKFP,
    LanguageModelDir,
    LanguageModelVersion,
    Profile,
    Seed,
)


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Align a fine-tuned ranker to preference pairs by ORPO; after a kill the same command resumes."""

    IMAGE: ClassVar[str] = "llm"

    dataset_dir: DatasetDir
    pairs: Annotated[Path, Read("Artifact", "pairs.parquet, from mine_preferences")]
    adapter_dir: Annotated[Path, Read("Model", "adapter folder, from finetune_llm")]
    profile: Profile = "quick"
    seed: Seed = 0
    overrides: Annotated[str, Flag("changes to the recipe, such as align.pairs=500,align.steps.batch=2")] = ""
    device: Device = "auto"
    cache_dir: LanguageModelDir = ""
    language_model_version: LanguageModelVersion = ""
    checkpoint_dir: Annotated[
        str,
        Flag(
            "folder of checkpoints, one subfolder per retriever, seed and overrides; empty: next to the aligned folder",
            kept_folder,
        ),
    ] = ""
    aligned_dir: Annotated[
        Path,
        Written(
            "Model", output_folder("align_llm"), "adapter folder to write; its last numbers show in the KFP UI, too"
        ),
    ]
    history: Annotated[
        Path, Written("Artifact", output_file("Parquet"), "alignment.parquet to write, a row per logged step")
    ]
    executor_input: FromKFP = ""

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        ranker_recipe(self.profile, self.overrides)

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        choose_device(self.device)
