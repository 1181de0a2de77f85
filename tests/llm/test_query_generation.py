"""Beam search against all texts there are: with beams for every prefix, it must find the likeliest ones in order."""

from itertools import product

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ssm4rec.llm.generator_settings import SearchSettings
from ssm4rec.llm.query_generation import generate_queries
from tests.language_models import tiny_model

CPU = torch.device("cpu")
END, VOCABULARY = 0, 6
PROMPTS = [[2, 3, 4], [5, 2], [3, 3, 4, 5, 2, 2, 3, 4, 4, 5, 3], [4, 5, 5, 2, 3]]


@pytest.fixture(scope="module")
def six_words() -> PreTrainedTokenizerFast:
    vocabulary = {"<end>": END, "<pad>": 1, "a": 2, "b": 3, "c": 4, "d": 5}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<pad>")


def sharp_model(kind: str) -> torch.nn.Module:
    """Return a tiny model whose texts differ clearly in probability."""
    model = tiny_model(kind, VOCABULARY)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(4)
    return model


def all_texts(model: torch.nn.Module, prompt: list[int], longest: int) -> list[tuple[float, list[int]]]:
    """Return every text up to its end, with its log-probability, likeliest first; no cache, no padding."""
    found = []
    for length in range(1, longest + 1):
        bodies = product([token for token in range(VOCABULARY) if token != END], repeat=length - 1)
        ends = range(VOCABULARY) if length == longest else [END]
        texts = [[*body, end] for body in bodies for end in ends]
        rows = torch.tensor([prompt + text for text in texts])
        with torch.inference_mode():
            steps = model(rows, use_cache=False).logits.log_softmax(-1)[:, len(prompt) - 1 : -1]
        chances = steps.gather(2, rows[:, len(prompt) :, None]).sum(dim=(1, 2)).tolist()
        found += zip(chances, texts, strict=True)
    return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("kind", ["gpt2", "mamba2"])
def test_the_likeliest_texts_in_order(kind, six_words):
    model, count = sharp_model(kind), 30
    # 25 prefixes of two tokens that are no end, at most: 30 beams lose none of them.
    search = SearchSettings(queries=count, list_length=count, new_tokens=3)
    generated = generate_queries(model, six_words, PROMPTS, search)
    tokens = 0
    for prompt, queries in zip(PROMPTS, generated.queries, strict=True):
        best = [text for _, text in all_texts(model, prompt, 3)[:count]]
        assert queries == [six_words.decode(text, skip_special_tokens=True).strip() for text in best]
        tokens += sum(map(len, best))
    assert generated.tokens == tokens
    assert generated.batch == len(PROMPTS)
    assert generated.tokens_per_second == tokens / generated.seconds > 0


@pytest.mark.parametrize("kind", ["gpt2", "mamba2"])
def test_batches_and_padding_change_nothing(kind, six_words, capfd):
    model = sharp_model(kind)
    together = generate_queries(model, six_words, PROMPTS, SearchSettings(queries=5, new_tokens=6))
    # 5 beams x 5 tokens: the two short prompts fit together, the others come alone.
    few = generate_queries(model, six_words, PROMPTS, SearchSettings(queries=5, new_tokens=6, tokens_per_batch=25))
    assert few.batch < together.batch == len(PROMPTS)
    assert few.queries == together.queries
    for prompt, queries in zip(PROMPTS, together.queries, strict=True):
        assert generate_queries(model, six_words, [prompt], SearchSettings(queries=5, new_tokens=6)).queries == [
            queries
        ]
    assert "queries:" not in capfd.readouterr().err, "a bar is for a terminal: a log would get a line for each batch"
