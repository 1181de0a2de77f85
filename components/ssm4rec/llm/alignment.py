"""Alignment of a ranker: ORPO over preference examples, validated on held-out ones (the paper's section 3.5).

The order of the examples is drawn from the seed, and nothing else is random: dropout is off, the trainer's default. The
weights kept are the last ones. This is the only module that imports trl's experimental part, whose version is pinned.

The points of the learning curve are means over pairs, P as in the paper's equation 2: of a token of the answer, the
geometric mean. Over the pairs since the point before for training, over all held-out pairs for a validation:

- ``loss``: equation 5, nll + beta * odds_ratio_loss; nll where the winners alone are trained on;
- ``nll``: -log P(y_w|x), nats per token of the answer;
- ``odds_ratio_loss``: equation 6, -log sigmoid(log_odds_ratio);
- ``log_odds_ratio``: log of equation 4; above 0 the model prefers the winner;
- ``margin``: beta * (log P(y_w|x) - log P(y_l|x)), what trl calls the margin of the rewards;
- ``accuracy``: share of pairs with P(y_w|x) > P(y_l|x);
- ``epoch``: share of the training pairs seen; for training also the ``learning_rate`` of the last step.

What is changed in the trainer (trl 1.16, ``trl/experimental/orpo/orpo_trainer.py``), and why:

- Examples are token ids. It would tokenise a prompt and an answer again, and cut the end, the answer, off a long one.
- The NLL is over the answer. It takes prompt and answer, and two tokens of answer do not count among 600 of prompt.
- A prompt is computed once for its two answers, which follow it in one sequence and do not see each other. It computes
  it twice; this is half the time and memory, to the same numbers. :func:`sequence_error` measures that they are.
- Logits are computed where an answer is read, not for every token of the prompt: of vocabulary 49k in float32, 0.6 MB
  instead of 120 MB a sequence of 600 tokens.
- Means of a validation are over pairs; its are over batches, where the last one may be small.
- An answer's probability is among the tokens that can be answered: where tokens are items, none of the history, as in
  fine-tuning.
- There is no model card, and nothing is reported to the vendor.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import datasets  # type: ignore[import-untyped]
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from ssm4rec.artifacts.curve import HELD_OUT, Point
from ssm4rec.llm.orpo import IGNORED, answer_log_probabilities, packed, packed_logits, sequence_error, without
from ssm4rec.llm.preference_examples import PreferenceExample, PreferenceSet
from ssm4rec.llm.rankers import Ranker
from ssm4rec.llm.settings import AlignmentSettings
from ssm4rec.llm.validated_trainer import Trained, ValidatedTrainer, step_arguments, training_arguments
from ssm4rec.llm.validation_callback import ValidationCallback
from ssm4rec.runtime.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that it is experimental
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

_LOG_EVERY: Final = 0.01
"""Share of the steps between two points of training."""
_LARGEST_ERROR: Final = 0.1
"""Of logits; rounding to bfloat16 makes about 0.01."""


@dataclass(frozen=True)
class AlignmentTask:
    """These examples, in an order drawn by this seed.

    ``winners_alone``: the loss is the NLL, without the odds-ratio term: what more training does without preferences.
    """

    examples: PreferenceSet
    settings: AlignmentSettings
    seed: int
    winners_alone: bool = False


def align(ranker: Ranker, task: AlignmentTask, folder: Path, on_point: Callable[[Point], None]) -> Trained:
    """Train a trainable ranker; see :class:`ValidationCallback` for the other arguments.

    Raise InputError if the checkpoint is of another training, the model cannot be aligned, or the loss became NaN.
    """
    callback = ValidationCallback(folder, _identity(ranker, task), on_point)
    with _quiet():
        trainer = AlignmentTrainer(ranker, task, callback)
        _check_attention(ranker.model, task.examples.train)
        return trainer.run()


class AlignmentTrainer(ValidatedTrainer, ORPOTrainer):
    """trl's trainer for a task, changed as the module's description says and validated on the held-out pairs."""

    split = HELD_OUT
    title = "alignment"
    _batch_pairs = 0

    def __init__(self, ranker: Ranker, task: AlignmentTask, callback: ValidationCallback) -> None:
        self.settings, self.winners_alone = task.settings, task.winners_alone
        lower = f"--overrides align.steps.learning_rate={task.settings.steps.learning_rate / 4:g}"
        self.remedy = f"a lower rate, such as {lower}, and another --checkpoint-dir, or fine-tune the ranker again"
        super().__init__(
            callback,
            model=ranker.model,
            args=arguments(task, callback.folder, ranker.model.device),
            train_dataset=_dataset(task.examples.train),
            eval_dataset=_dataset(task.examples.held_out),
            processing_class=ranker.tokenizer,
        )

    def validate(self) -> dict[str, float]:
        """Return the means over the held-out pairs."""
        return self._means(self.evaluate(), "eval_")

    def training_numbers(self, logs: dict[str, float]) -> dict[str, float]:
        """Return the means over the pairs of the last steps."""
        return self._means(logs, "") | {"learning_rate": logs["learning_rate"]}

    def is_due(self, step: int) -> bool:
        """Return whether ``evaluations`` of them are spread evenly so."""
        steps, evaluations = self.state.max_steps, self.settings.evaluations
        return step in {round(number * steps / evaluations) for number in range(1, evaluations + 1)}

    def _means(self, logs: dict[str, float], prefix: str) -> dict[str, float]:
        """Return what trl logged by our names.

        It calls the log of the odds ratio "log_odds_chosen", and its logsigmoid, minus equation 6, "log_odds_ratio".
        Its loss is a mean over batches, not over pairs.
        """
        nll, odds_ratio_loss = logs[f"{prefix}nll_loss"], -logs[f"{prefix}log_odds_ratio"]
        return {
            "epoch": logs.get("epoch", 0.0),
            "loss": nll if self.winners_alone else nll + self.settings.beta * odds_ratio_loss,
            "nll": nll,
            "odds_ratio_loss": odds_ratio_loss,
            "log_odds_ratio": logs[f"{prefix}log_odds_chosen"],
            "margin": logs[f"{prefix}rewards/margins"],
            "accuracy": logs[f"{prefix}rewards/accuracies"],
        }

    def tokenize_row(self, feature: dict[str, list[int]], model: nn.Module | None = None) -> dict[str, list[int]]:  # noqa: ARG002 - trl's signature
        """Return the columns of an example; nothing is cut."""
        return packed(feature["prompt"], feature["chosen"], feature["rejected"])

    def concatenated_forward(  # type: ignore[override] # trl's own returns five values, too
        self, model: nn.Module, batch: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return log P of the chosen and of the rejected answers (B,), their logits, and the mean NLL of the chosen."""
        owners, labels = batch["packed_attention_mask"], (batch["chosen_labels"], batch["rejected_labels"])
        # Sequences are padded on the right, so answers stand in different places: take all where one is read.
        read = (labels[0] != IGNORED) | (labels[1] != IGNORED)
        places = read.any(dim=0).nonzero()[:, 0]
        logits = packed_logits(model, batch["packed_input_ids"], owners, places)
        possible = without(logits, batch["impossible"])
        chosen, rejected = (answer_log_probabilities(possible, side[:, places]) for side in labels)
        self._batch_pairs = len(chosen)
        if model.training:
            self.tokens += int((owners > 0).sum())
        # All answers have as many tokens (a letter and the end, or an item), so this is also the mean over tokens.
        return chosen, rejected, logits.detach(), logits.detach(), -chosen.mean()

    def odds_ratio_loss(  # type: ignore[override] # trl's own annotates tensors by their old names
        self, policy_chosen_logps: Tensor, policy_rejected_logps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return what trl's does; of a control without the term that enters the loss, not without what is measured."""
        found = super().odds_ratio_loss(policy_chosen_logps, policy_rejected_logps)  # type: ignore[arg-type]
        term, chosen, rejected, ratio, log_odds = found
        return term.new_zeros(()) if self.winners_alone else term, chosen, rejected, ratio, log_odds

    def store_metrics(self, metrics: dict[str, float], train_eval: Literal["train", "eval"] = "train") -> None:
        """Keep a batch's means, once for each of its pairs."""
        for _ in range(self._batch_pairs):
            super().store_metrics(metrics, train_eval)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no card into checkpoints."""

    def _send_telemetry(self) -> None:
        """Report nothing."""


def arguments(task: AlignmentTask, folder: Path, device: torch.device) -> ORPOConfig:
    """Return trl's arguments for a task."""
    return training_arguments(
        ORPOConfig,
        folder,
        device,
        beta=task.settings.beta,
        num_train_epochs=1,
        seed=task.seed,
        logging_steps=_LOG_EVERY,
        prediction_loss_only=True,
        activation_checkpointing=device.type == "cuda",
        label_names=[],
        **step_arguments(task.settings.steps, device),
    )


def _check_attention(model: PreTrainedModel | PeftModel, examples: list[PreferenceExample]) -> None:
    """Raise InputError if two answers after one prompt are not what they are alone, by the longest example."""
    longest = max(examples, key=lambda example: len(example.prompt))
    error = sequence_error(model, longest.prompt, longest.chosen, longest.rejected)
    if error > _LARGEST_ERROR:
        raise InputError(
            f"a language model of type {model.config.model_type} cannot be aligned: its layers do not attend as a mask "
            f"says over {len(longest.prompt)} tokens (relative error {error:.2f}); take another one, or lower "
            "align.prompt.history (--overrides)"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the libraries say of themselves: bars over examples, defaults that differ from theirs."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)  # its levels are Python's
    logging.getLogger("trl").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)


def _dataset(examples: list[PreferenceExample]) -> Dataset:
    return Dataset.from_list([asdict(example) for example in examples])


def _identity(ranker: Ranker, task: AlignmentTask) -> dict[str, Any]:
    weights = hashlib.sha256()
    for name, parameter in ranker.model.named_parameters():
        if parameter.requires_grad:
            weights.update(name.encode())
            weights.update(parameter.detach().float().cpu().numpy().tobytes())
    return {
        "seed": task.seed,
        "examples": task.examples.digest(),
        "adapter": weights.hexdigest(),
        "align": asdict(task.settings),
        "winners_alone": task.winners_alone,
    }
