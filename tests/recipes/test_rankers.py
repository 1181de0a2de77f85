"""Recipes of the language-model ranker: LlamaRec's published settings, the paper's alignment, overrides."""

from dataclasses import replace

import pytest

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.recipes.rankers import check_kind, ranker_recipe
from ssm4rec.runtime.errors import InputError


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_makes_sense(profile: str) -> None:
    recipe = ranker_recipe(profile)
    steps = recipe.finetune.prompts // (recipe.finetune.steps.batch * recipe.finetune.steps.accumulation)
    assert recipe.finetune.evaluations <= steps
    assert recipe.finetune.steps.warmup < steps
    assert recipe.finetune.negatives + 1 == recipe.align.negatives + 2 == 20
    assert recipe.align.prompt == recipe.finetune.prompt
    assert 0 < recipe.validation_users <= 1000


def test_the_published_settings() -> None:
    recipe = ranker_recipe("paper")
    assert (recipe.source, recipe.quantization) == ("meta-llama/Llama-2-7b-hf", "nf4")
    prompt, lora, steps = recipe.finetune.prompt, recipe.finetune.lora, recipe.finetune.steps
    assert (prompt.history, prompt.title_tokens, prompt.maximum_tokens) == (20, 32, 1536)
    assert (lora.rank, lora.alpha, lora.dropout, lora.modules) == (8, 32, 0.05, "q_proj+v_proj")
    assert (steps.batch, steps.learning_rate, steps.warmup) == (16, 1e-4, 100)
    alignment = recipe.align.steps
    assert (alignment.learning_rate, recipe.align.beta, alignment.accumulation) == (8e-6, 0.1, 4)
    assert (alignment.warmup, alignment.optimizer, recipe.align.evaluations) == (10, "paged_adamw_32bit", 5)


def test_overrides() -> None:
    plain = ranker_recipe("quick")
    changed = ranker_recipe("quick", "finetune.prompts=7,source=./model,align.steps.batch=3")
    align = replace(plain.align, steps=replace(plain.align.steps, batch=3))
    assert changed == replace(plain, source="./model", finetune=replace(plain.finetune, prompts=7), align=align)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="--profile huge: unknown; choose from smoke, quick, llm-small, paper, best"):
        ranker_recipe("huge")
    with pytest.raises(InputError, match="no field 'rounds'"):
        ranker_recipe("quick", "finetune.rounds=3")
    with pytest.raises(InputError, match=r"finetune\.steps\.diameter=-1: diameter is above 0"):
        ranker_recipe("quick", "finetune.steps.diameter=-1")
    with pytest.raises(InputError, match=r"align\.steps\.optimizer=usgm: only fine-tuning has it"):
        ranker_recipe("quick", "align.steps.optimizer=usgm")


def test_kinds_of_rankers():
    assert ranker_recipe("paper").ranker == "letters"
    for recipe in (ranker_recipe("quick", "ranker=items"), ranker_recipe("quick", "items.layers=3", "items")):
        assert recipe.ranker == "items"
        assert recipe.align.steps.optimizer == "adamw_torch"
    assert ranker_recipe("paper", kind="items").quantization == "none"
    with pytest.raises(InputError, match="ranker=letters: the ranker is one of items; leave it out"):
        ranker_recipe("quick", "ranker=letters", "items")
    with pytest.raises(InputError, match="there is no ranker called 'words': letters, items"):
        ranker_recipe("quick", "ranker=words")
    with pytest.raises(InputError, match="quantization=nf4: ranker=items trains the weights that it would round"):
        ranker_recipe("quick", "quantization=nf4", "items")
    check_kind(ranker_recipe("quick", "items.layers=3", "items"), "items.layers=3,align.pairs=3")
    with pytest.raises(InputError, match=r"items\.layers=3: a ranker of letters has finetune\.\.\.\. instead"):
        check_kind(ranker_recipe("quick", "items.layers=3", "letters"), "items.layers=3")
