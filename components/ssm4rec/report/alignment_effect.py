"""What alignment changed in NDCG@10, over users and over seeds; with a control, what its preference term changed.

Aligned minus fine-tuned is what ORPO did, more training on the winners included. The control, ``WINNERS``, has the same
training on the same pairs without the preference term: aligned minus control is this term, and control minus
fine-tuned the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.estimate import SIGNED, Difference
from ssm4rec.artifacts.rankings import ALIGNED, FINETUNED, RETRIEVER_ORDER, WINNERS
from ssm4rec.evaluation.statistics import difference_over_seeds
from ssm4rec.report.document import Section
from ssm4rec.report.findings import SEEDS_FOR_A_SPREAD
from ssm4rec.report.language_models import LanguageModels, RankerRun, mean_over_users
from ssm4rec.report.markdown import MISSING, escape, listed, table

_CHANGES: Final = ((ALIGNED, FINETUNED), (WINNERS, FINETUNED), (ALIGNED, WINNERS))
"""The last one is the preference term alone."""
_SHORT: Final = {FINETUNED: "fine-tuned", ALIGNED: "ORPO", WINNERS: "the winners again"}


@dataclass(frozen=True)
class Change:
    """The difference of two states of a ranker, in NDCG@10, candidates in the retriever's order.

    ``over_users``: with the interval over users, of each user's mean over the seeds; ``over_seeds``: with that over the
    seeds' means, by Student's t; None: of fewer than three seeds. ``of_seeds``: each seed's mean.
    """

    state: str
    other: str
    over_users: Difference
    over_seeds: Difference | None
    of_seeds: dict[int, float]

    @property
    def title(self) -> str:
        """What is subtracted from what."""
        return f"{_SHORT[self.state]} \N{MINUS SIGN} {_SHORT[self.other]}"

    @property
    def judged(self) -> Difference:
        """What a verdict is on: of three seeds or more the less sure of the two, else the one over users.

        By users alone something is said of these trainings, by seeds alone of these users.
        """
        if self.over_seeds is None:
            return self.over_users
        return min(self.over_users, self.over_seeds, key=lambda found: (abs(found.sign), -(found.mde or 0)))

    @property
    def whose(self) -> str:
        """What qualifies a verdict where seeds are too few to say how trainings vary; "" where they are not."""
        if self.over_seeds:
            return ""
        return ", on average over these trainings" if len(self.of_seeds) > 1 else ", of this training"

    @property
    def seeds_shown(self) -> str:
        """The difference with its interval over the seeds; of two seeds what each of them gave, "" of one."""
        if self.over_seeds:
            return self.over_seeds.text()
        values = [f"{SIGNED(value)} (seed {seed})" for seed, value in self.of_seeds.items()]
        return listed(values) if values[1:] else ""

    def verdict(self, above: str, below: str) -> str:
        """Return what may be said; see :meth:`Difference.verdict`."""
        return self.judged.verdict(above, below)

    def stated(self) -> str:
        """Return both differences with their intervals."""
        seeds = f", {self.seeds_shown}{' over the seeds' if self.over_seeds else ''}" if self.seeds_shown else ""
        return f"NDCG@10 {self.over_users.stated()} over {self.over_users.n:,} users{seeds}"


def changes(runs: Sequence[RankerRun]) -> list[Change]:
    """Return what was changed in rankers that differ by seed alone; of a control what it tells, of those with one."""
    pairs = [(two, [run for run in runs if {*two} <= {*run.states}]) for two in _CHANGES]
    return [_change(both, *two) for two, both in pairs if both]


def without_control(runs: Sequence[RankerRun]) -> str:
    """Return in a sentence which seeds have no control where others have one; "" where that is all of them or none."""
    lacking = [str(run.finetuned.seed) for run in runs if WINNERS not in run.states]
    if len(lacking) in {0, len(runs)}:
        return ""
    return f"{'Seeds' if lacking[1:] else 'Seed'} {listed(lacking)} {'have' if lacking[1:] else 'has'} no control."


def named(runs: Sequence[RankerRun]) -> str:
    """Return what rankers are that differ by seed alone."""
    first = runs[0].finetuned
    seeds = f"{'seed' if len(runs) == 1 else 'seeds'} {listed([str(run.finetuned.seed) for run in runs])}"
    made_by = f", pairs by {escape(runs[0].pairs_by)}" if runs[0].pairs_by else ""
    return f"{escape(first.source)} {seeds} on {escape(first.retriever)}{made_by}"


def preference_term(found: Sequence[Change]) -> str:
    """Return in plain words whether the preference term helps; "" without a control."""
    term = next((change for change in found if change.other == WINNERS), None)
    if term is None:
        return ""
    whose = term.whose.replace(", of", " in").replace(", on", " on")
    match term.judged.sign:
        case 1:
            return f"So the preference term helps{whose}."
        case -1:
            return f"So the preference term does not help{whose}: more training on the winners alone ranks better."
        case _:
            return (
                f"So the preference term is not seen to help{whose}: ORPO does not rank significantly better than more "
                f"training on the winners alone. {term.judged.detectable()}"
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
        for change in found:
            verdict = change.verdict("significantly better", "significantly worse") + change.whose
            rows.append(
                [
                    who,
                    ", ".join(map(str, change.of_seeds)),
                    escape(first.pairs_by) or MISSING,
                    change.title,
                    change.over_users.text(),
                    change.seeds_shown or MISSING,
                    verdict if judged else MISSING,
                ]
            )
        if judged and (said := preference_term(found)):
            seeds = listed([str(seed) for seed in found[-1].of_seeds])
            named = f"{who}, {'seeds' if len(found[-1].of_seeds) > 1 else 'seed'} {seeds}"
            words.append(f"{named}: {said} {without_control(runs)}".strip())
    if not rows:
        return []
    header = ["Ranker", "Seeds", "Pairs by", "Difference", "Over users", "Over seeds", "Verdict"]
    text = (
        "NDCG@10 of users whose target is among the candidates, in the retriever's order. *The winners again*: the "
        "same training on the same pairs' winners, without ORPO's preference term, so that ORPO \N{MINUS SIGN} the "
        "winners again is what this term does. Over users: of each user's mean over the seeds, for these trainings. "
        "Over seeds: Student's t over the seeds' means, for these users; two seeds' means are shown as they are. Of "
        "three seeds or more the verdict is the less sure one of the two, of fewer the one over users."
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
    over_seeds = difference_over_seeds(means) if len(runs) >= SEEDS_FOR_A_SPREAD else None
    of_seeds = {run.finetuned.seed: mean for run, mean in zip(runs, means, strict=True)}
    return Change(state, other, over_users, over_seeds, of_seeds)
