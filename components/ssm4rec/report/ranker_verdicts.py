"""What the report says in words of one ranker: next to chance, baselines, its retriever; of alignment, of letters."""

from typing import Final

from ssm4rec.artifacts.rankings import (
    ALIGNED,
    AMONG_CANDIDATES,
    BASE,
    BLENDED,
    FINETUNED,
    RANDOM,
    RETRIEVER,
    RETRIEVER_ORDER,
    SHUFFLED_ORDER,
    WINNERS,
)
from ssm4rec.report.language_models import BASELINES, ORDER_NAMES, RANKER_NAMES, RankerRun
from ssm4rec.report.markdown import listed, plural

_NO_POSITIONS: Final = (
    "Position bias: none by construction. A candidate's score is that of the item after the user's history; no order "
    "of the candidates enters."
)


def verdicts(run: RankerRun) -> list[str]:
    """Return what a ranker's numbers say, a sentence or two each; of profile smoke nothing is judged."""
    last = _position_prior(run) if run.letters else _NO_POSITIONS
    if run.finetuned.profile == "smoke":
        return ["Nothing is judged: profile smoke trains for seconds.", last]
    lines = [
        "All verdicts are of this training: intervals are over users, and each verdict is its own interval's, not "
        f"corrected for the {_comparisons(run)} comparisons made here.",
        against_random(run),
    ]
    lines += [
        f"Fine-tuned against {RANKER_NAMES[other]}: {_verdict(run, FINETUNED, other)}." for other in BASELINES[1:]
    ]
    if BASE in run.states:
        lines.append(f"Fine-tuned against the model as it came: {_verdict(run, FINETUNED, BASE)}.")
    if run.aligned:
        lines.append(of_orpo(run))
    lines += [
        f"With the retriever's scores, weight {run.finetuned.retriever_weight:g}: {RANKER_NAMES[blend]} against the "
        f"retriever's order: {_verdict(run, blend, RETRIEVER)}."
        for blend in BLENDED.values()
        if blend in run.rankers
    ]
    return [*lines, last]


def _comparisons(run: RankerRun) -> int:
    """Return how many differences the verdicts of a ranker judge: one with chance, the others in each order."""
    blends = [blend for blend in BLENDED.values() if blend in run.rankers]
    pairs = [*BASELINES[1:], *(state for state in run.states if state != FINETUNED), *blends]
    return 1 + len(run.orders) * len(pairs)


def _verdict(run: RankerRun, ranker: str, other: str) -> str:
    words = []
    for order in run.orders:
        found = run.difference(ranker, other, order, "ndcg")
        verdict = found.verdict("significantly better", "significantly worse")
        users, shown = plural(found.n, "user"), f"candidates {ORDER_NAMES[order]}, " if run.letters else ""
        words.append(f"{shown}{verdict}, {found.stated()} in NDCG@10 over {users}")
    return "; ".join(words)


def against_random(run: RankerRun) -> str:
    """Return whether the fine-tuned ranker is better than an order of chance."""
    chance = run.row(RANDOM, RETRIEVER_ORDER, AMONG_CANDIDATES, "ndcg@10")
    ours = run.row(FINETUNED, SHUFFLED_ORDER, AMONG_CANDIDATES, "ndcg@10")
    difference = run.difference(FINETUNED, RANDOM, SHUFFLED_ORDER, "ndcg")
    shown = ", candidates shuffled" if run.letters else ""
    return (
        f"Better than a random order{shown}: **{difference.verdict('yes', 'no, significantly worse')}** "
        f"(fine-tuned NDCG@10 {run.estimate(ours).text()}, a random order {chance.value:.4f}, "
        f"difference {difference.stated()}, {plural(run.finetuned.ranked, 'user')})."
    )


def of_orpo(run: RankerRun) -> str:
    """Return what alignment changed, and of that the preference term where a control tells; "" without alignment."""
    if not run.aligned:
        return ""
    text = f"ORPO against fine-tuning alone: {_verdict(run, ALIGNED, FINETUNED)}."
    if run.control:
        text += f" Its preference term, ORPO against the winners again: {_verdict(run, ALIGNED, WINNERS)}."
    return text


def _position_prior(run: RankerRun) -> str:
    words = []
    for state in run.states:
        counts = run.first_place_counts(state)
        best = max(range(len(counts)), key=counts.__getitem__)
        words.append(f"{chr(ord('A') + best)} in {counts[best] / sum(counts):.0%} ({RANKER_NAMES[state]})")
    return (
        "Liking for letters: with shuffled candidates every letter should come first in about "
        f"{1 / run.finetuned.candidates:.0%} of the prompts; most often first is {listed(words)}."
    )
