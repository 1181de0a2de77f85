"""ORPO by trl's trainer: the only module that imports trl's experimental part, whose version is pinned.

For a pair d = (x, y_w, y_l) with answers of m tokens, the paper's equations are

- (2) log P(y|x) = (1/m) sum_t log P(y_t|x, y_<t)
- (3) odds(y|x) = P / (1 - P), (4) OR = odds(y_w|x) / odds(y_l|x)
- (5) L = E[L_SFT + lambda L_OR], (6) L_OR = -log sigmoid(log OR)
- (7-9) grad L_OR = -delta(d) h(d), delta = 1 / (1 + OR), h = grad log P(y_w|x) / (1 - P(y_w|x)) - the same of y_l.

The paper's equation 7, as that of Hong et al. (2403.07691), has no minus: delta(d) h(d) is the direction in which L_OR
falls, which h shows: along it P(y_w|x) rises. lambda is ``beta`` here and in section 3.5.3. L_SFT is -log P(y_w|x).

What is changed in the trainer (trl 1.16, ``trl/experimental/orpo/orpo_trainer.py``), and why:

- Examples are token ids. It would tokenise a prompt and an answer again, and cut the end, the answer, off a long one.
- The NLL is over the answer. It takes prompt and answer, and two tokens of answer do not count among 600 of prompt.
- Logits are computed where an answer is read, not for every token of the prompt: of vocabulary 49k in float32, 120 MB
  instead of 0.4 MB a sequence of 600 tokens.
- Means of a look are over pairs; its are over batches, where the last one may be small.
- Checkpoints hold weights and state, no pickled arguments, no card; nothing is reported to the vendor.

Dropout is off, which is the trainer's default.
"""

import warnings
from typing import Any, Final, Literal, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import log_softmax

with warnings.catch_warnings():
    # It says that it is experimental: the reason for this module, and for the pin.
    warnings.simplefilter("ignore")
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

__all__ = ["AnswerORPOTrainer", "ORPOConfig", "answer_log_probabilities"]

IGNORED: Final = -100
"""The label of tokens that are no answer, trl's and torch's."""

Side = Literal["chosen", "rejected"]


def answer_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log P(y|x), equation 2, of each sequence: the mean over the tokens of its answer; shape (n,).

    Args:
        logits: of the next token at k positions, shape (n, k, V).
        labels: the token that follows each of them, or ``IGNORED`` where it is not of the answer; shape (n, k).

    The result stays below 0 by what float32 can tell from 0: at P = 1 the odds and their gradient are not finite.
    """
    of_answer = labels != IGNORED
    tokens = labels.masked_fill(~of_answer, 0)
    found = log_softmax(logits.float(), dim=-1).gather(-1, tokens[..., None])[..., 0]
    mean = (found * of_answer).sum(dim=-1) / of_answer.sum(dim=-1)
    return mean.clamp(max=-torch.finfo(mean.dtype).eps)


class AnswerORPOTrainer(ORPOTrainer):
    """ORPOTrainer on examples of token ids with the NLL of the answer; see the module's description."""

    tokens_trained = 0
    """Of prompts and answers, padding left out, in this process."""
    _batch_pairs = 0

    def tokenize_row(self, feature: dict[str, list[int]], model: nn.Module | None = None) -> dict[str, list[int]]:  # noqa: ARG002 - trl's signature
        """Return the sequences and labels of an example's two answers; nothing is cut."""
        row = {}
        for side in ("chosen", "rejected"):
            prompt, answer = feature["prompt"], feature[side]
            row[f"{side}_input_ids"] = prompt + answer
            row[f"{side}_attention_mask"] = [1] * len(prompt + answer)
            row[f"{side}_labels"] = [IGNORED] * len(prompt) + answer
        return row

    def concatenated_forward(  # type: ignore[override] # trl's own returns five values, too
        self, model: nn.Module, batch: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return log P of the chosen and of the rejected answers (B,), their logits, and the mean NLL of the chosen."""
        both = self.concatenated_inputs(batch, padding_value=self.padding_value, device=self.accelerator.device)
        tokens, mask = both["concatenated_input_ids"], both["concatenated_attention_mask"]
        following = both["concatenated_labels"][:, 1:]
        # Sequences are padded on the right, so answers end in different places: take all places where one is read.
        places = (following != IGNORED).any(dim=0).nonzero()[:, 0]
        logits = model(tokens, attention_mask=mask, use_cache=False, logits_to_keep=places).logits
        found = answer_log_probabilities(logits, following[:, places])
        chosen, rejected = found.chunk(2)
        self._batch_pairs = len(chosen)
        if model.training:
            self.tokens_trained += int(mask.sum())
        # All answers have as many tokens (a letter and the end), so this is also the mean over tokens.
        return chosen, rejected, *logits.detach().chunk(2), -chosen.mean()

    def store_metrics(self, metrics: dict[str, float], train_eval: Literal["train", "eval"] = "train") -> None:
        """Keep a batch's means, once for each of its pairs."""
        for _ in range(self._batch_pairs):
            super().store_metrics(metrics, train_eval)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no card into checkpoints."""

    def _send_telemetry(self) -> None:
        """Report nothing."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the adapter; the trainer would add a pickle of its arguments, and ask the hub about the embeddings."""
        cast("PeftModel", self.model).save_pretrained(
            str(output_dir), state_dict=state_dict, save_embedding_layers=False
        )
