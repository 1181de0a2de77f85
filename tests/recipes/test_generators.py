"""Recipes of the generative recommenders: profiles, names, overrides."""

import re
from dataclasses import replace

import pytest

from ssm4rec.artifacts.names import GENERATORS, PROFILES
from ssm4rec.recipes.generators import generator_recipe
from ssm4rec.runtime.errors import InputError


@pytest.mark.parametrize("profile", PROFILES)
def test_both_models_of_a_profile_share_every_setting_but_the_language_model(profile: str) -> None:
    gpt4rec, mamrec = (generator_recipe(model, profile) for model in GENERATORS)
    assert gpt4rec.source != mamrec.source
    assert replace(gpt4rec, source=mamrec.source) == mamrec


def test_the_papers_models() -> None:
    assert generator_recipe("gpt4rec", "paper").source == "openai-community/gpt2"
    assert "mamba2-130m" in generator_recipe("mamrec", "paper").source


def test_overrides() -> None:
    plain = generator_recipe("mamrec", "quick")
    changed = generator_recipe("mamrec", "quick", "training.epochs=7,prompt.history=3,source=./model")
    training, prompt = replace(plain.training, epochs=7), replace(plain.prompt, history=3)
    assert changed == replace(plain, source="./model", training=training, prompt=prompt)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpt5rec", "quick"), "--model gpt5rec: unknown; choose from gpt4rec, mamrec"),
        (("mamrec", "huge"), "--profile huge: unknown; choose from smoke, quick, llm-small, paper, best"),
        (("mamrec", "quick", "epochs=3"), "the recipe begins with source, scratch, prompt, training, search"),
        (("mamrec", "quick", "training.epochs=0"), "epochs is at least 1"),
        (("mamrec", "quick", "training.warmup=1"), "warmup is a share"),
        (("mamrec", "quick", "training.learning_rate=0"), "learning_rate is above 0"),
        (("mamrec", "quick", "training.loss_on=words"), "no loss_on called 'words': title, text"),
        (("mamrec", "quick", "search.queries=3"), "list_length 10 is not a multiple of queries 3"),
        (("mamrec", "quick", "search.users=-1"), "users is 0 or above"),
        (("mamrec", "quick", "scratch.width=40"), "width is a multiple of 32"),
        (("mamrec", "quick", "scratch.vocabulary=100"), "vocabulary is at least 300"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        generator_recipe(*arguments)
