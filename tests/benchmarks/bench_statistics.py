"""How long the statistics of a study take, all pairs of 8 models on 100,000 users: ``make bench-statistics``.

The comparison is whole: HIT, NDCG, MRR at 10 in both protocols, intervals, both tests with Holm's correction, slices.
Ranks are synthetic: a user's target is as hard to find for all models, but for some noise. Time depends on the share of
users whose target any model finds, so there are two shapes. Wall and processor seconds, once, with as many threads as
numpy's matrix product takes (OMP_NUM_THREADS).
"""

import argparse
import time

import numpy

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation.compare import CUTOFF, compare, gather

ITEMS = 10_000
# The mean logarithm of a rank.
SHAPES = {"hard targets": 5.0, "easy targets": 0.5}


def synthetic_ranks(users: int, models: int, difficulty: float) -> list[Ranks]:
    """Return the ranks of ``models`` less one models; the baseline is the last. A rank's logarithm is normal."""
    random = numpy.random.default_rng(0)
    of_users = random.normal(difficulty, 2.0, users)

    def ranks(model: int) -> numpy.ndarray:
        logarithms = of_users + 0.1 * model + random.normal(0, 1.0, users)
        return numpy.exp(logarithms).clip(1, ITEMS).astype(numpy.int32)

    targets = random.integers(1, ITEMS + 1, users, dtype=numpy.int32)
    lengths = random.integers(3, 300, users, dtype=numpy.int32)
    baselines = {name: (ranks(models), ranks(models)) for name in BASELINES}
    return [
        Ranks(
            numpy.arange(users, dtype=numpy.int32),
            targets,
            lengths,
            ranks(model),
            ranks(model),
            baselines,
            f"m{model}",
            0,
            "test",
        )
        for model in range(models - 1)
    ]


def synthetic_dataset(users: int) -> SequenceDataset:
    """Return a data set of users with two training items each, which only the slices by popularity read."""
    random = numpy.random.default_rng(1)
    two = numpy.full(users, 2, dtype=numpy.int32)
    return SequenceDataset(
        name="synthetic",
        fingerprint="synthetic",
        item_count=ITEMS,
        items=random.integers(1, ITEMS + 1, 2 * users, dtype=numpy.int32),
        offsets=2 * numpy.arange(users + 1),
        train_length=two,
        validation_position=two,
        validation_targets=two // 2,
        test_position=two,
        test_targets=two // 2,
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure the statistics of all pairs of models.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=10_000)
    options = parser.parse_args()
    dataset = synthetic_dataset(options.users)
    print(f"all pairs of {options.models} models, {options.users:,} users, {options.resamples:,} resamples:")
    for name, difficulty in SHAPES.items():
        ranks = synthetic_ranks(options.users, options.models, difficulty)
        best = numpy.minimum.reduce([numpy.minimum(one.unmasked, one.masked) for one in ranks])
        hit = float((ranks[0].unmasked <= CUTOFF).mean())
        started, processor = time.perf_counter(), time.process_time()
        comparison = compare(dataset, gather(ranks, []), options.resamples, seed=0)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        print(
            f"  {name} (a model hits {hit:.0%} of the users, any model {(best <= CUTOFF).mean():.0%}): "
            f"{len(comparison.pairs)} pairs and settings in {seconds:.1f} s, {processor:.1f} s of processor",
            flush=True,
        )


if __name__ == "__main__":
    main()
