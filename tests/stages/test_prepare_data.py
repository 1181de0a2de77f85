import json
import random
import subprocess
import sys
import zipfile

import polars
import pytest

from ssm4rec.command_line import run_stage
from ssm4rec.data.dataset import read_sequences
from ssm4rec.stages.prepare_data.__main__ import build_parser, run
from ssm4rec.stages.prepare_data.component import prepare_data

# Limits the size of any file the stage writes to 4 kB: the way to a full disk that needs no privileges.
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
runpy.run_module("ssm4rec.stages.prepare_data", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def events(tmp_path):
    chance = random.Random(10)
    path = tmp_path / "events.csv"
    rows = [
        {"user_id": chance.randrange(60), "item_id": chance.randrange(40), "timestamp": 1_600_000_000 + place,
         "rating": chance.randrange(1, 6)}
        for place in range(2_000)
    ]  # fmt: skip
    polars.DataFrame(rows).write_csv(path)
    return path


def prepare(*arguments):
    run_stage(build_parser(), run, [str(argument) for argument in arguments])


@pytest.fixture
def refused(tmp_path, capsys, caplog):
    """Return a function that runs the stage, checks how it fails, and returns its one line."""

    def run_and_check(*arguments):
        output = tmp_path / "out" / "dataset"
        caplog.set_level("INFO")
        with pytest.raises(SystemExit) as raised:
            prepare("--dataset-dir", output, "--cache-dir", tmp_path / "cache", *arguments)
        printed = capsys.readouterr()
        assert raised.value.code == 2
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert caplog.records == [], "in a process of its own, log lines go to stderr, too"
        assert printed.err.startswith("python -m ssm4rec.stages.prepare_data: error: ")
        assert not output.parent.exists() or list(output.parent.iterdir()) == []
        return printed.err

    return run_and_check


def test_events_end_to_end(events, tmp_path, capsys):
    items = tmp_path / "items.jsonl"
    items.write_text("".join(f'{{"item_id": {item}, "title": "Item {item}"}}\n' for item in range(39)))
    output = tmp_path / "dataset"
    prepare("--dataset", "events", "--source", events, "--items-source", items, "--rating-column", "rating",
            "--deduplicate", "first", "--minimum-rating", "2", "--dataset-dir", output)  # fmt: skip
    manifest = json.loads((output / "manifest.json").read_text())
    source = {"address": str(events), "file": "events.csv", "checksum": "none published"}
    assert source.items() <= manifest["sources"][0].items()
    assert manifest["settings"]["deduplicate"] == "first"
    assert manifest["settings"]["minimum_rating"] == 2.0
    assert [step["filter"] for step in manifest["filters"]] == ["source", "deduplicate", "minimum-rating", "k-core"]
    counts = manifest["counts"]
    assert counts == manifest["filters"][-1]["after"]
    assert manifest["titles"] == counts["items"] - ("39" in polars.read_parquet(output / "items.parquet")["item_id"])
    sequences = read_sequences(output)
    assert (sequences.user_count, sequences.item_count) == (counts["users"], counts["items"])
    printed = capsys.readouterr().out
    assert f"{counts['users']:,}" in printed
    assert f"{counts['users'] + 1:,}" in printed
    assert {path.name for path in output.glob("[!.]*")} == {
        "manifest.json", "interactions.parquet", "items.parquet", "sequences.parquet"
    }  # fmt: skip


def test_global_time_end_to_end(events, tmp_path):
    output = tmp_path / "dataset"
    prepare("--dataset", "events", "--source", events, "--split", "global-time", "--dataset-dir", output)
    split = json.loads((output / "manifest.json").read_text())["split"]
    frame = polars.read_parquet(output / "interactions.parquet")
    sequences = read_sequences(output)
    place = frame.select(polars.int_range(polars.len()).over("user")).to_series()
    lengths = polars.Series(sequences.train_length).gather(frame["user"])
    training = frame.filter(place < lengths)
    assert training["time"].max() < split["validation_from"] <= split["test_from"]
    assert training.height == split["training_interactions"]
    assert split["test_users"] > 0


def test_an_older_dataset_is_replaced_and_a_failed_run_leaves_it(events, tmp_path, refused):
    output = tmp_path / "out" / "dataset"
    for k_core in (5, 10):
        prepare("--dataset", "events", "--source", events, "--k-core", k_core, "--dataset-dir", output)
    before = (output / "manifest.json").read_text()
    assert json.loads(before)["settings"]["k_core"] == 10
    with pytest.raises(SystemExit):
        prepare("--dataset", "events", "--source", events, "--k-core", 999, "--dataset-dir", output)
    assert (output / "manifest.json").read_text() == before
    assert [path.name for path in output.parent.iterdir()] == ["dataset"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset ml-2m", "--dataset ml-2m: unknown data set; use one of ml-100k"),
        ("--dataset amazon-2023-cars", "no such category; the categories are"),
        ("--dataset events --source {folder}/none.csv", "none.csv: no such file"),
        ("--dataset events --source file://{folder}/none.csv", "none.csv: no such file"),
        ("--dataset events --source {events} --user-column who", "no column 'who'; its columns are user_id, item_id"),
        ("--dataset events --source {events} --items-source {events}", "no column 'title'"),
        ("--dataset events --source {words}", "column timestamp, row 2: not a time: 'yesterday'"),
        ("--dataset events --source {events} --time-unit ns --k-core 2000", "nothing is left after --k-core 2000"),
        ("--dataset events --source {events} --minimum-rating 3", "name their column with --rating-column"),
        ("--dataset events --source {events} --rating-column rating --minimum-rating 6", "left after --minimum-rating"),
        ("--dataset events --source {events} --k-core x", "--k-core x: write a whole number"),
        ("--dataset events --source {events} --minimum-rating x", "--minimum-rating x: neither a number nor none"),
        (
            "--dataset events --source {events} --deduplicate some",
            "--deduplicate some: unknown; choose from none, first, last",
        ),
        ("--dataset events --source {events} --split global-time --test-fraction 2", "below 1 together"),
        ("--dataset events --source {events} --time-unit order --split global-time", "holds order numbers"),
        ("--dataset events", "--dataset events needs --source"),
        ("--dataset events --source {archive}", "set --format to one of csv, jsonl, parquet"),
        ("--dataset events --source {archive} --format parquet", "evil.zip: not readable"),
        ("--dataset ml-1m --source {archive}", "--any-checksum true"),
        ("--dataset ml-1m --source {archive} --any-checksum true", "member '../evil' points outside the archive"),
        ("--dataset ml-1m --source {truncated} --any-checksum true", "truncated.zip: not a readable zip archive"),
        ("--dataset ml-1m --source http://127.0.0.1:9/ml-1m.zip", "cannot be downloaded"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, events, tmp_path, refused):
    words = tmp_path / "words.csv"
    words.write_text("user_id,item_id,timestamp\n1,2,2020-01-01\n1,3,yesterday\n")
    archive, truncated = tmp_path / "evil.zip", tmp_path / "truncated.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("ml-1m/ratings.dat", "1::2::3::978300760\n" * 1000)
        opened.writestr("../evil", "x")
    truncated.write_bytes(archive.read_bytes()[:-30])
    places = {"events": events, "folder": tmp_path, "words": words, "archive": archive, "truncated": truncated}
    assert message in refused(*arguments.format(**places).split())


def test_an_output_folder_that_cannot_be_written(events, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        prepare("--dataset", "events", "--source", events, "--dataset-dir", events / "dataset")
    assert raised.value.code == 2
    assert "events.csv is not a folder; choose another path" in capsys.readouterr().err


def test_a_full_disk(events, tmp_path):
    output = tmp_path / "out" / "dataset"
    command = [sys.executable, "-B", "-c", LIMITED, "--dataset", "events", "--source", events, "--dataset-dir", output]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "free space or choose another folder" in done.stderr
    assert list(output.parent.iterdir()) == []


def test_the_process(events, tmp_path):
    command = [sys.executable, "-m", "ssm4rec.stages.prepare_data", "--dataset", "events", "--source", events]
    done = subprocess.run([*command, "--dataset-dir", tmp_path / "out"], capture_output=True, text=True, check=True)
    assert "as RecBole counts (+1)" in done.stdout
    assert done.stderr == ""
    done = subprocess.run([*command, "--dataset-dir", tmp_path / "x", "--k", "5"], capture_output=True, check=False)
    assert done.returncode == 2, "no abbreviated flags"


def test_every_flag_is_an_input_of_the_component():
    """A flag that the component does not pass could not be set in a pipeline."""
    (container,) = prepare_data.pipeline_spec.deployment_spec["executors"].values()
    passed = {argument for argument in container["container"]["args"] if argument.startswith("--")}
    flags = {option for action in build_parser()._actions for option in action.option_strings}
    assert passed == flags - {"-h", "--help"}
