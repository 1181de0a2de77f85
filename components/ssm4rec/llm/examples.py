"""Training prompts for a ranker: a place in somebody's training history, and candidates among which its item is.

Every prompt is drawn independently: the place, the other candidates, and their order, which is uniform, so that a
letter carries nothing. Places are a user's training items from the second on, as in LlamaRec (Yueeeeeeee/LlamaRec:
dataloader/llm.py); none is drawn again before all were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from ssm4rec.artifacts.dataset import Int32s, SequenceDataset
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class Example:
    """One training prompt: a user's items, oldest first, candidates as shown, and the right one's place, from 0."""

    user: int
    history: Sequence[int]
    candidates: Sequence[int]
    place: int


def draw_examples(
    dataset: SequenceDataset, count: int, negatives: int, hard: float, retrieved: Int32s, seed: int
) -> Iterator[Example]:
    """Yield training prompts; raise InputError if no user has two training items, or the catalog is too small.

    Args:
        dataset: only training items are shown or asked for.
        negatives: other candidates of each; none is in the history.
        hard: share of the prompts whose negatives come from ``retrieved``, not from the whole catalog.
        retrieved: items that a retriever gave to any users, each as often as it gave it: common ones come often. Those
            of one user would tell which of them is not the held-out item.
    """
    rng = numpy.random.default_rng([seed, 0x45584D])
    later = dataset.trained()
    later[dataset.offsets[:-1]] = False  # a user's first item
    places = numpy.flatnonzero(later)
    if not len(places):
        raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
    if dataset.item_count < 2 * negatives:
        raise InputError(
            f"data set {dataset.name}: {dataset.item_count} items are too few to draw {negatives} candidates in "
            "addition to the right one; lower finetune.negatives"
        )
    everything = numpy.arange(1, dataset.item_count + 1, dtype=numpy.int32)
    for number in range(count):
        if number % len(places) == 0:
            order = rng.permutation(places)
        place = int(order[number % len(places)])
        user = int(numpy.searchsorted(dataset.offsets, place, side="right")) - 1
        history = dataset.items[dataset.offsets[user] : place].tolist()
        target = int(dataset.items[place])
        pool = retrieved if len(retrieved) and rng.random() < hard else everything
        candidates = [target, *_others(pool, {*history, target}, negatives, everything, rng)]
        shown = rng.permutation(len(candidates))
        yield Example(
            user=user,
            history=history,
            candidates=[candidates[entry] for entry in shown],
            place=int(numpy.flatnonzero(shown == 0)[0]),
        )


def _others(pool: Int32s, taken: set[int], wanted: int, everything: Int32s, rng: numpy.random.Generator) -> list[int]:
    """Return items of ``pool`` that are not taken, each once; of ``everything`` where the pool gives too few."""
    found: list[int] = []
    for source in (pool, everything):
        # Twice as many as are wanted leave enough in nearly every draw; the loop is for those that do not.
        for _ in range(20):
            for item in rng.choice(source, 2 * wanted).tolist():
                if item not in taken and len(found) < wanted:
                    found.append(item)
                    taken.add(item)
            if len(found) == wanted:
                return found
    left = numpy.setdiff1d(everything, list(taken))
    return [*found, *rng.permutation(left)[: wanted - len(found)].tolist()]
