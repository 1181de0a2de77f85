"""What fine-tuning LlamaRec costs as published, counted: tokens, FLOPs, hours on a GPU.

One epoch over every prompt (LlamaRec's lora_num_epochs 1): each training item of each user from the second on, after at
most 20 titles of history, among 20 candidates.
"""

from dataclasses import dataclass
from typing import Final

import transformers

LLAMA_2_7B: Final = transformers.LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
    max_position_embeddings=4096,
)  # fmt: skip
RANK: Final = 8
"""Of LlamaRec's LoRA matrices, on q_proj and v_proj."""
PEAKS: Final = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""FLOP/s of dense bfloat16 matrix products, by NVIDIA's data sheets (SXM)."""
UTILIZATION: Final = 0.4
"""The share of its peak at which a GPU is assumed to train, until ``make gpu-proof`` has measured it."""
_SCORED: Final = 3
"""Positions of a prompt that get logits: its last token, the letter, the end."""


@dataclass(frozen=True)
class Prompts:
    """An epoch of a data set: its prompts, and the mean tokens of one, alone and padded to the longest of its batch."""

    count: int
    tokens: float
    padded: float


PUBLISHED: Final = {
    "ml-100k": Prompts(96_458, 668.7, 734.9),
    "ml-1m": Prompts(981_491, 688.4, 747.4),
    "amazon-beauty": Prompts(131_413, 1037.7, 1472.7),
}
"""Our data sets after the 5-core. Tokens are the mean of 4,096 prompts that ``draw_examples`` drew and
``RankingPrompts`` wrote, with Llama-2's tokenizer (as npm's llama-tokenizer-js 1.2.2 has it), letter and end included.
Of Beauty, whose titles we do not have, they are a bound: every title has the 32 tokens after which it is cut."""


def layer_weights(config: transformers.LlamaConfig) -> int:
    """Return how many weights of a Llama multiply every token: 6.48 of the 6.74 billion of Llama-2-7b."""
    heads = 2 * (config.num_attention_heads + config.num_key_value_heads) * config.head_dim
    return config.num_hidden_layers * config.hidden_size * (heads + 3 * config.intermediate_size)


def training_flops(config: transformers.LlamaConfig, tokens: float, *, checkpointing: bool) -> float:
    """Return the FLOPs of a training step on one prompt: frozen weights, and LoRA matrices on q_proj and v_proj.

    With n weights that multiply each of T tokens, L layers, h the width of all heads, and a head of V x d:

    - forward: 2 n T; attention 4 L h T^2 (whole squares, though half of each is masked); 2 V d for each of 3 positions.
    - backward: as much for the gradients of the activations, attention twice (both operands of its products have one).
      The weights are frozen and have none: 2 n T, where training them all takes 4 n T.
    - checkpointing: the layers' forward again but for the last product of each, down_proj, whose result nobody needs.
      On a GPU nf4, as QLoRA, and large models do so.

    So about 4 n T, or 5.6 n T with checkpointing. LoRA's thin products have gradients for both operands.
    """
    inner = config.num_attention_heads * config.head_dim
    adapted = 2 * config.hidden_size + inner + config.num_key_value_heads * config.head_dim  # inputs and outputs
    lora = 2 * RANK * adapted * config.num_hidden_layers * tokens
    attention = 4 * config.num_hidden_layers * inner * tokens**2
    products = 2 * layer_weights(config) * tokens
    down = 2 * config.num_hidden_layers * config.hidden_size * config.intermediate_size * tokens
    head = 2 * config.vocab_size * config.hidden_size * _SCORED
    again = products - down + attention + lora if checkpointing else 0
    return 2 * (products + head) + 3 * (attention + lora) + again


def published_cost() -> dict[str, dict[str, float]]:
    """Return, for Llama-2-7b and each data set, an epoch's prompts, tokens, FLOPs and hours on an A100.

    The FLOPs are those of the padded prompts, with checkpointing: what is computed.
    """
    found = {}
    for name, prompts in PUBLISHED.items():
        flops = prompts.count * training_flops(LLAMA_2_7B, prompts.padded, checkpointing=True)
        found[name] = {
            "prompts": prompts.count,
            "tokens": prompts.count * prompts.tokens,
            "padded_tokens": prompts.count * prompts.padded,
            "flops": flops,
            "a100_hours": flops / (PEAKS["A100"] * UTILIZATION) / 3600,
        }
    return found
