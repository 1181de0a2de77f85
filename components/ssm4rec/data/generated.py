"""Events of a known law: a hidden Markov chain, so that the least loss that any model can reach is known.

Each user has a hidden state that moves after every event: it stays with probability ``_STAY``, else it goes to one of
a few others. All states are equally frequent. A state has a cluster of items of its own; an event shows one of these
with probability ``_OWN``, else one of the whole catalog, both by the law of Zipf and Mandelbrot (the r-th item in
proportion to 1 / (r + 1)). An item therefore hints at the state and does not give it away: what the next one will be is
known better, the more of the history is taken into account.

The forward filter (Rabiner 1989, equations 19 to 21, normalized) gives the exact probability of each next item. The
mean of -log p over the test targets is the floor: no model has less on average.

Of the same chain there are catalogs with titles, for the question whether training on one helps on another: states and
their moves are the same, the items are others, with ids and popularities of their own. A title has two words of its
item's state and one that says nothing. So what carries over is known: words, and how one state follows another. With
the titles dealt out to other items (``generated-words-shuffled``) the words say nothing.

Shapes: U users, K states, V items.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy
import polars
import pyarrow
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.interactions import Columns
from ssm4rec.data.source import Source

GENERATED: Final = "generated-hmm"
WORDS: Final = "generated-words"
OTHER_WORDS: Final = "generated-words-other"

Floats = NDArray[numpy.float64]

_STATES: Final = 32
_CLUSTER: Final = 20  # items of a state
_LENGTHS: Final = (20, 61)  # events of a user: from, and below
_STAY: Final = 0.6
_MOVES: Final = (0.2, 0.1, 0.06, 0.04)  # to each state's successors
_OWN: Final = 0.8
_SEED: Final = 20261129
_FIRST_TIME: Final = 1_600_000_000  # seconds since 1970
_BETWEEN: Final = 3600  # seconds between two events of a user
_WORDS_OF_A_STATE: Final = 3
_WORDS_OF_NONE: Final = 40
_CONSONANTS: Final = "bdfgklmnprst"
_VOWELS: Final = "aeiou"


@dataclass(frozen=True)
class _Catalog:
    """A data set of the chain: the catalog's number, the first letter of its items' ids, how many users it has.

    ``titles``: whether its items have any; ``shuffled``: whether these are of other items.
    """

    number: int
    letter: str
    users: int
    titles: bool = False
    shuffled: bool = False


GENERATED_SETS: Final = {
    GENERATED: _Catalog(0, "i", 3000),
    WORDS: _Catalog(1, "a", 2000, titles=True),
    OTHER_WORDS: _Catalog(2, "b", 3000, titles=True),
    f"{WORDS}-shuffled": _Catalog(2, "b", 3000, titles=True, shuffled=True),
}


@dataclass(frozen=True)
class HiddenChain:
    """A hidden Markov chain.

    ``initial``: the states' probabilities at a user's first event, (K,). ``moves``: from a state (row) to the next,
    (K, K). ``shows``: the items of each state, (K, V).
    """

    initial: Floats
    moves: Floats
    shows: Floats

    def draw(self, lengths: Int64s, rng: numpy.random.Generator) -> list[Int64s]:
        """Return each user's items, from 0, so many as ``lengths`` (U,) says."""
        moved, shown = self.moves.cumsum(axis=1), self.shows.cumsum(axis=1)
        states = rng.choice(len(self.initial), size=len(lengths), p=self.initial)
        events = numpy.empty((len(lengths), int(lengths.max())), dtype=numpy.int64)
        for place in range(events.shape[1]):
            events[:, place] = _drawn(shown[states], rng)
            states = _drawn(moved[states], rng)
        return [row[:length] for row, length in zip(events, lengths, strict=True)]

    def losses(self, sequences: Sequence[Int64s]) -> list[Floats]:
        """Return -log p(item | the user's items before it) of each event of each user, in nats."""
        lengths = numpy.array([len(sequence) for sequence in sequences])
        found = numpy.zeros((len(sequences), int(lengths.max())))
        belief = numpy.tile(self.initial, (len(sequences), 1))  # of the state at the next event, (U, K)
        for place in range(found.shape[1]):
            users = numpy.flatnonzero(lengths > place)
            items = [sequences[user][place] for user in users.tolist()]
            joint = belief[users] * self.shows[:, items].T
            likelihood = joint.sum(axis=1)
            found[users, place] = -numpy.log(likelihood)
            belief[users] = joint / likelihood[:, None] @ self.moves
        return [row[:length] for row, length in zip(found, lengths, strict=True)]


def _drawn(cumulated: Floats, rng: numpy.random.Generator) -> Int64s:
    """Return a column of each row, drawn by the row's cumulated probabilities."""
    found: Int64s = (rng.random(len(cumulated))[:, None] * cumulated[:, -1:] >= cumulated).sum(axis=1)
    return found


def hidden_chain(dataset: str = GENERATED) -> HiddenChain:
    """Return the chain of a data set of ``GENERATED_SETS``; always the same."""
    rng, catalog = numpy.random.default_rng(_SEED), GENERATED_SETS[dataset].number
    items = _STATES * _CLUSTER
    zipf = 1 / numpy.arange(2, items + 2)
    anywhere = rng.permutation(zipf)
    moves = _STAY * numpy.eye(_STATES)
    for chance in _MOVES:  # every state is the successor of one: so all stay equally frequent
        moves += chance * numpy.eye(_STATES)[rng.permutation(_STATES)]
    if catalog:
        rng = numpy.random.default_rng([_SEED, catalog])
        anywhere = rng.permutation(zipf)
    shows = numpy.tile((1 - _OWN) * anywhere / zipf.sum(), (_STATES, 1))
    for state in range(_STATES):
        own = slice(state * _CLUSTER, (state + 1) * _CLUSTER)
        shows[state, own] += _OWN * rng.permutation(zipf[:_CLUSTER]) / zipf[:_CLUSTER].sum()
    return HiddenChain(numpy.full(_STATES, 1 / _STATES), moves, shows)


def titles(dataset: str) -> list[str]:
    """Return the titles of items 0, 1, ... of a data set; always the same, and none where its items have none."""
    catalog = GENERATED_SETS[dataset]
    if not catalog.titles:
        return []
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    pairs = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    of_states = _STATES * _WORDS_OF_A_STATE
    words = numpy.random.default_rng(_SEED).permutation(pairs)[: of_states + _WORDS_OF_NONE]  # of all catalogs
    rng = numpy.random.default_rng([_SEED, catalog.number, 1])
    found = []
    for item in range(_STATES * _CLUSTER):
        first = item // _CLUSTER * _WORDS_OF_A_STATE
        own = rng.choice(words[first : first + _WORDS_OF_A_STATE], 2, replace=False)
        found.append(" ".join(rng.permutation([*own, rng.choice(words[of_states:])])))
    return [str(title) for title in rng.permutation(found)] if catalog.shuffled else found


@dataclass(frozen=True)
class _Drawn:
    """The events of a data set of ``GENERATED_SETS``, drawn when they are read.

    Users are u0, u1, ...; items have the catalog's letter and a number as the chain counts them: i0, i1, ...
    """

    name: str
    bytes: int = 0

    def batches(self, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:  # noqa: ARG002 - none of them is bad
        yield _draw_events(self.name)


def read_generated(dataset: str = GENERATED) -> Source:
    """Return a data set of ``GENERATED_SETS``, always the same."""
    events = EventFiles((_Drawn(dataset),), Columns("user", "item", "time"), "s", BadRows())
    called = titles(dataset)
    ids = [f"{GENERATED_SETS[dataset].letter}{item}" for item in range(len(called))]
    frames = [polars.DataFrame({"item_id": ids, "title": called})] if called else []
    return Source(events, iter(frames))


def _draw_events(dataset: str) -> pyarrow.RecordBatch:
    catalog = GENERATED_SETS[dataset]
    rng = numpy.random.default_rng([_SEED + 1, catalog.number] if catalog.number else _SEED + 1)
    sequences = hidden_chain(dataset).draw(rng.integers(*_LENGTHS, size=catalog.users), rng)
    starts = _FIRST_TIME + rng.integers(0, 50 * _BETWEEN, size=catalog.users)
    users = numpy.repeat(numpy.arange(catalog.users), [len(sequence) for sequence in sequences])
    times = numpy.concatenate(
        [start + _BETWEEN * numpy.arange(len(own)) for start, own in zip(starts, sequences, strict=True)]
    )
    return pyarrow.record_batch(
        {
            "user": [f"u{user}" for user in users.tolist()],
            "item": [f"{catalog.letter}{item}" for item in numpy.concatenate(sequences)],
            "time": times,
        }
    )


def irreducible_loss(dataset: str, item_ids: Iterable[str], items: Int32s, offsets: Int64s, targets: Int64s) -> float:
    """Return the mean of -log p over targets under the chain that made them, in nats.

    Args:
        dataset: of ``GENERATED_SETS``.
        item_ids: what the source calls item 1, 2, ...
        items: of all users, one after another, user u's at ``offsets[u]:offsets[u + 1]``: whole, as they were drawn.
        targets: places in ``items``, (T,).
    """
    number: Int64s = numpy.array([int(item_id[1:]) for item_id in item_ids])
    sequences = numpy.split(number[items - 1], offsets[1:-1])
    return float(numpy.concatenate(hidden_chain(dataset).losses(sequences))[targets].mean())
