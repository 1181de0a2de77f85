"""Preference pairs as prompts with letters: what is shown, what is not, and by what chance."""

import re
from dataclasses import asdict, replace

import numpy
import pytest
from scipy import stats

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.preferences import Pairs
from ssm4rec.llm.preference_examples import candidate_pool, preference_set
from ssm4rec.llm.prompts import LETTERS, PromptFormat, RankingPrompts
from ssm4rec.llm.settings import AlignmentSettings
from ssm4rec.runtime.errors import InputError
from tests.language_models import title

POOL = re.compile(r"\((\w)\) (.+?)(?: \n |\n\n### Response)")
USERS, ITEMS = 30, 120
SETTINGS = AlignmentSettings(negatives=3, held_out=0.25)


def pairs_of(dataset, users):
    """Two pairs a user: an item of the training part against one never had, no two pairs the same."""
    rows, known = [], set()
    for user in users:
        sequence = dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()
        unseen = [item for item in range(1, dataset.item_count + 1) if item not in sequence]
        for length in (int(dataset.train_length[user]) - 1, int(dataset.train_length[user]) - 2):
            winner = sequence[length]
            loser = next(item for item in unseen if (winner, item) not in known)
            known.add((winner, loser))
            rows.append((user, winner, loser, length))
    users, winners, losers, lengths = (numpy.array(column, numpy.int32) for column in zip(*rows, strict=True))
    nothing = numpy.full(len(rows), numpy.nan, numpy.float32)
    return Pairs(users, winners, losers, lengths, numpy.full(len(rows), "lightfm"), *[nothing] * 4)


@pytest.fixture
def dataset(write_dataset, add_titles):
    random = numpy.random.default_rng(3)
    folder = write_dataset(
        # Each begins with an item of its own.
        [[user + 1, *random.integers(1, ITEMS + 1, random.integers(6, 80))] for user in range(USERS)] + [[ITEMS] * 3]
    )
    add_titles(folder)
    return read_sequences(folder), read_titles(folder)


def shown(tokenizer, tokens):
    text = tokenizer.decode(tokens)
    return dict(POOL.findall(text[text.index("Candidate pool:") :])), text


@pytest.mark.parametrize("maximum_tokens", [300, 1536])
def test_what_an_example_shows(dataset, tokenizer, maximum_tokens):
    data, titles = dataset
    pairs = pairs_of(data, range(USERS))
    prompts = RankingPrompts(tokenizer, titles, PromptFormat(history=50, maximum_tokens=maximum_tokens))
    examples = preference_set(data, pairs, prompts, AlignmentSettings(negatives=6, held_out=0.2), seed=4)
    assert len(examples.train) + len(examples.held_out) == len(pairs)
    names = {title(item): item for item in range(1, ITEMS + 1)}
    rows = {pair: row for row, pair in enumerate(zip(pairs.winners.tolist(), pairs.losers.tolist(), strict=True))}
    cut = 0
    for example in examples.train + examples.held_out:
        assert len(example.prompt) <= maximum_tokens
        assert len(example.chosen) == len(example.rejected) == 2
        pool, text = shown(tokenizer, example.prompt)
        assert list(pool) == list(LETTERS[:8])
        answers = [tokenizer.decode(answer) for answer in (example.chosen, example.rejected)]
        assert all(answer[1:] == tokenizer.eos_token for answer in answers)
        winner, loser = (names[pool[answer[0]]] for answer in answers)
        row = rows[winner, loser]
        user = pairs.users[row]
        sequence = data.items[data.offsets[user] : data.offsets[user + 1]].tolist()
        items = {names[name] for name in pool.values()}
        assert len(items) == 8
        assert not (items - {winner, loser}) & set(sequence[: data.train_length[user]])
        history = re.findall(r"\(\d+\) (.+?)(?: \n |; \n Cand)", text)
        expected = [title(item) for item in sequence[: pairs.history_lengths[row]]][-50:]
        assert history == expected[len(expected) - len(history) :]
        cut += len(history) < len(expected)
    assert (cut > 0) == (maximum_tokens == 300)


def test_held_out_users_are_in_no_training_pair(dataset, tokenizer):
    data, titles = dataset
    pairs = pairs_of(data, range(USERS))
    prompts = RankingPrompts(tokenizer, titles, PromptFormat(history=100))
    whole = preference_set(data, pairs, prompts, SETTINGS, seed=1)
    # Two pairs per user, of 30: a quarter of the pairs are those of 8 users.
    assert (len(whole.train), len(whole.held_out)) == (44, 16)
    fewer = preference_set(data, pairs, prompts, replace(SETTINGS, pairs=10), seed=1)
    assert len(fewer.train) + len(fewer.held_out) == 10
    everything = [asdict(example) for example in whole.train + whole.held_out]
    assert all(asdict(example) in everything for example in fewer.train + fewer.held_out)
    # A user's two prompts begin with the same item.
    starts = [
        {tokenizer.decode(example.prompt).split(" \n ")[0] for example in part}
        for part in (whole.train, whole.held_out)
    ]
    assert not starts[0] & starts[1]
    assert sum(map(len, starts)) == 30


def test_seed_decides(dataset, tokenizer):
    data, titles = dataset
    pairs = pairs_of(data, range(8))
    prompts = RankingPrompts(tokenizer, titles, PromptFormat())
    digests = [preference_set(data, pairs, prompts, SETTINGS, seed).digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_pairs_of_one_user_are_refused(dataset, tokenizer):
    data, titles = dataset
    prompts = RankingPrompts(tokenizer, titles, PromptFormat())
    with pytest.raises(InputError, match="of one user alone"):
        preference_set(data, pairs_of(data, [2]), prompts, SETTINGS, 0)


def test_pools_are_uniform():
    sequence = numpy.array([2, 3, 3, 9, 10], numpy.int32)
    pools = [candidate_pool(sequence, 10, 5, 3, 12, (0, draw)) for draw in range(2100)]
    assert all(sorted(pool) == sorted(set(pool)) and {10, 5} <= set(pool) for pool in pools)
    negatives = [item for pool in pools for item in pool if item not in (10, 5)]
    found, counts = numpy.unique(negatives, return_counts=True)
    assert found.tolist() == [1, 4, 6, 7, 8, 11, 12]
    assert stats.chisquare(counts).pvalue > 0.01
    places = numpy.bincount([pool.index(10) for pool in pools], minlength=5)
    assert stats.chisquare(places).pvalue > 0.01


def test_a_small_catalog_gives_fewer_candidates():
    assert sorted(candidate_pool(numpy.array([1, 2, 4], numpy.int32), 4, 5, 18, 7, (0, 0))) == [3, 4, 5, 6, 7]
    assert sorted(candidate_pool(numpy.array([1, 2, 3], numpy.int32), 3, 4, 18, 4, (0, 0))) == [3, 4]
