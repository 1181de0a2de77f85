"""Prompts, and LlamaRec's: a user's history, a pool of candidates under letters, and the letter as the answer.

The words are the published ones (Yueeeeeeee/LlamaRec:config.py, ``llm_system_template`` and ``llm_input_template``, in
the short Alpaca template); the paper's section 3.5.2 quotes them with "the user's history" for "user history".
"""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from ssm4rec.artifacts.codec import Count, Positive
from ssm4rec.runtime.errors import InputError

if TYPE_CHECKING:  # it loads for seconds, and a study checks its settings without it
    from transformers import PreTrainedTokenizerBase

LETTERS: Final = string.ascii_uppercase
INSTRUCTION: Final = (
    "Given user history in chronological order, recommend an item from the candidate pool with its index letter."
)
_BETWEEN: Final = " \n "
_END: Final = "### Response:\n"


class Prompts(Protocol):
    """How a kind of ranker is asked, in tokens of its model."""

    @property
    def ending(self) -> list[int]:
        """The tokens after an answer."""
        ...

    def tokens(self, history: Sequence[int], candidates: Sequence[int]) -> list[int]:
        """Return the prompt of a history, oldest first, and a pool of candidates."""
        ...

    def answers(self, candidates: Sequence[int]) -> list[int]:
        """Return the token that stands for each of the candidates as the answer."""
        ...

    def impossible(self, history: Sequence[int]) -> list[int]:
        """Return the tokens that can be no answer after a history: the model was trained without them, too."""
        ...


@dataclass(frozen=True)
class PromptFormat:
    """At most so many of the user's latest items, tokens of a title, and tokens of a prompt with its answer.

    Longer prompts lose their oldest history, never a candidate.
    """

    history: Count = 20  # LlamaRec's llm_max_history
    title_tokens: Positive = 32  # llm_max_title_len
    maximum_tokens: Positive = 1536  # llm_max_text_len

    def __post_init__(self) -> None:
        for name in ("history", "title_tokens", "maximum_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")


class PromptWriter:
    """What all prompts for one tokenizer and one catalog share: titles, and how much of a history fits."""

    fewest: int
    """Items of the history that are always told."""
    shortest: str
    """What a prompt with so many has, as an error says it."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", titles: Sequence[str], form: PromptFormat) -> None:
        """Prepare; entry i of ``titles`` is item i's, and entry 0 is not used."""
        self.tokenizer, self.form, self._titles = tokenizer, form, titles
        self._shown: dict[int, str] = {}

    def title(self, item: int) -> str:
        """Return an item's title on one line, cut after its first tokens."""
        if item not in self._shown:
            title = " ".join(self._titles[item].split())
            encoded = self.tokenizer(title, add_special_tokens=False, return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            cut = title if len(ends) <= self.form.title_tokens else title[: ends[self.form.title_tokens - 1]]
            self._shown[item] = cut.rstrip()
        return self._shown[item]

    def encode(self, text: str) -> list[int]:
        """Return a text's token ids."""
        tokens: list[int] = self.tokenizer(text)["input_ids"]
        return tokens

    def fitted(self, history: Sequence[int], text: Callable[[list[int]], str], room: int = 0) -> list[int]:
        """Return the token ids of a prompt; of the history (oldest first) only as much of its latest part as fits.

        It has at least ``fewest`` items; ``room`` tokens are left free for an answer. Raise InputError if not even the
        shortest prompt fits.
        """
        kept = list(history[max(0, len(history) - self.form.history) :])
        while (excess := len(tokens := self.encode(text(kept))) + room - self.form.maximum_tokens) > 0:
            if len(kept) == self.fewest:
                raise InputError(
                    f"a prompt {self.shortest} has {len(tokens) + room} tokens, more than "
                    f"prompt.maximum_tokens={self.form.maximum_tokens}; allow more, or cut titles shorter with "
                    "prompt.title_tokens"
                )
            # One title less at a time only near the end: a first guess from the longest that a title can be.
            kept = kept[min(len(kept) - self.fewest, max(1, excess // (self.form.title_tokens + 8))) :]
        return tokens


class RankingPrompts(PromptWriter):
    """Writes prompts of LlamaRec's form."""

    fewest = 0
    shortest = "without any history"

    def text(self, history: Sequence[int], candidates: Sequence[int]) -> str:
        """Return the prompt of a history (oldest first, used whole) and a pool of candidates, up to the answer."""
        past = _BETWEEN.join(f"({place}) {self.title(item)}" for place, item in enumerate(history, 1))
        letters = LETTERS[: len(candidates)]
        pool = _BETWEEN.join(f"({letter}) {self.title(item)}" for letter, item in zip(letters, candidates, strict=True))
        task = f"User history: {past}; \n Candidate pool: {pool}"
        return f"### Instruction:\n{INSTRUCTION}\n\n### Input:\n{task}\n\n{_END}"

    def tokens(self, history: Sequence[int], candidates: Sequence[int]) -> list[int]:
        """Return the token ids of a prompt that fits; raise InputError if the candidates alone do not."""
        return self.fitted(history, lambda kept: self.text(kept, candidates))

    @property
    def ending(self) -> list[int]:
        """The end of the text."""
        return [self.tokenizer.eos_token_id]

    def answers(self, candidates: Sequence[int]) -> list[int]:
        """Return the letter of each candidate, by its place; raise InputError if one is not a single token."""
        return self.letters[: len(candidates)]

    def impossible(self, history: Sequence[int]) -> list[int]:
        """Return nothing: letters compete with the whole vocabulary, as LlamaRec trains them."""
        del history
        return []

    @cached_property
    def letters(self) -> list[int]:
        """The token id of each letter as it follows a prompt; raises InputError if one is not a single token."""
        before = self.encode(_END)
        tokens = []
        for letter in LETTERS:
            with_answer = self.encode(_END + letter)
            if with_answer[:-1] != before:
                raise InputError(
                    f"the tokenizer {self.tokenizer.name_or_path}: the letter {letter} after a prompt is not a single "
                    "token, so candidates cannot be ranked by letters; choose another language model"
                )
            tokens.append(with_answer[-1])
        return tokens
