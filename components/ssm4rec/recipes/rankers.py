"""Recipes of the language-model ranker: one per profile.

There are two kinds of rankers (``artifacts/ranker.py``). Of ``letters`` ``paper`` is LlamaRec (Yue et al. 2023;
Yueeeeeeee/LlamaRec:config.py) with the paper's alignment (arXiv 2408.05606, section 3.5.3), which are the defaults of
``llm/settings.py``; ``llm-small`` the same task for SmolLM2-135M on two CPU cores in about an hour; ``quick`` and
``smoke`` show that everything works and no more. Of ``items``, all but ``smoke`` have one size, which learns in some
minutes on a CPU core.
"""

from dataclasses import replace
from typing import Final

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.artifacts.ranker import RANKER_KINDS, RankerKind
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, RankerRecipe, RankerSettings, StepSettings
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError

DEFAULT_KINDS: Final[dict[str, RankerKind]] = {
    **dict.fromkeys(PROFILES, "letters"),
    "quick": "items",
    "llm-small": "items",
}
"""The kind of ranker that each profile has.

``paper`` and ``best`` stay with the published one. On a CPU letters stay at chance on ML-100K, and items do not;
``smoke`` is to take seconds, in which nothing learns: letters read eight prompts, items every title."""


def ranker_recipe(profile: str, overrides: str = "", kind: str = "auto") -> RankerRecipe:
    """Return the recipe of a profile; raise InputError for an unknown profile, or an override that does not fit.

    ``overrides`` are pairs such as ``finetune.prompts=500,source=gpt2``, separated by commas. ``kind``: ``letters``,
    ``items`` or ``auto``: as an override ``ranker=`` says, else the profile's.
    """
    if profile not in PROFILES:
        raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    asked = [pair.partition("=")[2] for pair in map(str.strip, overrides.split(",")) if pair.startswith("ranker=")]
    chosen = kind if kind != "auto" else asked[-1] if asked else DEFAULT_KINDS[profile]
    recipe = override(_items(profile) if chosen == "items" else _letters(profile), overrides)
    if chosen in RANKER_KINDS and recipe.ranker != chosen:
        raise InputError(f"--overrides ranker={recipe.ranker}: the ranker is one of {chosen}; leave it out")
    return recipe


def check_kind(recipe: RankerRecipe, overrides: str) -> None:
    """Raise InputError if overrides change the fine-tuning of the other kind of ranker, which would change nothing."""
    other, own = ("finetune", "items") if recipe.ranker == "items" else ("items", "finetune")
    for pair in map(str.strip, overrides.split(",")):
        if pair.startswith(f"{other}."):
            raise InputError(
                f"--overrides {pair}: a ranker of {recipe.ranker} has {own}.... instead; choose --ranker "
                f"{'letters' if recipe.ranker == 'items' else 'items'} (ranker= of the overrides), or leave it out"
            )


def _letters(profile: str) -> RankerRecipe:
    """Return LlamaRec's recipe in the size of a profile."""
    match profile:
        case "paper" | "best":
            return RankerRecipe(
                source="meta-llama/Llama-2-7b-hf", quantization="nf4"
            )  # llm_base_model, llm_load_in_4bit
        case "llm-small":
            return _small(prompts=2000, batch=8, pairs=200, validation_users=60, evaluations=5, ranked_users=0)
        case "quick":
            return _small(prompts=64, batch=4, pairs=16, validation_users=10, evaluations=1, ranked_users=24)
        case _:
            return _small(prompts=8, batch=4, pairs=4, validation_users=4, evaluations=1, ranked_users=4)


def _items(profile: str) -> RankerRecipe:
    """Return the recipe of a ranker whose tokens are items; on a CPU core its training takes some minutes."""
    smoke = profile == "smoke"
    items = ItemSettings(steps=4, validation_users=4, evaluations=1) if smoke else ItemSettings()
    alignment = AlignmentSettings(
        pairs=32 if smoke else 0,
        held_out=0.25 if smoke else 0.1,
        # All weights of its layers move, at a rate that a few hundred steps change little by.
        steps=StepSettings(batch=16, learning_rate=3e-5, warmup=0, optimizer="adamw_torch"),
    )
    recipe = RankerRecipe(ranker="items", items=items, align=alignment)
    return replace(recipe, source="meta-llama/Llama-2-7b-hf") if profile in ("paper", "best") else recipe


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
