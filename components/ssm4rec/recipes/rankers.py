"""Recipes of the language-model ranker: one per profile.

``paper`` is LlamaRec (Yue et al. 2023; Yueeeeeeee/LlamaRec:config.py) with the paper's alignment (arXiv 2408.05606,
section 3.5.3), which are the defaults of ``llm/settings.py``; ``llm-small`` the same task for SmolLM2-135M on two CPU
cores in about an hour; ``quick`` and ``smoke`` show that everything works and no more.
"""

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, RankerRecipe, RankerSettings, StepSettings
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError


def ranker_recipe(profile: str, overrides: str = "") -> RankerRecipe:
    """Return the recipe of a profile; raise InputError for an unknown profile, or an override that does not fit.

    ``overrides`` are pairs such as ``finetune.prompts=500,source=gpt2``, separated by commas.
    """
    match profile:
        case "paper" | "best":
            recipe = RankerRecipe(
                source="meta-llama/Llama-2-7b-hf", quantization="nf4"
            )  # llm_base_model, llm_load_in_4bit
        case "llm-small":
            recipe = _small(prompts=2000, batch=8, pairs=200, validation_users=60, evaluations=5, ranked_users=0)
        case "quick":
            recipe = _small(prompts=64, batch=4, pairs=16, validation_users=10, evaluations=1, ranked_users=24)
        case "smoke":
            recipe = _small(prompts=8, batch=4, pairs=4, validation_users=4, evaluations=1, ranked_users=4)
        case _:
            raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    return override(recipe, overrides)


def _small(
    prompts: int, batch: int, pairs: int, validation_users: int, evaluations: int, ranked_users: int
) -> RankerRecipe:
    """Return a recipe for a model of a hundred million weights on a CPU: short prompts, more of the model trained."""
    prompt = PromptFormat(history=3, title_tokens=6)
    return RankerRecipe(
        ranked_users=ranked_users,
        finetune=RankerSettings(
            prompt=prompt,
            prompts=prompts,
            validation_users=validation_users,
            evaluations=evaluations,
            lora=LoraSettings(rank=32, alpha=64, dropout=0.0, modules="all-linear"),
            steps=StepSettings(batch=batch, learning_rate=1e-3, warmup=prompts // batch // 8, optimizer="adamw_torch"),
        ),
        align=AlignmentSettings(
            prompt=prompt,
            pairs=pairs,
            held_out=0.25 if pairs < 100 else 0.1,
            evaluations=evaluations,
            # The paper's rate of 8e-6 would leave the weights where they are: these are dozens of steps, not thousands.
            steps=StepSettings(batch=2, learning_rate=2e-4, warmup=0, optimizer="adamw_torch"),
        ),
    )
