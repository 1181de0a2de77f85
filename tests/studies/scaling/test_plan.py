"""What a scaling study trains, and what it refuses."""

from typing import Any

import pytest

from pipelines.packages import COMPILED
from pipelines.spec import read_spec
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.scaling.plan import Settings


def trainings(*flags: str) -> list[dict[str, Any]]:
    return Settings.parser().parse_args(flags).lists()["trainings"]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_of_the_size_that_its_label_says(model: str) -> None:
    found = trainings("--models", model, "--epochs", "10")
    for entry in found:
        chosen = recipe(model, "quick", "long", entry["overrides"])
        width, depth, share = (float(part.lstrip("abcdefghijklmnopqrstuvwxyz")) for part in entry["label"].split("-"))
        assert (chosen.model.d_model, chosen.model.d_ff, chosen.model.n_layers) == (width, 4 * width, depth)
        assert chosen.training.users_share == share
        assert chosen.training.epochs == chosen.training.patience == min(60, round(10 / share**0.5))
        assert chosen.training.schedule == "cosine"
        assert not chosen.model.repeat_term
    # 3 widths, 3 depths and 4 shares; two more seeds in the corner of 2 widths, 1 depth and 2 shares.
    assert len(found) == 3 * 3 * 4 + 2 * (2 * 2)
    assert {(entry["seed"], entry["label"]) for entry in found if entry["seed"]} == {
        (seed, f"width{width}-depth1-share{share}") for seed in (1, 2) for width in (8, 16) for share in (0.05, 0.15)
    }


def test_the_command_line_and_the_pipeline_train_the_same() -> None:
    proposed = read_spec(COMPILED / "scaling_study.yaml")["root"]["inputDefinitions"]["parameters"]
    assert Settings().lists()["trainings"] == proposed["trainings"]["defaultValue"]
    assert trainings() == proposed["trainings"]["defaultValue"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--widths", "12"], "--widths 12: not a multiple of 8"),
        (["--shares", "0.5,1.5"], "a share of the users: above 0, at most 1"),
        (["--overrides", "model.width=64"], "model.d_model is what this study sets; name sizes with --widths"),
    ],
)
def test_what_is_wrong_is_said(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((InputError, SystemExit)) as refused:
        trainings(*flags)
    assert said in str(refused.value) + capsys.readouterr().err
