"""The language models of a study: LlamaRec's rankers, what they differ by, and the generative recommenders."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy
import scipy.special

from ssm4rec.artifacts.curve import Curve
from ssm4rec.artifacts.dataset import Int32s
from ssm4rec.artifacts.estimate import CONFIDENCE, Difference, Estimate
from ssm4rec.artifacts.evaluations import ResultRow
from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.artifacts.names import METRICS, MOST_POPULAR, metric_name
from ssm4rec.artifacts.rankings import (
    ALIGNED,
    AMONG_CANDIDATES,
    BASE,
    BLENDED,
    FINETUNED,
    ORDERS,
    RANDOM,
    RETRIEVER,
    RETRIEVER_ORDER,
    SHUFFLED_ORDER,
    WINNERS,
    RankingRow,
    RankingSummary,
)
from ssm4rec.evaluation.metrics import gains_at
from ssm4rec.evaluation.statistics import Floats, bootstrap_means, difference_over_users
from ssm4rec.runtime.errors import InputError

BASELINES: Final = (RANDOM, MOST_POPULAR, RETRIEVER)
STATES: Final = (BASE, FINETUNED, ALIGNED, WINNERS)
RANKERS: Final = (*BASELINES, *STATES)
"""In the order of the tables: an order of chance, two known ones, and the language model in its states."""

RANKER_NAMES: Final = {
    RANDOM: "random order",
    MOST_POPULAR: MOST_POPULAR,
    RETRIEVER: "the retriever's order",
    BASE: "base, as it came",
    FINETUNED: "fine-tuned",
    ALIGNED: "fine-tuned, then ORPO",
    WINNERS: "fine-tuned, then the winners again",
    BLENDED[FINETUNED]: "fine-tuned + retriever",
    BLENDED[ALIGNED]: "ORPO + retriever",
    BLENDED[WINNERS]: "the winners again + retriever",
}
ORDER_NAMES: Final = {RETRIEVER_ORDER: "in the retriever's order", SHUFFLED_ORDER: "shuffled"}

MASKED_LISTS: Final = "masked lists"
"""Protocol of generators in results.json: short lists of new items, on the users evaluated."""

_RESAMPLES: Final = 10_000


def added_by(summary: RankingSummary) -> tuple[str, str]:
    """Return the rankers that a trained ranker's summary has, and those of others do not."""
    return summary.state, BLENDED[summary.state]


def mean_over_users(differences: Floats) -> Difference:
    """Return the mean of users' differences (n,), each user's over several trainings, with its bootstrap interval.

    Users are drawn once: draws of each training's own mean cannot be averaged, resample r of two has other users.
    """
    drawn = bootstrap_means(differences[:, None], _RESAMPLES, numpy.random.default_rng(0))[:, 0]
    return difference_over_users(differences, numpy.ones(len(differences), numpy.int64), drawn)


@dataclass(frozen=True)
class RankerRun:
    """A language model on one retriever's candidates: fine-tuned, and aligned where that was done.

    ``control``: trained as the aligned one is, on the winners alone. ``ranks`` are of the users' targets, of each
    (ranker, order), (n,); ``tuning`` and ``alignment`` learning curves.
    """

    finetuned: RankingSummary
    aligned: RankingSummary | None
    users: Int32s
    ranks: dict[tuple[str, str], Int32s]
    tuning: Curve | None = None
    alignment: Curve | None = None
    control: RankingSummary | None = None

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return f"{self.finetuned.source} seed {self.finetuned.seed} on {self.finetuned.retriever}"

    @property
    def kind(self) -> tuple[str, ...]:
        """What it is but for its seed and its trainings."""
        facts = self.finetuned
        return facts.source, facts.ranker, facts.retriever, facts.split

    @property
    def letters(self) -> bool:
        """Whether it answers with letters, which an order of the candidates gives them: LlamaRec."""
        return self.finetuned.ranker == "letters"

    @property
    def title(self) -> str:
        """What kind it is."""
        return "LlamaRec" if self.letters else "Ranker of items"

    @property
    def pairs_by(self) -> str:
        """How the pairs were made that it was aligned to; "" where that is not known."""
        return str(self.aligned.training.get("pairs_by", "")) if self.aligned else ""

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of the candidates that its numbers are told for: one, where no order enters."""
        return ORDERS if self.letters else (RETRIEVER_ORDER,)

    @property
    def states(self) -> list[str]:
        """The language model's states that were ranked with, in order."""
        return [ranker for ranker in STATES if (ranker, RETRIEVER_ORDER) in self.ranks]

    @property
    def rankers(self) -> list[str]:
        """Baselines, states, and states with the retriever's scores added, in order."""
        blends = [blend for blend in BLENDED.values() if (blend, RETRIEVER_ORDER) in self.ranks]
        return [*BASELINES, *self.states, *blends]

    def row(self, ranker: str, order: str, population: str, metric: str) -> RankingRow:
        """Return a number; a baseline's is the same whatever the order."""
        wanted = (ranker, RETRIEVER_ORDER if ranker in BASELINES else order, population, metric)
        for row in self._summary(ranker).rows:
            if (row.ranker, row.order, row.population, row.metric) == wanted:
                return row
        raise InputError(f"the ranking of {self.name} has no {metric} of {' '.join(wanted[:3])}; run it again")

    def rows(self) -> list[RankingRow]:
        """Return every number of the summaries once."""
        further = [one for one in (self.aligned, self.control) if one]
        return [*self.finetuned.rows, *(row for one in further for row in one.rows if row.ranker in added_by(one))]

    def first_place_counts(self, state: str) -> list[int]:
        """Return how often a state of the language model put the candidate in each place first, all shuffled."""
        return self._summary(state).first_places[f"{state}/{SHUFFLED_ORDER}"]

    def estimate(self, row: RankingRow) -> Estimate:
        """Return a number with its 95% interval, by Student's t over the users ranked."""
        users = self.finetuned.ranked
        half = float(scipy.special.stdtrit(users - 1, (1 + CONFIDENCE) / 2) * row.standard_error)
        return Estimate(row.value, row.value - half, row.value + half, users)

    def difference(self, ranker: str, other: str, order: str, metric: str) -> Difference:
        """Return the mean difference at cutoff 10, paired by user, with its bootstrap interval over users.

        A random order has no ranks; its expected gain counts instead of each user's.
        """
        (ours, our_draws), (theirs, their_draws) = (self.gains(name, order, metric) for name in (ranker, other))
        return difference_over_users(ours - theirs, numpy.ones(len(self.users), numpy.int64), our_draws - their_draws)

    def _summary(self, ranker: str) -> RankingSummary:
        given = (one for one in (self.aligned, self.control) if one and ranker in added_by(one))
        return next(given, self.finetuned)

    def gains(self, ranker: str, order: str, metric: str) -> tuple[Floats, Floats]:
        """Return each user's gain, (n,), and draws of their mean, (R,)."""
        if ranker == RANDOM:
            expected = self.row(RANDOM, order, AMONG_CANDIDATES, metric_name(metric, 10)).value
            return numpy.full(len(self.users), expected), numpy.full(_RESAMPLES, expected)
        key = (ranker, RETRIEVER_ORDER if ranker in BASELINES else order)
        return gains_at(metric, self.ranks[key], 10), self._drawn[*key, metric]

    @cached_property
    def _drawn(self) -> dict[tuple[str, str, str], Floats]:
        """Every mean over users drawn with replacement, the same users for all: what pairs a difference."""
        gains = {(*key, metric): gains_at(metric, ranks, 10) for key, ranks in self.ranks.items() for metric in METRICS}
        drawn = bootstrap_means(numpy.stack(list(gains.values()), axis=1), _RESAMPLES, numpy.random.default_rng(0))
        return dict(zip(gains, drawn.T, strict=True))


@dataclass(frozen=True)
class LanguageModels:
    """The language models of a study; ``gather_language_models`` makes one."""

    rankers: tuple[RankerRun, ...] = ()
    """Sorted by language model, retriever and seed."""
    generators: tuple[GenerationSummary, ...] = ()
    """Sorted by model, seed and split."""

    def aligned_groups(self) -> list[tuple[RankerRun, ...]]:
        """Return the aligned rankers, those together that differ by seed alone and ranked for the same users."""
        groups: dict[tuple[str, ...], list[RankerRun]] = {}
        for run in self.rankers:
            if run.aligned:
                trained = json.dumps([run.finetuned.recipe, run.aligned.recipe], sort_keys=True)
                profiles = run.finetuned.profile, run.aligned.profile
                key = (*run.kind, *profiles, trained, run.pairs_by, str(run.users.tobytes()))
                groups.setdefault(key, []).append(run)
        return [tuple(runs) for runs in groups.values()]

    def seeds(self, model: str) -> list[int]:
        """Return the seeds of ``llamarec`` or of a generator; none for a model that is not there."""
        found = [(summary.model, summary.seed) for summary in self.generators]
        found += [("llamarec", run.finetuned.seed) for run in self.rankers if run.letters]
        return sorted({seed for name, seed in found if name == model})

    def size(self, model: str) -> str | None:
        """Return a generator's number of parameters, or of ``llamarec`` the language model; None: not there."""
        sources = [run.finetuned.source for run in self.rankers if run.letters]
        found = {"llamarec": sources[0]} if sources else {}
        found |= {summary.model: f"{summary.parameters:,}" for summary in self.generators}
        return found.get(model)

    def results(self) -> list[ResultRow]:
        """Return every number, under protocols of its own: none is of a full ranking of the catalog.

        Models are called ``llamarec finetuned``, or ``items finetuned`` where tokens are items, with ``on RETRIEVER``
        and ``by SOURCE`` where the study has several.
        """
        retrievers = {run.finetuned.retriever.partition(" ")[0] for run in self.rankers}
        sources = {run.finetuned.source for run in self.rankers}
        rows = []
        for run in self.rankers:
            facts = run.finetuned
            suffix = f" on {facts.retriever.partition(' ')[0]}" if len(retrievers) > 1 else ""
            suffix += f" by {facts.source}" if len(sources) > 1 else ""
            for row in run.rows():
                protocol = row.population + (" shuffled" if row.order == SHUFFLED_ORDER else "")
                name = f"{'llamarec' if run.letters else 'items'} {row.ranker}{suffix}"
                rows.append(ResultRow(facts.dataset, name, facts.seed, facts.split, protocol, row.metric, row.value))
        for one in self.generators:
            for number in one.rows:
                name = one.model + ("" if number.model == one.model else f" users {number.model}")
                rows.append(
                    ResultRow(one.dataset, name, one.seed, one.split, MASKED_LISTS, number.metric, number.value)
                )
        return sorted(rows, key=lambda row: (row.model, row.seed or 0, row.split, row.protocol, row.metric))
