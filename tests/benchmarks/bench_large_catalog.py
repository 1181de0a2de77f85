"""Peak memory and time of a training step on a large catalog: ``make bench-large-catalog``.

211,000 items (Amazon'23 Beauty and Personal Care after its 5-core), width 64, 16,384 targets: the logits alone would
be 13.8 GB. Each loss runs in a process of its own, whose peak resident memory is read at the end.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from measure import Row, report

ITEMS, ROWS, LENGTH = 211_000, 328, 50
NEGATIVES = {"softmax": 1, "sampled-softmax": 256, "gbce": 256, "bce": 1}


def one_step(loss: str) -> None:
    """Take two optimizer steps and print the peak memory in MB and the CPU seconds of the second."""
    from ssm4rec.recipes.recommenders import recipe
    from ssm4rec.training.losses import Criterion

    chosen = recipe("2mamba4rec", "best", "short", f"training.loss={loss},training.negatives={NEGATIVES[loss]}")
    model = chosen.model.build(ITEMS)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    criterion = Criterion(chosen.training, torch.ones(ITEMS + 1, dtype=torch.long).numpy())
    rows = torch.randint(1, ITEMS + 1, (ROWS, LENGTH + 1))
    targets = rows[:, 1:][:, : 16_384 // ROWS + 1].flatten()[:16_384]
    for _ in range(2):
        started = time.process_time()
        negatives = criterion.negatives(targets, torch.Generator().manual_seed(0))
        hidden = model(rows[:, :-1])[:, : 16_384 // ROWS + 1].flatten(0, 1)[:16_384]
        optimizer.zero_grad(set_to_none=True)
        criterion.loss(hidden, model.item_vectors(), targets, negatives).backward()
        optimizer.step()
        spent = time.process_time() - started
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, spent)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure a training step on a large catalog.")
    parser.add_argument("--loss", choices=NEGATIVES, help="of one step, in this process")
    parser.add_argument("--output", type=Path, help="JSON file to add the rows to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.loss:
        one_step(options.loss)
        return
    rows: list[Row] = []
    for loss in NEGATIVES:
        done = subprocess.run([sys.executable, __file__, "--loss", loss], capture_output=True, text=True, check=True)
        memory, seconds = map(float, done.stdout.split())
        rows.append({"loss": loss, "negatives": NEGATIVES[loss], "peak memory MB": memory, "step cpu-s": seconds})
    report("one step: 211,000 items, 16,384 targets, D 64", rows, torch.device("cpu"), options.output)


if __name__ == "__main__":
    main()
