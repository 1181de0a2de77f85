"""ORPO's numbers: log-probabilities of the two answers of a pair, which follow their prompt in one sequence.

For a pair d = (x, y_w, y_l) with answers of m tokens, the paper's equations are

- (2) log P(y|x) = (1/m) sum_t log P(y_t|x, y_<t)
- (3) odds(y|x) = P / (1 - P), (4) OR = odds(y_w|x) / odds(y_l|x)
- (5) L = E[L_SFT + lambda L_OR], (6) L_OR = -log sigmoid(log OR)
- (7-9) grad L_OR = -delta(d) h(d), delta = 1 / (1 + OR), h = grad log P(y_w|x) / (1 - P(y_w|x)) - the same of y_l.

The paper's equation 7, as that of Hong et al. (2403.07691), has no minus: delta(d) h(d) is the direction in which L_OR
falls, which h shows: along it P(y_w|x) rises. lambda is ``beta`` here and in section 3.5.3. L_SFT is -log P(y_w|x).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

IGNORED: Final = -100
"""The label of tokens that are not an answer, trl's and torch's."""


def answer_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log P(y|x), equation 2, of each sequence: the mean over the tokens of its answer; shape (n,).

    Args:
        logits: of the next token at k places, shape (n, k, V).
        labels: the token to follow each of them, or ``IGNORED`` where it is not of the answer; shape (n, k).

    The result stays below 0 by what float32 can tell from 0: at P = 1 the odds and their gradient are not finite.
    """
    of_answer = labels != IGNORED
    tokens = labels.masked_fill(~of_answer, 0)
    found = log_softmax(logits.float(), dim=-1).gather(-1, tokens[..., None])[..., 0]
    # Not a product: elsewhere the token may be one that cannot follow, of minus infinity.
    mean = found.masked_fill(~of_answer, 0).sum(dim=-1) / of_answer.sum(dim=-1)
    return mean.clamp(max=-torch.finfo(mean.dtype).eps)


def without(logits: Tensor, impossible: Sequence[list[int]]) -> Tensor:
    """Return logits (B, k, V) with minus infinity for the tokens that are impossible in each of B sequences."""
    if not any(impossible):
        return logits
    excluded = torch.zeros(len(logits), logits.shape[-1], dtype=torch.bool)
    for row, tokens in enumerate(impossible):
        excluded[row, tokens] = True
    return logits.masked_fill(excluded.to(logits.device)[:, None], -torch.inf)


def packed(prompt: list[int], chosen: list[int], rejected: list[int]) -> dict[str, list[int]]:
    """Return a prompt and its two answers as one sequence, in columns that trl's collator pads.

    Returns:
        ``packed_input_ids``: the prompt, then both answers but for their last tokens, which are only predicted;
        ``packed_attention_mask``: whose each token is: 1 the prompt's, 2 the chosen answer's, 3 the rejected one's;
        ``chosen_labels``, ``rejected_labels``: the token of that answer to follow each token, or ``IGNORED``.
    """
    before, of_chosen, of_rejected = len(prompt) - 1, len(chosen) - 1, len(rejected) - 1
    return {
        "packed_input_ids": prompt + chosen[:-1] + rejected[:-1],
        "packed_attention_mask": [1] * len(prompt) + [2] * of_chosen + [3] * of_rejected,
        "chosen_labels": [IGNORED] * before + chosen + [IGNORED] * of_rejected,
        "rejected_labels": [IGNORED] * before + rejected[:1] + [IGNORED] * of_chosen + rejected[1:],
    }


def packed_logits(model: nn.Module, tokens: Tensor, owners: Tensor, places: Tensor) -> Tensor:
    """Return the logits of the next token at some places of packed sequences, shape (B, k, V).

    Args:
        model: a decoder whose layers take a mask of attention (with sdpa).
        tokens: shape (B, T), padded on the right.
        owners: whose each token is, see :func:`packed`; 0 is padding; shape (B, T).
        places: shape (k,).
    """
    seen = owners[:, None, :]
    attended = ((seen == 1) | (seen == owners[:, :, None])) & (seen > 0)
    attended = attended.tril()
    # A token stands as far in its own sequence as there are tokens before it that it sees.
    positions = (attended.sum(dim=-1) - 1).clamp(min=0)
    logits: Tensor = model(
        input_ids=tokens,
        attention_mask=attended[:, None],
        position_ids=positions,
        use_cache=False,
        logits_to_keep=places,
    ).logits
    return logits


@torch.no_grad()
def sequence_error(model: nn.Module, prompt: list[int], chosen: list[int], rejected: list[int]) -> float:
    """Return how far a packed sequence is from the rejected answer's own: the error of its last logits, relative.

    About 0 for a decoder that attends to what the mask says. Recurrent layers and windows of attention do not.
    """
    device = next(model.parameters()).device
    row = {name: torch.tensor([values], device=device) for name, values in packed(prompt, chosen, rejected).items()}
    last = (row["rejected_labels"][0] != IGNORED).nonzero()[-1]
    found = packed_logits(model, row["packed_input_ids"], row["packed_attention_mask"], last)[0, 0].float()
    alone = torch.tensor([prompt + rejected[:-1]], device=device)
    expected = model(input_ids=alone, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    difference = (found - found.mean()) - (expected - expected.mean())
    return float(difference.norm() / (expected - expected.mean()).norm())
