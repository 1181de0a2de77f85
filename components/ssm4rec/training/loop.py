"""The training loop: epochs over all users, validation by full ranking, early stopping, checkpoints.

Everything random is drawn from (seed, epoch), so a training that was killed and resumed ends with the same weights
as one that was not, on the same machine with the same number of threads. With several processes all draw the same
batches, and each trains on its part of the rows; only dropout differs between them.

Shapes: B batch, L length, D width, V items, T targets of a batch.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy
import torch
from tqdm.auto import tqdm

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.artifacts.names import SCALE_SETTINGS
from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.data.repeats import training_repeats
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError, full_ranking
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.models.recommender import Recommender
from ssm4rec.optim.usgm import USGM, GradientNotFiniteError
from ssm4rec.runtime.energy import EnergyMeter, Spent, energy_meter
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from ssm4rec.training.device import gpu_uuid
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.known_items import KnownItems
from ssm4rec.training.losses import Criterion
from ssm4rec.training.objectives import Batch, Crops, objective
from ssm4rec.training.settings import Recipe
from ssm4rec.training.stepper import Step, Stepper, build_optimizer, rate, scheduled_rate
from ssm4rec.training.task import Task

logger = logging.getLogger(__name__)

_LOOK_EVERY = 20
"""Steps between two looks at the loss: each look waits for a GPU."""


@dataclass(frozen=True)
class Trained:
    """A trained recommender with the weights of its best epoch, or those that ``refit`` gave."""

    model: Recommender
    progress: Progress
    """Of the training that validation watched; its costs count the second one of ``refit`` too."""
    stopped: str
    """``patience`` (no better epoch for that long) or ``epochs`` (they ran out)."""


def train(
    task: Task[Recipe], distributed: Distributed, checkpoint_folder: Path, on_epoch: Callable[[EpochRow], None]
) -> Trained:
    """Train to the end, from the checkpoint in ``checkpoint_folder`` if there is one.

    Every process of ``distributed`` calls this; the first one writes the checkpoint, after every epoch. ``on_epoch`` is
    called with each finished epoch's row, those of an earlier process included.

    Raises:
        InputError: the data cannot be trained on, the checkpoint is of another task, or the loss became NaN.
        ValueError: the recipe's objective does not fit its model.
    """
    settings = task.recipe.training
    task.recipe.check()
    with energy_meter(gpu_uuid(distributed.device)) as meter:
        model, progress = _run(task, distributed, meter, checkpoint_folder, on_epoch)
        stopped = progress.stopped(settings)
        model.load_state_dict(progress.best_weights)
        if settings.refit:
            logger.info("%s: again on training and validation items, %d epochs", task.name, progress.best_epoch)
            whole = replace(task, dataset=task.dataset.trained_to_validation())
            folder = checkpoint_folder / "refit"
            decided = model.repeat_term is not None and bool(model.repeat_term.start > 0)
            model, second = _run(whole, distributed, meter, folder, lambda _: None, progress.best_epoch)
            if decided and model.repeat_term is not None:
                model.repeat_term.load_state_dict(model.repeat_term.settled())
            progress.cpu_seconds += second.cpu_seconds
            progress.spent += second.spent
    if distributed.world_size > 1:  # the others' GPUs, or machines, were not counted
        progress.spent = Spent(progress.spent.seconds)
    return Trained(model.eval(), progress, stopped)


def _run(
    task: Task[Recipe],
    distributed: Distributed,
    meter: EnergyMeter,
    checkpoint_folder: Path,
    on_epoch: Callable[[EpochRow], None],
    unwatched_epochs: int = 0,
) -> tuple[Recommender, Progress]:
    """Train until it has stopped, or for that many epochs without validation; return the last weights and all else."""
    settings = task.recipe.training
    if settings.users_share < 1:
        task = replace(task, dataset=task.dataset.of_users(settings.users_share))
    torch.manual_seed(_epoch_seed(task.seed, 0))
    model = task.start.model(task.recipe.model, task.dataset).to(distributed.device)
    if model.repeat_term is not None and task.start.initial is None:
        found = training_repeats(task.dataset)
        model.repeat_term.start_from(found.targets, found.repeated, found.items_had, task.dataset.item_count)
    optimizer = build_optimizer(settings, model.parameters())
    progress = load_checkpoint(checkpoint_folder, task.identity(), model, optimizer)
    for row in progress.epochs:
        on_epoch(row)
    level = logging.INFO if distributed.is_main else logging.DEBUG
    if progress.epochs:
        logger.log(level, "resumed after epoch %d from %s", len(progress.epochs), checkpoint_folder)
    else:
        logger.log(level, "%s seed %d epoch 0/%d: starts", task.name, task.seed, unwatched_epochs or settings.epochs)
    trainer = _Trainer(task, distributed, model, optimizer, validates=not unwatched_epochs)
    trainer.stepper.batch_control.load_state_dict(progress.batch_control)
    clock = time.process_time() - progress.cpu_seconds
    earlier, started = progress.spent, meter.read()
    while len(progress.epochs) < unwatched_epochs if unwatched_epochs else not progress.stopped(settings):
        epoch = len(progress.epochs) + 1
        row = trainer.epoch(epoch, clock, progress)
        progress.epochs.append(row)
        progress.cpu_seconds = row.cpu_seconds
        progress.spent = earlier + (meter.read() - started)
        progress.batch_control = trainer.stepper.batch_control.state_dict()
        if progress.best_epoch == 0 or unwatched_epochs or row.validation_ndcg_10 > progress.best.validation_ndcg_10:
            progress.best_epoch = epoch
            progress.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            if model.repeat_term is not None and trainer.raised:
                settled = model.repeat_term.settled()
                progress.best_weights |= {f"repeat_term.{name}": tensor for name, tensor in settled.items()}
        if distributed.is_main:
            save_checkpoint(checkpoint_folder, task.identity(), progress, model, optimizer)
        on_epoch(row)
        validated = (
            f"validation ndcg@10 {row.validation_ndcg_10:.4f} hit@10 {row.validation_hit_10:.4f} "
            f"unmasked (best {progress.best_epoch})"
        )
        logger.log(
            level, "%s seed %d epoch %d/%d: loss %.4f, %s, fill %.1f%%, %.0f cpu-s",
            task.name, task.seed, epoch, unwatched_epochs or settings.epochs, row.train_loss,
            "refit" if unwatched_epochs else validated, 100 * row.fill, row.cpu_seconds,
        )  # fmt: skip
    return model, progress


class _Trainer:
    """What stays the same from epoch to epoch."""

    def __init__(
        self,
        task: Task[Recipe],
        distributed: Distributed,
        model: Recommender,
        optimizer: torch.optim.Optimizer,
        *,
        validates: bool,
    ) -> None:
        self.task, self.distributed, self.model, self.optimizer = task, distributed, model, optimizer
        self.validates = validates
        self.raised = False  # whether the last validation was better with the repeat term above 0
        self.settings = task.recipe.training
        self.objective = objective(self.settings, model)
        counts = task.dataset.training_counts()
        known = KnownItems(counts).to(distributed.device) if task.start.words and not counts[1:].all() else None
        criterion = Criterion(self.settings, counts if known is None else known.training_counts)
        if distributed.compiled:
            model.compile(dynamic=True)
        self.stepper = Stepper(self.settings, distributed, model, criterion, optimizer, known)

    def epoch(self, epoch: int, clock: float, progress: Progress) -> EpochRow:
        """Train once over the users, and validate; what is not validated is NaN in the row.

        Epochs count from 1; ``clock`` is the process time at which this training would have begun.
        """
        rng = numpy.random.default_rng([self.task.seed, epoch])
        drawn = torch.Generator().manual_seed(_epoch_seed(self.task.seed, epoch))
        torch.manual_seed(_epoch_seed(self.task.seed, epoch) + self.distributed.rank)  # dropout
        dataset = self.task.dataset
        crops = self.objective.crops(dataset, self.model.max_length, rng)
        if not len(crops.lengths):
            raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
        batches = list(length_buckets(crops.lengths, self.settings.tokens_per_batch, self.settings.rows_per_batch, rng))
        self.stepper.item_vectors_alone = epoch <= self.settings.frozen_epochs
        steps, cells_seen, mean = self._steps(epoch, batches, crops, drawn, progress)
        self.stepper.end_epoch()
        validated = self._validate() if self.validates else (math.nan, math.nan)
        if validated is None:
            raise self._diverged("the scores became NaN", epoch, len(batches), len(batches))
        hit, ndcg = validated
        bregmans = [step.bregman for step in steps if step.bregman is not None]
        targets = [step.targets for step in steps]
        return EpochRow(
            dataset=dataset.name,
            model=self.task.name,
            seed=self.task.seed,
            epoch=epoch,
            train_loss=mean,
            learning_rate=rate(self.optimizer),
            validation_hit_10=hit,
            validation_ndcg_10=ndcg,
            targets=sum(targets),
            fill=int(crops.lengths.sum()) / cells_seen,
            cpu_seconds=time.process_time() - clock,
            targets_seen=sum(targets) + (progress.epochs[-1].targets_seen if progress.epochs else 0),
            optimizer=self.settings.optimizer,
            scale=getattr(self.settings, SCALE_SETTINGS[self.settings.optimizer]),
            batch_control=self.settings.batch_control,
            batch_targets=targets,
            curvature=self.optimizer.curvature if isinstance(self.optimizer, USGM) else None,
            bregman=sum(bregmans) / len(bregmans) if bregmans else None,
            curvature_term=self.stepper.batch_control.curvature_term,
            noise_term=self.stepper.batch_control.noise_term,
        )

    def _steps(
        self, epoch: int, batches: list[Int64s], crops: Crops, drawn: torch.Generator, progress: Progress
    ) -> tuple[list[Step], int, float]:
        total = torch.zeros((), dtype=torch.float64, device=self.distributed.device)  # of the loss over all targets
        done, cells_seen, mean = 0, 0, math.nan
        steps: list[Step] = []
        self.model.train()
        self.stepper.start_epoch()
        name = f"{self.task.name} seed {self.task.seed} epoch {epoch}/{self.settings.epochs}"
        last = f"{progress.epochs[-1].validation_ndcg_10:.4f}" if progress.epochs else "none yet"
        hidden = None if self.distributed.is_main else True
        left = iter(batches)
        with tqdm(total=len(batches), desc=name, leave=False, disable=hidden) as bar:
            while chosen := list(islice(left, self.stepper.batch_control.micro_batches)):
                learning_rate = scheduled_rate(self.settings, (epoch - 1 + done / len(batches)) / self.settings.epochs)
                for parameters in self.optimizer.param_groups:
                    parameters["lr"] = learning_rate
                group = [self._batch(crops, rows, drawn) for rows in chosen]
                try:
                    step = self.stepper.take(group, drawn)
                except GradientNotFiniteError:
                    raise self._diverged("a gradient became NaN", epoch, done + 1, len(batches)) from None
                total += step.loss
                cells_seen += sum(batch.items.numel() for batch in group)
                steps.append(step)
                done += len(group)
                bar.update(len(group))
                if len(steps) % _LOOK_EVERY == 1 or done == len(batches):
                    mean = self.distributed.sum(total) / sum(step.targets for step in steps)
                    if not math.isfinite(mean):
                        raise self._diverged(f"the loss became {mean}", epoch, done, len(batches))
                    bar.set_postfix({"loss": f"{mean:.4f}", "validation ndcg@10": last}, refresh=False)
        return steps, cells_seen, mean

    def _batch(self, crops: Crops, rows: Int64s, drawn: torch.Generator) -> Batch:
        lengths = crops.lengths[rows] + self.objective.extra
        items = gather_rows(self.task.dataset.items, crops.starts[rows], lengths)
        return self.objective.batch(torch.from_numpy(items), drawn)

    def _diverged(self, what: str, epoch: int, batch: int, batches: int) -> InputError:
        name = SCALE_SETTINGS[self.settings.optimizer]
        return InputError(
            f"{self.task.name} diverged: {what} at epoch {epoch}, batch {batch} of {batches}; start again with a "
            f"lower one, such as --overrides training.{name}={getattr(self.settings, name) / 4:g}, "
            "and another --checkpoint-dir"
        )

    def _validate(self) -> tuple[float, float] | None:
        """Return validation HIT@10 and NDCG@10 with the history unmasked; None if the scores are not numbers.

        Where a repeat term may rank above 0 or not, they are those of the better NDCG@10, and ``raised`` says which.
        """
        found: tuple[float, float, bool] | None = None
        if self.distributed.is_main:
            self.model.eval()
            term = self.model.repeat_term
            with self.distributed.autocast(), suppress(ScoresNotNumbersError):
                found = (*self._ranked(), False)
                if term is not None and term.undecided:
                    term.raised = True
                    try:
                        raised = self._ranked()
                    finally:
                        term.raised = False
                    if raised[1] > found[1]:
                        found = (*raised, True)
        found = self.distributed.broadcast(found)  # type: ignore[assignment] # what the first process found
        if found is None:
            return None
        *metrics, self.raised = found
        return metrics[0], metrics[1]

    def _ranked(self) -> tuple[float, float]:
        model, dataset, device = self.model, self.task.dataset, self.distributed.device
        ranking = full_ranking(model.score_next, dataset, "validation", model.max_length, device, one_pass=model.causal)
        return metric_at("hit", ranking.unmasked, 10), metric_at("ndcg", ranking.unmasked, 10)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(numpy.random.SeedSequence([seed, epoch]).generate_state(1, dtype=numpy.uint64)[0])
