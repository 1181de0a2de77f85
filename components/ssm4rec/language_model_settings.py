"""Settings that the trainings of language models have in common."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ssm4rec.device import choose_device
from ssm4rec.outputs import kept_folder
from ssm4rec.settings import Flag, StageSettings
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
class LanguageModelTraining(StageSettings):
    """What every training of a language model has."""

    IMAGE: ClassVar[str] = "llm"

    dataset_dir: DatasetDir
    profile: Profile = "quick"
    seed: Seed = 0
    device: Device = "auto"
    cache_dir: LanguageModelDir = ""
    language_model_version: LanguageModelVersion = ""
    checkpoint_dir: Annotated[
        str,
        Flag(
            "folder of checkpoints, one subfolder per model or retriever, seed and overrides; empty: next to the "
            "folder to write",
            kept_folder,
        ),
    ] = ""
    executor_input: FromKFP = ""

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        choose_device(self.device)
