"""Checkpoints: everything a killed training needs to resume to the same result, in one safetensors file.

Random numbers need no state: every epoch draws from the seed and its own number (``loop.py``). A finished training
keeps its checkpoint, so that the same command again writes the model without training.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ssm4rec.artifacts.earlier_names import recipe_of_today, with_added
from ssm4rec.models.earlier_weights import weights_of_today
from ssm4rec.runtime.energy import NOTHING, Spent
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_file
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.settings import TrainingSettings

FILE_NAME: Final = "checkpoint.safetensors"

Weights = dict[str, Tensor]


def checkpoint_name(name: str, *parts: str) -> str:
    """Return the name of a folder for the checkpoint of a training that depends on these texts.

    >>> checkpoint_name("gpt4rec-seed0", "training.epochs=3", "titles")
    'gpt4rec-seed0-2aa40203'
    """
    return f"{name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]}"


@dataclass
class Progress:
    """How far a training has come, besides the present weights and the optimizer's moments."""

    epochs: list[EpochRow] = field(default_factory=list)  # a row per finished epoch
    best_epoch: int = 0  # with the highest validation NDCG@10 so far, from 1; 0 before the first
    best_weights: Weights = field(default_factory=dict)  # after that epoch
    cpu_seconds: float = 0.0  # spent so far, all processes that worked on it together
    spent: Spent = NOTHING  # the same of the wall clock, and of the joules where they are known
    batch_control: dict[str, Any] = field(default_factory=dict)  # the state of the batch controller

    @property
    def best(self) -> EpochRow:
        """The row of the best epoch."""
        return self.epochs[self.best_epoch - 1]

    def stopped(self, settings: TrainingSettings) -> str:
        """Say why no further epoch is due, ``epochs`` or ``patience``; "" if one is."""
        if len(self.epochs) >= settings.epochs:
            return "epochs"
        return "patience" if len(self.epochs) - self.best_epoch >= settings.patience else ""


def save_checkpoint(
    folder: Path, identity: dict[str, Any], progress: Progress, model: nn.Module, optimizer: Optimizer
) -> None:
    """Write the checkpoint, whole or not at all; ``identity`` says whose it is."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best_weights.items()}
    optimizer_state = optimizer.state_dict()
    for index, moments in optimizer_state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    document = {
        "identity": identity,
        "epochs": [asdict(row) for row in progress.epochs],
        "best_epoch": progress.best_epoch,
        "cpu_seconds": progress.cpu_seconds,
        "spent": asdict(progress.spent),
        "batch_control": progress.batch_control,
        "optimizer_groups": optimizer_state["param_groups"],
    }
    with whole_file(folder / FILE_NAME) as partial:
        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        # Not save_file: its error for a full disk is no OSError.
        partial.write_bytes(save(contiguous, metadata={"state": json.dumps(document)}))


def load_checkpoint(folder: Path, identity: dict[str, Any], model: nn.Module, optimizer: Optimizer) -> Progress:
    """Bring model and optimizer to where the checkpoint in ``folder`` left them; without one, start from nothing.

    Raise InputError if the checkpoint is of another training (names the first difference) or is damaged.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Progress()
    way_out = "delete it to start again, or choose another --checkpoint-dir"
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            # Cloned into memory that is aligned as torch's own: sums over it may depend on that in their last bit.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a checkpoint of this project ({error}); {way_out}") from None
    tensors = weights_of_today(tensors)
    # What the data are called decides nothing: their fingerprint says which they are.
    stored = {**recipe_of_today(state["identity"]), "dataset": ""}
    stored["recipe"] = with_added(stored["recipe"])
    difference = first_difference(stored, {**identity, "dataset": ""})
    if difference:
        raise InputError(f"{path}: a checkpoint of another training: {difference}; {way_out}")

    def part(prefix: str) -> Weights:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    moments: dict[int, Weights] = {}
    for name, tensor in part("optimizer.").items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": state["optimizer_groups"]})
    device = next(model.parameters()).device
    return Progress(
        epochs=[EpochRow(**row) for row in state["epochs"]],
        best_epoch=state["best_epoch"],
        best_weights={name: tensor.to(device) for name, tensor in part("best.").items()},
        cpu_seconds=state["cpu_seconds"],
        spent=Spent(**state.get("spent", {})),  # a checkpoint of an earlier version does not know it
        batch_control=state["batch_control"],
    )


def first_difference(stored: Any, wanted: Any, name: str = "") -> str:
    """Name the first field in which two identities differ, '' if none."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            difference = first_difference(stored.get(key), wanted.get(key), f"{name}.{key}" if name else key)
            if difference:
                return difference
        return ""
    return "" if stored == wanted else f"{name} is {stored} there and {wanted} here"
