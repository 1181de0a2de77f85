"""The trainings of an optimizer study: the same budget for all, and the best of each goes on."""

import pytest

from ssm4rec.artifacts.curve import Curve
from ssm4rec.artifacts.names import ControllerName
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.optimizers.plan import SCALES, Settings, best_scales, comparison
from ssm4rec.training.epochs import learning_curve
from tests.epoch_rows import epoch_row


def curve(optimizer: str, scale: float, *reached: float, model: str = "2mamba4rec") -> Curve:
    rows = [
        epoch_row(epoch, model=model, validation_ndcg_10=value, optimizer=optimizer, scale=scale)
        for epoch, value in enumerate(reached, 1)
    ]
    return learning_curve(rows)


def settings(training: dict[str, str]) -> tuple[str, float, float, ControllerName, int]:
    """What a training's overrides make of its recipe."""
    chosen = recipe(training["model"], "smoke", "long", training["overrides"]).training
    return chosen.optimizer, chosen.learning_rate, chosen.diameter, chosen.batch_control, chosen.epochs


def test_every_optimizer_gets_as_many_trials_and_its_own_scale() -> None:
    assert len({len(scales) for scales in SCALES.values()}) == 1
    told = Settings(models=("sasrec", "2mamba4rec"), optimizers=("adam", "usgm"), overrides="training.epochs=5")
    trials = told.lists()["trainings"]
    assert len(trials) == 2 * 2 * len(SCALES["adam"])
    made = [settings(trial) for trial in trials if trial["model"] == "sasrec"]
    assert [(name, rate) for name, rate, *_ in made if name == "adam"] == [("adam", rate) for rate in SCALES["adam"]]
    assert [size for name, _, size, *_ in made if name == "usgm"] == list(SCALES["usgm"])
    assert {(control, epochs) for *_, control, epochs in made} == {("fixed", 5)}
    assert {trial["seed"] for trial in trials} == {0}


def test_the_scale_that_reached_most_goes_on_with_every_control_and_seed() -> None:
    tried = [
        curve("adam", 0.001, 0.01, 0.09, 0.05),  # its best epoch counts, not its last
        curve("adam", 0.002, 0.02, 0.08, 0.08),
        curve("usgm", 0.3, 0.01, 0.02),
        curve("usgm", 1.0, 0.03, 0.04),
        curve("adam", 0.004, 0.5, model="sasrec"),
    ]
    assert best_scales(tried) == {
        ("2mamba4rec", "adam"): 0.001, ("2mamba4rec", "usgm"): 1.0, ("sasrec", "adam"): 0.004,
    }  # fmt: skip
    chosen = comparison(tried, ["fixed", "paper"], [3, 4], "")
    assert len(chosen) == 3 * 2 * 2
    assert settings(chosen[0])[:2] == ("adam", 0.001)
    usgm = [training for training in chosen if "usgm" in training["overrides"]]
    assert {(settings(one)[2], settings(one)[3], one["seed"]) for one in usgm} == {
        (1.0, control, seed) for control in ("fixed", "paper") for seed in (3, 4)
    }


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(InputError, match="--optimizers lion: unknown; choose from adamw, adam, sgd, usgm"):
        Settings.parser().parse_args(["--optimizers", "lion"])
    with pytest.raises(InputError, match="no learning curves to choose from"):
        comparison([], ["fixed"], [0], "")
