"""Recipes of the language-model ranker: one per profile, with the source of each number.

``paper`` is LlamaRec (Yue et al. 2023; Yueeeeeeee/LlamaRec:config.py) with the paper's alignment (arXiv 2408.05606,
section 3.5.3); ``llm-small`` the same task for SmolLM2-135M on two CPU cores in about an hour; ``quick`` and ``smoke``
show that everything works and no more.
"""

from dataclasses import replace

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, RankerRecipe, RankerSettings, StepSettings
from ssm4rec.llm.sources import SMOLLM2
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError


def ranker_recipe(profile: str, overrides: str = "") -> RankerRecipe:
    """Return the recipe of a profile.

    Args:
        profile: a name of ``names.PROFILES``.
        overrides: dotted names and values separated by commas, such as ``finetune.prompts=500,source=gpt2``.

    Raises:
        InputError: an unknown profile, or an override that does not fit.
    """
    match profile:
        case "paper" | "best":
            recipe = _paper()
        case "llm-small":
            recipe = _small(prompts=2000, batch=8, pairs=200, validation_users=60, evaluations=5, ranked_users=0)
        case "quick":
            recipe = _small(prompts=64, batch=4, pairs=16, validation_users=10, evaluations=1, ranked_users=24)
        case "smoke":
            recipe = _small(prompts=8, batch=4, pairs=4, validation_users=4, evaluations=1, ranked_users=4)
        case _:
            raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    return override(recipe, overrides)


def _paper() -> RankerRecipe:
    prompt = PromptFormat(
        history=20,  # llm_max_history 20
        title_tokens=32,  # llm_max_title_len 32
        maximum_tokens=1536,  # llm_max_text_len 1536
    )
    return RankerRecipe(
        source="meta-llama/Llama-2-7b-hf",  # llm_base_model
        quantization="nf4",  # llm_load_in_4bit True
        finetune=RankerSettings(
            prompt=prompt,
            negatives=19,  # llm_negative_sample_size 19
            hard=0.0,
            # LlamaRec takes every prefix of every user once (lora_num_epochs 1): 95,000 of ML-100K, 980,000 of ML-1M.
            # At most so many are drawn here; the training mostly stops before.
            prompts=100_000,
            validation_users=500,
            evaluations=60,  # lora_val_iterations 100 steps of 16 prompts
            patience=20,  # lora_early_stopping_patience 20
            lora=LoraSettings(
                rank=8,  # lora_r 8
                alpha=32,  # lora_alpha 32
                dropout=0.05,  # lora_dropout 0.05
                modules="q_proj+v_proj",  # lora_target_modules
            ),
            steps=StepSettings(
                batch=16,  # lora_micro_batch_size 16
                accumulation=1,
                learning_rate=1e-4,  # lora_lr 1e-4
                warmup=100,  # warmup_steps 100
                optimizer="paged_adamw_32bit",
            ),
        ),
        align=AlignmentSettings(
            prompt=prompt,
            negatives=18,  # with winner and loser LlamaRec's 20 candidates
            beta=0.1,  # "beta = 0.1"
            pairs=0,
            evaluations=5,  # "evaluate each 0.2 steps"
            held_out=0.05,
            steps=StepSettings(
                batch=4,
                accumulation=4,  # "gradient accumulation steps = 4"
                learning_rate=8e-6,  # "lr = 8e-6"
                warmup=10,  # "we set warmup steps to 10"
                optimizer="paged_adamw_32bit",  # "paged adamw optimizer"
            ),
        ),
    )


def _small(
    prompts: int, batch: int, pairs: int, validation_users: int, evaluations: int, ranked_users: int
) -> RankerRecipe:
    """Return a recipe for a model of a hundred million weights on a CPU: short prompts, more of the model trained."""
    paper = _paper()
    prompt = replace(paper.finetune.prompt, history=3, title_tokens=6)
    steps = replace(
        paper.finetune.steps, batch=batch, learning_rate=1e-3, warmup=prompts // batch // 8, optimizer="adamw_torch"
    )
    lora = replace(paper.finetune.lora, rank=32, alpha=64, dropout=0.0, modules="all-linear")
    return RankerRecipe(
        source=SMOLLM2,
        quantization="none",
        ranked_users=ranked_users,
        finetune=replace(
            paper.finetune,
            prompt=prompt,
            prompts=prompts,
            validation_users=validation_users,
            evaluations=evaluations,
            lora=lora,
            steps=steps,
        ),
        align=replace(
            paper.align,
            prompt=prompt,
            pairs=pairs,
            held_out=0.25 if pairs < 100 else 0.1,
            evaluations=evaluations,
            # The paper's rate of 8e-6 would leave the weights where they are: these are dozens of steps, not thousands.
            steps=replace(
                paper.align.steps, batch=2, accumulation=1, learning_rate=2e-4, warmup=0, optimizer="adamw_torch"
            ),
        ),
    )
