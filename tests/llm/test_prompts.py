"""LlamaRec's prompt: the published words, and what is cut when a prompt is too long."""

import numpy
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ssm4rec.llm.prompts import LETTERS, PromptFormat, RankingPrompts
from ssm4rec.runtime.errors import InputError

TITLES = ["", "Heat (1995)", "Fargo (1996)", "Alien (1979)", "Jaws (1975)", "Brazil  (1985)\n"]

# Written out by hand from Yueeeeeeee/LlamaRec: config.py (system and input template), dataloader/llm.py (the lists) and
# the short Alpaca template. Blanks at line ends are part of it.
GOLDEN = (
    "### Instruction:\n"
    "Given user history in chronological order, recommend an item from the candidate pool with its index letter.\n"
    "\n"
    "### Input:\n"
    "User history: (1) Heat (1995) \n"
    " (2) Fargo (1996); \n"
    " Candidate pool: (A) Alien (1979) \n"
    " (B) Jaws (1975) \n"
    " (C) Brazil (1985)\n"
    "\n"
    "### Response:\n"
)


def test_the_published_prompt(tokenizer):
    prompts = RankingPrompts(tokenizer, TITLES, PromptFormat())
    assert prompts.text([1, 2], [3, 4, 5]) == GOLDEN
    assert tokenizer.decode(prompts.tokens([1, 2], [3, 4, 5])) == GOLDEN


def test_only_the_latest_history_is_told(tokenizer):
    prompts = RankingPrompts(tokenizer, TITLES, PromptFormat(history=2))
    assert tokenizer.decode(prompts.tokens([4, 4, 5, 1, 2], [3, 4, 5])) == GOLDEN


def test_titles_are_cut_after_so_many_tokens(tokenizer):
    long = "golden river " * 40
    prompts = RankingPrompts(tokenizer, ["", long, "red"], PromptFormat(title_tokens=7))
    text = prompts.text([1], [2])
    shown = text.split("(1) ")[1].split(";")[0]
    assert shown
    assert long.startswith(shown)
    assert len(tokenizer(shown)["input_ids"]) <= 7


def test_neither_candidates_nor_answer_are_ever_cut(tokenizer):
    """2,000 titles of random length: the whole pool is in the prompt, which fits and ends where the answer begins."""
    random = numpy.random.default_rng(3)
    form = PromptFormat(history=20, title_tokens=12, maximum_tokens=420)
    cut = 0
    for _ in range(50):
        lengths = random.integers(1, 40, 41)
        titles = [" ".join(random.choice(["red", "river", "xq", "night,"], length)) for length in lengths]
        prompts = RankingPrompts(tokenizer, titles, form)
        for length in (1, 5, 12, 20):
            history = list(range(1, 1 + length))
            tokens = prompts.tokens(history, list(range(21, 41)))
            text = tokenizer.decode(tokens)
            assert len(tokens) <= form.maximum_tokens
            assert text.endswith(prompts.text([], list(range(21, 41))).partition("Candidate pool: ")[2])
            assert text.endswith("\n\n### Response:\n")
            newest = prompts.text(history[-1:], []).partition("(1) ")[2].partition(";")[0]
            kept = text.partition("User history: ")[2].partition("; \n Candidate pool")[0]
            assert not kept or kept.endswith(newest)
            cut += len(kept.split(" \n ")) < length
    assert 20 < cut < 200


def test_no_more_history_is_dropped_than_must_be(tokenizer):
    titles = ["", *(["red star"] * 30)]
    whole = len(RankingPrompts(tokenizer, titles, PromptFormat()).tokens(list(range(1, 11)), [11, 12]))
    for maximum in range(whole - 40, whole):
        prompts = RankingPrompts(tokenizer, titles, PromptFormat(maximum_tokens=maximum))
        tokens = prompts.tokens(list(range(1, 11)), [11, 12])
        kept = tokenizer.decode(tokens).partition("User history: ")[2].partition("; \n Candidate")[0].count("star")
        one_more = RankingPrompts(tokenizer, titles, PromptFormat(history=kept + 1)).tokens(
            list(range(1, 11)), [11, 12]
        )
        assert len(tokens) <= maximum < len(one_more)


def test_a_pool_that_cannot_fit_is_said(tokenizer):
    prompts = RankingPrompts(tokenizer, TITLES, PromptFormat(maximum_tokens=20))
    with pytest.raises(InputError, match=r"without any history has \d+ tokens, more than prompt.maximum_tokens=20"):
        prompts.tokens([1, 2], [3, 4])


def test_as_many_candidates_as_letters(tokenizer):
    prompts = RankingPrompts(tokenizer, ["", *["red"] * 27], PromptFormat())
    assert "(Z) red" in prompts.text([1], list(range(1, 27)))


def test_answers_are_what_follows_a_prompt(tokenizer):
    prompts = RankingPrompts(tokenizer, TITLES, PromptFormat())
    before = prompts.tokens([1], [2, 3])
    for letter, token in zip(LETTERS, prompts.letters, strict=True):
        assert tokenizer(prompts.text([1], [2, 3]) + letter)["input_ids"] == [*before, token]


def test_letters_of_several_tokens_are_refused():
    raw = Tokenizer(models.WordLevel({"?": 0, "#": 1, "A": 2}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True)])
    words = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="?")
    with pytest.raises(InputError, match="the letter A after a prompt is not a single token"):
        RankingPrompts(words, TITLES, PromptFormat()).letters  # noqa: B018
