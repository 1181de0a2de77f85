"""What one user costs against the length of the history, for every recommender: ``make bench-length``.

Full forward and scores of the catalog for one user, and one more event from a kept state, at L = 50 to 10,000; every
model of the ``best`` recipe, made for that length. One thread on a CPU.
"""

from functools import partial

import torch
from measure import Row, alternate, command_line, report

from ssm4rec.models.serving import ServingRecommender
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.device import choose_device

LENGTHS = (50, 200, 1000, 3000, 10_000)
ITEMS = 3416


@torch.no_grad()
def bench(device: torch.device, runs: int) -> list[Row]:
    """Return a row per length and model."""
    rows = []
    for length in LENGTHS:
        items = torch.randint(1, ITEMS + 1, (1, length), device=device)
        lengths = torch.tensor([length], device=device)
        works, states = {}, {}
        for name in MODELS:
            # One place more than the history, so that SASRec's window need not slide.
            chosen = recipe(name, "best", "long", f"model.max_length={length + 1}").model
            model = chosen.build(ITEMS).to(device).eval()
            works[name] = partial(model.score_next, items, lengths)
            if isinstance(model, ServingRecommender):
                state = model.prefill(items, lengths)
                states[name] = state.bytes_per_user()
                works[f"{name} step"] = partial(model.step, state, items[:, 0])
        spent = alternate(works, device, runs)
        rows += [
            {
                "L": length,
                "model": name,
                "full forward ms": spent[name],
                "of sasrec": spent[name] / spent["sasrec"],
                "one step ms": spent.get(f"{name} step", "-"),
                "state bytes": states.get(name, "-"),
            }
            for name in MODELS
        ]
    return rows


def main() -> None:
    """Run the benchmark."""
    options = command_line("Measure one user's cost against the length of the history.", runs=9).parse_args()
    device = choose_device(options.device)
    report("one user, against the history's length", bench(device, options.runs), device, options.output)


if __name__ == "__main__":
    main()
