"""The FLOPs of a training step by the formula are those that torch counts."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from ssm4rec.llm.settings import LoraSettings
from tests.gpu_proof.cost import LLAMA_2_7B, PUBLISHED, RANK, layer_weights, published_cost, training_flops

TOKENS = 50


def counted(config: LlamaConfig, *, checkpointing: bool) -> int:
    """Return the FLOPs of a step on one prompt, with LoRA and the frozen weights as peft prepares them for QLoRA."""
    base = LlamaForCausalLM._from_config(config, attn_implementation="eager")  # whose products torch counts on a CPU
    base.enable_input_require_grads()
    if checkpointing:
        base.activation_checkpointing_enable({"use_reentrant": False})
    lora = LoraConfig(r=RANK, target_modules=LoraSettings().modules.split("+"), task_type="CAUSAL_LM")
    model = get_peft_model(base, lora).train()
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=torch.randint(0, 90, (1, TOKENS)), logits_to_keep=3, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits[0], torch.tensor([1, 2, 3])).backward()
    return counter.get_total_flops()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft 0.21 asks by the old name
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("key_value_heads", [4, 2])
def test_the_formula_counts_what_torch_counts(checkpointing: bool, key_value_heads: int) -> None:
    config = LlamaConfig(
        vocab_size=90, hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=key_value_heads, head_dim=24,
    )  # fmt: skip
    expected = training_flops(config, TOKENS, checkpointing=checkpointing)
    assert counted(config, checkpointing=checkpointing) == expected


def test_a_token_of_llama_2_costs_four_flops_per_weight_or_five_and_a_half() -> None:
    with torch.device("meta"):
        layers = LlamaForCausalLM(LLAMA_2_7B).model.layers
    weights = sum(weight.numel() for weight in layers.parameters() if weight.dim() == 2)
    assert layer_weights(LLAMA_2_7B) == weights == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    tokens = PUBLISHED["ml-1m"].padded
    per_token = [training_flops(LLAMA_2_7B, tokens, checkpointing=again) / tokens for again in (False, True)]
    assert [flops / weights for flops in per_token] == pytest.approx([4, 5.6], rel=0.05)  # the rest is attention


def test_hours_are_flops_over_what_the_gpu_does() -> None:
    cost = published_cost()["ml-1m"]
    assert cost["prompts"] == 999_611 - 3 * 6_040  # the 5-core; no user's first item, validation target, test target
    assert cost["a100_hours"] == pytest.approx(cost["flops"] / (0.4 * 312e12) / 3600)
