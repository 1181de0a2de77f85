"""What alignment changed in NDCG@10, over users and over seeds; with a control, what its preference term changed.

Aligned minus fine-tuned is what ORPO did, more training on the winners included. The control, ``WINNERS``, has the same
training on the same pairs without the preference term: aligned minus control is this term, and control minus
fine-tuned the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.estimate import Difference
from ssm4rec.artifacts.rankings import ALIGNED, FINETUNED, RETRIEVER_ORDER, WINNERS
from ssm4rec.evaluation.statistics import difference_over_seeds
from ssm4rec.report.document import Section
from ssm4rec.report.findings import SEEDS_FOR_A_SPREAD
from ssm4rec.report.language_models import LanguageModels, RankerRun, mean_over_users
from ssm4rec.report.markdown import MISSING, escape, table

_CHANGES: Final = ((ALIGNED, FINETUNED), (WINNERS, FINETUNED), (ALIGNED, WINNERS))
"""The last one is the preference term alone."""
_SHORT: Final = {FINETUNED: "fine-tuned", ALIGNED: "ORPO", WINNERS: "the winners again"}


@dataclass(frozen=True)
class Change:
    """The difference of two states of a ranker, in NDCG@10, candidates in the retriever's order.

    ``over_users``: with the interval over users, of each user's mean over the seeds; ``over_seeds``: with that over the
    seeds' means, by Student's t; None: of one seed.
    """

    state: str
    other: str
    over_users: Difference
    over_seeds: Difference | None
    seeds: int

    @property
    def title(self) -> str:
        """What is subtracted from what."""
        return f"{_SHORT[self.state]} \N{MINUS SIGN} {_SHORT[self.other]}"

    @property
    def judged(self) -> Difference:
        """What a verdict is on: of three seeds or more the less sure of the two, else the one over users.

        By users alone something is said of these trainings, by seeds alone of these users.
        """
        if self.over_seeds is None or self.seeds < SEEDS_FOR_A_SPREAD:
            return self.over_users
        return min(self.over_users, self.over_seeds, key=lambda found: (abs(found.sign), -(found.mde or 0)))

    @property
    def whose(self) -> str:
        """What qualifies a verdict where seeds are too few to say how trainings vary; "" where they are not."""
        if self.seeds >= SEEDS_FOR_A_SPREAD:
            return ""
        return ", of this training" if self.seeds == 1 else ", of these trainings"

    def verdict(self, above: str, below: str) -> str:
        """Return what may be said; see :meth:`Difference.verdict`."""
        return self.judged.verdict(above, below)

    def stated(self) -> str:
        """Return both differences with their intervals."""
        seeds = f", {self.over_seeds.stated()} over the seeds" if self.over_seeds else ""
        return f"NDCG@10 {self.over_users.stated()} over {self.over_users.n:,} users{seeds}"


def changes(runs: Sequence[RankerRun]) -> list[Change]:
    """Return what was changed in rankers that differ by seed alone; of a control what it tells, where all have one."""
    return [
        _change(runs, state, other) for state, other in _CHANGES if all({state, other} <= {*run.states} for run in runs)
    ]


def preference_term(found: Sequence[Change]) -> str:
    """Return in plain words whether the preference term helps; "" without a control."""
    term = next((change for change in found if change.other == WINNERS), None)
    if term is None:
        return ""
    whose = term.whose.replace(", of", " in")
    match term.judged.sign:
        case 1:
            return f"So the preference term helps{whose}."
        case -1:
            return f"So the preference term does not help{whose}: more training on the winners alone ranks better."
        case _:
            return (
                f"So the preference term is not seen to help{whose}: ORPO does not rank significantly better than more "
                f"training on the winners alone. A true difference of {term.judged.mde:.4f} would have been found with "
                "a chance of 80%."
            )


def alignment_sections(models: LanguageModels) -> list[Section]:
    """Return the section of rankers that were aligned with several seeds or with a control; none without such."""
    rows, words = [], []
    for runs in models.aligned_groups():
        found = changes(runs)
        if len(runs) == 1 and len(found) == 1:
            continue
        first, judged = runs[0], runs[0].finetuned.profile != "smoke"
        who = f"{escape(first.finetuned.source)} on {escape(first.finetuned.retriever)}"
        seeds = ", ".join(str(run.finetuned.seed) for run in runs)
        for change in found:
            over_seeds = change.over_seeds.text() if change.over_seeds else MISSING
            verdict = change.verdict("significantly better", "significantly worse") + change.whose
            made_by = escape(first.pairs_by) or MISSING
            rows.append(
                [
                    who,
                    seeds,
                    made_by,
                    change.title,
                    change.over_users.text(),
                    over_seeds,
                    verdict if judged else MISSING,
                ]
            )
        if judged and (said := preference_term(found)):
            words.append(f"{who}, {'seeds' if runs[1:] else 'seed'} {seeds}: {said}")
    if not rows:
        return []
    header = ["Ranker", "Seeds", "Pairs by", "Difference", "Over users", "Over seeds", "Verdict"]
    text = (
        "NDCG@10 of users whose target is among the candidates, in the retriever's order. *The winners again*: the "
        "same training on the same pairs' winners, without ORPO's preference term, so that ORPO \N{MINUS SIGN} the "
        "winners again is what this term does. Over users: of each user's mean over the seeds, for these trainings. "
        "Over seeds: Student's t over the seeds' means, for these users. Of three seeds or more the verdict is the "
        "less sure one of the two, of fewer the one over users."
    )
    return [
        Section("What alignment changed", "\n\n".join([text, table(header, rows, text_columns=len(header)), *words]))
    ]


def _change(runs: Sequence[RankerRun], state: str, other: str) -> Change:
    gains = [[run.gains(one, RETRIEVER_ORDER, "ndcg")[0] for one in (state, other)] for run in runs]
    each = [ours - theirs for ours, theirs in gains]
    means = [float(difference.mean()) for difference in each]
    over_users = (
        mean_over_users(numpy.mean(each, axis=0))
        if runs[1:]
        else runs[0].difference(state, other, RETRIEVER_ORDER, "ndcg")
    )
    return Change(state, other, over_users, difference_over_seeds(means) if means[1:] else None, len(runs))
