"""Queries out of prompts by beam search, in batches padded on the left.

The prompt is read once per user, not once per beam: its states (keys and values of GPT-2, states of Mamba2) are then
repeated for the beams. Queries come in the order of their probability, the product of their tokens' (no length
penalty): the likeliest title first.

Shapes: B users of a batch, L their longest prompt, m beams and queries, S new tokens.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.data.batches import length_buckets
from ssm4rec.llm.generator_settings import SearchSettings
from ssm4rec.llm.queries import QueryPrompts, histories_and_targets
from ssm4rec.llm.ranking import UserPrompts, padded
from ssm4rec.llm.title_retrieval import UserQueries


@dataclass(frozen=True)
class Generated:
    """Queries, and how fast they came.

    Attributes:
        queries: m of every prompt, likeliest first, in the order of the prompts.
        tokens: of all queries, each one's end of text included.
        seconds: wall time, reading the prompts included.
        batch: the most users of a batch.
    """

    queries: list[list[str]]
    tokens: int
    seconds: float
    batch: int

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of wall time."""
        return self.tokens / self.seconds


def ask(
    model: PreTrainedModel,
    prompts: QueryPrompts,
    search: SearchSettings,
    dataset: SequenceDataset,
    split: Split,
    users: Int64s,
) -> tuple[list[UserQueries], Generated]:
    """Return the queries that a model writes for users' histories, in the users' order, and how that went."""
    known = histories_and_targets(dataset, split, users)
    generated = generate_queries(model, prompts.tokenizer, [prompts.prompt(history) for history, _ in known], search)
    asked = zip(generated.queries, known, strict=True)
    return [UserQueries(queries, history, target) for queries, (history, target) in asked], generated


def generate_queries(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: UserPrompts, search: SearchSettings
) -> Generated:
    """Return m queries of a model in evaluation mode for every prompt, which has at least two tokens."""
    lengths = numpy.array([len(prompt) for prompt in prompts])
    batches = list(length_buckets(lengths, search.tokens_per_batch // search.queries, len(prompts)))
    queries: list[list[str]] = [[] for _ in prompts]
    tokens = 0
    began = time.perf_counter()
    with torch.inference_mode():
        for rows in tqdm(batches, desc="queries", leave=False, disable=None):
            new = _beams(model, tokenizer, [prompts[row] for row in rows], search)  # (B, m, S)
            tokens += int(_lengths(new, tokenizer.eos_token_id).sum())
            texts = tokenizer.batch_decode(new.flatten(0, 1), skip_special_tokens=True)
            for place, row in enumerate(rows):
                own = texts[place * search.queries : (place + 1) * search.queries]
                queries[row] = [text.strip() for text in own]
    seconds = time.perf_counter() - began
    return Generated(queries, tokens, seconds, max(len(rows) for rows in batches))


def _beams(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: UserPrompts, search: SearchSettings
) -> Tensor:
    """Return the new tokens of the beams, (B, m, S), padded on the right."""
    tokens, mask = padded(prompts, model.device)
    before = mask[:, :-1]
    read = model(
        tokens[:, :-1],
        attention_mask=before,
        position_ids=(before.cumsum(dim=-1) - 1).clamp(min=0),  # Mamba2 has no positions and ignores them
        use_cache=True,
        logits_to_keep=1,
    )
    # Mamba2 has another name for its states.
    name = "past_key_values" if "past_key_values" in read else "cache_params"
    states = read[name]
    states.reorder_cache(torch.arange(len(prompts), device=model.device).repeat_interleave(search.queries))
    generate = cast("Callable[..., Tensor]", model.generate)  # transformers types it as several things
    new = generate(
        tokens[:, -1:],
        attention_mask=mask,
        **{name: states},
        num_beams=search.queries,
        num_return_sequences=search.queries,
        max_new_tokens=search.new_tokens,
        length_penalty=0.0,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return new[:, 1:].reshape(len(prompts), search.queries, -1)


def _lengths(new: Tensor, end: int) -> Tensor:
    """Return how many tokens each query has up to its first end of text, that one included, (B, m)."""
    ended = (new == end).cumsum(dim=-1) > 0
    return (~ended).sum(dim=-1) + ended.any(dim=-1).long()
