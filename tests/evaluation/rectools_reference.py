"""Write rectools-0.19.0.json, the oracle of test_beyond_accuracy.py.

To be run by hand where RecTools is installed (``pip install rectools==0.19.0``), with the file to write as argument; it
needs nothing of ssm4rec.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy
import pandas
from rectools import Columns
from rectools.metrics import NDCG, CatalogCoverage, DebiasConfig, IntraListDiversity, MeanInvUserFreq, Serendipity
from rectools.metrics.debias import debias_interactions
from rectools.metrics.distances import PairwiseDistanceCalculator

USERS, ITEMS, K, DRAWS = 60, 40, 10, 400
NOT_IN_TRAINING = 3


class Table(PairwiseDistanceCalculator):
    """Distances from a table."""

    def __init__(self, table: numpy.ndarray) -> None:
        self.table = table

    def _get_distances_for_item_pairs(self, first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
        return self.table[numpy.asarray(first, int), numpy.asarray(second, int)]


def _inputs(rng: numpy.random.Generator) -> dict[str, list[list[int]]]:
    items = numpy.arange(1, ITEMS + 1)
    popularity = 1 / items
    popularity[-NOT_IN_TRAINING:] = 0
    popularity /= popularity.sum()
    wanted = numpy.where(items <= 5, 0.7 / 5, 0.3 / (ITEMS - 5))
    lengths = rng.integers(4, 15, USERS)
    lists = [rng.permutation(items)[: K if user % 7 else 3 + user % 5].tolist() for user in range(USERS)]
    lists[5] = lists[5][:1]
    one = rng.choice(items, size=(USERS, 1), p=wanted).tolist()
    for had, given in zip(one[::3], lists[::3], strict=True):  # hits, of popular items the best
        if had[0] not in given:
            given[0 if had[0] <= 5 else rng.integers(len(given))] = had[0]
    return {
        "sequences": [rng.choice(items, size=length, p=popularity).tolist() for length in lengths],
        "lists": lists,
        "one_target": one,
        "several_targets": [
            rng.choice(items, size=rng.integers(1, 4), p=wanted, replace=False).tolist() for _ in range(USERS)
        ],
    }


def _interactions(of_users: list[list[int]]) -> pandas.DataFrame:
    rows = [(user, item) for user, items in enumerate(of_users) for item in items]
    return pandas.DataFrame(rows, columns=[Columns.User, Columns.Item])


def _cosine_distances(sequences: list[list[int]]) -> numpy.ndarray:
    had = numpy.zeros((ITEMS + 1, USERS))
    for user, items in enumerate(sequences):
        had[items, user] = 1
    norm = numpy.sqrt(numpy.outer(had.sum(1), had.sum(1)))
    return 1 - numpy.divide(had @ had.T, norm, out=numpy.zeros_like(norm), where=norm > 0)


def main(path: Path) -> None:
    """Draw the inputs, ask RecTools, write both."""
    inputs = _inputs(numpy.random.default_rng(20261129))
    catalog = range(1, ITEMS + 1)
    rows = [(user, item, rank) for user, one in enumerate(inputs["lists"]) for rank, item in enumerate(one, 1)]
    lists = pandas.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Rank])
    training, targets = _interactions(inputs["sequences"]), _interactions(inputs["one_target"])
    found: dict[str, Any] = {"made_with": "RecTools 0.19.0", "items": ITEMS, **inputs}
    found["novelty"] = MeanInvUserFreq(K).calc_per_user(lists, training).tolist()
    for name in ("one_target", "several_targets"):
        values = Serendipity(K).calc_per_user(lists, _interactions(inputs[name]), training, catalog)
        found[f"serendipity_{name}"] = values.tolist()
    distances = Table(_cosine_distances(inputs["sequences"]))
    found["diversity"] = IntraListDiversity(K, distances).calc_per_user(lists).tolist()
    found["coverage"] = CatalogCoverage(K, normalize=True).calc(lists, catalog)
    found["ndcg"] = NDCG(K, divide_by_achievable=True).calc(lists, targets)
    configs = [DebiasConfig(iqr_coef=1.5, random_state=state) for state in range(DRAWS)]
    kept = [debias_interactions(targets, config) for config in configs]
    debiased = [NDCG(K, divide_by_achievable=True, debias_config=one).calc(lists, targets) for one in configs]
    found["kept_users"] = [sorted(one[Columns.User].tolist()) for one in kept[:20]]
    found["debiased_ndcg"] = debiased[:20]
    found["debiased_ndcg_mean"] = float(numpy.mean(debiased))
    found["debiased_ndcg_error"] = float(numpy.std(debiased, ddof=1) / numpy.sqrt(DRAWS))
    found["kept_of_items"] = {str(item): int(number) for item, number in kept[0][Columns.Item].value_counts().items()}
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
