"""ranks.parquet and candidates.parquet: what is written is read back, and foreign or damaged files are refused."""

from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts.candidates import read_candidates, write_candidates
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.interactions import read_times
from ssm4rec.artifacts.items import SourceIds
from ssm4rec.artifacts.names import TIME_BASELINES
from ssm4rec.artifacts.ranks import SEED_KEY, SHARDS_KEY, SPLIT_KEY, FullRanking, Origin, read_ranks, write_ranks
from ssm4rec.evaluation.baselines import baseline_rankings, baseline_scorers
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.runtime.errors import InputError
from tests.datasets import write_events

READERS = {"ranks": read_ranks, "candidates": read_candidates}


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    """35 items; user 0 has had all but three of them, user 2 is in no split."""
    random = numpy.random.default_rng(5)
    sequences = [list(range(1, 36)), [1, 2, 3, 4], [5, 6]]
    sequences[0].append(4)
    sequences[0] = sequences[0][3:]
    sequences += [random.integers(1, 36, size=length).tolist() for length in random.integers(3, 20, size=12)]
    return read_sequences(write_dataset(sequences))


def ranking(dataset: SequenceDataset, seed: int = 0) -> FullRanking:
    scores = torch.randn(dataset.item_count, generator=torch.Generator().manual_seed(seed))
    cpu = torch.device("cpu")
    return full_ranking(lambda items, *_: scores.expand(len(items), -1), dataset, "test", 50, cpu, 20)


@pytest.fixture
def files(dataset: SequenceDataset, tmp_path: Path) -> dict[str, Path]:
    baselines = baseline_rankings(baseline_scorers(dataset, torch.device("cpu")), dataset, "test", torch.device("cpu"))
    paths = {content: tmp_path / f"{content}.parquet" for content in READERS}
    write_ranks(paths["ranks"], Origin(dataset, "sasrec", 3, "test", shards=5), ranking(dataset), baselines)
    write_candidates(paths["candidates"], Origin(dataset, "sasrec", 3, "test"), ranking(dataset), baselines)
    return paths


def test_ranks_come_back(dataset: SequenceDataset, files: dict[str, Path]) -> None:
    made, found = ranking(dataset), read_ranks(files["ranks"], dataset)
    baselines = baseline_rankings(baseline_scorers(dataset, torch.device("cpu")), dataset, "test", torch.device("cpu"))
    assert list(found.baselines) == list(baselines)
    assert (found.model, found.seed, found.split, found.shards) == ("sasrec", 3, "test", 5)
    for written, read in (
        (made.users, found.users),
        (made.targets, found.targets),
        (made.history_lengths, found.history_lengths),
        (made.unmasked, found.unmasked),
        (made.masked, found.masked),
        *((baselines[name].unmasked, unmasked) for name, (unmasked, _) in found.baselines.items()),
        *((baselines[name].masked, masked) for name, (_, masked) in found.baselines.items()),
    ):
        assert read.dtype == numpy.int32
        assert read.tolist() == written.tolist()


def test_ranks_from_before_the_baselines_are_refused(dataset: SequenceDataset, files: dict[str, Path]) -> None:
    table = pyarrow.parquet.read_table(files["ranks"])
    old = [name for name in table.column_names if not name.startswith(("most_recent", "most_frequent", "markov"))]
    pyarrow.parquet.write_table(table.select(old), files["ranks"])
    with pytest.raises(InputError, match=r"no column 'most_recent_rank_unmasked'; run evaluate again$"):
        read_ranks(files["ranks"], dataset)


def test_candidates_come_back_padded(dataset: SequenceDataset, files: dict[str, Path]) -> None:
    made, found = ranking(dataset), read_candidates(files["candidates"], dataset)
    assert (found.model, found.seed, found.split) == ("sasrec", 3, "test")
    assert found.users.tolist() == made.users.tolist()
    assert found.items.shape == found.scores.shape == (len(made.users), 20)
    present = numpy.isfinite(made.candidate_scores)
    assert 0 < present[0].sum() < 20  # user 0 had nearly all
    assert (found.items == numpy.where(present, made.candidates, 0)).all()
    assert (found.scores == made.candidate_scores).all()
    counts = dataset.training_counts()
    for user, lists in zip(found.users, zip(found.items, *found.baselines.values(), strict=True), strict=True):
        start, place = int(dataset.offsets[user]), int(dataset.test_position[user])
        unseen = {*range(1, 36)} - {*dataset.items[start : start + place].tolist()}
        for one in lists:
            kept = one[one > 0].tolist()
            assert len(kept) == len({*kept} & unseen) == min(20, len(unseen)) == numpy.count_nonzero(one)
        kept = found.baselines["most-popular"][list(found.users).index(user)]
        best = sorted(counts[[*unseen]], reverse=True)[:20]
        assert counts[kept[kept > 0]].tolist() == best
    assert list(found.baselines) == ["most-popular", "markov"]
    assert list(found.unmasked) == ["sasrec", "most-popular", "markov"]
    scores = torch.randn(35, generator=torch.Generator().manual_seed(0))
    assert (found.unmasked["sasrec"] == scores.topk(20).indices.numpy() + 1).all()  # for everyone, whatever they had
    popular = found.unmasked["most-popular"]
    assert (counts[popular] == sorted(counts[1:], reverse=True)[:20]).all()


def test_candidates_of_an_earlier_version_have_no_unmasked_lists(
    dataset: SequenceDataset, files: dict[str, Path]
) -> None:
    table = pyarrow.parquet.read_table(files["candidates"])
    earlier = table.select([name for name in table.column_names if "unmasked" not in name])
    pyarrow.parquet.write_table(earlier, files["candidates"])
    found = read_candidates(files["candidates"], dataset)
    assert (found.unmasked, list(found.baselines)) == ({}, ["most-popular", "markov"])


def test_every_list_has_the_sources_ids_next_to_it(dataset: SequenceDataset, tmp_path: Path) -> None:
    ids = SourceIds(
        pyarrow.array([f"u{user}" for user in range(dataset.user_count)], pyarrow.large_string()),
        pyarrow.array([f"i{item}" for item in range(1, 36)], pyarrow.large_string()),
    )
    baselines = baseline_rankings(baseline_scorers(dataset, torch.device("cpu")), dataset, "test", torch.device("cpu"))
    path = tmp_path / "candidates.parquet"
    write_candidates(path, Origin(dataset, "sasrec", 3, "test", ids), ranking(dataset), baselines)
    table = pyarrow.parquet.read_table(path)
    named = [name for name in table.column_names if name.endswith("item_ids")]
    assert named == [
        "item_ids", "most_popular_item_ids", "markov_item_ids", "unmasked_item_ids", "most_popular_unmasked_item_ids",
        "markov_unmasked_item_ids",
    ]  # fmt: skip
    for name in named:
        items = table.column(name.replace("item_ids", "items")).to_pylist()
        assert table.column(name).to_pylist() == [[f"i{item}" for item in one] for one in items]
    assert read_candidates(path, dataset).unmasked.keys() == {"sasrec", "most-popular", "markov"}


@pytest.mark.parametrize("content", READERS)
def test_files_at_fault_are_refused(
    content: str, dataset: SequenceDataset, files: dict[str, Path], write_dataset: "object", tmp_path: Path
) -> None:
    read, path = READERS[content], files[content]

    def refused(expected: str, table: pyarrow.Table | None = None) -> None:
        if table is not None:
            pyarrow.parquet.write_table(table, tmp_path / "changed.parquet")
        with pytest.raises(InputError) as stopped:
            read(path if table is None else tmp_path / "changed.parquet", dataset)
        assert expected in str(stopped.value)
        assert "\n" not in str(stopped.value)

    table = pyarrow.parquet.read_table(path)
    metadata = table.schema.metadata
    refused("no column 'user'", table.drop_columns("user"))
    other_content = ({*READERS} - {content}).pop()
    refused(f"not the {content} of an evaluation, it has no column", pyarrow.parquet.read_table(files[other_content]))
    refused(f"empty, not the {content}", table.slice(0, 0))
    refused("does not say what it is an evaluation of", table.replace_schema_metadata({}))
    if content == "ranks":
        refused("ranks of 'some' shards", table.replace_schema_metadata({**metadata, SHARDS_KEY: b"some"}))
    refused("does not say", table.replace_schema_metadata({**metadata, SEED_KEY: b"zero"}))
    refused("of an unknown split 'train'", table.replace_schema_metadata({**metadata, SPLIT_KEY: b"train"}))
    users = table.column("user").to_numpy()
    refused("not in ascending order", table.set_column(0, "user", [users[::-1]]))
    refused("not in ascending order in 0..14", table.set_column(0, "user", [users + 100]))
    refused("column user is not int32", table.set_column(0, "user", [[f"u{user}" for user in users]]))
    refused("column user has missing values", table.set_column(0, "user", [[None, *users[1:].tolist()]]))
    path.write_bytes(path.read_bytes()[:200])
    refused("not a readable Parquet file")
    path.unlink()
    refused("no such file; run evaluate first")
    other = read_sequences(write_dataset([[1, 2, 3]] * 9, name="other", folder="other"))
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(InputError, match=f"{content} of another data set, toy .*, than other "):
        read(path, other)


def test_ranks_of_other_targets_are_refused(dataset: SequenceDataset, files: dict[str, Path]) -> None:
    table = pyarrow.parquet.read_table(files["ranks"])
    for name, values, expected in (
        ("target", table.column("target").to_numpy() % 35 + 1, "not those of the test split"),
        ("rank_masked", table.column("rank_masked").to_numpy() - 40, "rank_masked is not always in 1..35"),
        ("rank_unmasked", table.column("rank_masked").to_numpy() + 35, "rank_unmasked is not always in 1..35"),
    ):
        place = table.column_names.index(name)
        pyarrow.parquet.write_table(table.set_column(place, name, [values]), files["ranks"])
        with pytest.raises(InputError, match=expected):
            read_ranks(files["ranks"], dataset)


def test_damaged_candidates_are_refused(dataset: SequenceDataset, files: dict[str, Path]) -> None:
    table = pyarrow.parquet.read_table(files["candidates"])
    rows = table.to_pylist()
    for change, expected in (
        ({"items": [36], "scores": [0.5]}, "items are not always in 1..35"),
        ({"items": [None], "scores": [0.5]}, "column items has missing values"),
        ({"items": [1], "scores": [float("nan")]}, "column scores has numbers that are not finite"),
        ({"items": [1, 2], "scores": [0.5]}, "differ in number"),
        ({"items": [1] * 21, "scores": [0.5] * 21}, "more than 20"),
        ({"markov_items": [1]}, "differ in number"),
        ({"markov_items": None}, "differ in number"),
        ({"unmasked_items": rows[0]["unmasked_items"][:5]}, "differ in number"),
        ({"most_popular_items": [0, *rows[0]["items"][1:]]}, "most_popular_items are not always in 1..35"),
        ({"items": rows[0]["items"][:2] + rows[0]["items"][:1]}, f"items of user {rows[0]['user']} name item"),
    ):
        changed = pyarrow.Table.from_pylist([{**rows[0], **change}, *rows[1:]], schema=table.schema)
        pyarrow.parquet.write_table(changed, files["candidates"])
        with pytest.raises(InputError, match=expected):
            read_candidates(files["candidates"], dataset)


def test_several_targets_of_a_user_come_back(tmp_path: Path) -> None:
    """With the baseline of data split by time; candidates are those before a user's first target."""
    random = numpy.random.default_rng(2)
    events = [
        (f"u{user}", int(random.integers(1, 40)), int(random.integers(10_000))) for user in random.integers(0, 20, 400)
    ]
    dataset = write_events(tmp_path / "dataset", events)
    cpu = torch.device("cpu")
    made = ranking(dataset)
    assert len(made.users) > made.first.sum() == len(made.candidates)
    times = read_times(tmp_path / "dataset", dataset)
    baselines = baseline_rankings(baseline_scorers(dataset, cpu, times), dataset, "test", cpu)
    paths = {content: tmp_path / f"{content}.parquet" for content in READERS}
    write_ranks(paths["ranks"], Origin(dataset, "sasrec", 3, "test"), made, baselines)
    write_candidates(paths["candidates"], Origin(dataset, "sasrec", 3, "test"), made, baselines)
    found = read_ranks(paths["ranks"], dataset)
    assert found.users.tolist() == made.users.tolist()
    assert found.history_lengths.tolist() == made.history_lengths.tolist()
    assert list(found.baselines) == list(TIME_BASELINES)
    assert list(read_candidates(paths["candidates"], dataset).baselines) == [
        "most-popular",
        "markov",
        "most-popular-lately",
    ]
    assert found.baselines["most-popular-lately"][0].tolist() == baselines["most-popular-lately"].unmasked.tolist()
    assert read_candidates(paths["candidates"], dataset).users.tolist() == made.users[made.first].tolist()
    table = pyarrow.parquet.read_table(paths["ranks"])
    places = table.column("history_length").to_numpy()
    for wrong, expected in (
        (pyarrow.concat_tables([table.slice(0, 1), table]), "the targets are not those of the test split"),
        (
            table.set_column(2, "history_length", [places - 1]),
            "not those of the test",
        ),
        (
            table.set_column(2, "history_length", [places + 900]),
            "not those of the test",
        ),
        (
            table.set_column(
                table.column_names.index("most_popular_lately_rank_masked"),
                "most_popular_lately_rank_masked",
                [pyarrow.array([None, *[1] * (len(table) - 1)], pyarrow.int32())],
            ),
            "most_popular_lately_rank_masked is not always in 1..",
        ),
    ):
        pyarrow.parquet.write_table(wrong, paths["ranks"])
        with pytest.raises(InputError, match=expected):
            read_ranks(paths["ranks"], dataset)
