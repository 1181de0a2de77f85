import json
import random
import subprocess
import sys
import zipfile

import polars
import pytest

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.data.data_sets import read_data_set
from ssm4rec.data.versions import file_state, find_versions
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.prepare_data.__main__ import run
from ssm4rec.stages.prepare_data.component import prepare_data
from ssm4rec.stages.prepare_data.settings import Settings

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
    run_stage(Settings.parser(), run, [str(argument) for argument in arguments])


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


def test_events_of_one_millisecond_do_not_tie_if_their_times_are_finer(tmp_path):
    path, output = tmp_path / "events.parquet", tmp_path / "dataset"
    chance = random.Random(0)
    rows = [
        (user, chance.randrange(20), 1_600_000_000_000_000 + 200 * place + user) for user in range(30)
        for place in range(20)
    ]  # fmt: skip
    names = ["user_id", "item_id", "timestamp"]
    polars.DataFrame(rows, names, orient="row").sample(fraction=1, shuffle=True, seed=1).write_parquet(path)
    prepare("--dataset", "events", "--source", path, "--k-core", 0, "--dataset-dir", output)
    order = json.loads((output / "manifest.json").read_text())["event_order"]
    assert order["neighbours_that_tie"] == order["targets_in_ties"] == 0
    kept = polars.read_parquet(output / "interactions.parquet")["time"]
    assert (kept.min(), kept.max()) == (1_600_000_000_000, 1_600_000_000_003)  # whole milliseconds


def test_bad_rows_are_dropped_and_counted(events, tmp_path, capsys, refused):
    text = events.read_text()
    events.write_text(text + "1,2,soon,3\n,2,1600000000,3\n1,2\n")
    arguments = ("--dataset", "events", "--source", events, "--rating-column", "rating", "--k-core", 0)
    # The file is parsed before its values are read.
    assert "row 2003: Expected 4 columns, got 2: 1,2; mend or remove the row, or set --bad-rows drop" in refused(
        *arguments
    )
    prepare(*arguments, "--bad-rows", "drop", "--dataset-dir", tmp_path / "dropped")
    printed = capsys.readouterr().out
    assert "dropped 3 bad rows of the events: " in printed
    dropped = json.loads((tmp_path / "dropped" / "manifest.json").read_text())
    counts = {"malformed row": 1, "user id missing": 1, "time not readable": 1}
    assert dropped["dropped_rows"] == {"events": counts, "items": {}}
    assert dropped["settings"]["bad_rows"] == "drop"
    events.write_text(text)
    prepare(*arguments, "--dataset-dir", tmp_path / "clean")
    clean = json.loads((tmp_path / "clean" / "manifest.json").read_text())
    assert clean["dropped_rows"] == {"events": {}, "items": {}}
    assert clean["fingerprint"] == dropped["fingerprint"]


def test_a_folder_of_semicolons_in_latin1(events, tmp_path, capsys):
    """A folder of CSV files in another encoding and with another delimiter is what one plain file is."""
    prepare("--dataset", "events", "--source", events, "--dataset-dir", tmp_path / "plain")
    header, *lines = events.read_text().replace(",", ";").splitlines()
    folder = tmp_path / "clicks"
    folder.mkdir()
    for number in range(4):
        part = lines[number * 500 : (number + 1) * 500]
        text = "\n".join([header + ";Größe", *(line + ";ü" for line in part)])
        (folder / f"part-{number}.csv").write_text(text, encoding="latin-1")
    (folder / "_SUCCESS").touch()
    for number, source in enumerate((folder, folder / "part-*.csv")):
        output = tmp_path / f"out-{number}"
        prepare("--dataset", "events", "--source", source, "--encoding", "latin-1", "--dataset-dir", output)
        manifest = json.loads((output / "manifest.json").read_text())
        assert [source["file"] for source in manifest["sources"]] == [f"part-{number}.csv" for number in range(4)]
        assert manifest["fingerprint"] == json.loads((tmp_path / "plain" / "manifest.json").read_text())["fingerprint"]


def test_the_format_of_the_items_file(events, tmp_path):
    """Its name tells it; where that tells nothing, --format does."""
    rows = "".join(f'{{"item_id": {item}, "title": "Item {item}"}}\n' for item in range(40))
    text = "item_id\ttitle\n" + "".join(f"{item}\tItem {item}\n" for item in range(40))
    plain = events.rename(tmp_path / "events.txt")
    for name, content in (("items.jsonl", rows), ("items.tsv", text), ("items.item", text), ("items.dat", text)):
        (tmp_path / name).write_text(content)
        prepare("--dataset", "events", "--source", plain, "--format", "csv", "--items-source", tmp_path / name,
                "--dataset-dir", tmp_path / "out")  # fmt: skip
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert manifest["titles"] == manifest["counts"]["items"], name


@pytest.mark.parametrize(
    "items",
    [
        {"item_id": [f"x{item}" for item in range(40)]},
        {"item_id": [f"{item} " for item in range(40)]},
        {"item_id": [item + 0.5 for item in range(40)]},
        {"item_id": [str(item) for item in range(40)], "title": [""] * 40},
    ],
)
def test_titles_of_no_item_are_refused(events, tmp_path, refused, items):
    polars.DataFrame({"title": [f"t{n}" for n in range(40)], **items}).write_parquet(tmp_path / "items.parquet")
    line = refused("--dataset", "events", "--source", events, "--items-source", tmp_path / "items.parquet")
    assert "--items-source: not one" in line or "ids are texts or whole numbers: 0.5" in line


def test_float_ids_of_items_are_those_of_the_events(events, tmp_path):
    frame = polars.DataFrame({"item_id": [float(item) for item in range(40)], "title": [f"t{n}" for n in range(40)]})
    frame.write_parquet(tmp_path / "items.parquet")
    prepare("--dataset", "events", "--source", events, "--items-source", tmp_path / "items.parquet",
            "--dataset-dir", tmp_path / "out")  # fmt: skip
    items = polars.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["title"].to_list() == [f"t{item}" for item in items["item_id"]]


def test_few_titles_are_a_warning(events, tmp_path, caplog):
    (tmp_path / "items.csv").write_text("item_id,title\n1,One\n2,Two\n")
    prepare("--dataset", "events", "--source", events, "--items-source", tmp_path / "items.csv",
            "--dataset-dir", tmp_path / "out")  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [
        "warning: only 2 of 40 items have a title; check --items-source"
    ]


def test_global_time_end_to_end(events, tmp_path):
    output = tmp_path / "dataset"
    prepare("--dataset", "events", "--source", events, "--splitting", "global-time", "--dataset-dir", output)
    split = json.loads((output / "manifest.json").read_text())["split"]
    frame = polars.read_parquet(output / "interactions.parquet")
    sequences = read_sequences(output)
    place = frame.select(polars.int_range(polars.len()).over("user")).to_series()
    lengths = polars.Series(sequences.train_length).gather(frame["user"])
    training = frame.filter(place < lengths)
    assert training["time"].max() < split["validation_from"] <= split["test_from"]
    assert training.height == split["training_interactions"]
    assert split["test_users"] > 0


@pytest.mark.parametrize(("users", "tested"), [("ab", 1), ("a", 1), ("b", 0)])
def test_too_few_test_users_are_refused_where_models_are_compared(users, tested, tmp_path, refused):
    """User a has five events, the others two: too few for a test target."""
    path = tmp_path / "few.csv"
    rows = [f"{user},i{place},{place}" for user in users for place in range(5 if user == "a" else 2)]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    told = ["--dataset", "events", "--source", path, "--k-core", "0"]
    line = refused(*told, "--least-test-users", "2")
    assert f"data set few: {tested} of its {len(users)} users have a test target (--splitting leave-one-out)" in line
    prepare(*told, "--dataset-dir", tmp_path / "alone")  # by hand it is a data set like any other
    assert json.loads((tmp_path / "alone" / "manifest.json").read_text())["split"]["test_users"] == tested


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
        (
            "--dataset events --source {events} --items-source {events}",
            "its columns are user_id, item_id, timestamp, rating; rename it, or choose another --title-column",
        ),
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
        ("--dataset events --source {events} --splitting global-time --test-fraction 2", "below 1 together"),
        ("--dataset events --source {events} --time-unit order --splitting global-time", "holds order numbers"),
        ("--dataset events", "--dataset events needs --source"),
        (
            "--dataset events --source {events} --encoding klingon",
            "--encoding klingon: not an encoding that Python knows",
        ),
        (
            "--dataset events --source {events} --encoding base64",
            "--encoding base64: not an encoding that Python knows",
        ),
        ("--dataset events --source {events} --delimiter comet", "--delimiter comet: unknown; choose from auto, comma"),
        ("--dataset events --source {events} --delimiter tab", "no column 'user_id'; its columns are user_id,item_id"),
        ("--dataset events --source {events} --encoding utf-16", "not text in the expected encoding"),
        ("--dataset events --source {folder}", "holds the folder out; name the files by a pattern such as"),
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


@pytest.mark.parametrize("kind", ["archive", "utf-16"])
def test_an_early_error_in_a_long_file_ends_the_process_well(tmp_path, kind):
    """Arrow's threads still read ahead then; in Python code they would abort the interpreter that ends (status -6)."""
    if kind == "archive":
        path, data_set = tmp_path / "ml-1m.zip", ["ml-1m", "--any-checksum", "true"]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("ml-1m/ratings.dat", "w") as member:
                for _ in range(200):
                    member.write(b"x" * (1 << 20))
            archive.writestr("ml-1m/movies.dat", "1::2::3\n")
    else:
        path, data_set = tmp_path / "events.csv", ["events"]
        path.write_text("user_id,item_id,timestamp\n1,2\n" + "1,2,1600000000\n" * 1_000_000, encoding="utf-16")
    command = [sys.executable, "-m", "ssm4rec.stages.prepare_data", "--source", path, "--dataset-dir", tmp_path / "x"]
    done = subprocess.run([*command, "--dataset", *data_set], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_every_flag_is_an_input_of_the_component():
    """A flag that the component does not pass could not be set in a pipeline."""
    (container,) = prepare_data.pipeline_spec.deployment_spec["executors"].values()
    passed = {argument for argument in container["container"]["args"] if argument.startswith("--")}
    flags = {option for action in Settings.parser()._actions for option in action.option_strings}
    assert passed == flags - {"-h", "--help"}


def test_own_data_have_a_name(events, tmp_path, capsys):
    for flags, name in (((), "events"), (("--name", "shop_1"), "shop_1")):
        prepare("--dataset", "events", "--source", events, "--dataset-dir", tmp_path / "out", *flags)
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert (manifest["dataset"], manifest["kind"]) == (name, "events")
        assert read_sequences(tmp_path / "out").name == name
        assert f"{name}, leave-one-out: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset events --source {events} --name a/b", "--name 'a/b': use letters, digits, '.', '_' and '-'"),
        ("--dataset events --source {events} --name ML-1M", "--name ML-1M: is the name of a published data set"),
        ("--dataset ml-1m --source {events} --name shop", "--name shop: --dataset ml-1m has its own name"),
    ],
)
def test_a_wrong_name_is_refused(refused, events, arguments, message):
    assert message in refused(*arguments.format(events=events).split())


def test_a_source_that_changed_since_the_run_started_is_refused(events, tmp_path, refused, capsys):
    version, _ = find_versions([str(events)], file_state)
    flags = ("--dataset", "events", "--source", events, "--data-version", version)
    prepare(*flags, "--dataset-dir", tmp_path / "good")
    assert json.loads((tmp_path / "good" / "manifest.json").read_text())["settings"]["data_version"] == version
    events.write_text(events.read_text().replace("1600000000", "1600000001"))
    capsys.readouterr()
    line = refused(*flags)
    assert f"{events}: changed while the run read it" in line
    assert line.endswith("; start it again\n")


@pytest.mark.parametrize("version", ["", "monday"])
def test_a_source_that_changes_while_it_is_read_is_refused(events, refused, monkeypatch, version):
    """Its checksum in the manifest would be that of other events."""

    def read(options):
        found = read_data_set(options)
        with events.open("a") as file:
            file.write("1,2,1600009999,3\n")
        return found

    monkeypatch.setattr("ssm4rec.stages.prepare_data.__main__.read_data_set", read)
    line = refused("--dataset", "events", "--source", events, "--data-version", version)
    assert f"{events}: changed while the run read it" in line
