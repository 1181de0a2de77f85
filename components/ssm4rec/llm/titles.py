"""Titles as prompts show them: on one line, and cut after their first tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads for seconds, and a study checks its settings without it
    from transformers import PreTrainedTokenizerBase


class ShownTitles:
    """Cuts titles for one tokenizer, each once."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", titles: Sequence[str], tokens: int) -> None:
        """Prepare.

        Args:
            tokenizer: of the language model; it knows where in a text its tokens end.
            titles: entry i is item i's; entry 0 is not used.
            tokens: a title is cut after so many.
        """
        self._tokenizer, self._titles, self._tokens = tokenizer, titles, tokens
        self._cut: dict[int, str] = {}

    def __getitem__(self, item: int) -> str:
        if item not in self._cut:
            title = " ".join(self._titles[item].split())
            encoded = self._tokenizer(title, add_special_tokens=False, return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            cut = title if len(ends) <= self._tokens else title[: ends[self._tokens - 1]]
            self._cut[item] = cut.rstrip()
        return self._cut[item]
