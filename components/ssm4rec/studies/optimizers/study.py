"""An optimizer study: the trainings of its sweep and of its comparison, and what they say about each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.curve import VALIDATION, Curve, read_curve
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.manifest import manifest_of
from ssm4rec.evaluation.statistics import difference_over_seeds, mean_over_seeds
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an optimizer study left: the learning curves of its sweep, and of what it compares, and its data."""

    dataset_dir: Path | None = None
    sweep: Sequence[Path]
    curves: Sequence[Path]


@dataclass(frozen=True, order=True)
class Method:
    """What is compared: an optimizer with a batch control, on a model."""

    model: str
    optimizer: str
    control: str

    def __str__(self) -> str:
        return f"{self.optimizer}, {self.control}"


@dataclass(frozen=True)
class OptimizerStudy:
    """What the report tells of; ``gather_optimizers`` makes one."""

    dataset: str
    trials: dict[tuple[str, str, float], Curve]
    """The sweep's, by model, optimizer and scale."""
    curves: dict[Method, dict[int, Curve]]
    """The comparison's, by method and seed."""
    manifest: dict[str, Any] | None = None
    """Of the data set; None if it was not given."""

    @property
    def models(self) -> list[str]:
        """The models, in order of their names."""
        return sorted({method.model for method in self.curves})

    def methods(self, model: str) -> list[Method]:
        """The methods compared on a model."""
        return sorted(method for method in self.curves if method.model == model)

    def scale(self, method: Method) -> float:
        """The learning rate or diameter that the sweep chose."""
        return next(iter(self.curves[method].values())).training.scale

    def scale_is_at_an_edge(self, method: Method) -> bool:
        """Whether the chosen scale is the smallest or largest tried: a wider sweep may find a better one."""
        tried = [scale for model, name, scale in self.trials if (model, name) == (method.model, method.optimizer)]
        return self.scale(method) in (min(tried), max(tried))

    def best(self, method: Method) -> dict[int, float]:
        """The best validation NDCG@10 of each seed."""
        return {seed: best_ndcg(curve) for seed, curve in self.curves[method].items()}

    def reached(self, method: Method) -> Estimate:
        """The best validation NDCG@10, mean over seeds with its interval."""
        return mean_over_seeds(list(self.best(method).values()))

    def difference(self, method: Method, other: Method) -> Difference:
        """The difference of the best validation NDCG@10, paired by seed, with its interval."""
        ours, theirs = self.best(method), self.best(other)
        return difference_over_seeds([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])

    def results(self) -> list[dict[str, Any]]:
        """Every training's result, flat: results.json."""
        found = [("sweep", curve) for curve in self.trials.values()]
        found += [("comparison", curve) for seeds in self.curves.values() for curve in seeds.values()]
        return [
            {
                "phase": phase,
                "dataset": self.dataset,
                "model": curve.training.model,
                "optimizer": curve.training.optimizer,
                "scale": curve.training.scale,
                "batch_control": curve.training.batch_control,
                "seed": curve.training.seed,
                "epochs": len(curve.values("epoch")),
                "steps": steps(curve),
                "targets_seen": curve.values("seen")[-1],
                "train_loss": curve.values("loss")[-1],
                "best_validation_ndcg@10": best_ndcg(curve),
                "cpu_seconds": curve.values("cpu_seconds")[-1],
            }
            for phase, curve in found
        ]


def best_ndcg(curve: Curve) -> float:
    """Return the highest validation NDCG@10 after any epoch."""
    return float(max(curve.values("ndcg@10", VALIDATION)))


def steps(curve: Curve) -> int:
    """Return how many optimizer steps a training took."""
    return len(curve.values("batch_targets"))


def read_study(files: Files) -> OptimizerStudy:
    """Read the files; raise InputError as ``gather_optimizers`` does, or if the data are not those of the curves."""
    curves = ([read_curve(path, "train_recommender") for path in paths] for paths in (files.sweep, files.curves))
    study = gather_optimizers(*curves)
    return replace(study, manifest=manifest_of(files.dataset_dir, study.dataset))


def gather_optimizers(sweep: Sequence[Curve], comparison: Sequence[Curve]) -> OptimizerStudy:
    """Return the study of these trainings.

    Raise InputError if none were compared, they are of several data sets, one is there twice, or one with fixed batches
    is of an optimizer that the sweep did not try.
    """
    trials: dict[tuple[str, str, float], Curve] = {}
    curves: dict[Method, dict[int, Curve]] = {}
    for curve in sweep:
        of = curve.training
        key = (of.model, of.optimizer, of.scale)
        if key in trials:
            raise InputError(
                f"--sweep: two learning curves of {of.model}, {of.optimizer} at {of.scale:g}; give each training once, "
                "and those of the comparison with --curves"
            )
        trials[key] = curve
    for curve in comparison:
        of = curve.training
        method = Method(of.model, of.optimizer, of.batch_control)
        if of.seed in (seeds := curves.setdefault(method, {})):
            raise InputError(
                f"--curves: two learning curves of {of.model}, {method}, seed {of.seed}; give each training once, and "
                "those of the sweep with --sweep"
            )
        seeds[of.seed] = curve
    if not curves or not trials:
        raise InputError("an optimizer study needs the learning curves of its sweep and of its comparison")
    datasets = {curve.training.dataset for curve in (*sweep, *comparison)}
    if len(datasets) > 1:
        raise InputError(f"the learning curves are of several data sets: {', '.join(sorted(datasets))}")
    tried = {(model, optimizer) for model, optimizer, _ in trials}
    for method in sorted(curves):
        if method.control == "fixed" and (method.model, method.optimizer) not in tried:
            raise InputError(f"--sweep: no training of {method.model} by {method}, which --curves has; give it, too")
    return OptimizerStudy(datasets.pop(), trials, curves)
