"""The engine ray writes the bytes of polars, says the same of bad input, and does a killed worker's work again."""

import gzip
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import polars
import pyarrow.parquet
import pytest

from ssm4rec.data import ray_engine
from ssm4rec.runtime.ray_cluster import ray_cluster, result, submit
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.prepare_data.__main__ import run
from ssm4rec.stages.prepare_data.settings import Settings
from tests.conftest import Refusal
from tests.processes import descendants

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")

HEADER = "user_id,item_id,timestamp,rating\n"
RATED = ("--rating-column=rating",)


def write_events(folder: Path, files: int, rows: int) -> Path:
    """Write files with many ties and duplicates; a tenth of the events has no rating, and users are in all files."""
    chance = random.Random(24)
    folder.mkdir()
    for number in range(files):
        text = "".join(
            f"{'ü' if chance.random() < 0.3 else 'u'}{int(chance.paretovariate(0.8)) % 90},"
            f"i{int(chance.paretovariate(0.6)) % 70},{1_600_000_000 + chance.randrange(3000)},"
            f"{'' if chance.random() < 0.1 else chance.randrange(1, 11) / 2}\n"
            for _ in range(rows)
        )
        (folder / f"part-{number}.csv").write_text(HEADER + text)
    (folder / "items.jsonl").write_text("".join(f'{{"item_id": "i{n}", "title": "Item {n}"}}\n' for n in range(60)))
    return folder


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return write_events(tmp_path / "events", 4, 500)


def flags(events: Path, *more: str) -> list[str]:
    told = [f"--source={events}/part-*.csv", f"--items-source={events}/items.jsonl", *more]
    return told if any(one.startswith("--dataset=") for one in more) else ["--dataset=events", *told]


def prepare(folder: Path, told: list[str]) -> dict[str, bytes]:
    """Run the stage; return the files of the dataset folder."""
    run_stage(Settings.parser(), run, [*told, f"--dataset-dir={folder}"])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def handed_over(value: Any) -> Any:
    """Copy a value as Ray does: its arrays arrive read-only (docs.ray.io, "Serialization", numpy arrays)."""
    buffers: list[pickle.PickleBuffer] = []
    sent = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(sent, buffers=[bytes(one.raw()) for one in buffers])


def test_what_is_handed_over_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        handed_over(numpy.zeros(2))[0] = 1


def in_turn(function: Any, *arguments: Any, returns: int = 1) -> Any:
    """Do what Ray does of a function, in this process."""
    found = handed_over(function)(*map(handed_over, arguments))
    if returns == 1:
        return handed_over(found)
    assert len(found) == returns
    return [handed_over(one) for one in found]


@pytest.fixture
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray's processes do is done in this one: of seven parts, some of which have no users.

    So these tests show that parts give the bytes of the whole, and nothing of Ray: ``test_by_processes_of_ray`` does.
    """
    monkeypatch.setattr(ray_engine, "submit", in_turn)
    monkeypatch.setattr(ray_engine, "result", lambda kept: kept)
    monkeypatch.setattr(ray_engine, "share", handed_over)
    monkeypatch.setattr(ray_engine, "room", lambda: 7)
    monkeypatch.setattr("ssm4rec.data.engine.ray_cluster", lambda *told: nullcontext())


CASES = [
    (),
    ("--k-core=0", "--items-source=none"),
    (*RATED, "--k-core=8"),
    (*RATED, "--deduplicate=first", "--minimum-rating=2", "--k-core=3"),
    (*RATED, "--deduplicate=last", "--event-order=random-ties"),
    ("--event-order=recbole", "--k-core=6"),
    ("--splitting=global-time",),
    (*RATED, "--splitting=global-time", "--time-target=random", "--event-order=random-ties", "--deduplicate=first"),
    ("--k-core=4", "--draw-users=20"),
    ("--k-core=0", "--draw-users=9999"),
    ("--cold-items=0.2", "--k-core=4"),
    ("--cold-items=0.1", "--event-order=recbole", "--draw-users=15"),
    ("--time-unit=order",),
    ("--bad-rows=drop", *RATED),
]


@pytest.mark.usefixtures("without_processes")
@pytest.mark.parametrize("more", CASES, ids=" ".join)
def test_the_folder_is_that_of_polars(events: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    if "--bad-rows=drop" in more:
        with (events / "part-1.csv").open("a") as file:
            file.write("u1,i1,soon,3\n,i2,1600000000,3\nu1,i2\n")
        (events / "part-2.csv").write_text(f"{HEADER}u1,i1,never,1\n")  # none of its events stays
        (events / "part-3.csv").write_text((events / "part-3.csv").read_text() + "u1,i1,1600000000,good\n")
    told = flags(events, *more)
    assert prepare(tmp_path / "ray", [*told, "--engine=ray"]) == prepare(tmp_path / "polars", told)


@pytest.mark.usefixtures("without_processes")
def test_a_folder_of_several_row_groups_is_that_of_polars(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm4rec.data.dataset_writer.GROUP_EVENTS", 200)
    told = flags(events, "--k-core=3")
    assert prepare(tmp_path / "ray", [*told, "--engine=ray"]) == prepare(tmp_path / "polars", told)
    assert pyarrow.parquet.ParquetFile(tmp_path / "polars" / "sequences.parquet").num_row_groups > 5


@pytest.mark.usefixtures("without_processes")
def test_a_generated_set_is_that_of_polars(tmp_path: Path) -> None:
    """With its known loss, which wants the sequences as they were drawn."""
    told = ["--dataset=generated-words", "--k-core=0"]
    assert prepare(tmp_path / "ray", [*told, "--engine=ray"]) == prepare(tmp_path / "polars", told)


@pytest.mark.usefixtures("without_processes")
@pytest.mark.parametrize(
    ("rows", "more"),
    [
        ("\n".join(f"{user},i1,1600000000,1" for user in ("x", " z", "z", " x", "7", "7.0")), ()),
        ("x,i1,1600000000,1\ny, i1,1600000000,1", ()),
        ("x,i1,1600000000,1\ny,,1600000000,1", ()),
        ("x,i1,1,1\ny,i2,2,1", ()),
        ("x,i1,1600000000,1", ("--k-core=2000",)),
        ("x,i1,1600000000,1", (*RATED, "--minimum-rating=6")),
        ("x,i1,1600000000,1", ("--splitting=global-time", "--time-unit=order")),
        ("x,i1,1600000000,1", ("--user-column=who",)),
    ],
)  # fmt: skip
def test_bad_input_is_said_as_polars_says_it(
    events: Path, tmp_path: Path, refusal: Refusal, rows: str, more: tuple[str, ...]
) -> None:
    (events / "part-4.csv").write_text(f"{HEADER}{rows}\n")
    told = [*flags(events, *more), f"--dataset-dir={tmp_path}/out/dataset"]
    said = refusal(run, *told)
    assert refusal(run, *told, "--engine=ray") == said
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.usefixtures("without_processes")
def test_no_events_are_said_as_polars_says_it(events: Path, tmp_path: Path, refusal: Refusal) -> None:
    for path in events.glob("part-*"):
        path.write_text(f"{HEADER}x,i1,soon,1\n")
    told = [*flags(events), "--bad-rows=drop", f"--dataset-dir={tmp_path}/out"]
    assert refusal(run, *told, "--engine=ray") == refusal(run, *told)


def test_ray_absent(events: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    said = refusal(run, *flags(events), "--engine=ray", f"--dataset-dir={tmp_path}/out")
    assert "--engine ray: Ray is not installed; install it (pip install 'ssm4rec[ray]'), or use --engine polars" in said
    said = refusal(run, *flags(events), "--workers=2", f"--dataset-dir={tmp_path}/out")
    assert "--workers 2: is of --engine ray; set that, or leave the flag out" in said
    assert not list(tmp_path.glob("out*"))


def test_no_cluster(events: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = refusal(run, *flags(events), "--engine=ray", f"--dataset-dir={tmp_path}/out/dataset")
    assert "RAY_ADDRESS 127.0.0.1:1: no Ray cluster answers there" in said
    assert said.endswith("mend that, or use --engine polars")
    assert not list(tmp_path.glob("out/*"))


@needs_ray
@pytest.mark.slow  # Ray's start takes half a minute on busy cores
def test_by_processes_of_ray(events: Path, tmp_path: Path, refusal: Refusal) -> None:
    """The same bytes; a file at fault is said alike; what kills each process that tries it is said in a line."""
    with ray_cluster(2, 0, ""):
        for number, more in enumerate([(*RATED, "--event-order=random-ties"), ("--cold-items=0.1", "--draw-users=40")]):
            told = flags(events, *more, "--k-core=3")
            found = prepare(tmp_path / f"ray-{number}", [*told, "--engine=ray", "--workers=2"])
            assert found == prepare(tmp_path / f"polars-{number}", told)
        with (events / "part-3.csv").open("a") as file:
            file.write("u1,,1600000000,1\n")
        told = [*flags(events), f"--dataset-dir={tmp_path}/out/dataset"]
        assert refusal(run, *told, "--engine=ray") == refusal(run, *told)
        assert not list(tmp_path.glob("out/*"))
        refused = submit(lambda: os._exit(1))
        with pytest.raises(Exception, match=r"Ray gave up \(.*died unexpectedly.*\); run the command again"):
            result(refused)


def write_millions(folder: Path, files: int, rows: int) -> Path:
    """Write files as :func:`write_events` does, of some 600,000 users and 80,000 items, a third without a title."""
    draw = numpy.random.default_rng(24)
    folder.mkdir()
    for number in range(files):
        ratings = polars.Series(draw.integers(1, 11, rows) / 2)
        frame = polars.DataFrame(
            {
                "user_id": (draw.pareto(1.2, rows) * 20_000).astype(numpy.int64) % 600_000,
                "item_id": (draw.pareto(0.9, rows) * 2_000).astype(numpy.int64) % 80_000,
                "timestamp": 1_600_000_000 + draw.integers(0, 3000, rows),
                "rating": ratings.set(polars.Series(draw.random(rows) < 0.1), None),
            }
        )
        ids = (polars.format(f"{kind}{{}}", name).alias(name) for kind, name in (("ü", "user_id"), ("i", "item_id")))
        frame.with_columns(*ids).write_csv(folder / f"part-{number}.csv")
    titles = "".join(f'{{"item_id": "i{n}", "title": "Item {n}"}}\n' for n in range(80_000) if n % 3)
    (folder / "items.jsonl").write_text(titles)
    return folder


@needs_ray
@pytest.mark.slow  # two minutes
@pytest.mark.parametrize("splitting", ["leave-one-out", "global-time"])
def test_five_million_events(tmp_path: Path, splitting: str) -> None:
    told = [*flags(write_millions(tmp_path / "events", 10, 500_000), *RATED), f"--splitting={splitting}"]
    told += ["--deduplicate=last", "--minimum-rating=1.5", "--k-core=5"]
    expected = prepare(tmp_path / "polars", told)
    assert prepare(tmp_path / "ray", [*told, "--engine=ray", "--workers=2"]) == expected
    manifest = json.loads(expected["manifest.json"])
    assert manifest["filters"][0]["before"]["interactions"] == 5_000_000
    assert 100_000 < manifest["counts"]["interactions"] < 4_000_000


@needs_ray
@pytest.mark.slow
def test_a_killed_workers_work_is_done_again(tmp_path: Path) -> None:
    events = write_events(tmp_path / "events", 12, 20_000)
    for path in events.glob("part-*.csv"):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    told = [one.replace("*.csv", "*.csv.gz") for one in flags(events, *RATED, "--deduplicate=last")]
    expected = prepare(tmp_path / "polars", told)
    command = [sys.executable, "-m", "ssm4rec.stages.prepare_data", *told, "--engine=ray", "--workers=2"]
    killed = []
    with (tmp_path / "log").open("w") as stream:
        running = subprocess.Popen([*command, f"--dataset-dir={tmp_path}/ray"], stderr=stream, stdout=stream)
        while running.poll() is None:
            for number, name in descendants(running.pid):
                kind = name.partition("\0")[0]
                if kind in ("ray::read_pieces", "ray::arrange") and kind not in killed:
                    os.kill(number, signal.SIGKILL)
                    killed.append(kind)
            time.sleep(0.01)
    assert running.returncode == 0, (tmp_path / "log").read_text()
    assert "ray::read_pieces" in killed
    assert {path.name: path.read_bytes() for path in (tmp_path / "ray").iterdir()} == expected
