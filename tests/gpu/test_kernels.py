"""On a GPU: every kernel against the torch form of its operator, and trainings in every precision (`make test-gpu`).

The kernels of mamba-ssm and causal-conv1d are those of the ``gpu`` extra: without it their tests are skipped.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.models.table import MODELS
from ssm4rec.ops.backend import MissingKernelError, backend_of, choose_backend
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.selective_scan import selective_scan
from ssm4rec.ops.ssd import ssd
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.device import choose_float32_products
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.loop import train
from ssm4rec.training.losses import Repeats, SeenItems, full_softmax_loss
from ssm4rec.training.task import Task

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
B, L, E, N, P = 3, 150, 128, 32, 32

Form = Callable[[], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    choose_float32_products(tf32=False)  # or Triton's first compilation of a kernel decides for the whole process
    yield
    choose_backend("auto", CUDA)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, device=CUDA, requires_grad=True)


def segments() -> Tensor:
    return (torch.rand(B, L, device=CUDA) < 0.1).cumsum(1)


def in_both_forms(operator: str, work: Form, leaves: list[Tensor], *, through_state: bool = True) -> None:
    """Compare outputs, states and gradients of the kernel with those of the torch form."""
    found = []
    for form in ("torch", "fused"):
        try:
            choose_backend(form, CUDA)
        except MissingKernelError as error:
            pytest.skip(str(error))
        assert backend_of(operator, CUDA) == {"torch": "torch", "fused": "cuda_kernel"}[form]
        y, state = work()
        loss = (y * y).sum() + (state.sum() if through_state else 0)
        found.append((y, state, *torch.autograd.grad(loss, leaves, allow_unused=True)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_causal_convolution(with_segments: bool, with_state: bool) -> None:
    leaves = [draw(B, L, E), draw(E, 4), draw(E)]
    ids, state = segments() if with_segments else None, draw(B, 3, E) if with_state else None
    in_both_forms("causal_convolution", lambda: causal_convolution(*leaves, ids, state), leaves)


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_ssd(with_segments: bool, with_state: bool) -> None:
    leaves = [draw(B, L, E // P, P), draw(B, L, E // P), draw(E // P), draw(B, L, N), draw(B, L, N)]
    ids, state = segments() if with_segments else None, draw(B, E // P, P, N) if with_state else None

    def work() -> tuple[Tensor, Tensor]:
        x, dt, rate, b, c = leaves
        return ssd(x, dt.sigmoid(), -rate.exp(), b, c, ids, state)

    in_both_forms("ssd", work, leaves)


@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_selective_scan(with_segments: bool, with_state: bool) -> None:
    leaves = [draw(B, L, E), draw(B, L, E), draw(E, N), draw(B, L, N), draw(B, L, N)]
    ids, state = segments() if with_segments else None, draw(B, E, N) if with_state else None

    def work() -> tuple[Tensor, Tensor]:
        x, dt, rate, b, c = leaves
        return selective_scan(x, dt.sigmoid(), -rate.exp(), b, c, ids, state)

    # mamba-ssm has no gradient from the last state; with segments or an initial state our torch form computes.
    in_both_forms("selective_scan", work, leaves, through_state=with_segments or with_state)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_scores_on_a_gpu_as_on_a_cpu(name: str) -> None:
    torch.manual_seed(0)
    model = recipe(name, "best", "long").model.build(50).eval()
    items, lengths = torch.randint(1, 51, (3, 70)), torch.tensor([70, 70, 70])
    expected = model.score_next(items, lengths)
    actual = model.to(CUDA).score_next(items.to(CUDA), lengths.to(CUDA))
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("with_term", [False, True])
def test_the_softmax_and_its_gradients_are_those_of_a_cpu(with_term: bool) -> None:
    torch.manual_seed(0)
    hidden, vectors, weight = torch.randn(600, 32), torch.randn(5000, 32), torch.tensor(-1.7)
    targets, items = torch.randint(1, 5001, (600,)), torch.randint(0, 5001, (3, 200))
    rows, counts = torch.arange(600) // 200, torch.arange(600) % 200 + 1
    found = []
    for device in ("cpu", "cuda"):
        leaves = [leaf.to(device).requires_grad_() for leaf in (hidden, vectors, weight)[: 2 + with_term]]
        seen = SeenItems(items.to(device), rows.to(device), counts.to(device))
        repeats = Repeats(leaves[2], seen) if with_term else None
        loss = full_softmax_loss(*leaves[:2], targets.to(device), repeats)
        found.append([tensor.cpu() for tensor in (loss, *torch.autograd.grad(loss, leaves))])
    for ours, expected in zip(*reversed(found), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_learns_a_certain_sequence(cycle_dataset: Path, tmp_path: Path, name: str, precision: str) -> None:
    overrides = "training.epochs=60,training.learning_rate=0.02,model.dropout=0.0,training.tokens_per_batch=64"
    if name == "hydra4rec":
        overrides += ",training.last_share=0.5,training.patience=60"
    dataset = read_sequences(cycle_dataset)
    task = Task(name, recipe(name, "smoke", "long", overrides), dataset, 0)
    trained = train(task, Distributed(CUDA, precision), tmp_path, lambda row: None)
    ranking = full_ranking(trained.model.score_next, dataset, "test", trained.model.max_length, CUDA)
    assert (ranking.unmasked == 1).mean() > 0.9
