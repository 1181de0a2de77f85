"""Ranking by a verbalizer: the scores of the candidates are the logits of their tokens, from one forward pass.

A candidate's token is its letter or, where tokens are items, itself.

Nothing is generated. Of each prompt only the logits at its last position are computed, so memory does not depend on
vocabulary x length. What all prompts begin with, the instruction, is read once. Prompts of a user that differ in the
order of the candidates only share the forward pass over what is before the pool; users of like length share a batch,
padded on the left.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy
import torch
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.prompts import Prompts

UserPrompts = Sequence[list[int]]
"""The prompts of one user, one for each order of the candidates."""

Floats = numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.float32]]
Answers = numpy.ndarray[Any, numpy.dtype[Any]]

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 16384}


@torch.inference_mode()
def answer_logits(
    model: PreTrainedModel | PeftModel, users: Sequence[UserPrompts], answers: Answers, advance: Callable[[int], object]
) -> Floats:
    """Return the logits of k tokens after each of the o prompts of n users, (n, o, k).

    The model has a key-value cache, as Llama. ``advance`` is called with the number of users that a batch has finished.
    ``answers``: (n, o, k), or what becomes that by broadcasting.
    Raise ScoresNotNumbersError if a logit is NaN or infinite: no rival would be above a target of NaN.
    """
    was_training = model.training
    model.eval()
    orders = len(users[0]) if users else 0
    shape = (len(users), orders, answers.shape[-1])
    wanted, found = numpy.broadcast_to(answers, shape), numpy.empty(shape, numpy.float32)
    common = _shared_length([prompt for prompts in users for prompt in prompts])
    instruction = DynamicCache(config=model.config) if common else None
    if instruction is not None:
        _logits(model, *padded([users[0][0][:common]], model.device), instruction)
    shared = [max(common, _shared_length(prompts)) for prompts in users]
    for rows in _batches(shared, users, TOKENS_PER_BATCH[model.device.type]):
        heads = [users[row][0][common : shared[row]] for row in rows]
        tails = [prompt[shared[row] :] for row in rows for prompt in users[row]]
        logits = _last_logits(model, instruction, heads, tails)
        tokens = torch.tensor(wanted[rows].astype(numpy.int64), device=model.device).flatten(0, 1)
        found[rows] = logits.gather(1, tokens).float().cpu().numpy().reshape(found[rows].shape)
        advance(len(rows))
    model.train(was_training)
    if not numpy.isfinite(found).all():
        raise ScoresNotNumbersError(
            "the language model's scores are NaN or infinite: its files are damaged, or its training diverged"
        )
    return found


@dataclass(frozen=True)
class Questions:
    """A ranking task in tokens of a model: each user's prompts, and the answers to them, (n, o, k)."""

    users: Sequence[UserPrompts]
    answers: Answers


def questions(prompts: Prompts, task: RankingTask, orders: Sequence[str]) -> Questions:
    """Return a task's questions, with its candidates in these o orders; unused places of k have token 0."""
    pools = list(zip(*(task.candidates[order] for order in orders), strict=True))
    answers = numpy.zeros((len(pools), len(orders), int(task.sizes.max())), numpy.int64)
    for row, user in enumerate(pools):
        for column, pool in enumerate(user):
            answers[row, column, : len(pool)] = prompts.answers(pool)
    told = [
        [prompts.tokens(history, pool) for pool in user] for history, user in zip(task.histories, pools, strict=True)
    ]
    return Questions(told, answers)


def _last_logits(
    model: PreTrainedModel | PeftModel, instruction: DynamicCache | None, heads: UserPrompts, tails: UserPrompts
) -> torch.Tensor:
    """Return the logits at the last position of each tail, shape (tails, V).

    ``instruction``: keys and values of what comes before all heads, left as they are; as many tails follow each head.
    """
    rows, repeats = len(heads), len(tails) // len(heads)
    cache, mask = None, torch.ones(rows, 0, dtype=torch.long, device=model.device)
    if instruction is not None:
        cache = copy.deepcopy(instruction)
        cache.batch_repeat_interleave(rows)
        mask = mask.new_ones(rows, cache.get_seq_length())
    if any(heads):
        tokens, head_mask = padded(heads, model.device)
        cache = DynamicCache(config=model.config) if cache is None else cache
        mask = torch.cat([mask, head_mask], dim=1)
        _logits(model, tokens, mask, cache)
    if cache is not None and repeats > 1:
        cache.batch_repeat_interleave(repeats)
    tokens, tail_mask = padded(tails, model.device)
    return _logits(model, tokens, torch.cat([mask.repeat_interleave(repeats, dim=0), tail_mask], dim=1), cache)


def _logits(
    model: PreTrainedModel | PeftModel, tokens: torch.Tensor, mask: torch.Tensor, cache: DynamicCache | None
) -> torch.Tensor:
    # Positions count real tokens only, so that padding changes no output; at a pad they are any valid number.
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    output = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits


def padded(rows: UserPrompts, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask of rows of unequal length, padded on the left with token 0; shape (rows, longest)."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return tokens, mask


def _shared_length(prompts: UserPrompts) -> int:
    """Return how many tokens several prompts begin with alike, at least one less than the shortest; 0 for one."""
    if len(prompts) == 1:
        return 0
    return min(len(commonprefix(prompts)), min(map(len, prompts)) - 1)  # noqa: RUF071 - of lists, not of paths


def _batches(shared: Sequence[int], users: Sequence[UserPrompts], budget: int) -> Iterator[list[int]]:
    """Yield places of users with heads of like length, longest first, so that a batch too large fails at once."""
    order = sorted(range(len(users)), key=lambda row: (shared[row], max(map(len, users[row]))), reverse=True)
    batch: list[int] = []
    longest = 0
    for row in order:
        tokens = shared[row] + sum(len(prompt) - shared[row] for prompt in users[row])
        if batch and max(longest, tokens) * (len(batch) + 1) > budget:
            yield batch
            batch, longest = [], 0
        batch.append(row)
        longest = max(longest, tokens)
    if batch:
        yield batch


def ranks_of_target(scores: Floats, sizes: Int32s, targets: Int32s) -> Int64s:
    """Return the target's rank among a user's candidates, (n, o), 1 = best; ties count against it.

    Args:
        scores: shape (n, o, k): of n users, in o orders, the candidate in each of k places.
        sizes: shape (n,): how many of the k places hold a candidate.
        targets: shape (n, o): the target's place in each order.
    """
    place = numpy.arange(scores.shape[2])
    of_target = numpy.take_along_axis(scores, targets[:, :, None].astype(numpy.int64), axis=2)
    rivals = (place < sizes[:, None, None]) & (place != targets[:, :, None])
    ranks: Int64s = 1 + (rivals & (scores >= of_target)).sum(axis=2)
    return ranks
