"""GPT4Rec's prompt: what the customer has bought, as titles, and the next title as the query to be learned.

The words are the published ones (Li et al. 2023, section 3.1). A title follows after a blank and ends with the
tokenizer's end of text, which is how a generated query ends, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.llm.prompts import PromptWriter

PROMPT: Final = "Previously, the customer has bought: {}. In the future, the customer wants to buy"

DRAWS = {"users": 1, "examples": 2}
"""What random numbers are for, so that one draw does not depend on another."""


@dataclass(frozen=True)
class Example:
    """A prompt with its answer, as token ids; the answer begins at ``answer_start``."""

    tokens: list[int]
    answer_start: int


class QueryPrompts(PromptWriter):
    """Writes prompts and training examples of GPT4Rec's form."""

    fewest = 1
    shortest = "with one title and its answer"

    def text(self, history: Sequence[int]) -> str:
        """Return the prompt of a history (oldest first, used whole)."""
        return PROMPT.format(". ".join(map(self.title, history)))

    def prompt(self, history: Sequence[int], room: int = 0) -> list[int]:
        """Return the token ids of a prompt that leaves room for so many more; raise InputError if none does."""
        return self.fitted(history, self.text, room)

    def example(self, history: Sequence[int], item: int) -> Example:
        """Return the prompt of a history with the title of the item that followed, whole, and the end of text."""
        answer = self.tokenizer(f" {self.title(item)}", add_special_tokens=False)["input_ids"]
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


def histories_and_targets(dataset: SequenceDataset, split: Split, users: Int64s) -> list[tuple[list[int], int]]:
    """Return the items of each user before the first target of a split, and that target."""
    positions = dataset.position(split)
    return [history_and_target(dataset, user, int(positions[user])) for user in users.tolist()]


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
