"""What language models' trainings do on one GPU and on several, found out without one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.llm import adapters, alignment, finetuning
from ssm4rec.llm.adapters import new_ranker
from ssm4rec.llm.alignment import AlignmentTask
from ssm4rec.llm.language_models import load_both
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, StepSettings
from ssm4rec.llm.sources import Quantization
from tests.llm.test_alignment import examples

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STEPS = StepSettings(batch=6, accumulation=2, optimizer="adamw_torch")


@pytest.mark.parametrize("trainer", ["finetune", "align"])
@pytest.mark.parametrize("gpus", [1, 4])
def test_a_batch_is_a_batch_on_several_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trainer: str, gpus: int
) -> None:
    """transformers takes per_device_train_batch_size x n_gpu, and n_gpu of CUDA (training_args.py:1949)."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    if trainer == "finetune":
        arguments: Any = finetuning.arguments(STEPS, tmp_path, CUDA, steps=10, seed=0)
    else:
        task = AlignmentTask(examples(), AlignmentSettings(steps=STEPS), 0)
        arguments = alignment.arguments(task, tmp_path, CUDA)
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == STEPS.batch
    assert arguments.eval_batch_size == STEPS.batch


LORA = LoraSettings(rank=4, alpha=8, dropout=0.0, modules="all-linear")


def gradients(
    folder: str, cache: Path, quantization: Quantization = "none", device: torch.device = CUDA
) -> tuple[list[torch.Tensor], int]:
    """Return the gradients of a training step on a language model's LoRA matrices, and the calls of its first layer."""
    torch.manual_seed(0)
    ranker = new_ranker(folder, quantization, LORA, cache, device)
    torch.manual_seed(1)
    trained = [parameter for parameter in ranker.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    called: list[str] = []
    tokens = torch.randint(2, 100, (2, 9))
    with torch.no_grad():
        ranker.model.eval()(input_ids=tokens)  # a validation, which comes before the first step
    layers = next(module for name, module in ranker.model.named_modules() if name.endswith(".layers"))
    layers[0].mlp.register_forward_pre_hook(lambda *_: called.append("mlp"))  # type: ignore[index, union-attr]
    ranker.model.train()
    ranker.model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    return [parameter.grad for parameter in trained if parameter.grad is not None], len(called)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Language models for a GPU are loaded on the CPU."""

    def load(folder: Path, device: torch.device, quantization: Any) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        return load_both(folder, CPU, quantization)

    monkeypatch.setattr(adapters, "load_both", load)


def test_a_model_of_4_bits_keeps_few_activations_and_has_the_same_gradients(
    on_cpu: None, language_model: Any, tmp_path: Path
) -> None:
    folder = str(language_model("llama"))
    kept, calls = gradients(folder, tmp_path, "nf4", CPU)
    recomputed, calls_on_a_gpu = gradients(folder, tmp_path, "nf4", CUDA)
    assert (calls, calls_on_a_gpu) == (1, 2)
    for one, other in zip(recomputed, kept, strict=True):
        assert torch.equal(one, other)


def test_a_large_model_keeps_few_activations_and_has_the_same_gradients(
    on_cpu: None, monkeypatch: pytest.MonkeyPatch, language_model: Any, tmp_path: Path
) -> None:
    """A model counts as large from a billion weights on; here from one."""
    folder = str(language_model("llama"))
    kept, calls = gradients(folder, tmp_path)
    monkeypatch.setattr(adapters, "_MANY", 1)
    recomputed, calls_of_large = gradients(folder, tmp_path)
    assert (calls, calls_of_large) == (1, 2)
    assert len(kept) == len(recomputed) > 0
    assert any(gradient.abs().max() > 0 for gradient in kept)
    for one, other in zip(recomputed, kept, strict=True):
        assert torch.equal(one, other)
