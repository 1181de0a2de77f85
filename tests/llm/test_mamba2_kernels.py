"""MamRec's small models through the checks of the kernels that transformers calls on a GPU; see kernel_contract.py."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.mamba2 import modeling_mamba2

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.llm import scratch_models
from ssm4rec.llm.generator_folder import _check_kernels
from ssm4rec.llm.generator_settings import SCRATCH, ScratchSettings
from ssm4rec.llm.query_generation import generate_queries
from ssm4rec.llm.scratch_models import new_language_model, train_tokenizer
from ssm4rec.recipes.generators import generator_recipe
from ssm4rec.runtime.errors import InputError
from tests.language_models import title
from tests.ops import kernel_contract
from tests.ops.kernel_contract import RefusedError, make_believe

RECIPES = {profile: generator_recipe("mamrec", profile) for profile in PROFILES}
SIZES = {profile: one.scratch for profile, one in RECIPES.items() if one.source.startswith(SCRATCH)}
SHAPES = [(1, 1), (2, 1), (1, 2), (3, 7)]

NewModel = Callable[[ScratchSettings], PreTrainedModel]


@pytest.fixture(scope="module")
def with_kernels() -> Iterator[ModuleType]:
    """transformers' Mamba2 imported a second time: it looks for the kernels when it is (hub_kernels.py:1010)."""
    spec = importlib.util.spec_from_file_location(f"{modeling_mamba2.__name__}_with_kernels", modeling_mamba2.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with make_believe():
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([title(item) for item in range(1, 60)], 300)


@pytest.fixture
def new_model(
    with_kernels: ModuleType, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ScratchSettings, bool], PreTrainedModel]:
    """Return a function that makes the model of some sizes, with or without kernels, of the same weights."""

    def make(sizes: ScratchSettings, kernels: bool) -> PreTrainedModel:
        module = with_kernels if kernels else modeling_mamba2
        monkeypatch.setattr(scratch_models.transformers, "Mamba2ForCausalLM", module.Mamba2ForCausalLM)
        kernel_contract.calls.clear()
        return new_language_model("scratch:mamba2", sizes, tokenizer, 64, seed=0)

    return make


def step(model: PreTrainedModel, B: int, L: int) -> list[torch.Tensor]:
    """Return hidden states of a validation and of a training pass, and gradients, as generator_training does."""
    torch.manual_seed(1)
    tokens = torch.randint(3, 200, (B, L))
    mask = (torch.arange(L) < torch.arange(L, L - B, -1).clamp(min=1)[:, None]).long()

    def read() -> torch.Tensor:
        found: torch.Tensor = model.base_model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
        return found[mask > 0]

    with torch.no_grad():
        held_out = model.eval() and read()
    model.train()
    trained = read()
    (trained.float() ** 2).mean().backward()
    return [held_out, trained.detach(), *(one.grad for one in model.parameters() if one.grad is not None)]


@pytest.mark.parametrize(("B", "L"), SHAPES)
@pytest.mark.parametrize("profile", SIZES)
def test_training_and_validation_pass_the_checks(new_model: Any, profile: str, B: int, L: int) -> None:
    expected = step(new_model(SIZES[profile], kernels=False), B, L)
    assert not kernel_contract.calls
    found = step(new_model(SIZES[profile], kernels=True), B, L)
    assert set(kernel_contract.calls) == {
        "causal_conv1d_fn", "mamba_chunk_scan_combined", "mamba_split_conv1d_scan_combined",
    }  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.isfinite(one).all() for one in step(new_model(SIZES[profile], kernels=True), B, L))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("profile", SIZES)
def test_queries_pass_the_checks(
    new_model: Any, tokenizer: PreTrainedTokenizerBase, profile: str, dtype: torch.dtype
) -> None:
    """A prompt of two tokens (the shortest), and several of several lengths; beam by beam, a token at a time."""
    search = RECIPES[profile].search
    for prompts in ([[5, 6]], [[5, 6, 7, 8, 9], [10, 11, 12], [13, 14]]):
        found = []
        for kernels in (False, True):
            model = new_model(SIZES[profile], kernels=kernels).eval().to(dtype)
            with torch.no_grad():
                found.append(generate_queries(model, tokenizer, prompts, search).queries)
        assert {"causal_conv1d_fn", "causal_conv1d_update", "selective_state_update"} <= set(kernel_contract.calls)
        if dtype == torch.float32:
            assert found[0] == found[1]


def test_every_width_fits_the_checks_and_other_head_counts_would_not(new_model: Any) -> None:
    for width in (32, 96, 128, 160):
        step(new_model(ScratchSettings(width=width, layers=1), kernels=True), 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch_models, "_SCAN_HEADS", 2)
        with pytest.raises(RefusedError, match=r"causal_conv1d.cpp:180: strides"):
            step(new_model(ScratchSettings(width=32, layers=1), kernels=True), 2, 3)


def test_a_model_with_other_heads_is_refused_in_one_line_where_the_kernels_are(
    tokenizer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(scratch_models, "_SCAN_HEADS", 2)
    model = new_language_model("scratch:mamba2", ScratchSettings(width=32, layers=1), tokenizer, 64, seed=0)
    _check_kernels(model, torch.device("cuda"))
    with make_believe():
        _check_kernels(model, torch.device("cpu"))
        with pytest.raises(
            InputError, match=r"^a Mamba2 whose input projection has 162 outputs: .* multiples of 8; train it again"
        ):
            _check_kernels(model, torch.device("cuda"))
