"""A user's record as bytes: the history, and for a recurrent model the state after it; safetensors, never pickle.

Shapes: D width.
"""

import json
from typing import Final, NamedTuple
from zlib import crc32

import numpy
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from ssm4rec.serving.history import History, history_from_json

LAYOUT: Final = 2
"""Of records, with which a store is marked: a server of another version does not take it for its own."""
_SUM: Final = 4
"""Bytes of a checksum after the rest: a bit that has turned in a state would change answers without a word."""

State = tuple[Tensor, ...]
"""What a recurrent model remembers of one user: the hidden state from which the next item is predicted, (1, D), then
the layers' memory, each (1, ...)."""


class DamagedRecordError(ValueError):
    """Bytes that are not a record of this version."""


class Record(NamedTuple):
    """What is known of a user."""

    history: History
    owner: str
    """Which model the state is of (``reading.owner_of``)."""
    state: State
    """After all known items of ``history.recent``; empty where there is none."""

    def to_bytes(self) -> bytes:
        """Return it as safetensors and their CRC-32; the history and the owner are texts in it."""
        arrays = {f"state.{index:03}": tensor.cpu().contiguous().numpy() for index, tensor in enumerate(self.state)}
        texts = {"history": self.history.to_json(), "owner": self.owner.encode()}
        arrays |= {name: numpy.frombuffer(text, dtype=numpy.uint8) for name, text in texts.items()}
        content = save(arrays)  # the bytes of safetensors.torch, in half the time
        return content + _checksum(content)


def record_from_bytes(data: bytes) -> Record:
    """Return what :meth:`Record.to_bytes` made; raise DamagedRecordError if it is something else."""
    content, told = data[:-_SUM], data[-_SUM:]
    if _checksum(content) != told:
        raise DamagedRecordError("its checksum is another")
    try:
        tensors = load(content)
        history = history_from_json(tensors.pop("history").numpy().tobytes())
        owner = tensors.pop("owner").numpy().tobytes().decode()
    except (SafetensorError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DamagedRecordError(str(error)) from None
    return Record(history, owner, tuple(tensors[name] for name in sorted(tensors)))


def _checksum(content: bytes) -> bytes:
    return crc32(content).to_bytes(_SUM, "little")
