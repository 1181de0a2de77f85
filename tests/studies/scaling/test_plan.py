"""What a scaling study trains, and what it refuses."""

from dataclasses import replace
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
        assert recipe(model, "paper", "long", entry["overrides"]).training.schedule == "cosine"
        assert not chosen.model.repeat_term
    # 3 widths, 3 depths and 4 shares; two more seeds in the corner of 2 widths, 1 depth and 2 shares.
    assert len(found) == 3 * 3 * 4 + 2 * (2 * 2)
    assert {(entry["seed"], entry["label"]) for entry in found if entry["seed"]} == {
        (seed, f"width{width}-depth1-share{share}") for seed in (1, 2) for width in (8, 16) for share in (0.05, 0.15)
    }


def test_what_is_fine_tuned_has_the_schedule_of_its_share() -> None:
    parsed = Settings.parser().parse_args(["--epochs", "10", "--transfer-shares", "1,0.04", "--transfer-seeds", "3,5"])
    found = parsed.lists()["transfers"]
    assert [(entry["scratch"], entry["finetuned"], entry["seed"]) for entry in found] == [
        (f"scratch-share{share}", f"finetuned-share{share}", seed) for share in ("0.04", "1") for seed in (3, 5)
    ]
    for entry, share, epochs in zip(found, (0.04, 0.04, 1, 1), (50, 50, 10, 10), strict=True):
        chosen = recipe("sasrec", "quick", "long", entry["overrides"])
        before = recipe("sasrec", "quick", "long", Settings().transfer_overrides)
        assert chosen.model == before.model
        assert chosen.model.item_vectors == "id+text"
        short = recipe("sasrec", "quick", "short", Settings().transfer_overrides).model
        assert replace(short, dropout=before.model.dropout) == before.model  # pre-trained on either, fine-tuned on any
        assert chosen.training.users_share == share
        assert chosen.training.epochs == chosen.training.patience == epochs


def test_the_command_line_and_the_pipeline_train_the_same() -> None:
    proposed = read_spec(COMPILED / "scaling_study.yaml")["root"]["inputDefinitions"]["parameters"]
    for planned in ("trainings", "transfers"):
        assert Settings().lists()[planned] == proposed[planned]["defaultValue"]
    assert trainings() == proposed["trainings"]["defaultValue"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--widths", "12"], "--widths 12: not a multiple of 8"),
        (["--shares", "0.5,1.5"], "a share of the users: above 0, at most 1"),
        (["--overrides", "model.width=64"], "model.d_model is what this study sets; name sizes with --widths"),
        (["--transfer-overrides", "training.epochs=2"], "training.epochs is what this study sets; set --transfer-sh"),
        (["--transfer-overrides", "model.dropout=0.1"], "without model.item_vectors=id+text (or text) nothing carries"),
        (["--transfer-overrides", "model.item_vectors=id"], "without model.item_vectors=id+text (or text) nothing"),
        (["--overrides", "training.refit=true"], "training.refit is what this study sets; a second training is"),
        (["--overrides", "training.schedule=constant"], "training.schedule is what this study sets"),
        (["--shares", "0.1234567,0.1234568,1"], "--shares 0.1234567,0.1234568,1.0: two are the same to six digits"),
        (["--transfer-shares", "0.1234567,0.1234568"], "--transfer-shares 0.1234567,0.1234568: two are the same to"),
        (["--pretrain-on", "events"], "--pretrain-on events: name a published data set, or a generated one whose"),
        (["--fine-tune-on", "generated-hmm"], "--fine-tune-on generated-hmm: name a published data set, or"),
        (["--pretrain-on", "ml-9m"], "--pretrain-on ml-9m: unknown data set; use one of ml-100k"),
        (["--pretrain-on", "ml-1m", "--fine-tune-on", "ml-1m"], "--pretrain-on ml-1m: is --fine-tune-on, too"),
    ],
)
def test_what_is_wrong_is_said(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((InputError, SystemExit)) as refused:
        trainings(*flags)
    assert said in str(refused.value) + capsys.readouterr().err
