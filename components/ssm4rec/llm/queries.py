"""GPT4Rec's prompt: what the customer has bought, as titles, and the next title as the query to be learned.

The words are the published ones (Li et al. 2023, section 3.1): "Previously, the customer has bought: <ITEM TITLE 1>.
<ITEM TITLE 2>... In the future, the customer wants to buy". A title follows after a blank and ends with the
tokenizer's end of text, which is how a generated query ends, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from transformers import PreTrainedTokenizerBase

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.titles import ShownTitles
from ssm4rec.runtime.errors import InputError

DRAWS = {"users": 1, "examples": 2}
"""What random numbers are for, so that one draw does not depend on another."""


@dataclass(frozen=True)
class Example:
    """A prompt with its answer, as token ids; the answer begins at ``answer_start``."""

    tokens: list[int]
    answer_start: int


class QueryPrompts:
    """Writes prompts and training examples for one tokenizer and one catalog."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], form: PromptFormat) -> None:
        """Prepare.

        Args:
            tokenizer: of the language model.
            titles: entry i is item i's; entry 0 is not used.
            form: the sizes; ``maximum_tokens`` is of prompt and answer together.
        """
        self.tokenizer, self.form = tokenizer, form
        self._titles = ShownTitles(tokenizer, titles, form.title_tokens)

    def text(self, history: Sequence[int]) -> str:
        """Return the prompt of a history (oldest first, used whole)."""
        bought = ". ".join(self._titles[item] for item in history)
        return f"Previously, the customer has bought: {bought}. In the future, the customer wants to buy"

    def prompt(self, history: Sequence[int], room: int = 0) -> list[int]:
        """Return the prompt's token ids; of the history only as much of its latest part as fits.

        Args:
            history: oldest first, at least one item.
            room: tokens of ``maximum_tokens`` that are left free for an answer.

        Raises:
            InputError: not even one title fits.
        """
        kept = list(history[max(0, len(history) - self.form.history) :])
        tokens: list[int] = self.tokenizer(self.text(kept))["input_ids"]
        while len(tokens) + room > self.form.maximum_tokens:
            if len(kept) == 1:
                raise InputError(
                    f"a prompt with one title and its answer has {len(tokens) + room} tokens, more than "
                    f"prompt.maximum_tokens={self.form.maximum_tokens}; allow more, or cut titles shorter with "
                    "prompt.title_tokens"
                )
            # One title less at a time only near the end: a first guess from the longest that a title can be.
            excess = len(tokens) + room - self.form.maximum_tokens
            kept = kept[min(len(kept) - 1, max(1, excess // (self.form.title_tokens + 2))) :]
            tokens = self.tokenizer(self.text(kept))["input_ids"]
        return tokens

    def example(self, history: Sequence[int], item: int) -> Example:
        """Return the prompt of a history with the title of the item that followed, whole, and the end of text."""
        answer = self.tokenizer(f" {self._titles[item]}", add_special_tokens=False)["input_ids"]
        answer = [*answer, self.tokenizer.eos_token_id]
        prompt = self.prompt(history, room=len(answer))
        return Example([*prompt, *answer], len(prompt))


def draw_users(dataset: SequenceDataset, split: Split, most: int, seed: int) -> Int64s:
    """Return the users of a split in ascending order, at most ``most`` of them (0: all), drawn by the seed."""
    users = numpy.flatnonzero(dataset.position(split) > 0)
    if most and len(users) > most:
        rng = numpy.random.default_rng([seed, DRAWS["users"]])
        users = numpy.sort(rng.choice(users, size=most, replace=False))
    return users


def history_and_target(dataset: SequenceDataset, user: int, position: int) -> tuple[list[int], int]:
    """Return a user's items before a position, and the item there."""
    start = int(dataset.offsets[user])
    *history, target = dataset.items[start : start + position + 1].tolist()
    return history, target


def draw_examples(
    dataset: SequenceDataset, per_user: int, prompts: QueryPrompts, rng: numpy.random.Generator
) -> list[Example]:
    """Return examples of every user's training items, each with another target, at most ``per_user`` per user."""
    examples = []
    for user in numpy.flatnonzero(dataset.train_length >= 2):
        length = int(dataset.train_length[user])
        positions = rng.choice(length - 1, size=min(per_user, length - 1), replace=False) + 1
        examples += [prompts.example(*history_and_target(dataset, int(user), int(place))) for place in positions]
    return examples
