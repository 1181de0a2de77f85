"""Recipes of the generative recommenders: GPT4Rec (GPT-2) and MamRec (the same with Mamba2), one for every profile.

The paper says of them: "We implemented the standard GPT4Rec architecture from Li et al. (2023) while replacing the
GPT-2 model with a Mamba2 model" (section 3.2), with 117M and 130M parameters (table 2), and no settings. Both models of
a profile share every setting but the language model.

``quick`` and ``smoke`` train small models from nothing on a CPU, where neither pretrained model can be had nor trained
in minutes: their numbers say that the way works, not how good GPT-2 and Mamba2 are.
"""

from dataclasses import replace
from typing import Final

from ssm4rec.artifacts.names import GENERATORS, PROFILES
from ssm4rec.llm.generator_settings import SCRATCH, GeneratorRecipe, GeneratorTraining, ScratchSettings, SearchSettings
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError

_PRETRAINED: Final = {
    "gpt4rec": "openai-community/gpt2",
    # state-spaces/mamba2-130m, as published, is in mamba_ssm's format; this is the same model in transformers'.
    "mamrec": "AntonV/mamba2-130m-hf",
}
_FROM_SCRATCH: Final = {"gpt4rec": f"{SCRATCH}gpt2", "mamrec": f"{SCRATCH}mamba2"}


def generator_recipe(model: str, profile: str, overrides: str = "") -> GeneratorRecipe:
    """Return the recipe of a generator; raise InputError for an unknown name, or an override that does not fit.

    ``overrides`` are pairs such as ``training.epochs=3,search.queries=5``, separated by commas.
    """
    if model not in GENERATORS:
        raise InputError(f"--model {model}: unknown; choose from {', '.join(GENERATORS)}")
    quick = _quick(model)
    match profile:
        case "paper" | "best":
            recipe = GeneratorRecipe(_PRETRAINED[model])
        case "quick":
            recipe = quick
        case "llm-small":
            recipe = replace(quick, training=replace(quick.training, epochs=8))
        case "smoke":
            recipe = replace(
                quick,
                scratch=ScratchSettings(width=32, layers=1, vocabulary=400),
                prompt=replace(quick.prompt, history=4, maximum_tokens=128),
                training=replace(quick.training, examples=1, validation_users=20),
                search=replace(quick.search, queries=5, new_tokens=8, tuning_users=20, users=40),
            )
        case _:
            raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    return override(recipe, overrides)


def _quick(model: str) -> GeneratorRecipe:
    return GeneratorRecipe(
        source=_FROM_SCRATCH[model],
        scratch=ScratchSettings(width=64, layers=2, vocabulary=4000),
        prompt=PromptFormat(history=8, title_tokens=16, maximum_tokens=192),
        training=GeneratorTraining(
            loss_on="text", examples=2, epochs=2, tokens_per_batch=384, learning_rate=6e-3, validation_users=200
        ),
        search=SearchSettings(new_tokens=16, tokens_per_batch=2**14, tuning_users=200),
    )
