"""An adapter study: one language model fine-tuned by several optimizers, each at several scales of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Split, read_curve
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.manifest import manifest_of
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.evaluation.statistics import difference_over_seeds, mean_over_seeds
from ssm4rec.runtime.errors import InputError

LAST_PART: Final = 0.25
"""Share of the prompts over which the loss that trials are compared by is taken."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an adapter study left: adapter folders, the learning curve of each in the same order, and its data."""

    dataset_dir: Path | None = None
    adapters: Sequence[Path]
    curves: Sequence[Path]


@dataclass(frozen=True)
class AdapterStudy:
    """What the report tells of; ``read_study`` makes one.

    The recipe is that of the trainings, but for optimizer and scale. A trial is a fine-tuning's learning curve; its
    ``training.scale`` is the peak learning rate, of USGM the diameter, in norms of the initial LoRA matrices. The
    manifest is that of the data set, None if it was not given.
    """

    dataset: str
    source: str
    recipe: dict[str, Any]
    trials: list[Curve]
    manifest: dict[str, Any] | None = None

    @property
    def optimizers(self) -> list[str]:
        """The optimizers, in order of their names."""
        return sorted({trial.training.optimizer for trial in self.trials})

    def scales(self, optimizer: str) -> list[float]:
        """The scales tried of an optimizer, in order."""
        return sorted({trial.training.scale for trial in self.trials if trial.training.optimizer == optimizer})

    def at(self, optimizer: str, scale: float) -> list[Curve]:
        """The trials of an optimizer at a scale, by seed."""
        own = (optimizer, scale)
        found = [trial for trial in self.trials if (trial.training.optimizer, trial.training.scale) == own]
        return sorted(found, key=lambda trial: trial.training.seed)

    def late(self, optimizer: str, scale: float) -> Estimate:
        """The late loss, nats per token of the answer, with its interval over seeds."""
        return mean_over_seeds([late(trial, "loss") for trial in self.at(optimizer, scale)])

    def best_scale(self, optimizer: str) -> float:
        """The scale with the lowest late loss, mean over seeds."""
        return min(self.scales(optimizer), key=lambda scale: self.late(optimizer, scale).value)

    def difference(self, optimizer: str, other: str) -> Difference:
        """The difference of the late losses at the best scales, paired by seed."""
        pair = [self.at(name, self.best_scale(name)) for name in (optimizer, other)]
        return difference_over_seeds([late(one, "loss") - late(two, "loss") for one, two in zip(*pair, strict=True)])

    def results(self) -> list[dict[str, Any]]:
        """Every trial flat: results.json."""
        return [
            {
                "dataset": self.dataset,
                "language_model": self.source,
                "optimizer": trial.training.optimizer,
                "scale": trial.training.scale,
                "seed": trial.training.seed,
                "prompts": trial.against("seen", "loss")[-1][0],
                "late_loss": late(trial, "loss"),
                "late_letter_loss": late(trial, "letter_loss"),
                "validation_ndcg@10_before": trial.values("ndcg@10", VALIDATION)[0],
                "validation_ndcg@10": trial.values("ndcg@10", VALIDATION)[-1],
            }
            for trial in self.trials
        ]


def late(trial: Curve, name: str) -> float:
    """Return a loss's mean over the last quarter of the prompts, each seen once, before it was trained on."""
    curve = trial.against("seen", name)
    values = [value for prompts, value in curve if prompts > (1 - LAST_PART) * curve[-1][0]]
    return float(sum(values) / len(values))


def read_study(files: Files) -> AdapterStudy:
    """Return the study of these adapter folders and learning curves.

    Raise InputError for none or not as many of each; several data sets, language models or recipes; one twice; a
    learning curve without losses, or not of the adapter in its place; data that are not those of the adapters.
    """
    counts = len(files.adapters), len(files.curves)
    if not counts[0] or counts[0] != counts[1]:
        raise InputError(f"{counts[0]} adapters and {counts[1]} learning curves: give both of every fine-tuning")
    trials: dict[tuple[str, float, int], Curve] = {}
    common: dict[str, Any] = {}
    for folder, path in zip(files.adapters, files.curves, strict=True):
        facts = RankerFacts.read(folder)
        steps = dict(facts.setting("finetune", "steps"))
        optimizer, rates = steps.pop("optimizer"), {name: steps.pop(name) for name in ("learning_rate", "diameter")}
        scale = rates["diameter" if optimizer == "usgm" else "learning_rate"]
        shared = {name: getattr(facts, name) for name in ("dataset", "fingerprint", "source", "retriever")}
        shared["recipe"] = {**facts.recipe["finetune"], "steps": steps}
        for name, value in shared.items():
            if common.setdefault(name, value) != value:
                raise InputError(f"{folder}: {name} {value}, others have {common[name]}; compare like with like")
        key = (optimizer, scale, facts.seed)
        if key in trials:
            raise InputError(f"{folder}: a second fine-tuning by {optimizer} at {scale:g}, seed {key[2]}; give it once")
        trials[key] = trial = read_curve(path, "finetune_llm")
        if (trial.training.optimizer, trial.training.scale, trial.training.seed) != key:
            raise InputError(
                f"{path}: not the learning curve of {optimizer} at {scale:g}, seed {facts.seed}, the adapter in its "
                "place; give both lists in one order"
            )
        measured: tuple[tuple[Split, str], ...] = ((TRAIN, "loss"), (TRAIN, "letter_loss"), (VALIDATION, "ndcg@10"))
        for split, name in measured:
            if not (points := trial.against("seen", name, split)) or not points[-1][0]:
                raise InputError(f"{path}: it ends without a {split} {name} of any prompts; run finetune_llm again")
    manifest = manifest_of(files.dataset_dir, common["dataset"])
    return AdapterStudy(common["dataset"], common["source"], common["recipe"], list(trials.values()), manifest)
