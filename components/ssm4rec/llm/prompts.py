"""LlamaRec's ranking prompt: a user's history, a pool of candidates under letters, and the letter as the answer.

The words are the published ones (Yueeeeeeee/LlamaRec:config.py, ``llm_system_template`` and ``llm_input_template``, in
the short Alpaca template); the paper's section 3.5.2 quotes them with "the user's history" for "user history".
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ssm4rec.artifacts.codec import Count, Positive
from ssm4rec.llm.titles import ShownTitles
from ssm4rec.runtime.errors import InputError

if TYPE_CHECKING:  # it loads for seconds, and a study checks its settings without it
    from transformers import PreTrainedTokenizerBase

LETTERS: Final = string.ascii_uppercase
INSTRUCTION: Final = (
    "Given user history in chronological order, recommend an item from the candidate pool with its index letter."
)
_BETWEEN: Final = " \n "


@dataclass(frozen=True)
class PromptFormat:
    """Sizes of a prompt.

    Attributes:
        history: at most so many of the user's latest items.
        title_tokens: a title is cut after so many tokens (``llm_max_title_len``).
        maximum_tokens: of the prompt; longer ones lose their oldest history, never a candidate.
    """

    history: Count = 20
    title_tokens: Positive = 32
    maximum_tokens: Positive = 1536

    def __post_init__(self) -> None:
        for name in ("history", "title_tokens", "maximum_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")


class RankingPrompts:
    """Writes prompts for one tokenizer and one catalog."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", titles: Sequence[str], form: PromptFormat) -> None:
        """Prepare.

        Args:
            tokenizer: of the language model.
            titles: entry i is item i's; entry 0 is not used.
            form: the sizes.
        """
        self.tokenizer, self.form = tokenizer, form
        self._titles = ShownTitles(tokenizer, titles, form.title_tokens)

    def text(self, history: Sequence[int], candidates: Sequence[int]) -> str:
        """Return the prompt of a history (oldest first, used whole) and a pool of candidates, up to the answer."""
        past = _BETWEEN.join(f"({place}) {self._titles[item]}" for place, item in enumerate(history, 1))
        pool = _BETWEEN.join(
            f"({letter}) {self._titles[item]}"
            for letter, item in zip(self._letters(candidates), candidates, strict=True)
        )
        task = f"User history: {past}; \n Candidate pool: {pool}"
        return f"### Instruction:\n{INSTRUCTION}\n\n### Input:\n{task}\n\n### Response:\n"

    def tokens(self, history: Sequence[int], candidates: Sequence[int]) -> list[int]:
        """Return the prompt's token ids; of the history only as much of its latest part as fits.

        Raises:
            InputError: the candidates alone do not fit, or they are more than there are letters.
        """
        kept = list(history[max(0, len(history) - self.form.history) :])
        tokens = self._encode(self.text(kept, candidates))
        while len(tokens) > self.form.maximum_tokens:
            if not kept:
                raise InputError(
                    f"a prompt without any history has {len(tokens)} tokens, more than "
                    f"prompt.maximum_tokens={self.form.maximum_tokens}; allow more, or cut titles shorter with "
                    "prompt.title_tokens"
                )
            # One title less at a time only near the end: a first guess from the mean length of a title.
            excess = len(tokens) - self.form.maximum_tokens
            kept = kept[max(1, excess // (self.form.title_tokens + 8)) :]
            tokens = self._encode(self.text(kept, candidates))
        return tokens

    @cached_property
    def answers(self) -> list[int]:
        """The token id of each letter as it follows a prompt.

        Raises:
            InputError: a letter is not a single token.
        """
        end = "### Response:\n"
        before = self._encode(end)
        tokens = []
        for letter in LETTERS:
            with_answer = self._encode(end + letter)
            if with_answer[:-1] != before:
                raise InputError(
                    f"the tokenizer {self.tokenizer.name_or_path}: the letter {letter} after a prompt is not a single "
                    "token, so candidates cannot be ranked by letters; choose another language model"
                )
            tokens.append(with_answer[-1])
        return tokens

    def _letters(self, candidates: Sequence[int]) -> str:
        if len(candidates) > len(LETTERS):
            raise InputError(
                f"{len(candidates)} candidates, but only {len(LETTERS)} letters to name them; rank fewer candidates"
            )
        return LETTERS[: len(candidates)]

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text)["input_ids"]
        return tokens
