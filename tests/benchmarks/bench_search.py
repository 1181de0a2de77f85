"""What the best items of one history cost, by all scores and by an index of the items: ``make bench-search``.

From the hidden state on, a history of 200 items left out, one thread. Vectors of width 64 that lie around 300 centres
and differ in length, as trained ones do; hidden states around the same centres. ``--model`` measures a trained model's
items instead, with hidden states of its dataset's validation users. The history's items are left out, and all that is
out of stock, drawn from all items. Where the index is not searched (``best_by_index``), all items are scored.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy
import torch
from measure import Row, alternate, command_line, report
from torch import Tensor

from ssm4rec.artifacts.dataset import Flags, Float32s, Int32s, Int64s, read_sequences
from ssm4rec.evaluation.full_ranking import best_items
from ssm4rec.models.recommender import Recommender
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.registry.item_index import ItemIndex, best_by_index
from ssm4rec.training.model_folder import read_model

WIDTH, CENTRES, STATES, HISTORY = 64, 300, 200, 200
CASES = ((10, 1.0), (40, 1.0), (100, 1.0), (10, 0.5), (10, 0.25), (10, 0.1))
"""How many items are wanted, and which share of all is in stock."""


def generated(item_count: int) -> tuple[Recommender, Tensor, list[Int32s]]:
    """Return a model of generated items, hidden states (n, D), and what was had before each of them."""
    drawn = torch.Generator().manual_seed(0)
    centres = torch.randn(CENTRES, WIDTH, generator=drawn)
    near = centres[torch.randint(CENTRES, (item_count,), generator=drawn)]
    vectors = near + 0.7 * torch.randn(item_count, WIDTH, generator=drawn)
    vectors *= (0.25 * torch.randn(item_count, 1, generator=drawn)).exp()
    model = recipe("2mamba4rec", "best", "short").model.build(item_count).eval()
    model.item_embedding.weight.data[1:] = vectors
    hidden = centres[torch.randint(CENTRES, (STATES,), generator=drawn)]
    hidden = hidden + 0.5 * torch.randn(STATES, WIDTH, generator=drawn)
    had = torch.randint(1, item_count + 1, (STATES, HISTORY), generator=drawn).numpy().astype(numpy.int32)
    return model, hidden, list(had)


def trained(folder: Path, dataset_folder: Path) -> tuple[Recommender, Tensor, list[Int32s]]:
    """Return a trained model, the hidden states of validation users (n, D), and their histories."""
    dataset, model = read_sequences(dataset_folder), read_model(folder).model.eval()
    users = numpy.flatnonzero(dataset.validation_position > 0)[:STATES]
    had = [dataset.items[dataset.offsets[user] :][: dataset.validation_position[user]] for user in users]
    read = [torch.from_numpy(items[-model.max_length :].astype(numpy.int64))[None] for items in had]
    return model, torch.cat([model.next_hidden(items, torch.tensor([items.shape[1]])) for items in read]), had


def bench(model: Recommender, hidden: Tensor, had: list[Int32s], runs: int) -> list[Row]:
    """Return the milliseconds of one answer both ways and recall, for each case, and what the index costs."""
    started = time.process_time()
    index = ItemIndex.build(model.item_vectors())
    costs = {"items": len(model.item_vectors()), "build CPU-s": time.process_time() - started}
    return [{**costs, **bench_case(model, index, hidden, had, case, runs)} for case in CASES]


def bench_case(
    model: Recommender, index: ItemIndex, hidden: Tensor, had: list[Int32s], case: tuple[int, float], runs: int
) -> Row:
    """Return the milliseconds of one answer both ways, how many answers were searched for, and recall."""
    (best, stock), item_count = case, len(model.item_vectors())
    out_of_stock = numpy.random.default_rng(0).random(item_count) >= stock

    def without(place: int) -> Flags:
        removed = out_of_stock.copy()
        removed[had[place] - 1] = True
        return removed

    def exact(place: int) -> list[int]:
        scores = model.score(hidden[place : place + 1], torch.from_numpy(had[place].astype(numpy.int64) - 1))
        scores.masked_fill_(torch.from_numpy(without(place)), -torch.inf)
        return best_items(scores, best)[1][0].tolist()

    def proposed(place: int) -> tuple[Int64s, Float32s] | None:
        return best_by_index(model, index, hidden[place : place + 1], had[place], without(place), best)

    def searched(place: int) -> list[int]:
        found = proposed(place)
        return exact(place) if found is None else found[0].tolist()

    def every(one: Callable[[int], list[int]]) -> None:
        for place in range(len(had)):
            one(place)

    recall = numpy.mean([len({*exact(place)} & {*searched(place)}) / best for place in range(len(had))])
    spent = alternate({"exact": partial(every, exact), "index": partial(every, searched)}, hidden.device, runs)
    each = {name: milliseconds / len(had) for name, milliseconds in spent.items()}
    return {
        "k": best,
        "stock": stock,
        "exact ms": each["exact"],
        "index ms": each["index"],
        "exact / index": each["exact"] / each["index"],
        "searched": sum(proposed(place) is not None for place in range(len(had))) / len(had),
        "recall@k": float(recall),
    }


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure the best items by all scores and by an index.", runs=3)
    parser.add_argument("--items", type=int, nargs="+", default=[60_000, 211_000])
    parser.add_argument("--model", type=Path, help="model folder")
    parser.add_argument("--dataset-dir", type=Path, help="that it was trained on")
    options = parser.parse_args()
    with torch.no_grad():
        if options.model:
            rows = bench(*trained(options.model, options.dataset_dir), options.runs)
        else:
            rows = [row for item_count in options.items for row in bench(*generated(item_count), options.runs)]
    report("the best items of one history", rows, torch.device("cpu"), options.output)


if __name__ == "__main__":
    main()
