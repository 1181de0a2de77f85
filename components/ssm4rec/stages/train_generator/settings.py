"""What train_generator is told; apart from the stage, whose libraries load for seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.artifacts.names import GENERATORS
from ssm4rec.llm.generator_settings import GeneratorRecipe
from ssm4rec.recipes.generators import generator_recipe
from ssm4rec.settings.command_line import one_of
from ssm4rec.settings.flags import Flag, Written
from ssm4rec.settings.language_models import LanguageModelTraining, check_source, with_source
from ssm4rec.settings.outputs import input_addresses, output_file, output_folder


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelTraining):
    """Fine-tune a language model to write the next title, and tune BM25; after a kill the same command resumes."""

    model: Annotated[
        str, Flag(f"generative recommender: {', '.join(GENERATORS)}", one_of(GENERATORS), component_name="model_name")
    ]
    overrides: Annotated[str, Flag("changes to the recipe, such as training.epochs=3,search.queries=5")] = ""
    language_model: Annotated[
        str,
        Flag(
            "of the hub, a folder, s3://bucket/prefix, scratch:gpt2 or scratch:mamba2; empty: the recipe's",
            input_addresses,
        ),
    ] = ""
    generator_dir: Annotated[Path, Written("Model", output_folder("train_generator"), "generator folder to write")]
    curve: Annotated[Path, Written("Artifact", output_file("Parquet"), "curve.parquet to write, the learning curve")]

    def recipe(self) -> GeneratorRecipe:
        """Return the recipe that the settings ask for; raise InputError if there is none such."""
        recipe = generator_recipe(self.model, self.profile, self.overrides)
        return with_source(recipe, self.language_model, self.overrides)

    def check(self) -> None:
        """Raise InputError if the settings are wrong on every machine."""
        self.recipe()

    def check_here(self) -> None:
        """Raise InputError if this machine lacks what the settings ask for."""
        super().check_here()
        check_source(self.recipe(), self.language_model)
