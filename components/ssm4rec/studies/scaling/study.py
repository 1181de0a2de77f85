"""A scaling study: its runs by model, and the laws fitted to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.floor import CommonFloor, common_floor
from ssm4rec.scaling.forms import PARAMETERS, WIDTH_DEPTH
from ssm4rec.scaling.held_out import Extrapolation, FormError, compare_forms, predict_largest
from ssm4rec.scaling.law import Law, fit
from ssm4rec.scaling.runs import Run
from ssm4rec.studies.scaling.plan import SHARE
from ssm4rec.studies.scaling.transfer import Pretrained, Transfer, gather_transfer, ndcg

FORMS: Final = (PARAMETERS, WIDTH_DEPTH)
EQUALS: Final = "all forms that predict as well"
"""Of the runs of one model: what results.json calls the form of their common floor."""
RESAMPLES: Final = 200
"""Of the runs, for the intervals of a law."""
COUNTED: Final = ("flops", "output_flops", "targets_seen")


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a scaling study left: the data set, and metrics.json of each evaluation.

    And what it left of pre-training: the pre-trained model's folder, and of the data that it was fine-tuned on the same
    two of each start.
    """

    dataset_dir: Path
    evaluations: Sequence[Path]
    pretrained: Path | None = None
    target_dataset: Path | None = None
    scratch_evaluations: Sequence[Path] = ()
    finetuned_evaluations: Sequence[Path] = ()


@dataclass(frozen=True)
class Trained:
    """A training as a run of the fit, and all else that is known of it.

    The run's ``parameters`` and ``flops`` are without item vectors, its ``data`` the training events of its users.
    """

    run: Run
    evaluation: EvaluationSummary

    @property
    def share(self) -> float:
        """Of the users whose events it was trained on."""
        return float(self.evaluation.recipe["training"]["users_share"])

    @property
    def ndcg(self) -> float:
        """NDCG@10 of the test targets, history unmasked."""
        return ndcg(self.evaluation)

    @property
    def six_nd(self) -> int:
        """The rule of thumb for ``run.flops``: 6 operations per parameter and target seen."""
        return 6 * self.run.parameters * int(self.evaluation.training["targets_seen"])


@dataclass(frozen=True)
class Fitted:
    """What the runs of a model say: laws by form, the form of the least held-out error first."""

    laws: tuple[Law, ...]
    errors: tuple[FormError, ...]
    largest: tuple[Extrapolation, ...]

    @property
    def floor(self) -> CommonFloor:
        """The floor by all forms that predict about as well as the best."""
        return common_floor(self.laws, self.errors)


@dataclass(frozen=True)
class ModelRuns:
    """The trainings of one model; ``problem``: why no law was fitted to them."""

    model: str
    trained: tuple[Trained, ...]
    fitted: Fitted | None
    problem: str = ""

    @cached_property
    def best(self) -> Trained:
        """That of the least test loss."""
        return min(self.trained, key=lambda one: one.run.loss)


@dataclass(frozen=True)
class ScalingStudy:
    """What the report tells of.

    ``floor``: the least loss possible on the test targets, None where it is not known. ``transfer``: None where nothing
    was pre-trained.
    """

    manifest: dict[str, Any]
    models: tuple[ModelRuns, ...]
    floor: float | None
    transfer: Transfer | None = None

    def results(self) -> list[dict[str, Any]]:
        """Return every number of the study, flat: results.json. What a kind of row lacks is missing in it."""
        found = []
        for one in self.models:
            named = {"dataset": self.manifest["dataset"], "model": one.model}
            found += [{"kind": "run", **named, **_of_run(trained)} for trained in one.trained]
            if one.fitted:
                found += [{**row, **named} for row in _of_fit(one.fitted)]
        if self.floor is not None:
            found.append({"kind": "floor", "dataset": self.manifest["dataset"], "value": self.floor})
        return found + (self.transfer.results() if self.transfer else [])


def _of_run(trained: Trained) -> dict[str, Any]:
    run, evaluation = trained.run, trained.evaluation
    nll = evaluation.nll
    return {
        **{name: getattr(run, name) for name in ("seed", "width", "depth", "data", "parameters")},
        "share": trained.share,
        "nll": run.loss,
        "low": nll.low if nll else run.loss,
        "high": nll.high if nll else run.loss,
        "ndcg@10": trained.ndcg,
        **{name: evaluation.training[name] for name in (*COUNTED, "cpu_seconds", "epochs", "best_epoch")},
        "six_nd": trained.six_nd,
    }


def _of_fit(fitted: Fitted) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    numbers = [(law.form.name, number) for law in fitted.laws for number in law.numbers]
    for form, number in [*numbers, (EQUALS, fitted.floor.number)]:
        estimate = {"value": number.value, "low": number.estimate.low, "high": number.estimate.high}
        told = {"number": number.name, **estimate, "problem": number.problem}
        found.append({"kind": "law", "form": form, **told})
    for one, law in zip(fitted.errors, fitted.laws, strict=True):
        misfit = {"lack_of_fit": law.misfit.ratio, "lack_of_fit_p": law.misfit.p_value} if law.misfit else {}
        found.append({"kind": "form", "form": one.form.name, "held_out_error": one.error, **misfit})
    for reach in fitted.largest:
        counts = {"runs": len(reach.runs), "inside": reach.inside, "chance": reach.chance, "error": reach.error}
        found.append({"kind": "largest", "form": reach.form.name, **counts})
    return found


def read_study(files: Files) -> ScalingStudy:
    """Read the files and fit the laws; raise InputError as ``gather_scaling`` and ``gather_transfer`` do."""
    manifest, dataset = read_manifest(files.dataset_dir), read_sequences(files.dataset_dir)
    transfer = _read_transfer(files)
    study = gather_scaling(manifest, dataset, [EvaluationSummary.read(path) for path in files.evaluations])
    return replace(study, transfer=transfer)


def _read_transfer(files: Files) -> Transfer | None:
    evaluations = files.scratch_evaluations, files.finetuned_evaluations
    if not (files.pretrained or files.target_dataset or any(evaluations)):
        return None
    if not (files.pretrained and files.target_dataset and all(evaluations)):
        raise InputError(
            "--pretrained, --target-dataset, --scratch-evaluations, --finetuned-evaluations: one of them is missing; "
            "give all four, or none"
        )
    target = read_manifest(files.target_dataset), read_sequences(files.target_dataset)
    scratch, finetuned = ([EvaluationSummary.read(path) for path in paths] for paths in evaluations)
    return gather_transfer(Pretrained.read(files.pretrained), target, scratch, finetuned)


def gather_scaling(
    manifest: dict[str, Any],
    dataset: SequenceDataset,
    evaluations: Sequence[EvaluationSummary],
    resamples: int = RESAMPLES,
) -> ScalingStudy:
    """Return the study of these evaluations.

    Raise InputError if there is none, one is of other data or targets, was not counted or lacks its loss, or is there
    twice.
    """
    if not evaluations:
        raise InputError("--evaluations: none; a scaling study needs the metrics.json of each training")
    found: dict[str, dict[tuple[Any, ...], Trained]] = {}
    for evaluation in evaluations:
        trained = _trained(dataset, evaluation)
        key = (*trained.run.cell, trained.run.seed)
        if key in found.setdefault(evaluation.model, {}):
            raise InputError(f"--evaluations: {_called(evaluation)} is there twice; give each training once")
        found[evaluation.model][key] = trained
    models = [
        _fitted(model, tuple(one for _, one in sorted(of.items())), resamples) for model, of in sorted(found.items())
    ]
    return ScalingStudy(manifest, tuple(models), manifest.get("irreducible_loss"))


def _trained(dataset: SequenceDataset, evaluation: EvaluationSummary) -> Trained:
    name, training, recipe = _called(evaluation), evaluation.training, evaluation.recipe
    if evaluation.fingerprint != dataset.fingerprint:
        raise InputError(f"--evaluations: {name} is of other data than --dataset-dir; take files of one data set")
    if evaluation.split != "test":
        raise InputError(f"--evaluations: {name} is on {evaluation.split} targets; run evaluate with --split test")
    if evaluation.nll is None:
        raise InputError(f"--evaluations: {name} has no nll, an earlier version wrote it; run evaluate again")
    if not {*COUNTED} <= {*training}:
        raise InputError(f"--evaluations: {name} has no flops; train it again with --count-flops true")
    share = recipe["training"].get(SHARE.partition(".")[2])
    if share is None:
        raise InputError(f"--evaluations: {name} has no {SHARE} in its recipe; train it again")
    run = Run(
        parameters=evaluation.parameters_without_embeddings,
        width=recipe["model"]["d_model"],
        depth=recipe["model"]["n_layers"],
        data=int(dataset.of_users(share).train_length.sum()),
        loss=evaluation.nll.value,
        flops=training["flops"],
        seed=evaluation.seed,
    )
    return Trained(run, evaluation)


def _called(evaluation: EvaluationSummary) -> str:
    return f"an evaluation of {evaluation.model} seed {evaluation.seed}"


def _fitted(model: str, trained: tuple[Trained, ...], resamples: int) -> ModelRuns:
    """Fit each form; runs that are too few for one are not fitted at all."""
    runs = [one.run for one in trained]
    try:
        errors = compare_forms(runs, FORMS)
        forms = [one.form for one in errors]
        largest = tuple(predict_largest(runs, form, resamples=resamples) for form in forms)
        laws = tuple(fit(runs, form, resamples) for form in forms)
    except InputError as error:
        return ModelRuns(model, trained, None, str(error))
    return ModelRuns(model, trained, Fitted(laws, tuple(errors), largest))
