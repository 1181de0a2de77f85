"""An adapter study: one language model fine-tuned by several optimizers, each at several scales of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Split, read_curve
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.evaluation.statistics import difference_over_seeds, mean_over_seeds
from ssm4rec.runtime.errors import InputError

LAST_PART: Final = 0.25
"""Share of the prompts over which the loss that trials are compared by is taken."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an adapter study left: adapter folders, and the learning curve of each in the same order."""

    adapters: Sequence[Path]
    curves: Sequence[Path]


@dataclass(frozen=True)
class AdapterTrial:
    """One fine-tuning.

    Attributes:
        optimizer: by its name in the recipe.
        scale: its peak learning rate; of USGM the diameter, in norms of the initial LoRA matrices.
    """

    optimizer: str
    scale: float
    seed: int
    learning: Curve

    def curve(self, name: str, split: Split = TRAIN) -> list[tuple[int, float]]:
        """Return prompts seen and value of a number, in order."""
        return self.learning.against("seen", name, split)

    def validated(self) -> list[tuple[int, float]]:
        """Return prompts seen and validation NDCG@10, in order."""
        return self.curve("ndcg_10", VALIDATION)

    def late(self, name: str) -> float:
        """Return a loss's mean over the last quarter of the prompts.

        Every prompt is seen once and before its step, so this is a loss on data not trained on.
        """
        curve = self.curve(name)
        late = [value for prompts, value in curve if prompts > (1 - LAST_PART) * curve[-1][0]]
        return sum(late) / len(late)


@dataclass(frozen=True)
class AdapterStudy:
    """What the report tells of; ``read_study`` makes one.

    Attributes:
        source: of the language model.
        recipe: of the trainings, but for optimizer and scale.
    """

    dataset: str
    source: str
    recipe: dict[str, Any]
    trials: list[AdapterTrial]

    @property
    def optimizers(self) -> list[str]:
        """The optimizers, in order of their names."""
        return sorted({trial.optimizer for trial in self.trials})

    def scales(self, optimizer: str) -> list[float]:
        """The scales tried of an optimizer, in order."""
        return sorted({trial.scale for trial in self.trials if trial.optimizer == optimizer})

    def at(self, optimizer: str, scale: float) -> list[AdapterTrial]:
        """The trials of an optimizer at a scale, by seed."""
        found = [trial for trial in self.trials if (trial.optimizer, trial.scale) == (optimizer, scale)]
        return sorted(found, key=lambda trial: trial.seed)

    def late(self, optimizer: str, scale: float) -> Estimate:
        """The late loss, nats per token of the answer, with its interval over seeds."""
        return mean_over_seeds([trial.late("loss") for trial in self.at(optimizer, scale)])

    def best_scale(self, optimizer: str) -> float:
        """The scale with the lowest late loss, mean over seeds."""
        return min(self.scales(optimizer), key=lambda scale: self.late(optimizer, scale).value)

    def difference(self, optimizer: str, other: str) -> Difference:
        """The difference of the late losses at the best scales, paired by seed."""
        pair = [self.at(name, self.best_scale(name)) for name in (optimizer, other)]
        return difference_over_seeds([one.late("loss") - two.late("loss") for one, two in zip(*pair, strict=True)])

    def results(self) -> list[dict[str, Any]]:
        """Every trial flat: results.json."""
        return [
            {
                "dataset": self.dataset,
                "language_model": self.source,
                "optimizer": trial.optimizer,
                "scale": trial.scale,
                "seed": trial.seed,
                "prompts": trial.curve("loss")[-1][0],
                "late_loss": trial.late("loss"),
                "late_letter_loss": trial.late("letter_loss"),
                "validation_ndcg@10_before": trial.validated()[0][1],
                "validation_ndcg@10": trial.validated()[-1][1],
            }
            for trial in self.trials
        ]


def read_study(files: Files) -> AdapterStudy:
    """Return the study of these adapter folders and learning curves.

    Raises:
        InputError: none or not as many of each; of several data sets, language models or recipes; one twice; a learning
            curve has no losses.
    """
    counts = len(files.adapters), len(files.curves)
    if not counts[0] or counts[0] != counts[1]:
        raise InputError(f"{counts[0]} adapters and {counts[1]} learning curves: give both of every fine-tuning")
    trials: dict[tuple[str, float, int], AdapterTrial] = {}
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
        trials[key] = trial = AdapterTrial(*key, read_curve(path, "finetune_llm"))
        measured: tuple[tuple[Split, str], ...] = ((TRAIN, "loss"), (TRAIN, "letter_loss"), (VALIDATION, "ndcg_10"))
        for split, name in measured:
            if not (curve := trial.curve(name, split)) or not curve[-1][0]:
                raise InputError(f"{path}: it ends without a {split} {name} of any prompts; run finetune_llm again")
    return AdapterStudy(common["dataset"], common["source"], common["recipe"], list(trials.values()))
