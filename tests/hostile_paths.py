"""Command lines whose outputs would destroy something, tried as an unprivileged user; prints a JSON document.

``python -m tests.hostile_paths FOLDER``: every case gets its own scratch below FOLDER, in which a stage's real command
line is parsed and checked; the stage's work is replaced by a note that it was reached.
"""

import contextlib
import io
import json
import os
import socket
import stat
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.files import whole_folder
from ssm4rec.settings.command_line import StageParser, run_stage
from ssm4rec.settings.outputs import study_folder

NOBODY: Final = 65534
NEW = ["--model-dir", "new", "--curve", "h.parquet"]

TRAIN = ("train_recommender", ["--dataset-dir", "dataset", "--model", "sasrec"])
EVALUATE = ("evaluate", ["--dataset-dir", "dataset", "--model-dir", "model"])
PREPARE = ("prepare_data", ["--dataset", "events"])
TUNE = ("finetune_llm", ["--dataset-dir", "dataset", "--candidates", "candidates.parquet"])
COMPARE = ("compare_models", ["--dataset-dir", "dataset"])
REPORT = ("report", ["--study", "comparative", "--dataset-dir", "dataset"])
STUDY: tuple[str, list[str]] = ("study", [])


def model(path: str) -> list[str]:
    """Return flags that write a model there."""
    return ["--model-dir", path, "--curve", "h.parquet"]


def history(path: str) -> list[str]:
    """Return flags that write a training's history there."""
    return ["--model-dir", "new", "--curve", path]


def evaluation(ranks: str = "r", candidates: str = "c", metrics: str = "m") -> list[str]:
    """Return flags that write an evaluation there."""
    return ["--ranks", ranks, "--candidates", candidates, "--metrics", metrics]


REFUSED: Final = [
    (TRAIN, model(""), "an empty path"),
    (TRAIN, model("."), "the working folder is it or lies in it"),
    (TRAIN, model(".."), "give the folder's own name"),
    (TRAIN, model("../work"), "the working folder is it or lies in it"),
    (TRAIN, model("../.."), "give the folder's own name"),
    (TRAIN, model("/"), "the working folder is it or lies in it"),
    (TRAIN, model("/tmp"), "the working folder is it or lies in it|no permission to write in /"),
    (TRAIN, model("../home"), "your home folder is it or lies in it"),
    (TRAIN, model("dataset"), "a folder that prepare_data wrote, not train_recommender"),
    (TRAIN, model("./dataset/../dataset/"), "a folder that prepare_data wrote"),
    (TRAIN, model("to_dataset"), "a link to dataset; give the path that it leads to"),
    (TRAIN, model("other"), "a folder that train_recommender did not write"),
    (TRAIN, model("other/deep"), "a folder that train_recommender did not write"),
    (TRAIN, model("hub_model"), "a folder that train_recommender did not write"),
    (TRAIN, model("old_model"), "a folder that train_recommender did not write"),
    (TRAIN, model("mixed"), "'notes.txt' in it was not written by train_recommender"),
    (TRAIN, model("forged"), "a folder that train_recommender did not write"),
    (TRAIN, model("notes.txt"), "a file is there, where a folder is to be written"),
    (TRAIN, model("pipe"), "a pipe is there"),
    (TRAIN, model("socket"), "a device or socket is there"),
    (TRAIN, model("/dev/null"), "no permission to write in /dev"),
    (TRAIN, model("/dev/new"), "no permission to write in /dev"),
    (TRAIN, model("/etc/new/model"), "no permission to write in /etc"),
    (TRAIN, model("/proc/new"), "no permission to write in /proc"),
    (TRAIN, model("dangling"), "a link to nowhere"),
    (TRAIN, model("dangling/model"), "dangling is not a folder"),
    (TRAIN, model("loop"), "a link to loop"),
    (TRAIN, model("notes.txt/model"), "notes.txt is not a folder"),
    (TRAIN, model("dataset/model"), "lies in --dataset-dir dataset"),
    (TRAIN, model("to_dataset/model"), "lies in --dataset-dir dataset"),
    (TRAIN, model("n" * 250), "is too long"),
    (TRAIN, model("closed/model"), "no permission to write in"),
    (TRAIN, model("damaged/inner"), "lies in .*/damaged, which train_recommender wrote as a whole"),
    (TRAIN, history("dataset/manifest.json"), "the file there is not Parquet"),
    (TRAIN, history("dataset/items.parquet"), "lies in --dataset-dir dataset"),
    (TRAIN, history("new"), "is the same path"),
    (TRAIN, history("new/curve.parquet"), "lies in it, and it is written as a whole"),
    (TRAIN, history("notes.txt"), "the file there is not Parquet, so not an earlier output"),
    (TRAIN, history("other"), "a folder is there, where a file is to be written"),
    (TRAIN, history("pipe"), "a pipe is there"),
    (TRAIN, history("/dev/stdout"), "no permission to write in /dev"),
    (TRAIN, history("to_notes"), "a link to notes.txt"),
    (TRAIN, [*NEW, "--checkpoint-dir", "new/checkpoints"], "lies in --model-dir new, which is replaced"),
    (TRAIN, [*NEW, "--checkpoint-dir", "notes.txt"], "--checkpoint-dir notes.txt: not a folder"),
    (TRAIN, [*NEW, "--checkpoint-dir", "dataset"], "lies in --dataset-dir dataset"),
    (TRAIN, [*NEW, "--checkpoint-dir", "closed"], "no permission to write there"),
    (EVALUATE, evaluation("x", "c", "x"), "is the same path"),
    (EVALUATE, evaluation("x", "c", "./other/../x"), "is the same path"),
    (EVALUATE, evaluation(metrics="dataset/manifest.json"), "lies in --dataset-dir dataset"),
    (EVALUATE, evaluation(metrics="model/config.json"), "lies in --model-dir model"),
    (EVALUATE, evaluation(metrics="model"), "a folder is there, where a file is to be written"),
    (EVALUATE, evaluation(candidates="dataset/items.parquet"), "lies in --dataset-dir dataset"),
    (PREPARE, ["--source", "dataset/items.parquet", "--dataset-dir", "dataset"], "is read, and would be replaced"),
    (PREPARE, ["--source", "file://{}/dataset/items.parquet", "--dataset-dir", "dataset"], "would be replaced"),
    (PREPARE, ["--source", "file://{}/dataset/a%2Cb.parquet", "--dataset-dir", "dataset"], "would be replaced"),
    (PREPARE, ["--source", "file://localhost{}/dataset/items.parquet", "--dataset-dir", "dataset"], "be replaced"),
    (PREPARE, ["--source", "a.csv,dataset/*.parquet", "--dataset-dir", "dataset"], "would be replaced"),
    (PREPARE, ["--items-source", "dataset/items.parquet", "--dataset-dir", "dataset"], "would be replaced"),
    (PREPARE, ["--source", "events.csv", "--dataset-dir", "events.csv"], "a file is there"),
    (PREPARE, ["--source", "events.csv", "--dataset-dir", "."], "the working folder"),
    (PREPARE, ["--source", "events.csv", "--dataset-dir", "model"], "a folder that train_recommender wrote"),
    (PREPARE, ["--cache-dir", "dataset/downloads", "--dataset-dir", "dataset"], "lies in --dataset-dir dataset"),
    (
        TUNE,
        ["--adapter-dir", "hub_model", "--language-model", "./hub_model", "--curve", "h"],
        "is there|did not write",
    ),
    (TUNE, ["--adapter-dir", "new", "--curve", "candidates.parquet"], "is read, and would be replaced"),
    (REPORT, ["--figures", "other"], "a folder that report did not write"),
    (REPORT, ["--figures", "."], "the working folder"),
    (REPORT, ["--report-html", "notes.txt"], "the file there is not HTML"),
    (REPORT, ["--results", "dataset/manifest.json"], "lies in --dataset-dir dataset"),
    (REPORT, ["--evaluations", "m.json", "--results", "m.json"], "is read, and would be replaced"),
    (COMPARE, ["--comparison", "model/config.json"], "lies in .*/model, which train_recommender wrote as a whole"),
    (COMPARE, ["--comparison", "to_model/new.json"], "lies in .*/model, which train_recommender wrote as a whole"),
    (TRAIN, model("~"), "your home folder is it or lies in it"),
    (PREPARE, ["--source", "events.csv", "--dataset-dir", "new", "--cache-dir", "model/downloads"], "wrote as a whole"),
    (STUDY, ["--out", "model"], "holds '.ssm4rec.json', and is not the folder of a study"),
    (STUDY, ["--out", "model/study"], "lies in .*/model, which train_recommender wrote as a whole"),
    (STUDY, ["--out", "/"], "no permission to write there|is not the folder of a study"),
    (STUDY, ["--out", "."], "is not the folder of a study"),
    (STUDY, ["--out", "notes.txt"], "not a folder"),
    (STUDY, ["--out", "other"], "holds 'deep', and is not the folder of a study"),
    (STUDY, ["--out", "dangling"], "not a folder"),
    (STUDY, ["--out", "/etc/study"], "no permission to write in /etc"),
]
"""Stage, flags, and what the refusal says."""

TAKEN: Final = [
    (TRAIN, model("new")),
    (TUNE, ["--adapter-dir", "org/name", "--language-model", "org/name", "--curve", "h"]),
    (PREPARE, ["--source", "new/none.csv", "--dataset-dir", "new"]),
    (TRAIN, model("deep/down/new")),
    (TRAIN, model("empty")),
    (TRAIN, model("model")),
    (TRAIN, model("link_to_folder/new")),
    (TRAIN, history("old.parquet")),
    (TRAIN, history("empty.parquet")),
    (TRAIN, [*NEW, "--checkpoint-dir", "other"]),
    (EVALUATE, evaluation(metrics="m.json")),
    (PREPARE, ["--source", "events.csv", "--dataset-dir", "dataset"]),
    (PREPARE, ["--source", "s3://dataset/dataset", "--dataset-dir", "dataset"]),
    (STUDY, ["--out", "new"]),
    (STUDY, ["--out", "empty"]),
    (STUDY, ["--out", "study"]),
    (STUDY, ["--out", "old_study"]),
]


def lay_out(case: Path) -> None:
    """Make what a case may harm."""
    work = case / "work"
    for folder in ("home", "work/other/deep", "work/empty", "work/hub_model", "work/old_model", "work/forged"):
        (case / folder).mkdir(parents=True)
    for stage, place in (("prepare_data", "dataset"), ("train_recommender", "model"), ("train_recommender", "mixed")):
        with whole_folder(work / place, stage) as partial:
            for name in ("manifest.json", "config.json", "items.parquet", "a,b.parquet", "model.safetensors"):
                (partial / name).write_text("PAR1" if name.endswith("parquet") else "{}")
    for name in ("notes.txt", "mixed/notes.txt", "other/notes.txt", "other/deep/notes.txt", "events.csv", "a.csv"):
        (work / name).write_text("mine")
    for folder in ("hub_model", "old_model"):
        (work / folder / "config.json").write_text("{}")
        (work / folder / "model.safetensors").write_text("weights")
    (work / "forged" / ".ssm4rec.json").write_text("[]")
    (work / "damaged").mkdir()
    (work / "damaged" / ".ssm4rec.json").write_text('{"stage": "train_recommender", "files": null}')
    (work / "forged" / "thesis.tex").write_text("mine")
    for name in ("old.parquet", "candidates.parquet"):
        (work / name).write_text("PAR1 and more")
    (work / "empty.parquet").touch()
    (work / "m.json").write_text("{}")
    for link, target in (
        ("to_dataset", "dataset"), ("to_notes", "notes.txt"), ("dangling", "nowhere"), ("loop", "loop"),
        ("link_to_folder", "other"), ("to_model", "model"),
    ):  # fmt: skip
        (work / link).symlink_to(target)
    os.mkfifo(work / "pipe")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("socket")
    for folder in ("artifacts", "logs"):
        (work / "old_study" / folder).mkdir(parents=True)
    (work / "study").mkdir()
    (work / "study" / ".ssm4rec.json").write_text('{"stage": "study"}')
    (work / "closed").mkdir(mode=0o500)


def everything(folder: Path) -> dict[str, str]:
    """Return what lies below a folder: kinds, places on the disk, contents."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(parent, name)
            facts = path.lstat()
            content = path.read_text() if stat.S_ISREG(facts.st_mode) else ""
            found[str(path.relative_to(folder))] = f"{facts.st_ino} {facts.st_mode} {content}"
    return found


def attempt(case: Path, command: tuple[str, list[str]], flags: list[str]) -> dict[str, Any]:
    """Try one command line and say what became of it."""
    (case / "work").mkdir(parents=True)
    os.chdir(case / "work")
    os.environ["HOME"] = str(case / "home")
    lay_out(case)
    stage, given = command
    before, reached, error = everything(case), [], io.StringIO()
    status: Any = 0
    with contextlib.redirect_stderr(error):
        try:
            run_stage(
                parser_of(stage),
                reached.append,
                [*given, *(flag.replace("{}", str(Path.cwd())) for flag in flags)],
            )
        except SystemExit as raised:
            status = raised.code
    return {
        "status": status,
        "error": error.getvalue(),
        "reached": bool(reached),
        "unharmed": everything(case) == before,
    }


def parser_of(stage: str) -> StageParser:
    """Return a stage's command line; of a study its --out alone: the rest takes a minute to import."""
    if stage == "study":
        parser = StageParser("pipelines.run", "A study.")
        parser.add_argument("--out", type=study_folder, default="")
        return parser
    made: StageParser = import_module(f"ssm4rec.stages.{stage}.settings").Settings.parser()
    return made


def main() -> None:
    """Try all of them."""
    folder = Path(sys.argv[1])
    for command, *_ in [*REFUSED, *TAKEN]:
        parser_of(command[0])  # what it loads may be out of a plain user's reach
    if os.geteuid() == 0:
        folder.chmod(0o755)
        os.chown(folder, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    cases = [(command, flags) for command, flags, *_ in [*REFUSED, *TAKEN]]
    print(json.dumps([attempt(folder / str(number), *case) for number, case in enumerate(cases)]))


if __name__ == "__main__":
    main()
