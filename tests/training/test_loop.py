"""The training loop learns what can be learned, stops when it should, and says when it cannot go on."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime import energy
from ssm4rec.runtime.errors import InputError
from ssm4rec.training import loop
from ssm4rec.training.checkpoint import save_checkpoint
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.loop import Trained, train
from ssm4rec.training.task import Task

CPU = torch.device("cpu")
ONE_PROCESS = Distributed(CPU)


def run(folder: Path, tmp_path: Path, overrides: str, name: str = "sasrec", seed: int = 0) -> Trained:
    dataset = read_sequences(folder)
    task = Task(name, recipe(name, "smoke", "long", overrides), dataset, seed)
    return train(task, ONE_PROCESS, tmp_path / "checkpoint", lambda row: None)


@pytest.mark.parametrize("name", MODELS)
def test_learns_a_certain_sequence(cycle_dataset: Path, tmp_path: Path, name: str) -> None:
    overrides = "training.epochs=60,training.learning_rate=0.02,model.dropout=0.0,training.tokens_per_batch=64"
    overrides += ",model.repeat_term=false"  # some targets are the second round's first, which no training item is
    if name == "hydra4rec":  # asked for fewer items at a time: show it more often what it is validated on
        overrides += ",training.last_share=0.5,training.patience=60"
    trained = run(cycle_dataset, tmp_path, overrides, name)
    dataset = read_sequences(cycle_dataset)
    ranking = full_ranking(trained.model.score_next, dataset, "test", trained.model.max_length, CPU)
    assert (ranking.unmasked == 1).mean() > 0.95
    assert trained.progress.epochs[-1].train_loss < 0.1


def test_same_seed_same_weights_other_seed_other_weights(cycle_dataset: Path, tmp_path: Path) -> None:
    first, again, other = (
        run(cycle_dataset, tmp_path / str(place), "", seed=seed).model.state_dict()
        for place, seed in enumerate((3, 3, 4))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["item_embedding.weight"], other["item_embedding.weight"])


def test_validates_with_the_history_unmasked(cycle_dataset: Path, tmp_path: Path) -> None:
    trained = run(cycle_dataset, tmp_path, "training.epochs=3,model.repeat_term=false")
    best = trained.progress.epochs[trained.progress.best_epoch - 1]
    ranking = full_ranking(
        trained.model.score_next, read_sequences(cycle_dataset), "validation", trained.model.max_length, CPU
    )
    unmasked, masked = ((ranks <= 10).mean() for ranks in (ranking.unmasked, ranking.masked))
    assert best.validation_hit_10 == unmasked != masked


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *((name, "") for name in MODELS),
        ("sasrec", ",training.optimizer=adam,training.batch_control=noise-scale"),
        ("sasrec", ",training.optimizer=sgd,training.batch_control=inverse,training.learning_rate=0.1"),
        ("2mamba4rec", ",training.optimizer=usgm,training.batch_control=paper"),
        ("sasrec", ",training.optimizer=usgm,training.average=true,training.batch_control=inverse"),
    ],
)
def test_interrupted_training_ends_as_one_that_was_not(
    cycle_dataset: Path, tmp_path: Path, name: str, overrides: str
) -> None:
    dataset = read_sequences(cycle_dataset)
    overrides = f"training.epochs=3,training.tokens_per_batch=64{overrides}"
    task = Task(name, recipe(name, "smoke", "long", overrides), dataset, 0)
    whole = train(task, ONE_PROCESS, tmp_path / "whole", lambda _: None)

    def interrupt(row: EpochRow) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task, ONE_PROCESS, tmp_path / "broken", interrupt)
    resumed = train(task, ONE_PROCESS, tmp_path / "broken", lambda _: None)
    for key, weights in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], weights), key
    rows = [[replace(row, cpu_seconds=0.0) for row in trained.progress.epochs] for trained in (whole, resumed)]
    assert rows[0] == rows[1]


def test_what_a_training_cost_counts_what_an_earlier_process_spent(
    cycle_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that uses 2 J at the end of each epoch; what a killed process did after its checkpoint is lost."""
    package = tmp_path / "powercap" / "intel-rapl:0"
    package.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "262143328849")):
        (package / name).write_text(f"{text}\n")
    counter = package / "energy_uj"
    monkeypatch.setattr(energy, "POWERCAP", package.parent)
    overrides = "training.epochs=3,training.tokens_per_batch=64"
    task = Task("sasrec", recipe("sasrec", "smoke", "long", overrides), read_sequences(cycle_dataset), 0)

    def use(row: EpochRow) -> None:
        counter.write_text(f"{(int(counter.read_text()) + 2_000_000) % 262143328850}\n")
        if row.epoch == 2 and not resumes:
            raise KeyboardInterrupt

    resumes = True
    whole = train(task, ONE_PROCESS, tmp_path / "whole", use).progress.spent
    assert whole.package_joules == pytest.approx(4)  # the third epoch is over when the last 2 J are used
    assert whole.gpu_joules is None
    assert whole.seconds
    resumes = False
    with pytest.raises(KeyboardInterrupt):
        train(task, ONE_PROCESS, tmp_path / "broken", use)
    resumes = True
    assert train(task, ONE_PROCESS, tmp_path / "broken", lambda _: None).progress.spent.package_joules == pytest.approx(
        2
    )
    # Trained further where nothing is counted, as on another machine: of the whole nothing is known.
    with pytest.raises(KeyboardInterrupt):
        resumes = False
        train(task, ONE_PROCESS, tmp_path / "moved", use)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nowhere")
    assert train(task, ONE_PROCESS, tmp_path / "moved", lambda _: None).progress.spent.package_joules is None


def test_warmup_rises_before_the_schedule_falls(cycle_dataset: Path, tmp_path: Path) -> None:
    overrides = "training.epochs=10,training.patience=99,training.warmup=0.4,training.tokens_per_batch=9999"
    rows = run(cycle_dataset, tmp_path, overrides).progress.epochs  # one step an epoch: the rate at its start
    peak = recipe("sasrec", "smoke", "long").training.learning_rate
    shares = [0, 0.25, 0.5, 0.75, *(0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6))]
    assert [row.learning_rate / peak for row in rows] == pytest.approx(shares)


def test_stops_when_validation_no_longer_improves_and_keeps_the_best(cycle_dataset: Path, tmp_path: Path) -> None:
    trained = run(cycle_dataset, tmp_path, "training.epochs=50,training.patience=3,training.learning_rate=1e-9")
    rows = trained.progress.epochs
    assert trained.stopped == "patience"
    assert len(rows) == trained.progress.best_epoch + 3
    best = max(row.validation_ndcg_10 for row in rows)
    assert rows[trained.progress.best_epoch - 1].validation_ndcg_10 == best


def test_refit_learns_the_validation_items_too_and_as_long_as_validation_chose(
    write_dataset: "object", tmp_path: Path
) -> None:
    # Whoever saw 4 takes 5: only as a validation item.
    folder = write_dataset([[1, 2, 3, 1, 2, 3, 4, 5, 6]] * 8)
    overrides = "training.epochs=60,training.learning_rate=0.02,model.dropout=0.0,training.patience=60"
    trained = run(folder, tmp_path / "once", overrides)
    refitted = run(folder, tmp_path / "again", f"{overrides},training.refit=true")
    history = torch.tensor([[1, 2, 3, 1, 2, 3, 4]])
    best = [int(each.model.score_next(history, torch.tensor([7]))[0].argmax()) + 1 for each in (trained, refitted)]
    assert best[0] != 5
    assert best[1] == 5
    assert [replace(row, cpu_seconds=0.0) for row in refitted.progress.epochs] == [
        replace(row, cpu_seconds=0.0) for row in trained.progress.epochs
    ]
    second = safe_open(tmp_path / "again" / "checkpoint" / "refit" / "checkpoint.safetensors", framework="pt")
    rows = json.loads(second.metadata()["state"])["epochs"]
    assert len(rows) == trained.progress.best_epoch
    assert rows[0]["targets"] == trained.progress.epochs[0].targets + 8
    assert all(math.isnan(row["validation_ndcg_10"]) for row in rows)


def test_an_interrupted_refit_ends_as_one_that_was_not(
    cycle_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = "training.epochs=3,training.learning_rate=0.02,training.tokens_per_batch=64,training.refit=true"
    overrides += ",model.repeat_term=false"  # with it the first epoch is as good as any
    whole = run(cycle_dataset, tmp_path / "whole", overrides)
    assert whole.progress.best_epoch > 1

    def save_and_die(folder: Path, *rest: Any) -> None:
        save_checkpoint(folder, *rest)
        if folder.name == "refit":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "save_checkpoint", save_and_die)
        run(cycle_dataset, tmp_path / "broken", overrides)
    resumed = run(cycle_dataset, tmp_path / "broken", overrides)
    for key, weights in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], weights), key


def test_targets_and_fill_are_counted(write_dataset: "object", tmp_path: Path) -> None:
    folder = write_dataset([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 1], [1, 2, 3]])
    row = run(folder, tmp_path, "training.epochs=1").progress.epochs[0]
    # Training items 3, 4 and 1; the first of each is no target: 2 + 3 + 0 targets, one batch of 2 rows of 3.
    assert row.targets == 2 + 3
    assert row.fill == 5 / (2 * 3)


def test_a_share_of_the_users_is_trained_on_and_smaller_shares_are_in_larger_ones(
    cycle_dataset: Path, tmp_path: Path
) -> None:
    dataset = read_sequences(cycle_dataset)
    trained = {share: dataset.of_users(share).train_length for share in (0.1, 0.5, 1.0)}
    assert [int((length > 0).sum()) for length in trained.values()] == [4, 20, 40]
    assert ((trained[0.1] > 0) <= (trained[0.5] > 0)).all()
    assert (trained[1.0] == dataset.train_length).all()
    half = run(cycle_dataset, tmp_path, "training.users_share=0.5").progress.epochs[0]
    assert half.targets == sum(length - 1 for length in trained[0.5] if length)
    assert not math.isnan(half.validation_hit_10)  # of all users


def test_schedule_falls_to_zero(cycle_dataset: Path, tmp_path: Path) -> None:
    rows: list[EpochRow] = run(cycle_dataset, tmp_path, "training.epochs=6,training.patience=99").progress.epochs
    rates = [row.learning_rate for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]


def test_diverging_loss_names_the_step_and_the_way_out(cycle_dataset: Path, tmp_path: Path) -> None:
    wild = "training.epochs=30,training.learning_rate=1e30,training.gradient_norm=1e30"
    way_out = r"at epoch \d+, batch \d+ of \d+; .*learning_rate=2.5e\+29"
    with pytest.raises(InputError, match=f"diverged: the loss became (nan|inf) {way_out}"):
        run(cycle_dataset, tmp_path, f"{wild},training.tokens_per_batch=8")
    with pytest.raises(InputError, match=f"diverged: the scores became NaN {way_out}"):
        run(cycle_dataset, tmp_path, f"{wild},training.tokens_per_batch=9999")


def test_checkpoint_of_another_training_is_refused(cycle_dataset: Path, tmp_path: Path) -> None:
    run(cycle_dataset, tmp_path, "training.epochs=1")
    with pytest.raises(InputError, match=r"another training: model is sasrec there and 2mamba4rec here; delete it"):
        run(cycle_dataset, tmp_path, "training.epochs=1", name="2mamba4rec")
    with pytest.raises(InputError, match=r"another training: recipe.training.epochs is 1 there and 2 here"):
        run(cycle_dataset, tmp_path, "training.epochs=2")


def test_data_of_another_name_are_the_same_training(cycle_dataset: Path, tmp_path: Path) -> None:
    first = run(cycle_dataset, tmp_path, "training.epochs=1")
    manifest = json.loads((cycle_dataset / "manifest.json").read_text())
    renamed = shutil.copytree(cycle_dataset, tmp_path / "renamed")
    (renamed / "manifest.json").write_text(json.dumps({**manifest, "dataset": "shop"}))
    again = run(renamed, tmp_path, "training.epochs=1")
    assert again.progress.epochs == first.progress.epochs, "nothing was trained again"


def test_damaged_checkpoint_is_refused(cycle_dataset: Path, tmp_path: Path) -> None:
    run(cycle_dataset, tmp_path, "training.epochs=1")
    path = tmp_path / "checkpoint" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not a checkpoint of this project"):
        run(cycle_dataset, tmp_path, "training.epochs=1")


def test_finished_training_is_not_repeated(cycle_dataset: Path, tmp_path: Path) -> None:
    first = run(cycle_dataset, tmp_path, "training.epochs=2")
    again = run(cycle_dataset, tmp_path, "training.epochs=2")
    assert again.progress.cpu_seconds == first.progress.cpu_seconds
    assert all(
        torch.equal(first.model.state_dict()[name], weights) for name, weights in again.model.state_dict().items()
    )


def test_nothing_to_learn_from_is_an_error(write_dataset: "object", tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no user has two training items"):
        run(write_dataset([[1, 2, 3], [2, 3, 1]]), tmp_path, "")


@pytest.mark.parametrize("name", ["sasrec", "hydra4rec"])
def test_batches_taken_together_are_one_batch(cycle_dataset: Path, tmp_path: Path, name: str) -> None:
    """One step an epoch, in one batch or in many of unequal targets: the same gradient, the mean over all targets."""
    overrides = "training.epochs=1,training.optimizer=sgd,training.learning_rate=1,model.dropout=0.0"
    if name == "hydra4rec":  # masks are drawn batch by batch, so the batches must be the same rows: all of one length
        overrides += ",training.objective=sampled-prefixes,model.readout=last,training.prefixes=1"
    many = run(
        cycle_dataset, tmp_path / "many", f"{overrides},training.tokens_per_batch=24,training.micro_batches=9999", name
    )
    one = run(cycle_dataset, tmp_path / "one", f"{overrides},training.tokens_per_batch=99999", name)
    assert [len(trained.progress.epochs[0].batch_targets) for trained in (many, one)] == [1, 1]
    assert many.progress.epochs[0].targets == one.progress.epochs[0].targets
    for key, weights in one.model.state_dict().items():
        torch.testing.assert_close(many.model.state_dict()[key], weights, rtol=1e-4, atol=1e-6)


def test_rate_falls_within_an_epoch(cycle_dataset: Path, tmp_path: Path) -> None:
    """Whether a progress bar is shown or not."""
    row = run(cycle_dataset, tmp_path, "training.epochs=1,training.tokens_per_batch=64").progress.epochs[0]
    steps = len(row.batch_targets)
    peak = recipe("sasrec", "smoke", "long").training.learning_rate
    assert steps > 5
    assert row.learning_rate == pytest.approx(peak * 0.5 * (1 + math.cos(math.pi * (steps - 1) / steps)))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "usgm"])
@pytest.mark.parametrize("control", ["fixed", "paper", "inverse", "noise-scale"])
def test_every_optimizer_with_every_batch_control(
    cycle_dataset: Path, tmp_path: Path, optimizer: str, control: str
) -> None:
    overrides = f"training.epochs=4,training.optimizer={optimizer},training.batch_control={control}"
    overrides += ",training.tokens_per_batch=24,training.patience=9,training.learning_rate=0.02"
    rows = run(cycle_dataset, tmp_path, overrides).progress.epochs
    assert rows[-1].train_loss < rows[0].train_loss
    assert (rows[-1].optimizer, rows[-1].batch_control) == (optimizer, control)
    assert rows[-1].targets_seen == sum(row.targets for row in rows)
    assert all(sum(row.batch_targets) == row.targets for row in rows)
    steps = [len(row.batch_targets) for row in rows]
    if control == "fixed":
        assert len(set(steps)) == 1
        assert rows[-1].curvature_term is None
    else:
        assert min(steps) < math.ceil(rows[0].targets / min(rows[0].batch_targets))
        assert rows[-1].noise_term is not None
    measured = control in ("paper", "inverse") or optimizer == "usgm"
    assert (rows[-1].bregman is not None) == measured
    if optimizer == "usgm":
        curvatures = [row.curvature for row in rows if row.curvature]
        assert curvatures == sorted(curvatures)
        assert rows[-1].learning_rate == 1 / curvatures[-1]
    else:
        assert rows[-1].curvature is None


def test_average_of_the_iterates_is_what_is_validated_and_kept(cycle_dataset: Path, tmp_path: Path) -> None:
    overrides = "training.epochs=1,training.optimizer=usgm,training.tokens_per_batch=64"
    last = run(cycle_dataset, tmp_path / "last", overrides)
    mean = run(cycle_dataset, tmp_path / "mean", f"{overrides},training.average=true")
    assert last.progress.epochs[0].train_loss == mean.progress.epochs[0].train_loss
    key = "item_embedding.weight"
    assert not torch.equal(last.model.state_dict()[key], mean.model.state_dict()[key])


def test_usgm_that_meets_a_nan_names_its_own_setting(cycle_dataset: Path, tmp_path: Path) -> None:
    overrides = "training.optimizer=usgm,training.diameter=1e30"
    with pytest.raises(InputError, match=r"diverged: .* at epoch \d+, batch \d+ of \d+; .*training.diameter=2.5e\+29"):
        run(cycle_dataset, tmp_path, overrides)
