"""Events of a known law: a hidden Markov chain, so that the least loss that any model can reach is known.

Each user has a hidden state that moves after every event: it stays with probability ``_STAY``, else it goes to one of
a few others. All states are equally frequent. A state has a cluster of items of its own; an event shows one of these
with probability ``_OWN``, else one of the whole catalog, both by the law of Zipf and Mandelbrot (the r-th item in
proportion to 1 / (r + 1)). An item therefore hints at the state and does not give it away: what the next one will be is
known better, the more of the history is taken into account.

The forward filter (Rabiner 1989, equations 19 to 21, normalized) gives the exact probability of each next item. The
mean of -log p over the test targets is the floor: no model has less on average.

Shapes: U users, K states, V items.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy
import pyarrow
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.data.source import Source

GENERATED: Final = "generated-hmm"

Floats = NDArray[numpy.float64]

_STATES: Final = 32
_CLUSTER: Final = 20  # items of a state
_USERS: Final = 3000
_LENGTHS: Final = (20, 61)  # events of a user: from, and below
_STAY: Final = 0.6
_MOVES: Final = (0.2, 0.1, 0.06, 0.04)  # to each state's successors
_OWN: Final = 0.8
_SEED: Final = 20261129
_FIRST_TIME: Final = 1_600_000_000  # seconds since 1970
_BETWEEN: Final = 3600  # seconds between two events of a user


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


def hidden_chain() -> HiddenChain:
    """Return the chain of the data set ``generated-hmm``; always the same."""
    rng = numpy.random.default_rng(_SEED)
    items = _STATES * _CLUSTER
    zipf = 1 / numpy.arange(2, items + 2)
    shows = numpy.tile((1 - _OWN) * rng.permutation(zipf) / zipf.sum(), (_STATES, 1))
    moves = _STAY * numpy.eye(_STATES)
    for chance in _MOVES:  # every state is the successor of one: so all stay equally frequent
        moves += chance * numpy.eye(_STATES)[rng.permutation(_STATES)]
    for state in range(_STATES):
        own = slice(state * _CLUSTER, (state + 1) * _CLUSTER)
        shows[state, own] += _OWN * rng.permutation(zipf[:_CLUSTER]) / zipf[:_CLUSTER].sum()
    return HiddenChain(numpy.full(_STATES, 1 / _STATES), moves, shows)


def read_generated() -> Source:
    """Return the data set, always the same; users are u0, u1, ..., items i0, i1, ... as the chain counts them."""
    rng = numpy.random.default_rng(_SEED + 1)
    sequences = hidden_chain().draw(rng.integers(*_LENGTHS, size=_USERS), rng)
    starts = _FIRST_TIME + rng.integers(0, 50 * _BETWEEN, size=_USERS)
    users = numpy.repeat(numpy.arange(_USERS), [len(sequence) for sequence in sequences])
    times = numpy.concatenate(
        [start + _BETWEEN * numpy.arange(len(own)) for start, own in zip(starts, sequences, strict=True)]
    )
    batch = pyarrow.record_batch(
        {
            "user": [f"u{user}" for user in users.tolist()],
            "item": [f"i{item}" for item in numpy.concatenate(sequences)],
            "time": times,
        }
    )
    read = encode([(GENERATED, iter([batch]))], Columns("user", "item", "time"), "s", BadRows())
    return Source(read)


def irreducible_loss(item_ids: Iterable[str], items: Int32s, offsets: Int64s, targets: Int64s) -> float:
    """Return the mean of -log p over targets under the chain that made them, in nats.

    Args:
        item_ids: what the source calls item 1, 2, ...
        items: of all users, one after another, user u's at ``offsets[u]:offsets[u + 1]``: whole, as they were drawn.
        targets: places in ``items``, (T,).
    """
    number: Int64s = numpy.array([int(item_id.removeprefix("i")) for item_id in item_ids])
    sequences = numpy.split(number[items - 1], offsets[1:-1])
    return float(numpy.concatenate(hidden_chain().losses(sequences))[targets].mean())
