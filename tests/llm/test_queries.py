"""GPT4Rec's prompt: the published words, the answer after it, and what is cut when a prompt is too long."""

import pytest

from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.queries import QueryPrompts
from ssm4rec.runtime.errors import InputError

TITLES = ["", "Heat (1995)", "Fargo (1996)", "Alien (1979)", "golden river " * 40, "  Brazil \n (1985)"]

# Li et al. (2023), section 3.1, filled in by hand.
GOLDEN = "Previously, the customer has bought: Heat (1995). Fargo (1996). In the future, the customer wants to buy"


def test_the_published_prompt_and_its_answer(tokenizer):
    prompts = QueryPrompts(tokenizer, TITLES, PromptFormat())
    assert prompts.text([1, 2]) == GOLDEN
    assert tokenizer.decode(prompts.prompt([1, 2])) == GOLDEN
    example = prompts.example([1, 2], 5)
    assert tokenizer.decode(example.tokens) == f"{GOLDEN} Brazil (1985)<end>"
    assert tokenizer.decode(example.tokens[example.answer_start :]) == " Brazil (1985)<end>"
    # Cut at the answer, the tokens are those of the whole text: no other cut shows at generation.
    assert example.tokens == tokenizer(f"{GOLDEN} Brazil (1985)<end>")["input_ids"]


def test_only_the_latest_history_is_told(tokenizer):
    prompts = QueryPrompts(tokenizer, TITLES, PromptFormat(history=2))
    assert tokenizer.decode(prompts.prompt([3, 3, 5, 1, 2])) == GOLDEN


def test_long_prompts_lose_their_oldest_titles_and_never_the_answer(tokenizer):
    whole = QueryPrompts(tokenizer, TITLES, PromptFormat()).example([1, 2], 3)
    for room in range(len(whole.tokens), len(whole.tokens) + 5):
        prompts = QueryPrompts(tokenizer, TITLES, PromptFormat(history=9, maximum_tokens=room))
        for long in ([3, 1, 2], [5, 3, 1, 2], [3] * 7 + [1, 2]):
            assert prompts.example(long, 3) == whole


def test_a_title_is_cut_in_prompt_and_answer_alike(tokenizer):
    prompts = QueryPrompts(tokenizer, TITLES, PromptFormat(title_tokens=5))
    example = prompts.example([4], 4)
    shown = tokenizer.decode(example.tokens[example.answer_start : -1]).strip()
    assert TITLES[4].startswith(shown)
    assert 0 < len(tokenizer(shown)["input_ids"]) <= 5
    assert prompts.text([4]).startswith(f"Previously, the customer has bought: {shown}. In")


def test_a_prompt_that_cannot_fit(tokenizer):
    prompts = QueryPrompts(tokenizer, TITLES, PromptFormat(maximum_tokens=12))
    with pytest.raises(InputError, match=r"a prompt with one title .* more than prompt.maximum_tokens=12; allow more"):
        prompts.example([1, 2], 3)
