"""BM25 against the formula in plain Python, the merged list against what Li et al. describe, and tuning."""

import math
import random
import re
from itertools import product
from pathlib import Path

import pytest

import ssm4rec
from ssm4rec.llm.title_retrieval import (
    B_GRID,
    DEEPEST,
    K1_GRID,
    TitleIndex,
    UserQueries,
    check_titles,
    merged_list,
    tune,
)
from ssm4rec.runtime.errors import InputError
from tests.language_models import WORDS

NONE: set[int] = set()


def random_text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS.split()) for _ in range(draw.randint(1, 6)))


@pytest.fixture
def catalog() -> list[str]:
    draw = random.Random(3)
    return ["", *(random_text(draw) for _ in range(60)), "It", "M", "Amélie (2001)"]


def by_the_formula(catalog: list[str], query: str, k1: float, b: float) -> list[float]:
    titles = [re.findall(r"\w+", title.lower()) for title in catalog[1:]]
    mean = sum(map(len, titles)) / len(titles)
    scores = []
    for title in titles:
        score = 0.0
        for word in re.findall(r"\w+", query.lower()):
            holding = sum(word in other for other in titles)
            idf = math.log(1 + (len(titles) - holding + 0.5) / (holding + 0.5))
            count = title.count(word)
            score += idf * count / (count + k1 * (1 - b + b * len(title) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.3, 0.0), (2.0, 1.0)])
def test_scores_are_the_formulas(catalog, k1, b):
    index, draw = TitleIndex(catalog, k1, b), random.Random(5)
    for query in [*(random_text(draw) for _ in range(20)), "it", "m", "AMÉLIE 2001", "golden golden river"]:
        expected = by_the_formula(catalog, query, k1, b)
        assert index.scores(query).tolist() == pytest.approx(expected, rel=1e-5)
        order = sorted(range(len(expected)), key=lambda place: (-round(expected[place], 5), place))
        best = [place + 1 for place in order if expected[place] > 0]
        for most in (3, 64):
            assert index.hits(query, NONE, most) == best[:most]
    for nothing in ("", "...", "unheard"):
        assert index.hits(nothing, NONE, 9) == []


def test_what_was_had_is_not_found_again(catalog):
    index = TitleIndex(catalog, 1.2, 0.75)
    everything = index.hits("golden river", NONE, 64)
    assert index.hits("golden river", set(everything[:2]), 64) == everything[2:]


def test_so_many_hits_of_a_query_are_looked_at():
    catalog = ["", *[f"red {number}" for number in range(DEEPEST + 200)], "blue"]
    index = TitleIndex(catalog, 1.2, 0.75)
    assert index.hits("red", NONE, 9999) == list(range(1, DEEPEST + 1))
    assert index.hits(f"red {DEEPEST + 100}", {5}, 3) == [DEEPEST + 101, 1, 2]
    assert index.hits("red", set(range(1, DEEPEST)), 3) == [DEEPEST]


def straightforward(lists: list[list[int]], per_query: int, length: int) -> list[int]:
    """Li et al. (2023), section 3.2, round after round, with lists in place of iterators."""
    found: list[int] = []
    while any(lists) and len(found) < length:
        for hits in lists:
            for _ in range(per_query):
                while hits and hits[0] in found:
                    hits.pop(0)
                if hits:
                    found.append(hits.pop(0))
    return found[:length]


def test_the_merged_list(catalog):
    index, draw = TitleIndex(catalog, 0.9, 0.5), random.Random(11)
    lengths = set()
    for per_query, length in product((1, 2, 4), (5, 10, 20)):
        for _ in range(20):
            queries = [random_text(draw) for _ in range(draw.randint(1, 5))] + ["unheard"]
            seen = draw.sample(range(1, 61), 8)
            user = UserQueries(queries, seen, target=seen[0])
            items = merged_list(index, user, per_query, length)
            assert len(items) == len(set(items)) <= length
            assert not set(items) & set(seen)
            assert items == straightforward([index.hits(query, set(seen), 64) for query in queries], per_query, length)
            lengths.add(len(items) == length)
    assert lengths == {True, False}  # full lists, and shorter ones when all queries run out


def test_a_target_that_the_user_had_is_not_found():
    catalog = ["", "red star", "red river", "red sea"]
    index = TitleIndex(catalog, 1.2, 0.75)
    assert set(merged_list(index, UserQueries(["red"], [1, 2], target=2), 1, 20)) == {3}
    assert set(merged_list(index, UserQueries(["red"], [1, 2], target=3), 1, 20)) == {3}


def test_tuning_takes_the_best_of_the_grid():
    # The target repeats the query's word; what competes has it once in a shorter title. Only little saturation
    # (high k1) together with no punishment of length (b = 0) ranks the target first.
    catalog = ["", "wolf wolf wolf road of the long night house", *["wolf"] * 30, *["king"] * 30]
    users = [UserQueries(["wolf"], [40], target=1)]
    tuned = tune(catalog, users, 10, 20)
    assert list(tuned) == list(product(K1_GRID, B_GRID))
    k1, b = max(tuned, key=lambda pair: tuned[pair])
    assert b == 0.0
    assert tuned[k1, b] == 1.0
    assert min(tuned.values()) == 0.0
    index = TitleIndex(catalog, k1, b)
    assert merged_list(index, users[0], 10, 20)[0] == 1


def test_titles_without_a_word_are_refused():
    check_titles(["", "...", "Heat"])
    with pytest.raises(InputError, match="titles hold no word, so no query finds an item"):
        check_titles(["Heat", "...", "\u2764 !", ""])


def test_only_one_module_knows_bm25s():
    package = Path(ssm4rec.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "import bm25s" in path.read_text()] == ["title_retrieval.py"]
