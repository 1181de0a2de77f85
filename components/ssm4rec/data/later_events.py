"""How much of the future a split lets training see."""

from pathlib import Path

import numpy

from ssm4rec.artifacts.dataset import read_sequences, read_times

Float64s = numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]


def later_training_shares(folder: Path) -> Float64s:
    """Return, for each user with a test target, the share of all training events that are later than the target.

    Events at the very time of the target are not later. The users are in the order of the dataset folder.

    Raises:
        InputError: a file is missing or unreadable, or the two files are not of the same events.
    """
    dataset = read_sequences(folder)
    times = read_times(folder, dataset)
    starts = dataset.offsets[:-1]
    trained = numpy.sort(times[dataset.trained()])
    tested = dataset.test_position >= 0
    targets = times[starts[tested] + dataset.test_position[tested]]
    shares: Float64s = 1 - numpy.searchsorted(trained, targets, side="right") / len(trained)
    return shares
