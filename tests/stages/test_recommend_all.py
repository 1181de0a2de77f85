"""recommend_all against the same model asked user by user, against evaluate, and killed at any moment."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pyarrow.parquet
import pytest
import torch
from kfp import compiler

import ssm4rec.stages.recommend_all as stage
from pipelines.spec import read_documents
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.recommendations import RecommendationsManifest
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.stages.evaluate.__main__ import run as run_evaluation
from ssm4rec.stages.evaluate.settings import Settings as EvaluateSettings
from ssm4rec.stages.recommend_all.__main__ import run
from ssm4rec.stages.recommend_all.settings import Settings
from ssm4rec.training.model_folder import read_model
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(  # MLflow's own: at import, and about the input example
    "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
)

ITEMS = 30
SEQUENCES = [[(7 * user + step * step) % ITEMS + 1 for step in range(3 + user % 9)] for user in range(40)]
Rows = dict[str, list[tuple[str, float | None]]]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset_folder(tmp_path / "dataset", [*SEQUENCES, list(range(1, ITEMS + 1))])


@pytest.fixture
def model(dataset: Path, tmp_path: Path) -> Path:
    return write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)


def flags(dataset: Path, model: Path, out: Path, *more: str) -> list[str]:
    return [f"--dataset-dir={dataset}", f"--model-dir={model}", f"--recommendations-dir={out}", *more]


def recommend(dataset: Path, model: Path, out: Path, *more: str) -> Rows:
    """Run the stage and return every user's items and scores, as a reader of Parquet folders finds them."""
    run(Settings.parser().parse_args(flags(dataset, model, out, *more)))
    rows: Rows = {}
    for row in pyarrow.parquet.read_table(out).to_pylist():
        listed = rows.setdefault(row["user_id"], [])
        listed.append((row["item_id"], row["score"]))
        assert row["rank"] == len(listed)
    return rows


def expected(model: Path, history: list[int], allowed: set[int], masked: bool, count: int) -> list[tuple[str, float]]:
    """The best items by sorting all of them, of one user alone."""
    recommender = read_model(model).model
    with torch.no_grad():
        recent = history[-recommender.max_length :]
        cells = torch.tensor(history) - 1
        scores = recommender.score_next(torch.tensor([recent]), torch.tensor([len(recent)]), cells)[0].tolist()
    ranked = sorted(enumerate(scores, start=1), key=lambda pair: -pair[1])
    left = [(item, score) for item, score in ranked if item in allowed and not (masked and item in history)]
    return [(f"i{item}", score) for item, score in left[:count]]


def same(found: list[tuple[str, float | None]], wanted: list[tuple[str, float]]) -> None:
    assert [item for item, _ in found] == [item for item, _ in wanted]
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-5)


@pytest.mark.parametrize(("repeat_term", "masked"), [("true", False), ("false", True)])
@pytest.mark.parametrize("limited", [False, True])
def test_lists_are_those_of_the_model_asked_user_by_user(
    dataset: Path, tmp_path: Path, repeat_term: str, masked: bool, limited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Histories are all events; one of the whole catalog leaves nothing; the default of masked is the champion's."""
    caplog.set_level("INFO")
    model = write_random_model(
        dataset, tmp_path / "model", "2mamba4rec", 0.1, overrides=f"model.repeat_term={repeat_term}"
    )
    allowed = {*range(2, ITEMS, 3)} if limited else {*range(1, ITEMS + 1)}
    (tmp_path / "allowed.csv").write_text("item_id\n" + "".join(f"i{item}\n" for item in sorted(allowed)) + "i99\ni2\n")
    more = [f"--allowed-items={tmp_path / 'allowed.csv'}"] if limited else []
    out = tmp_path / "out"
    rows = recommend(dataset, model, out, "--k=12", "--users-per-shard=9", *more)
    for user, history in enumerate([*SEQUENCES, list(range(1, ITEMS + 1))]):
        same(rows.get(f"u{user}", []), expected(model, history, allowed, masked, 12))
    assert ("u40" in rows) == (not masked)
    assert list(rows) == [f"u{user}" for user in range(41) if f"u{user}" in rows]
    manifest = RecommendationsManifest.read(out / "_manifest.json")
    assert manifest.origin.masked == masked
    assert [shard.users for shard in manifest.shards] == [9, 9, 9, 9, 5]
    counted = [len(pyarrow.parquet.read_table(out / shard.file)) for shard in manifest.shards]
    assert [shard.recommendations for shard in manifest.shards] == counted
    fewer = sum(len(rows.get(f"u{user}", [])) < 12 for user in range(41))
    assert (manifest.users, manifest.users_by_popularity, manifest.users_with_fewer) == (41, 0, fewer)
    assert manifest.recommendations == sum(map(len, rows.values()))
    assert ("1 ids are not in the catalog" in caplog.text) == limited


@pytest.mark.parametrize("protocol", ["masked", "unmasked"])
def test_lists_are_evaluates_candidates_where_histories_are_the_same(tmp_path: Path, protocol: str) -> None:
    """The test target of each user, the last event, is left out of the data that are recommended from."""
    whole = write_dataset_folder(tmp_path / "whole", [*SEQUENCES, [*range(1, ITEMS + 1)]])
    before = write_dataset_folder(tmp_path / "before", [*(one[:-1] for one in SEQUENCES), [*range(1, ITEMS + 1)]])
    model = write_random_model(whole, tmp_path / "model", "sasrec", 0.1)
    outputs = [f"--{name}={tmp_path / name}" for name in ("ranks", "candidates", "metrics")]
    run_evaluation(EvaluateSettings.parser().parse_args([f"--dataset-dir={whole}", f"--model-dir={model}", *outputs]))
    masked = str(protocol == "masked").lower()
    rows = recommend(before, model, tmp_path / "out", "--k=20", f"--masked={masked}", "--other-data=true")
    for user in pyarrow.parquet.read_table(tmp_path / "candidates").to_pylist()[: len(SEQUENCES)]:
        found = rows[user["user_id"]]
        if protocol == "masked":
            same(found, list(zip(user["item_ids"], user["scores"], strict=True)))
        else:
            assert [item for item, _ in found] == user["unmasked_item_ids"]


def test_users_of_a_file_and_those_that_the_data_do_not_know(
    dataset: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown ones get the allowed items with the most events, of equal ones the first; they have no scores."""
    wanted = ["new1", "u7", "u3", "new2", "u7"]
    pyarrow.parquet.write_table(pyarrow.table({"user_id": wanted}), tmp_path / "users.parquet")
    counts = numpy.bincount(read_sequences(dataset).items)
    by_popularity = sorted(range(1, ITEMS + 1), key=lambda item: (-counts[item], item))
    out = tmp_path / "out"
    rows = recommend(dataset, model, out, "--k=5", f"--users={tmp_path / 'users.parquet'}", "--users-per-shard=3")
    assert list(rows) == ["new1", "u7", "u3", "new2"]
    assert rows["new1"] == rows["new2"] == [(f"i{item}", None) for item in by_popularity[:5]]
    everybody = recommend(dataset, model, tmp_path / "all", "--k=5")
    same(rows["u7"], everybody["u7"])  # type: ignore[arg-type]
    assert RecommendationsManifest.read(out / "_manifest.json").users_by_popularity == 2
    assert "2 of 4 are not in the data" in caplog.text
    (tmp_path / "allowed.jsonl").write_text('{"item_id": "i9"}\n{"item_id": "i4"}\n')
    more = [f"--users={tmp_path / 'users.parquet'}", f"--allowed-items={tmp_path / 'allowed.jsonl'}"]
    few = recommend(dataset, model, tmp_path / "few", "--k=5", *more)
    assert [item for item, _ in few["new1"]] == [f"i{item}" for item in by_popularity if item in (4, 9)]


def test_new_users_alone_get_the_most_popular_items(
    dataset: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever signed up today; if their ids are only written in another form, the log shows it."""
    (tmp_path / "users.csv").write_text("user_id\n1\n2\n")
    rows = recommend(dataset, model, tmp_path / "out", "--k=2", f"--users={tmp_path / 'users.csv'}")
    assert list(rows) == ["1", "2"]
    assert rows["1"] == rows["2"]
    assert RecommendationsManifest.read(tmp_path / "out" / "_manifest.json").users_by_popularity == 2
    assert "its ids are such as '1', those of the data such as 'u0'; if they are not new users, write" in caplog.text


def test_a_champion_recommends_what_its_model_folder_does(dataset: Path, model: Path, tmp_path: Path) -> None:
    write_mlflow_model(tmp_path / "champion", model, read_items(dataset), {})
    assert recommend(dataset, tmp_path / "champion", tmp_path / "a") == recommend(dataset, model, tmp_path / "b")


def test_a_folder_of_shards_is_resumed_for_the_same_recommendations_only(
    dataset: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Shards that are there stay, but for one that lost its bytes; whatever decides a byte has a folder of its own."""
    caplog.set_level("INFO")
    kept, out = tmp_path / "kept", tmp_path / "out"
    place = f"--checkpoint-dir={kept}"
    recommend(dataset, model, out, "--users-per-shard=10", place)
    assert not kept.exists()
    origin = RecommendationsManifest.read(out / "_manifest.json").origin
    shards = kept / origin.folder_name
    others: list[dict[str, Any]] = [{"k": 9}, {"masked": True}, {"words": "x"}, {"users": "x"}, {"allowed": "x"}]
    assert len({origin.folder_name, *(replace(origin, **other).folder_name for other in others)}) == 6
    shards.mkdir(parents=True)
    os.link(out / "part-00002.parquet", shards / "part-00002.parquet")
    (shards / "part-00001.parquet").touch()
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    for changed in ("--k=9", "--masked=true"):
        recommend(dataset, model, tmp_path / "others", "--users-per-shard=10", place, changed)
        assert [path.name for path in kept.iterdir()] == [shards.name]
    assert "resumed" not in caplog.text
    recommend(dataset, model, out, "--users-per-shard=10", place)
    assert "resumed: 1 of 5 shards are there" in caplog.text
    assert f"{shards / 'part-00001.parquet'}: not a readable shard (" in caplog.text
    after = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert [name for name in before if before[name] == after[name]] == ["part-00002.parquet"]
    (tmp_path / "out.checkpoints" / "recommend-sasrec-seed0-of-another-stock").mkdir(parents=True)
    recommend(dataset, model, out)
    assert f"{tmp_path / 'out.checkpoints'}: has shards of other recommendations; delete those" in caplog.text


KILLS = """
import json, os, signal, sys, time
from pathlib import Path
from tests.kill_sweep import start, wait

plan, out, ends = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
import ssm4rec.stages.recommend_all.__main__

shards = lambda: {path.name: path.stat().st_ino for path in out.rglob("part-*.parquet") if path.suffix == ".parquet"}
seen, repeated, counts = {}, [], []
for number in [*ends, 0]:
    child = start(plan, out, 0)
    while number and len(shards()) < number:
        time.sleep(0.001)
    if number:
        os.kill(child, signal.SIGKILL)
    status = wait(child)
    found = shards()
    repeated += [name for name, node in seen.items() if found.get(name) != node]
    seen, counts = found, [*counts, len(found)]
print(json.dumps({"status": status, "repeated": repeated, "counts": counts}))
"""


def test_killed_at_any_moment_it_repeats_no_finished_shard_and_writes_the_same_bytes(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    """SIGKILL once at least so many shards are there. Shards keep their inode from the first writing to the output."""
    more = ["--k=10", "--users-per-shard=1"]
    recommend(dataset, model, tmp_path / "whole", *more)
    plan = {
        "module": "ssm4rec.stages.recommend_all.__main__",
        "flags": flags(dataset, model, Path("{out}/lists"), *more),
    }
    arguments = [json.dumps(plan), str(tmp_path / "killed"), json.dumps([1, 4, 11, 30])]
    done = subprocess.run(
        [sys.executable, "-c", KILLS, *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["status"], found["repeated"]) == (0, [])
    assert found["counts"] == sorted(found["counts"])
    assert found["counts"][0] < 41
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "killed" / "lists").iterdir()) == names
    for name in names:
        assert (tmp_path / "killed" / "lists" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["lists"]


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
runpy.run_module("ssm4rec.stages.recommend_all", run_name="__main__", alter_sys=True)
"""


def test_a_full_disk_leaves_no_half_shard(dataset: Path, model: Path, tmp_path: Path) -> None:
    """Met by a limit on the size of a file: a first shard of one list fits, a second with scores does not."""
    out = tmp_path / "out"
    (tmp_path / "users.csv").write_text(
        "user_id\n" + "".join(f"{kind}{user}\n" for kind in ("new", "u") for user in range(41))
    )
    more = ["--users-per-shard=41", "--k=30", f"--users={tmp_path / 'users.csv'}"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *flags(dataset, model, out, *more)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "free space or choose another folder" in done.stderr.splitlines()[-1]
    assert not out.exists()
    left = {path.name for path in (tmp_path / "out.checkpoints").rglob("*") if path.is_file()}
    assert left == {"part-00000.parquet"}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--k=31"], "--k 31: the catalog has 30 items; give at most that"),
        (["--k=0"], "--k 0: at least 1"),
        (["--k=1000"], "--users-per-shard 50000: with --k 1000 a shard has more than 10,000,000 recommendations; "
                       "give at most 10000"),
        (["--masked=perhaps"], "--masked perhaps: unknown; choose from auto, true, false"),
        (["--allowed-items=IN/empty.csv"], "empty.csv: lists no id; leave the flag out, or list some"),
        (["--allowed-items=IN/nothing.csv"], "--allowed-items IN/nothing.csv: no such file; give one file, with the"),
        (["--allowed-items=IN/no bytes.csv"], "--allowed-items IN/no bytes.csv: no rows in it: the file is empty"),
        (["--allowed-items=IN/others.csv"], "none of its 2 ids, such as 'x', is an item of the catalog, such as 'i1'"),
        (["--users=IN/spaced.csv"], "--users IN/spaced.csv: the id ' u2' has spaces around it; write 'u2'"),
        (["--allowed-items=IN/spaced items.csv"], "items.csv: the id 'i2 ' has spaces around it; write 'i2'"),
        (["--users=IN/binary.csv"], "NUL bytes, so it is not text in UTF-8; give a CSV, JSONL or Parquet file"),
        (["--users=IN/table.csv"], "a Parquet file; give a CSV, JSONL or Parquet file in UTF-8, named so,"),
        (["--allowed-items=IN/users.csv"], "users.csv: no column 'item_id'; its columns are user_id; one must"),
        (["--users=IN/others.csv"], "no column 'user_id'; its columns are item_id; one must be called user_id"),
        (["--users=IN/nothing.csv"], "--users IN/nothing.csv: no such file; give one file, with the column user_id"),
        (["--users=IN"], "--users IN: a folder, not a file; give one file, with the column user_id"),
        (["--users=IN/blank.csv"], "blank.csv, column user_id, row 2: the id is missing; remove such rows"),
        (["--users=IN/users"], "--users IN/users: the name does not tell the format; call it .csv, .jsonl, .parquet"),
        (["--added-items=IN/others.csv"], "knows items by their ids alone; leave the flag out, or train the model"),
        (["--checkpoint-dir=OUT/kept"], "lies in --recommendations-dir OUT, which is replaced as a whole"),
    ],
)  # fmt: skip
def test_refusals(dataset: Path, model: Path, tmp_path: Path, refusal: Refusal, more: list[str], line: str) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    written = {"empty.csv": "item_id\n", "others.csv": "item_id\nx\ny\n", "users.csv": "user_id\nu1\n", "users": "u1\n",
               "blank.csv": "user_id\nu1\n\"\"\n", "spaced.csv": "user_id\nu1\n u2\n",
               "spaced items.csv": "item_id\ni1\n\"i2 \"\n", "binary.csv": "user_id\0\nu1\n",
               "table.csv": "PAR1", "no bytes.csv": ""}  # fmt: skip
    for name, text in written.items():
        (inputs / name).write_text(text)
    placed = [flag.replace("IN", str(inputs)).replace("OUT", str(out)) for flag in more]
    said = refusal(run, *flags(dataset, model, out, *placed))
    assert line.replace("IN", str(inputs)).replace("OUT", str(out)) in said
    assert not out.exists()
    assert not (tmp_path / "out.checkpoints").exists()
    assert not any(f"--{flag} " in said for flag in ("bad-rows", "encoding", "format", "source"))


def test_workers_without_ray_are_refused(
    dataset: Path, model: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    said = refusal(run, *flags(dataset, model, tmp_path / "out", "--workers=2"))
    assert "--workers 2: Ray is not installed; install it (pip install 'ssm4rec[ray]'), or leave the flag out" in said
    assert not list(tmp_path.glob("out*"))


def test_a_model_of_other_data_is_refused(dataset: Path, model: Path, tmp_path: Path, refusal: Refusal) -> None:
    other = write_dataset_folder(tmp_path / "other", SEQUENCES)
    said = refusal(run, *flags(other, model, tmp_path / "out"))
    assert "trained on toy" in said
    assert "recommend from the data trained on, or say --other-data true" in said


def test_the_readmes_pipeline_compiles(tmp_path: Path) -> None:
    """Every input of the stage is passed, its container gets every flag, and both importers feed it."""
    readme = Path(stage.__file__).with_name("README.md").read_text(encoding="utf-8")
    code = readme.partition("```python\n")[2].partition("```")[0]
    made: dict[str, Any] = {"__name__": "readme"}
    source = tmp_path / "readme.py"  # kfp reads a pipeline's source
    source.write_text(code)
    exec(compile(code, str(source), "exec"), made)
    compiler.Compiler().compile(made["nightly"], str(tmp_path / "nightly.yaml"))
    spec, _ = read_documents(tmp_path / "nightly.yaml")
    task = spec["root"]["dag"]["tasks"]["recommend-all"]["inputs"]
    component = spec["components"]["comp-recommend-all"]["inputDefinitions"]
    assert task["parameters"].keys() == component["parameters"].keys()
    assert task["artifacts"].keys() == component["artifacts"].keys() == {"dataset", "model"}
    container = spec["deploymentSpec"]["executors"]["exec-recommend-all"]["container"]
    known = {option for action in Settings.parser()._actions for option in action.option_strings}
    assert {word for word in container["args"] if word.startswith("--")} == known - {"-h", "--help"}
