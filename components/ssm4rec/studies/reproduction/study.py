"""A reproduction study: recommenders by several recipes on MovieLens-1M, next to figures that were made with RecBole.

Only numbers that compare come together: the same data set, leave-one-out, RecBole's order of events, the test targets,
history unmasked. Everything else is refused, or stands in a table without published figures.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Final

from ssm4rec.artifacts.comparison import Comparison, ModelRow
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import BASELINES, PROTOCOLS, UNMASKED
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.evaluation.compare import compare, gather
from ssm4rec.evaluation.windows import check_ranks
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.findings import other_data
from ssm4rec.report.paper import PAPER
from ssm4rec.report.recommenders import RankedFiles, Recommenders, gather_recommenders, renamed
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import naming
from ssm4rec.studies.reproduction.plan import DATASET, REFIT
from ssm4rec.studies.reproduction.published import PublishedFigures, check_comparable, published_of

METRICS: Final = ("hit@10", "ndcg@10")
ABOVE: Final = "above"
WITHIN: Final = "level"
BELOW: Final = "below"


Files = RankedFiles
"""What a reproduction study left."""


@dataclass(frozen=True)
class Recipe:
    """A model by one recipe; the evaluations of its trainings, a seed each, in ascending order."""

    model: str
    profile: str
    repeat_term: bool
    trainings: tuple[EvaluationSummary, ...]

    @property
    def label(self) -> str:
        """What it is called where models are compared."""
        return label(self.model, self.profile, self.repeat_term)

    @property
    def most_epochs(self) -> int:
        """The most epochs that a training might have had."""
        return int(_setting(self.trainings[0], "training", "epochs"))

    @property
    def epochs(self) -> list[int]:
        """The epochs of each training."""
        return [one.training["epochs"] for one in self.trainings]

    @property
    def cpu_minutes(self) -> float:
        """The CPU-minutes of one training, the mean over its seeds."""
        return sum(float(one.training["cpu_seconds"]) for one in self.trainings) / len(self.trainings) / 60


@dataclass(frozen=True)
class Judgement:
    """A recipe next to a published figure of the same model, both with the history unmasked.

    ``ours`` is our mean over users and seeds, with its 95% interval over users; ``verdict`` where that lies.
    """

    recipe: Recipe
    published: PublishedFigures
    metric: str
    ours: ModelRow
    verdict: str


@dataclass(frozen=True)
class Reproduction:
    """What the report tells of; ``gather_reproduction`` makes one.

    ``recommenders``: a model by one recipe is a model of its own, called by ``label``. ``other_data``: why the data are
    not those of the published figures, which then stand next to nothing; empty if they are.
    """

    recommenders: Recommenders
    recipes: tuple[Recipe, ...]
    comparison: Comparison
    other_data: str

    def published(self, model: str) -> list[PublishedFigures]:
        """Return the published figures of a model that may stand next to ours; none where the data are others."""
        return [] if self.other_data else published_of(model)

    def row(self, name: str, protocol: str, metric: str) -> ModelRow:
        """Return the mean and interval of a recipe, by its label, or of a baseline."""
        return model_row(self.comparison, name, protocol, metric)

    def judgements(self) -> list[Judgement]:
        """Return every published figure next to every recipe of its model; none where the data are others."""
        return [
            Judgement(recipe, published, metric, ours, verdict(ours.mean, printed))
            for recipe in self.recipes
            for published in self.published(recipe.model)
            for metric in METRICS
            if (printed := published.printed(metric))
            for ours in [self.row(recipe.label, UNMASKED, metric)]
        ]

    def results(self) -> list[dict[str, Any]]:
        """Return every number of the study, flat: results.json. What a kind of row lacks is missing in it."""
        of_label = {recipe.label: recipe for recipe in self.recipes}
        dataset = {"dataset": DATASET, "event_order": RECBOLE}
        quality = [
            {"kind": "quality"} | asdict(row) | dataset | _names(of_label.get(row.model))
            for row in self.recommenders.results()
        ]
        means = [
            {"kind": "mean", **dataset, "model": name, **_names(of_label.get(name)), **_interval(row)}
            for name in (*of_label, *BASELINES)
            for protocol in PROTOCOLS
            for metric in METRICS
            for row in [self.row(name, protocol, metric)]
        ]
        trainings = [
            {"kind": "training", **dataset, **_names(recipe), "seeds": [one.seed for one in recipe.trainings]}
            | {name: getattr(recipe, name) for name in ("epochs", "most_epochs", "cpu_minutes")}
            for recipe in self.recipes
        ]
        judged = [
            {
                "kind": "published",
                **dataset,
                **_names(one.recipe),
                "source": one.published.source,
                "setting": one.published.setting,
                "published": one.published.printed(one.metric),
                **_interval(one.ours),
                "verdict": one.verdict,
            }
            for one in self.judgements()
        ]
        return [*quality, *means, *trainings, *judged]


def label(model: str, profile: str, repeat_term: bool) -> str:
    """Return what a model is called when it was trained by a recipe.

    >>> label("sasrec", "best", True)
    'sasrec, best, with the repeat term'
    """
    return f"{model}, {profile}, {'with' if repeat_term else 'without'} the repeat term"


def verdict(ours: Estimate, printed: str) -> str:
    """Return where our interval lies, as against all numbers that a printed figure may have been rounded from.

    >>> [verdict(Estimate(low + 0.01, low, low + 0.02, 6040), "0.340") for low in (0.3404, 0.3406, 0.3194)]
    ['level', 'above', 'below']
    """
    figure = Decimal(printed)
    half = Decimal(5).scaleb(int(figure.as_tuple().exponent) - 1)
    return (WITHIN, ABOVE, BELOW)[ours.side(figure - half, figure + half)]


def read_study(files: Files) -> Reproduction:
    """Read the files; raise InputError as ``gather_reproduction`` does."""
    manifest = read_manifest(files.dataset_dir)
    with naming(f"--dataset-dir {files.dataset_dir}"):
        check_comparable(manifest)
    dataset = read_sequences(files.dataset_dir)
    return gather_reproduction(manifest, dataset, files.read(dataset), files.resamples)


def gather_reproduction(
    manifest: dict[str, Any],
    dataset: SequenceDataset,
    evaluated: Sequence[tuple[EvaluationSummary, Ranks]],
    resamples: int,
) -> Reproduction:
    """Check that everything belongs together and compares with the published figures, and return the study.

    Raise InputError for another data set, split or order of events than the published figures are of; files that do not
    belong together.
    """
    check_comparable(manifest)
    for evaluation, ranks in evaluated:
        if evaluation.split != "test":
            raise InputError(
                f"an evaluation of {evaluation.model} seed {evaluation.seed} is on {evaluation.split} targets; the "
                "published figures are on test targets: run evaluate with --split test"
            )
        if evaluation.recipe["training"].get("refit"):
            raise InputError(
                f"{evaluation.model} seed {evaluation.seed} was trained on the validation items, too ({REFIT}); "
                f"the models of the published figures were not: train it with {REFIT}=false"
            )
        check_ranks(evaluation, ranks)
    labelled = [renamed(evaluation, _label(evaluation)) for evaluation, _ in evaluated]
    recommenders = gather_recommenders(manifest, labelled, [])
    found: dict[str, list[EvaluationSummary]] = {}
    for evaluation, _ in sorted(evaluated, key=lambda pair: (_label(pair[0]), pair[0].seed)):
        found.setdefault(_label(evaluation), []).append(evaluation)
    recipes = tuple(
        Recipe(one[0].model, one[0].profile, _setting(one[0], "model", "repeat_term"), tuple(one))
        for one in found.values()
    )
    evaluations = gather((replace(ranks, model=_label(evaluation)) for evaluation, ranks in evaluated), [])
    return Reproduction(
        recommenders, recipes, compare(dataset, evaluations, resamples, seed=0), other_data(manifest, PAPER[DATASET])
    )


def _setting(evaluation: EvaluationSummary, part: str, name: str) -> Any:
    if name not in evaluation.recipe[part]:
        raise InputError(
            f"the evaluation of {evaluation.model} seed {evaluation.seed} has no {part}.{name} in its recipe; run "
            "evaluate again"
        )
    return evaluation.recipe[part][name]


def _label(evaluation: EvaluationSummary) -> str:
    return label(evaluation.model, evaluation.profile, _setting(evaluation, "model", "repeat_term"))


def _names(recipe: Recipe | None) -> dict[str, Any]:
    if recipe is None:
        return {"profile": None, "repeat_term": None}
    return {"model": recipe.model, "profile": recipe.profile, "repeat_term": recipe.repeat_term}


def _interval(row: ModelRow) -> dict[str, Any]:
    interval = {"value": row.mean.value, "low": row.mean.low, "high": row.mean.high}
    return {"protocol": row.protocol, "metric": row.metric, **interval}
