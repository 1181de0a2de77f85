"""Recipes: profiles, names, overrides."""

import re
from dataclasses import replace

import pytest

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.models.sizes import MAX_LENGTH, Histories
from ssm4rec.models.table import MODELS
from ssm4rec.recipes import overrides
from ssm4rec.recipes.overrides import override
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_every_profile(name: str, profile: str) -> None:
    assert recipe(name, profile, "long").model.max_length == 200
    assert recipe(name, profile, "short").model.max_length == 50


@pytest.mark.parametrize("histories", ["short", "long"])
@pytest.mark.parametrize("name", ["sasrec", "mamba4rec", "2mamba4rec", "hydra4rec"])
def test_a_step_of_the_published_recipe_has_2048_prefixes_in_parts_that_fit(name: str, histories: Histories) -> None:
    """Mamba4Rec's train_batch_size (chengkai-liu/Mamba4Rec:config.yaml); whole, it is 20 GB of activations."""
    training = recipe(name, "paper", histories).training
    assert training.rows_per_batch * training.micro_batches == 2048
    assert training.rows_per_batch * MAX_LENGTH[histories] == training.tokens_per_batch <= 51_200
    assert recipe(name, "best", histories).training.micro_batches == 1


def test_with_batches_of_another_size_a_step_is_one_batch() -> None:
    for pair in ("training.rows_per_batch=128", "training.tokens_per_batch=1000", " training.tokens_per_batch=1000"):
        assert recipe("sasrec", "paper", "long", pair).training.micro_batches == 1
        assert recipe("sasrec", "paper", "long", f"training.micro_batches=16,{pair}").training.micro_batches == 16
        assert recipe("sasrec", "best", "long", f"{pair},training.micro_batches=3").training.micro_batches == 3


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    plain = recipe("2mamba4rec", "best", "long")
    changed = recipe("2mamba4rec", "best", "long", "training.epochs=3, model.dropout=0.5,model.mixer.d_state=16")
    assert (changed.training.epochs, changed.model.dropout, changed.model.mixer.d_state) == (3, 0.5, 16)
    assert changed.training.learning_rate == plain.training.learning_rate
    assert changed.model.n_layers == plain.model.n_layers


def test_overrides_of_any_recipe() -> None:
    plain = RankerRecipe()
    pairs = "source=./llama,finetune.lora.rank=4,finetune.steps.learning_rate=1e-3,align.prompt.history=7"
    changed = override(plain, pairs)
    lora, steps = replace(plain.finetune.lora, rank=4), replace(plain.finetune.steps, learning_rate=1e-3)
    assert changed == replace(
        plain,
        source="./llama",
        finetune=replace(plain.finetune, lora=lora, steps=steps),
        align=replace(plain.align, prompt=replace(plain.align.prompt, history=7)),
    )
    usgm = recipe("sasrec", "quick", "long", "training.average=true")
    assert usgm.training.average
    assert not override(usgm, "training.average=false").training.average


def test_old_names_in_overrides_work_and_name_the_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    """For one release."""
    overrides._warn_of_name.cache_clear()
    old = "model.width=32,model.mixer.state_size=16,training.stretches=one"
    new = "model.d_model=32,model.mixer.d_state=16,training.crops=random"
    assert recipe("2mamba4rec", "quick", "long", old) == recipe("2mamba4rec", "quick", "long", new)
    assert [record.getMessage() for record in caplog.records] == [
        f"--overrides: {name} is called {today} now; the old name works until the next release"
        for name, today in (("width", "d_model"), ("state_size", "d_state"), ("stretches", "crops"))
    ]


def test_one_setting_has_one_of_its_two_names() -> None:
    """As flags do; by one name the last one counts: a study's own change, and then the user's."""
    for pairs in ("model.width=16,model.d_model=32", "model.d_model=32, model.width=16"):
        for read in (overrides.overrides_of_today, lambda pairs: recipe("sasrec", "quick", "long", pairs)):
            with pytest.raises(InputError, match=r"model\.width: the old name of model\.d_model, which is given, too"):
                read(pairs)
    assert recipe("sasrec", "quick", "long", "model.d_model=16,model.d_model=32").model.d_model == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bert4rec", "quick", "long"), "--model bert4rec: unknown; choose from sasrec, mamba4rec, 2mamba4rec"),
        (("sasrec", "huge", "long"), "--profile huge: unknown; choose from smoke, quick, llm-small, paper, best"),
        (("sasrec", "quick", "long", "epochs=3"), "write section.field=value; the recipe begins with model, training"),
        (("sasrec", "quick", "long", "training.speed=3"), "no field 'speed'; choose from epochs, patience"),
        (("sasrec", "quick", "long", "training.epochs=many"), "'many' is not a whole number"),
        (("sasrec", "quick", "long", "training.epochs=0"), "epochs is above 0"),
        (("sasrec", "quick", "long", "training.forgetting=1"), "forgetting is between 0 and 1"),
        (("sasrec", "quick", "long", "training.shrink=0.5"), "shrink is at least 1"),
        (("sasrec", "quick", "long", "training.micro_batches=0"), "micro_batches is at least 1"),
        (
            ("sasrec", "quick", "long", "training.batch_control=growing"),
            "no batch_control called 'growing': fixed, paper",
        ),
        (("sasrec", "quick", "long", "training.schedule=linear"), "no schedule called 'linear': constant, cosine"),
        (("sasrec", "quick", "long", "training.protocol=masked"), "no field 'protocol'; choose from epochs, patience"),
        (("sasrec", "quick", "long", "model.norm=middle"), "no norm called 'middle': post or pre"),
        (("sasrec", "quick", "long", "model.n_heads=3"), "d_model 64 is not a multiple of n_heads 3"),
        (("sasrec", "quick", "long", "model.dropout=1.0"), "dropout 1.0 is not in [0, 1)"),
        (("2mamba4rec", "quick", "long", "model.d_model=33"), "inner width 2 x 33 is not a multiple of headdim 32"),
        (
            ("2mamba4rec", "quick", "long", "model.mixer.headdim=48"),
            "inner width 2 x 64 is not a multiple of headdim",
        ),
        (("2mamba4rec", "quick", "long", "model.mixer=3"), "mixer has fields of its own"),
        (("sasrec", "quick", "long", "training.average=0"), "'0' is not true or false"),
        (("sasrec", "quick", "long", "training=3"), "training has fields of its own"),
        (("sasrec", "quick", "long", "training.betas=3"), "betas cannot be set this way"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        recipe(*arguments)
