"""How much of the future a split lets training see."""

from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet

from ssm4rec.contracts import INTERACTIONS
from ssm4rec.data.dataset import read_sequences
from ssm4rec.errors import InputError

Float64s = numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]


def later_training_shares(folder: Path) -> Float64s:
    """Return, for each user with a test target, the share of all training events that are later than the target.

    Events at the very time of the target are not later. The users are in the order of the dataset folder.

    Raises:
        InputError: a file is missing or unreadable, or the two files are not of the same events.
    """
    dataset = read_sequences(folder)
    path = folder / INTERACTIONS
    try:
        times = pyarrow.parquet.read_table(path, columns=["time"]).column("time").to_numpy()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run prepare_data again") from None
    except (KeyError, pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: not readable interactions ({reason}); run prepare_data again") from None
    if len(times) != len(dataset.items):
        raise InputError(f"{path}: its events are not those of the sequences beside it; run prepare_data again")
    starts = dataset.offsets[:-1]
    place = numpy.arange(len(times)) - numpy.repeat(starts, numpy.diff(dataset.offsets))
    trained = numpy.sort(times[place < numpy.repeat(dataset.train_length, numpy.diff(dataset.offsets))])
    tested = dataset.test_position >= 0
    targets = times[starts[tested] + dataset.test_position[tested]]
    shares: Float64s = 1 - numpy.searchsorted(trained, targets, side="right") / len(trained)
    return shares
