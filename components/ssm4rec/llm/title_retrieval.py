"""BM25 over the catalog's titles, and one list of items out of several queries: the only module that imports bm25s.

A title t of an item scores for a query q, with N titles of mean length L, n(w) of them with the word w, which is f
times in t:

    score(q, t) = sum over words w of q of  ln(1 + (N - n(w) + 1/2) / (n(w) + 1/2)) * f / (f + k1 (1 - b + b |t| / L))

This is Lucene's form (bm25s' ``lucene``); Robertson's and Okapi's differ by a factor (k1 + 1) and by an idf that can
fall below zero, which Lucene's cannot. Words are runs of letters and digits in lower case. None is left out as a stop
word: there are titles that have no others ("It", "Her").

Shapes: V items.
"""

import logging
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import Any, Final

import bm25s
import numpy
from numpy.typing import NDArray

from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.runtime.errors import InputError

# It sets its own level to DEBUG, and says that it builds an index each time.
logging.getLogger("bm25s").setLevel(logging.WARNING)

_WORD: Final = r"(?u)\b\w+\b"

DEEPEST: Final = 1000
"""How many hits of a query are considered."""

_KEPT: Final = 2**12
"""Queries whose hits are kept, at most 40 kB each."""

K1_GRID: Final = (0.3, 0.6, 0.9, 1.2, 1.6, 2.0)
B_GRID: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class UserQueries:
    """What is known of one user when items are looked for: queries, likeliest first, the history, and the next item.

    What was ``seen`` in the history is not found again, a target neither (the protocol ``masked``).
    """

    queries: list[str]
    seen: list[int]
    target: int


class TitleIndex:
    """The titles of a catalog, indexed for one pair of parameters."""

    def __init__(self, titles: Sequence[str], k1: float, b: float) -> None:
        """Index titles, entry i of which is item i's, and entry 0 is not used.

        ``k1``: how slowly the count of a word in a title saturates; ``b``: how much long titles are held against them,
        from 0 to 1.
        """
        self._bm25 = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._bm25.index(words(titles[1:]), show_progress=False)
        # Of many users' queries only some are different.
        self._best = lru_cache(maxsize=_KEPT)(self._search)

    def scores(self, query: str) -> NDArray[numpy.float32]:
        """Return the score of every item, (V,)."""
        known = self._bm25.get_tokens_ids(_query_words(query))
        scores: NDArray[numpy.float32] = self._bm25.get_scores_from_ids(known)
        return scores

    def hits(self, query: str, unwanted: Set[int], most: int) -> list[int]:
        """Return the items that share a word with the query, best first, of equal ones the lower number first.

        They are those of the first ``DEEPEST`` that are wanted, at most so many.
        """
        return list(islice((item for item in self._best(query) if item not in unwanted), most))

    def _search(self, query: str) -> list[int]:
        """Return the first ``DEEPEST`` items that share a word with the query, best first."""
        scores = self.scores(query)
        items = numpy.flatnonzero(scores > 0)
        if len(items) > DEEPEST:
            least = numpy.partition(scores[items], -DEEPEST)[-DEEPEST]
            items = items[scores[items] >= least]
        best: list[int] = (items[numpy.argsort(-scores[items], kind="stable")][:DEEPEST] + 1).tolist()
        return best


@lru_cache(maxsize=2**16)
def _query_words(query: str) -> list[str]:
    return words([query])[0]


def words(texts: Iterable[str]) -> list[list[str]]:
    """Return the words of each text, as they are indexed and looked for."""
    found: Any = bm25s.tokenize(list(texts), token_pattern=_WORD, stopwords=None, return_ids=False, show_progress=False)
    return found  # type: ignore[no-any-return] # bm25s names several types


def check_titles(titles: Sequence[str]) -> None:
    """Raise InputError if no title holds a word to be found by; entry 0 is ignored."""
    if not any(re.search(_WORD, title) for title in titles[1:]):
        raise InputError("the data set's titles hold no word, so no query finds an item; prepare it with other titles")


def merged_list(index: TitleIndex, user: UserQueries, per_query: int, length: int) -> list[int]:
    """Return one list of items for a user: K/m new items from each query in turn, round after round.

    Li et al. (2023, section 3.2): the K/m best items of the first query, then the K/m best of the second that are not
    in the list yet, and so on. A query that runs out is passed over; the list is shorter if all do.
    """
    unwanted = set(user.seen)
    waiting = [iter(index.hits(query, unwanted, length)) for query in user.queries]
    found: dict[int, None] = {}
    while waiting and len(found) < length:
        still = []
        for hits in waiting:
            new = list(islice((item for item in hits if item not in found), per_query))
            found |= dict.fromkeys(new)
            if len(new) == per_query:
                still.append(hits)
        waiting = still
    return list(found)[:length]


def rank_in(items: Sequence[int], target: int) -> int:
    """Return the target's place in a list, from 1; 0 if it is not there.

    >>> rank_in([7, 3, 9], 3), rank_in([7, 3, 9], 4)
    (2, 0)
    """
    return items.index(target) + 1 if target in items else 0


def tune(
    titles: Sequence[str], users: Sequence[UserQueries], per_query: int, length: int
) -> dict[tuple[float, float], float]:
    """Return the NDCG@10 of every pair (k1, b), in the order of the grid."""
    found = {}
    for k1, b in product(K1_GRID, B_GRID):
        index = TitleIndex(titles, k1, b)
        ranks = [rank_in(merged_list(index, user, per_query, length), user.target) or MISSED for user in users]
        found[k1, b] = metric_at("ndcg", numpy.array(ranks), 10)
    return found
