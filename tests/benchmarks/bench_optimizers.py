"""What a step of USGM costs beside Adam's, on 10 million parameters: ``make bench-optimizers``.

The floor is memory: Adam reads and writes two moments beside weights and gradients, USGM the start and the last step.
"""

from collections.abc import Callable, Iterable

import torch
from measure import Row, alternate, command_line, report
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from ssm4rec.optim.batch_size import BregmanMeter
from ssm4rec.optim.usgm import USGM
from ssm4rec.training.device import choose_device

SHAPES = [(1000, 1000)] * 10

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], Optimizer]] = {
    "adam, foreach": lambda weights: Adam(weights, foreach=True),
    "adam, fused": lambda weights: Adam(weights, fused=True),
    "sgd with momentum, foreach": lambda weights: SGD(weights, lr=0.1, momentum=0.9, foreach=True),
    "usgm": lambda weights: USGM(weights, 10.0),
    "usgm with the average": lambda weights: USGM(weights, 10.0, average=True),
}


def weights_with_gradients(device: torch.device) -> list[Tensor]:
    """Return 10 million weights in ten tensors, each with a gradient."""
    weights = [torch.randn(shape, device=device, requires_grad=True) for shape in SHAPES]
    for weight in weights:
        weight.grad = 0.01 * torch.randn_like(weight)
    return weights


def bench_steps(device: torch.device, runs: int) -> list[Row]:
    """Return what a step of each optimizer costs."""
    works: dict[str, Callable[[], object]] = {
        name: make(weights_with_gradients(device)).step for name, make in OPTIMIZERS.items()
    }
    works["measuring beta for another optimizer"] = BregmanMeter(weights_with_gradients(device)).measure
    medians = alternate(works, device, runs)
    adam = medians["adam, foreach"]
    return [{"step": name, "ms": spent, "to adam, foreach": spent / adam} for name, spent in medians.items()]


def main() -> None:
    """Measure and print."""
    options = command_line(__doc__ or "", runs=9).parse_args()
    device = choose_device(options.device)
    report("A step on 10 million parameters", bench_steps(device, options.runs), device, options.output)


if __name__ == "__main__":
    main()
