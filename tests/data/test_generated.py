"""The generated data set: its floor against enumeration of all hidden paths, and what filters do to it."""

import itertools
import json
import math
from pathlib import Path

import numpy
import pytest

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_items, read_source_ids
from ssm4rec.data.generated import GENERATED, GENERATED_SETS, OTHER_WORDS, WORDS, HiddenChain, hidden_chain, titles
from ssm4rec.stages.prepare_data.__main__ import run
from ssm4rec.stages.prepare_data.settings import Settings
from tests.conftest import Refusal

SMALL = HiddenChain(
    numpy.array([0.5, 0.3, 0.2]),
    numpy.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]),
    numpy.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.4, 0.4], [0.25, 0.25, 0.25, 0.25]]),
)


def probability(items: list[int]) -> float:
    """Of a sequence: the sum over all paths of states."""
    total = 0.0
    for path in itertools.product(range(3), repeat=len(items)):
        along = SMALL.initial[path[0]] * math.prod(SMALL.moves[one, other] for one, other in itertools.pairwise(path))
        total += along * math.prod(SMALL.shows[state, item] for state, item in zip(path, items, strict=True))
    return total


def test_the_filter_is_the_sum_over_all_paths() -> None:
    sequences = [[0, 2, 3, 1, 1], [3, 3], [1]]
    losses = SMALL.losses([numpy.array(items) for items in sequences])
    for items, found in zip(sequences, losses, strict=True):
        expected = [
            math.log((probability(items[:place]) if place else 1.0) / probability(items[: place + 1]))
            for place in range(len(items))
        ]
        assert found == pytest.approx(expected)


def test_what_is_drawn_has_the_chain_s_frequencies() -> None:
    drawn = SMALL.draw(numpy.full(20_000, 2), numpy.random.default_rng(0))
    for pair in itertools.product(range(4), repeat=2):
        share = sum(tuple(items) == pair for items in drawn) / len(drawn)
        assert share == pytest.approx(probability(list(pair)), abs=0.01)


def prepare(folder: Path, *flags: str, dataset: str = GENERATED) -> dict:
    run(Settings.parser().parse_args(["--dataset", dataset, "--dataset-dir", str(folder), *flags]))
    return json.loads((folder / "manifest.json").read_text())


def test_the_floor_is_that_of_the_test_targets(tmp_path: Path) -> None:
    manifest = prepare(tmp_path / "dataset", "--draw-users", "1000")
    dataset = read_sequences(tmp_path / "dataset")
    chain, ids = hidden_chain(), read_source_ids(tmp_path / "dataset").items.to_pylist()
    assert chain.moves.sum(axis=1) == pytest.approx(numpy.ones(32))
    assert chain.shows.sum(axis=1) == pytest.approx(numpy.ones(32))
    assert dataset.item_count == chain.shows.shape[1]  # the k-core dropped nothing
    expected = []
    for user in range(20):  # a filter of this user alone, in steps
        items = dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]]
        belief = chain.initial
        for item in items:
            joint = belief * chain.shows[:, int(ids[item - 1][1:])]
            belief = joint / joint.sum() @ chain.moves
        expected.append(-math.log(joint.sum()))
    losses = chain.losses(
        [
            numpy.array([int(ids[item - 1][1:]) for item in dataset.items[start:stop]])
            for start, stop in itertools.pairwise(dataset.offsets)
        ]
    )
    assert [own[-1] for own in losses[:20]] == pytest.approx(expected)
    assert manifest["irreducible_loss"] == pytest.approx(numpy.mean([own[-1] for own in losses]))
    assert manifest["irreducible_loss"] < math.log(dataset.item_count) - 1


def test_a_filter_that_breaks_sequences_leaves_no_floor(tmp_path: Path) -> None:
    assert "irreducible_loss" not in prepare(tmp_path / "dataset", "--draw-users", "300", "--k-core", "30")


def test_nothing_is_read_for_it(tmp_path: Path, refusal: Refusal) -> None:
    told = ("--dataset", GENERATED, "--dataset-dir", tmp_path / "dataset", "--source", "events.csv")
    assert "--source: generated-hmm is generated, nothing is read for it; leave the flag out" in refusal(run, *told)


def test_catalogs_share_words_and_states_and_no_item(tmp_path: Path) -> None:
    """A title has two words that all 20 items of a state choose from, in every catalog, and one of all states."""
    folders = {name: tmp_path / name for name in (WORDS, OTHER_WORDS)}
    manifests = {name: prepare(folder, "--draw-users", "900", dataset=name) for name, folder in folders.items()}
    ids = {name: set(read_source_ids(folder).items.to_pylist()) for name, folder in folders.items()}
    assert all(manifest["titles"] == manifest["counts"]["items"] for manifest in manifests.values())
    assert not ids[WORDS] & ids[OTHER_WORDS]
    found: dict[str, set[int]] = {}
    for folder in folders.values():
        items = read_items(folder)
        for item_id, title in zip(items.ids, items.titles, strict=True):
            assert len(set(title.split())) == 3
            for word in title.split():
                found.setdefault(word, set()).add(int(item_id[1:]) // 20)
    of_one = [word for word, states in found.items() if len(states) == 1]
    assert len(of_one) == 32 * 3
    assert sorted(next(iter(found[word])) for word in of_one) == sorted([*range(32)] * 3)
    assert all(len(found[word]) > 10 for word in found.keys() - {*of_one})
    chains = [hidden_chain(name) for name in GENERATED_SETS]
    assert all((chain.moves == chains[0].moves).all() for chain in chains)
    clusters = [chain.shows.reshape(32, 32, 20).sum(axis=2).diagonal() for chain in chains]  # of a state its own items
    assert all((own > 0.8).all() for own in clusters)
    assert numpy.corrcoef(*(chain.shows[0, :20] for chain in chains[1:3]))[0, 1] < 0.8  # popularities are their own
    assert manifests[WORDS]["irreducible_loss"] != manifests[OTHER_WORDS]["irreducible_loss"]


def test_shuffled_titles_are_those_of_other_items() -> None:
    shuffled, straight = titles(f"{WORDS}-shuffled"), titles(OTHER_WORDS)
    assert sorted(shuffled) == sorted(straight)
    assert sum(one == other for one, other in zip(shuffled, straight, strict=True)) < 10
    assert (hidden_chain(f"{WORDS}-shuffled").shows == hidden_chain(OTHER_WORDS).shows).all()
    assert titles(GENERATED) == []


def test_the_data_set_without_words_is_that_of_before_there_were_words(tmp_path: Path) -> None:
    assert prepare(tmp_path / "dataset")["fingerprint"].startswith("f3acd4e2ac6961")  # 1f2d3c7, of 2026-11-29
