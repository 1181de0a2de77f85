"""The engine: rows of a request in, K items for each out.

Shapes: n rows, B rows of a batch, V items, D width, K recommendations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Flags, Int32s
from ssm4rec.evaluation.full_ranking import SCORE_CELLS, best_items, check_numbers, history_cells
from ssm4rec.registry.entries import shown
from ssm4rec.registry.item_index import ItemIndex, best_by_index
from ssm4rec.registry.recommending import CatalogRecommender, Recommendations, nothing_known
from ssm4rec.serving.reading import read_histories
from ssm4rec.serving.requests import Asked, Limits, read_request, read_stock
from ssm4rec.serving.store import StateStore
from ssm4rec.serving.users import Turn, Users


@dataclass(frozen=True)
class Answer:
    """The answer to one row.

    Attributes:
        recommendations: its ``unknown`` are the names in the row, of history, events, allowed and excluded, that are
            no item's; its ``error`` names the row.
        fallback: why these are the most popular items; empty: they are the model's.
        sequence: of the user's last event that counts: it and all before it are stored and need not be sent again.
        missing: number of the event to send next, if later ones of the row were left out because it has not come.
        resumed: whether the user's stored state went on; False: a whole history was read, or nothing.
        approximate: whether the items were taken from those that an index proposed; False: all items were scored.
    """

    recommendations: Recommendations
    fallback: str = ""
    sequence: int = 0
    missing: int | None = None
    resumed: bool = False
    approximate: bool = False


@dataclass
class _Row:
    """A row on its way to its answer.

    Attributes:
        had: known items of the whole history.
        hidden: from which the next item is predicted, (1, D); None: no item of the history is known.
        nothing: why there is no ``hidden``.
        allowed: items that alone are wanted, None: all.
    """

    asked: Asked
    had: Int32s
    hidden: Tensor | None
    nothing: str
    allowed: Int32s | None
    excluded: Int32s
    unknown: list[str]
    turn: Turn | None = None


class _Best(NamedTuple):
    """What a row is recommended, best first; item 0 stands for none."""

    items: list[int]
    scores: list[float]
    approximate: bool = False


class Engine:
    """A trained recommender that answers histories and users; several threads may use it.

    Args:
        recommender: on the CPU.
        store: of the users.
        popularity: of items 1..V, (V,), by which those are answered of whom no known item is known; None: they get an
            error.
        index: of the recommender's items; None: all of them are scored.
        limits: of requests.
    """

    def __init__(
        self,
        recommender: CatalogRecommender,
        store: StateStore,
        popularity: Tensor | None = None,
        index: ItemIndex | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.recommender = recommender
        self.limits = limits or Limits()
        self._users = Users(recommender, store)
        self._popularity = popularity
        self._index = index
        self._out_of_stock: Flags | None = None

    @property
    def version(self) -> str:
        """What tells this model from others: a digest of weights, catalog and our version."""
        return self._users.owner

    def answer(self, rows: Any) -> list[Answer]:
        """Return an answer for each row of a request, as JSON was read; what it says of events is stored by then.

        Raises:
            RefusedRequestError: the request is malformed.
            StoreError: the store failed.
        """
        return self.answer_all([self.read(rows)])[0]

    def read(self, rows: Any) -> list[Asked]:
        """Return what the rows of a request ask; raise RefusedRequestError if it is malformed."""
        return read_request(rows, self.recommender.masks, self.limits)

    @torch.no_grad()
    def answer_all(self, requests: Sequence[Sequence[Asked]]) -> list[list[Answer]]:
        """Return an answer for each row of several requests, whose users differ; all rows take the same steps.

        Raise StoreError if the store failed.
        """
        found = self._rows([row for request in requests for row in request])
        best = self._best(found)
        answers = iter([self._answer(row, best[place]) for place, row in enumerate(found)])
        return [list(islice(answers, len(request))) for request in requests]

    def forget(self, user: str) -> None:
        """Remove all that is kept of a user; raise StoreError if the store fails."""
        self._users.forget(user)

    def set_stock(self, names: Any) -> list[str]:
        """Recommend the items of these ids or titles alone from now on, None: all; return those that are unknown.

        Raise RefusedRequestError if it is no such list.
        """
        if names is None:
            self._out_of_stock = None
            return []
        (items,), (unknown,) = self.recommender.catalog.look_up([read_stock(names, self.limits)])
        self._out_of_stock = _all_but(items, len(self.recommender.catalog.item_ids))
        return unknown

    def _rows(self, asked: Sequence[Asked]) -> list[_Row]:
        """Let the model read the histories and users of rows, of one request or of several."""
        catalog, model = self.recommender.catalog, self.recommender.model
        known, unknown = catalog.look_up([row.history for row in asked])  # of users: none
        allowed, not_allowed = catalog.look_up([row.allowed or [] for row in asked])
        excluded, not_excluded = catalog.look_up([row.excluded for row in asked])
        plain = [place for place, items in enumerate(known) if len(items)]
        states = read_histories(model, [known[place][-model.max_length :] for place in plain])
        hidden = {place: state[0] for place, state in zip(plain, states, strict=True)}
        turns = iter(self._users.add([row for row in asked if row.user]))
        found = []
        for place, row in enumerate(asked):
            nothing = nothing_known(row.place, unknown[place]).error
            turn = next(turns) if row.user else None
            if turn:
                nothing = f"row {row.place}: nothing to go by, no item of user {shown(row.user)} is known here"
                known[place] = numpy.concatenate([self._users.numbers(turn.history.earlier), turn.window])
                unknown[place] = [event.item for event in row.events if not catalog.find(event.item)]
                if turn.state:
                    hidden[place] = turn.state[0]
            found.append(
                _Row(
                    asked=row,
                    had=known[place],
                    hidden=hidden.get(place),
                    nothing=nothing,
                    allowed=None if row.allowed is None else allowed[place],
                    excluded=excluded[place],
                    unknown=[*unknown[place], *not_allowed[place], *not_excluded[place]],
                    turn=turn,
                )
            )
        return found

    def _best(self, rows: Sequence[_Row]) -> dict[int, _Best]:
        """Return by the place of each of ``rows`` its best items: by the model, or else by popularity."""
        stock = self._out_of_stock  # one for all rows, whatever is uploaded meanwhile
        most = max(row.asked.k for row in rows)
        searched = {place: self._search(row, stock) for place, row in enumerate(rows)}
        best = {place: found for place, found in searched.items() if found}
        by_model = [place for place, row in enumerate(rows) if row.hidden is not None and place not in best]
        others = [place for place, row in enumerate(rows) if row.hidden is None]
        item_count = len(self.recommender.catalog.item_ids)
        size = max(1, SCORE_CELLS["cpu"] // item_count)
        best |= dict.fromkeys(others, _Best([], []))
        for group in (by_model, others if self._popularity is not None else []):
            for start in range(0, len(group), size):
                batch = group[start : start + size]
                part = [rows[place] for place in batch]
                scores = self._scores(part)  # (B, V)
                check_numbers(scores)
                removed = numpy.stack([_removed(row, stock, item_count) for row in part])
                scores = scores.float().masked_fill_(torch.from_numpy(removed), -torch.inf)
                values, items = best_items(scores, min(most, item_count))
                items = items.masked_fill(values.isneginf(), 0)
                best |= dict(zip(batch, map(_Best, items.tolist(), values.tolist()), strict=True))
        return best

    def _search(self, row: _Row, stock: Flags | None) -> _Best | None:
        """Return the best items of those that the index proposes, None where all items are to be scored.

        Of allowed items, which are few as a rule, an index would propose hardly one.
        """
        if self._index is None or row.hidden is None or row.allowed is not None:
            return None
        item_count = len(self.recommender.catalog.item_ids)
        removed, wanted = _removed(row, stock, item_count), min(row.asked.k, item_count)
        found = best_by_index(self.recommender.model, self._index, row.hidden, row.had, removed, wanted)
        return found and _Best(found[0].tolist(), found[1].tolist(), approximate=True)

    def _scores(self, rows: Sequence[_Row]) -> Tensor:
        """Return scores (B, V) of rows that all have a hidden state, or none of them."""
        hidden = [row.hidden for row in rows if row.hidden is not None]
        if not hidden and self._popularity is not None:
            return self._popularity.repeat(len(rows), 1)
        lengths = numpy.array([len(row.had) for row in rows])
        flat = numpy.concatenate([row.had for row in rows])
        item_count = len(self.recommender.catalog.item_ids)
        seen = history_cells(flat, lengths.cumsum() - lengths, lengths, item_count)
        return self.recommender.model.score(torch.cat(hidden), torch.from_numpy(seen))

    def _answer(self, row: _Row, best: _Best) -> Answer:
        named = self.recommender.catalog.named(best.items[: row.asked.k], best.scores[: row.asked.k], row.unknown)
        by_model = row.hidden is not None
        if not named.item_ids:
            why = row.nothing
            if by_model or self._popularity is not None:
                left_out = "masked, allowed, excluded and the stock"
                why = f"row {row.asked.place}: nothing to recommend, {left_out} leave no item"
            named = Recommendations(unknown=row.unknown, error=why)
        fallback = "" if by_model or named.error else row.nothing
        answer = Answer(named, fallback, approximate=best.approximate)
        if row.turn is None:
            return answer
        turn = row.turn
        return replace(answer, sequence=turn.history.sequence, missing=turn.missing, resumed=turn.resumed)


def _removed(row: _Row, out_of_stock: Flags | None, item_count: int) -> Flags:
    """Return which of the items 1..V the row must not be recommended, (V,)."""
    removed = numpy.zeros(item_count, dtype=bool) if out_of_stock is None else out_of_stock.copy()
    if row.asked.masked:
        removed[row.had - 1] = True
    removed[row.excluded - 1] = True
    if row.allowed is not None:
        removed |= _all_but(row.allowed, item_count)
    return removed


def _all_but(items: Int32s, item_count: int) -> Flags:
    """Return which of the items 1..V are none of ``items``, (V,)."""
    flags = numpy.ones(item_count, dtype=bool)
    flags[items - 1] = False
    return flags
