"""Preference pairs as ORPO's examples: a prompt, the winner's answer, the loser's answer.

What follows is LlamaRec's form, where an answer is a letter. Where tokens are items, the prompt is the history alone,
an answer is the item, and the other candidates of a pair's pool go unused: every item that is not of the user's whole
history competes, as in fine-tuning and in a retriever's candidates, and so does a winner that is of it. A loser that is
of it cannot be ranked: its pair is left out, or what competes with the winner would depend on who loses.

A prompt's candidates are winner, loser and uniform negatives, in an order drawn by seed. No negative is an item of the
user's training items. What is held out is not looked at, not even to leave it out.
An answer is a letter and the end of text, as LlamaRec trains it. The end is shared by winner and loser: once a
fine-tuned ranker gives it probability 1, both answers differ by the letter alone.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy

from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset
from ssm4rec.artifacts.preferences import Pairs
from ssm4rec.llm.prompts import Prompts
from ssm4rec.llm.settings import AlignmentSettings
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class PreferenceExample:
    """Token ids of a prompt x, the answer y_w to prefer to it, the answer y_l not to, and what cannot be answered.

    P(y|x) is over the vocabulary without the tokens of ``impossible``; neither answer has one of these.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    impossible: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class PreferenceSet:
    """Examples to train on, and those of other users to validate on; how many pairs' losers could not be ranked."""

    train: list[PreferenceExample]
    held_out: list[PreferenceExample]
    left_out: int = 0

    def digest(self) -> str:
        """Return a SHA-256 over all token ids: the same pairs, prompts, tokenizer, split and seed give the same."""
        digest = hashlib.sha256()
        for part in (self.train, self.held_out):
            digest.update(b"part")
            for example in part:
                for tokens in (example.prompt, example.chosen, example.rejected, example.impossible):
                    digest.update(numpy.array([len(tokens), *tokens], "<i8").tobytes())
        return digest.hexdigest()


def preference_set(
    dataset: SequenceDataset, pairs: Pairs, prompts: Prompts, settings: AlignmentSettings, seed: int
) -> PreferenceSet:
    """Write every pair as an example and hold out the pairs of some users.

    At least those of one user are held out; a prompt has fewer negatives where the catalog has no more. Raise
    InputError if the pairs are of fewer than two users, or a prompt does not fit (:meth:`Prompts.tokens`).
    """
    rng = numpy.random.default_rng([seed, 0x4F52504F])

    def history(row: int) -> list[int]:
        first = dataset.offsets[pairs.users[row]]
        before: list[int] = dataset.items[first : first + pairs.history_lengths[row]].tolist()
        return before

    def can_be_ranked(row: int) -> bool:
        impossible = prompts.impossible(history(row))
        return not impossible or prompts.answers([int(pairs.losers[row])])[0] not in impossible

    order = numpy.array([row for row in rng.permutation(len(pairs)).tolist() if can_be_ranked(row)], numpy.int64)
    chosen = order[: settings.pairs] if settings.pairs else order
    held_out = _held_out(pairs.users[chosen], settings.held_out, rng)

    def example(row: int) -> PreferenceExample:
        user = pairs.users[row]
        sequence = dataset.items[dataset.offsets[user] :][: dataset.train_length[user]]
        winner, loser = int(pairs.winners[row]), int(pairs.losers[row])
        # From the pair's own place in the file: a pair has the same prompt, however many others are taken.
        pool = candidate_pool(sequence, winner, loser, settings.negatives, dataset.item_count, (seed, row))
        answers, before = prompts.answers(pool), history(row)
        won, lost = ([answers[pool.index(item)], *prompts.ending] for item in (winner, loser))
        impossible = [token for token in prompts.impossible(before) if token not in won]
        return PreferenceExample(prompts.tokens(before, pool), won, lost, impossible)

    return PreferenceSet(
        train=[example(int(row)) for row in chosen[~held_out]],
        held_out=[example(int(row)) for row in chosen[held_out]],
        left_out=len(pairs) - len(order),
    )


def candidate_pool(
    sequence: Int32s, winner: int, loser: int, negatives: int, item_count: int, seed: Iterable[int]
) -> list[int]:
    """Return winner, loser and uniform negatives, none of which is in the user's sequence, in an order of chance.

    ``sequence``: the user's training items; ``negatives``: fewer if the catalog has no more.
    """
    rng = numpy.random.default_rng(tuple(seed))
    taken = numpy.unique([*sequence, winner, loser]).astype(numpy.int64)
    allowed = item_count - len(taken)
    places = rng.choice(allowed, min(negatives, allowed), replace=False)
    # The items that are not taken, numbered from 0: item taken[i] has taken[i] - 1 - i of them before it.
    drawn: Int64s = places + 1 + numpy.searchsorted(taken - 1 - numpy.arange(len(taken)), places, side="right")
    pool = [winner, loser, *drawn.tolist()]
    return [pool[place] for place in rng.permutation(len(pool))]


def _held_out(users: Int32s, share: float, rng: numpy.random.Generator) -> numpy.ndarray:
    """Return which pairs (n,) are held out: those of users drawn until they make up the share."""
    names, inverse, counts = numpy.unique(users, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InputError("the pairs that can be ranked are of one user alone, or none: none can be held out; mine more")
    order = rng.permutation(len(names))
    before = numpy.concatenate([[0], counts[order].cumsum()[:-1]])
    enough = before < share * len(users)
    enough[0], enough[-1] = True, False
    chosen = numpy.zeros(len(names), dtype=bool)
    chosen[order[enough]] = True
    return chosen[inverse]
