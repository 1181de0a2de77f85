"""What pre-training on one data set gains on another: trainings with it and from scratch, paired by size and seed."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import scipy.stats

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.names import MODEL_WEIGHTS, UNMASKED
from ssm4rec.artifacts.training import read_config
from ssm4rec.evaluation.statistics import difference_over_seeds, holm, mean_over_seeds
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import digest_of
from ssm4rec.studies.scaling.plan import SHARE

Key = tuple[float, int]
"""Share of the users, and seed."""
Evaluations = dict[Key, EvaluationSummary]


def ndcg(evaluation: EvaluationSummary) -> float:
    """Return NDCG@10 of the model, history unmasked."""
    wanted = (evaluation.model, UNMASKED, "ndcg@10")
    return next(row.value for row in evaluation.rows if (row.model, row.protocol, row.metric) == wanted)


def loss(evaluation: EvaluationSummary) -> float:
    """Return the loss in nats per target, NaN where it was not measured."""
    return evaluation.nll.value if evaluation.nll else math.nan


@dataclass(frozen=True)
class Measure:
    """Something by which trainings are compared; ``sign``: 1 where more is better, -1 where less is."""

    name: str
    of: Callable[[EvaluationSummary], float]
    sign: int


NDCG: Final = Measure("ndcg@10", ndcg, 1)
LOSS: Final = Measure("nll", loss, -1)
MEASURES: Final = (NDCG, LOSS)


@dataclass(frozen=True)
class TargetSize:
    """The trainings on a share of the target's users, a pair of one seed at a place.

    ``users``: whose ``events`` were trained on.
    """

    share: float
    users: int
    events: int
    scratch: tuple[EvaluationSummary, ...]
    finetuned: tuple[EvaluationSummary, ...]

    def mean(self, arm: str, measure: Measure) -> Estimate:
        """Return the mean over seeds of ``scratch`` or ``finetuned``, with its 95% interval."""
        return mean_over_seeds([measure.of(one) for one in getattr(self, arm)])

    def gains(self, measure: Measure) -> list[float]:
        """Return how much better each fine-tuning is than the training of its seed from scratch."""
        pairs = zip(self.scratch, self.finetuned, strict=True)
        return [measure.sign * (measure.of(tuned) - measure.of(plain)) for plain, tuned in pairs]


@dataclass(frozen=True)
class Transfer:
    """Pre-training on ``source`` and fine-tuning on ``target``, sizes in ascending order.

    ``cpu_seconds``: of pre-training. ``floor``: the least loss possible on the target's test targets, where it is
    known.
    """

    model: str
    source: str
    target: str
    cpu_seconds: float
    floor: float | None
    sizes: tuple[TargetSize, ...]

    def gains(self, measure: Measure) -> tuple[Difference, ...]:
        """Return the gain at each size: mean and interval over seeds by Student's t; p corrected for all sizes."""
        by_size = [size.gains(measure) for size in self.sizes]
        found = [difference_over_seeds(gains) for gains in by_size]
        if not all(one.has_interval for one in found):
            return tuple(found)
        p_values = [float(scipy.stats.ttest_1samp(gains, 0).pvalue) if len({*gains}) > 1 else 1.0 for gains in by_size]
        return tuple(replace(one, p_holm=p) for one, p in zip(found, holm(p_values), strict=True))

    def results(self) -> list[dict[str, Any]]:
        """Return every number, flat, for results.json; without an interval there are no bounds."""
        named = {"model": self.model, "pretrained_on": self.source, "dataset": self.target}
        rows: list[dict[str, Any]] = []
        for size in self.sizes:
            about = {**named, "share": size.share, "users": size.users, "data": size.events}
            for arm in ("scratch", "finetuned"):
                rows += [
                    {
                        "kind": "transfer", **about, "arm": arm, "seed": one.seed,
                        **{measure.name: measure.of(one) for measure in MEASURES},
                        **{name: one.training[name] for name in ("cpu_seconds", "epochs", "best_epoch")},
                    }
                    for one in getattr(size, arm)
                ]  # fmt: skip
        for measure in MEASURES:
            for size, gain in zip(self.sizes, self.gains(measure), strict=True):
                bounds = {"low": gain.low, "high": gain.high, "p_holm": gain.p_holm} if gain.has_interval else {}
                about = {"users": size.users, "metric": measure.name, "value": gain.value, "seeds": gain.n}
                rows.append({"kind": "gain", **named, **about, **bounds})
        return rows


@dataclass(frozen=True)
class Pretrained:
    """The pre-trained model: its config.json, and the digest of its weights."""

    config: dict[str, Any]
    weights: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a model folder; raise InputError if a file is missing, or config.json is not one of a recommender."""
        config, weights = read_config(folder), folder / MODEL_WEIGHTS
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; train the model again")
        return cls(config, digest_of(weights))


def gather_transfer(
    pretrained: Pretrained,
    target: tuple[dict[str, Any], SequenceDataset],
    scratch: Sequence[EvaluationSummary],
    finetuned: Sequence[EvaluationSummary],
) -> Transfer:
    """Return what pre-training gained.

    ``target``: manifest and data. Raise InputError if the model was pre-trained on the target's data, or an evaluation
    is of other data or targets, of another model or lacks its loss, began with other weights than its flag says, is
    there twice, or has no counterpart of its recipe and seed.
    """
    manifest, dataset = target
    config = pretrained.config
    if config["fingerprint"] == dataset.fingerprint:
        raise InputError(
            "--pretrained: was trained on the data of --target-dataset, whose users are tested; give one of other data"
        )
    plain = _by_size("--scratch-evaluations", config["model"], dataset, scratch)
    tuned = _by_size("--finetuned-evaluations", config["model"], dataset, finetuned)
    _check_starts(pretrained, plain, tuned)
    for key in sorted(plain.keys() | tuned.keys()):
        share, seed = key
        if key not in plain or key not in tuned or plain[key].recipe != tuned[key].recipe:
            raise InputError(
                f"--scratch-evaluations and --finetuned-evaluations: not a pair of one recipe for share {share:g} of "
                f"the users, seed {seed}; train both with the same --overrides"
            )
    by_share: dict[float, list[int]] = defaultdict(list)
    for share, seed in sorted(plain):
        by_share[share].append(seed)
    sizes = []
    for share, seeds in by_share.items():
        lengths = dataset.of_users(share).train_length
        pairs = ([of[share, seed] for seed in seeds] for of in (plain, tuned))
        sizes.append(TargetSize(share, int((lengths > 0).sum()), int(lengths.sum()), *map(tuple, pairs)))
    return Transfer(
        config["model"],
        str(config["dataset"]),
        str(manifest["dataset"]),
        float(config["training"]["cpu_seconds"]),
        manifest.get("irreducible_loss"),
        tuple(sizes),
    )


def _check_starts(pretrained: Pretrained, scratch: Evaluations, finetuned: Evaluations) -> None:
    """Raise InputError unless each training began as its flag says: nothing else tells the two starts apart."""
    wanted = {
        "--scratch-evaluations": (scratch, "", "from scratch"),
        "--finetuned-evaluations": (finetuned, pretrained.weights, "with the weights of --pretrained"),
    }
    for flag, (evaluations, digest, start) in wanted.items():
        for (share, seed), one in sorted(evaluations.items()):
            name = f"{flag}: an evaluation of {one.model} seed {seed} on share {share:g}"
            if one.initial_model is None:
                raise InputError(
                    f"{name} does not say what its training began with, an earlier version wrote it; run evaluate again"
                )
            if one.initial_model != digest:
                began = "began with other weights" if one.initial_model else "began from scratch"
                raise InputError(f"{name} {began}; give trainings that began {start}")


def _by_size(flag: str, model: str, dataset: SequenceDataset, evaluations: Sequence[EvaluationSummary]) -> Evaluations:
    found: Evaluations = {}
    for one in evaluations:
        name = f"an evaluation of {one.model} seed {one.seed}"
        if one.model != model:
            raise InputError(f"{flag}: {name}, and --pretrained is a {model}; take trainings of that model")
        if one.fingerprint != dataset.fingerprint:
            raise InputError(f"{flag}: {name} is of other data than --target-dataset; take files of one data set")
        if one.split != "test" or one.nll is None:
            raise InputError(f"{flag}: {name} has no loss on test targets; run evaluate again, with --split test")
        key = float(one.recipe["training"].get(SHARE.partition(".")[2], 1)), one.seed
        if key in found:
            raise InputError(f"{flag}: {name} on share {key[0]:g} is there twice; give each training once")
        found[key] = one
    return found
