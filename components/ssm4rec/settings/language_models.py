"""Settings that the trainings of language models have in common."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, TypeVar

from ssm4rec.llm.generator_settings import GeneratorRecipe
from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.llm.sources import check_source_here
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import naming
from ssm4rec.settings.flags import Flag, StageSettings
from ssm4rec.settings.outputs import kept_folder
from ssm4rec.settings.shared import DatasetDir, Device, FromKFP, LanguageModelDir, LanguageModelVersion, Profile, Seed
from ssm4rec.training.device import choose_device


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


R = TypeVar("R", RankerRecipe, GeneratorRecipe)


def with_source(recipe: R, source: str, overrides: str) -> R:
    """Return a recipe with the model that ``--language-model`` names, if any.

    Raise InputError if it is no source, or the recipe's overrides name one, too.
    """
    if not source:
        return recipe
    for pair in map(str.strip, overrides.split(",")):
        if pair.partition("=")[0] == "source":
            raise InputError(f"--overrides {pair}: --language-model {source} names the model; leave one of them out")
    with naming("--language-model"):
        return replace(recipe, source=source)


def check_source(recipe: RankerRecipe | GeneratorRecipe, source: str) -> None:
    """Raise InputError if the language model of a recipe made by :func:`with_source` is not on this machine."""
    with naming("--language-model" if source else "--overrides"):
        check_source_here(recipe.source)
