"""make: what a target does not know is refused, and a value reaches the program as it was given, byte for byte."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from pipelines.make_names import STAGE_TARGETS, TARGETS
from pipelines.run import build_parser as build_study
from pipelines.submit import build_parser
from ssm4rec.artifacts.names import PROFILES
from ssm4rec.data.data_sets import DATA_SETS
from ssm4rec.models.table import MODELS
from ssm4rec.serving.__main__ import build_parser as build_server
from ssm4rec.studies import STUDIES
from tests.pipelines.conftest import Recorder

ROOT = Path(__file__).parents[2]
RECORDING = """#!/bin/bash
printf '%s\\0' "$@" > "$RECORD/arguments"
printf '%s' "$SSM4REC_REGISTRY" > "$RECORD/registry"
printf '%s' "$BROWSER" > "$RECORD/browser"
"""


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A virtual environment whose Python writes down what it is called with."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "mlflow"):
        (tmp_path / "bin" / name).write_text(RECORDING)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".installed").touch()
    return tmp_path


def named(words: Iterable[str]) -> set[str]:
    """Names of variables or flags in one spelling, without those that every target has and those for people."""
    further = {"ACCELERATOR", "AT_ONCE", "NODES", "REGISTRY", "VOLUME"}
    further |= {"PYTHON", "TORCH_INDEX", "VENV", "TOOLS", "SERVING", "_H", "HELP"}
    return {word.removeprefix("--").removesuffix("=").upper().replace("-", "_") for word in words} - further


def shown(target: str) -> dict[str, str]:
    """The variables of a target as make shows them, and what stands on the line of each."""
    lines = make("help", f"FOR={target}").stdout.partition(f"  make {target} NAME=")[2].splitlines()
    return dict(found.groups() for line in lines if (found := re.fullmatch(r"  ([A-Z][A-Z_]*) +(\S.*)", line)))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_knows_the_flags_of_its_program(target: str) -> None:
    parser = build_study(TARGETS[target])
    flags = {option for action in parser._actions for option in action.option_strings}
    assert named(shown(target)) == named(flags)


@pytest.mark.parametrize("target", STAGE_TARGETS)
def test_a_target_of_a_stage_knows_its_flags_and_hands_them_on(target: str, recorded: Path) -> None:
    settings = STAGE_TARGETS[target]
    flags = {option for action in settings.parser()._actions for option in action.option_strings}
    assert named(shown(target)) == named(flags) - {"EXECUTOR_INPUT"}
    done = make(target, f"VENV={recorded}", "DATASET_DIR=a b", "USERS_PER_SHARD=7", RECORD=str(recorded))
    assert done.returncode == 0, done.stderr
    words = (recorded / "arguments").read_bytes().split(b"\0")[:-1]
    assert words[:2] == [b"-m", settings.module().encode()]
    assert {*words[2:]} == {b"--dataset-dir=a b", b"--users-per-shard=7"}


def test_serve_knows_the_flags_of_the_server_and_needs_a_model(recorded: Path) -> None:
    flags = {option for action in build_server()._actions for option in action.option_strings}
    assert named(shown("serve")) - {"MODEL"} == named(flags)
    lacking = make("serve", f"SERVING={recorded}")
    assert (lacking.returncode, lacking.stdout) == (2, "")
    assert "make serve: name a model, such as MODEL=" in lacking.stderr
    model = recorded / "a  b$(c)'#"
    model.mkdir()
    done = make("serve", f"SERVING={recorded}", f"MODEL={model}", "STORE=u.sqlite", RECORD=str(recorded))
    assert done.returncode == 0, done.stderr
    words = (recorded / "arguments").read_bytes().split(b"\0")[:-1]
    assert words == [b"-m", b"ssm4rec.serving", b"--store=u.sqlite", b"--", str(model).encode()]


@pytest.mark.parametrize("model", ["", "/nope", "Makefile"])
def test_serve_looks_at_its_model_before_it_installs(model: str, tmp_path: Path) -> None:
    done = make("serve", f"SERVING={tmp_path}/serving", "PYTHON=false", f"MODEL={model}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"make serve: MODEL={model}: no such folder" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["status", "RUN=r1"], ["stop", "RUN=r1"], ["submit", "LLM=none"]])
def test_a_kfp_that_does_not_answer_is_one_line(words: list[str], recorded: Path) -> None:
    (recorded / "bin" / "python").write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    done = make(*words, f"VENV={recorded}", KF_PIPELINES_ENDPOINT="http://127.0.0.1:9")
    line, last = (line for line in done.stderr.splitlines() if "Warning: File" not in line)
    assert "http://127.0.0.1:9: no KFP answers there (" in line
    assert "Connection refused); is the port forwarded?" in line
    assert last.endswith("Error 2")
    assert (done.returncode, done.stdout) == (2, "")


def test_each_variable_of_each_kind_of_target_has_a_meaning_and_columns_fit() -> None:
    kinds = "run recommend serve schedule images deploy report logs mlflow test fuzz gpu-proof manifests bench-ops help"
    for target in kinds.split():
        lines = make("help", f"FOR={target}").stdout.splitlines()
        assert max(map(len, lines)) <= 100
        assert not [line for line in lines if re.fullmatch(r"  [A-Z][A-Z_]+\s*", line)], target
    lines = shown("run")
    assert re.match(r"quick +size of the training: smoke, quick", lines["PROFILE"])
    assert re.match(r"5 +k-core: iteratively drop", lines["K_CORE"])
    assert shown("mlflow")["PORT"] == "port of the pages of MLflow (5000)"


def test_make_alone_lists_what_may_be_chosen_and_its_columns_line_up() -> None:
    lines = make().stdout.splitlines()
    for name, choices in {"DATASET": DATA_SETS, "MODELS": MODELS, "PROFILE": PROFILES}.items():
        assert f"  {name:8} {' '.join(choices)}" in lines
    targets = [line for line in lines if re.match(r"  [a-z0-9-]+ {2,}[A-Z]", line) and not line.startswith("  make ")]
    assert len(targets) > 20
    assert {len(re.match(r"  \S+ +", line)[0]) for line in targets} == {23}  # type: ignore[index]


def test_a_name_of_the_last_release_is_handed_on_and_not_listed(recorded: Path) -> None:
    assert "SPLIT" not in shown("run")
    make("run", f"VENV={recorded}", "SPLIT=global-time", RECORD=str(recorded))
    assert b"--split=global-time" in (recorded / "arguments").read_bytes().split(b"\0")


def test_submit_knows_the_flags_of_every_study() -> None:
    parsers = [build_parser(study) for study in STUDIES]
    flags = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    known = {target: named(shown(target)) for target in ("submit", "schedule")}
    assert known["submit"] == named(flags) - {"CRON"}
    assert known["schedule"] == named(flags) - {"CACHE"}  # a run by schedule takes nothing from a cache


def test_a_schedule_needs_a_time_and_only_a_schedule_has_one(recorded: Path) -> None:
    done = make("schedule", f"VENV={recorded}", "LLM=none", RECORD=str(recorded))
    assert (done.returncode, done.stdout) == (2, "")
    assert 'make schedule: say when, such as CRON="0 3 * * *"' in done.stderr
    assert not (recorded / "arguments").exists()
    assert make("schedule", f"VENV={recorded}", "CRON=0 3 * * *", RECORD=str(recorded)).returncode == 0
    assert b"--cron=0 3 * * *" in (recorded / "arguments").read_bytes().split(b"\0")
    assert "make submit: CRON=: unknown" in make("submit", f"VENV={recorded}", "CRON=0 3 * * *").stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run MODEL=sasrec", "make run: MODEL=: unknown; did you mean MODELS=? (known: ACCELERATOR ANY_CHECKSUM"),
        ("run SEED=1", "make run: SEED=: unknown; did you mean SEEDS=?"),
        ("run EPOCHS=1", "make run: EPOCHS=: unknown (known:"),
        ("run models=sasrec", "make run: models=: unknown"),
        ("orpo-study OPTIMIZERS=usgm", "make orpo-study: OPTIMIZERS=: unknown"),
        ("orpo-study LANGUAGE_MODEL=a/b", "make orpo-study: LANGUAGE_MODEL=: unknown; did you mean LANGUAGE_MODELS=?"),
        ("long-history-study LATENCY_USERS=1", "make long-history-study: LATENCY_USERS=: unknown"),
        ("reproduce-ml1m DATASET=ml-100k", "make reproduce-ml1m: DATASET=: unknown"),
        ("reproduce-ml1m EVENT_ORDER=exact", "make reproduce-ml1m: EVENT_ORDER=: unknown"),
        ("reproduce-ml1m PROFILE=best", "make reproduce-ml1m: PROFILE=: unknown; did you mean PROFILES=?"),
        ("mlflow PROT=5001", "make mlflow: PROT=: unknown; did you mean PORT=? (known: BROWSER PORT PYTHON"),
        ("recommend MODEL=m", "make recommend: MODEL=: unknown; did you mean MODEL_DIR=?"),
        ("logs RUNS=1", "make logs: RUNS=: unknown; did you mean RUN=?"),
        ("test TEST=tests", "make test: TEST=: unknown; did you mean TESTS=?"),
        ("bench-ops BENCHS=x", "make bench-ops: BENCHS=: unknown; did you mean BENCH=?"),
        ("submit OUT=x", "make submit: OUT=: unknown"),
        ("clean OUT=x", "make clean: OUT=: unknown"),
        ("OUT=x", "make help: OUT=: unknown"),
        ("run it's=x", "make run: it's=: unknown"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_before_anything_is_installed(
    words: str, line: str, tmp_path: Path
) -> None:
    done = make(*words.split(), f"VENV={tmp_path}/venv")
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    assert line in said
    assert not list(tmp_path.iterdir())


def test_a_browser_is_handed_to_mlflow_from_make_and_from_the_environment(recorded: Path) -> None:
    for told, variables in ((["BROWSER=none"], {"BROWSER": "firefox"}), ([], {"BROWSER": "none"})):
        done = make("mlflow", *told, f"VENV={recorded}", RECORD=str(recorded), **variables)
        assert done.returncode == 0, done.stderr
        assert (recorded / "browser").read_text() == "none"


def test_known_names_of_every_kind_pass(recorded: Path) -> None:
    for words in (
        "bench-ops BENCH=--runs",
        "mlflow PORT=5001",
        "images ONLY=cpu PUSH=1",
        "compile REGISTRY=r VOLUME=v",
    ):
        done = make(*words.split(), f"VENV={recorded}", RECORD=str(recorded))
        assert done.returncode == 0, done.stderr
    # of the environment they are not refused, nor handed on: names as plain as OUT may stand there for other reasons
    assert make("run", f"VENV={recorded}", RECORD=str(recorded), OUT="x", MODEL="y").returncode == 0
    assert (recorded / "arguments").read_bytes().split(b"\0")[:-1] == [b"-m", b"pipelines.run"]


@pytest.mark.parametrize(
    "value",
    [
        "it's", 'say "x"', "a$b", "a$$b", "$(shell touch hacked)", "${HOME}", "`touch hacked`", "a#b", "a\\b", "a\\nb",
        "a b  c ", "*", "a?b", "%41", "a;touch hacked", "a&b", "a|b", "!x", "~", "é日", "a\tb", "a\nb", "-x", "{a,b}",
        "", "\\'", "$'x'", "a,b=c:d", "(a)", ")", "x$", "\\",
    ],
)  # fmt: skip
def test_a_value_reaches_the_program_byte_for_byte(value: str, recorded: Path) -> None:
    done = make("submit", f"VENV={recorded}", f"NAME={value}", f"REGISTRY={value}", "SEEDS=1", RECORD=str(recorded))
    assert done.returncode == 0, done.stderr
    arguments = (recorded / "arguments").read_bytes().split(b"\0")[:-1]
    assert set(arguments[2:]) == {f"--name={value}".encode(), b"--seeds=1"}
    assert (recorded / "registry").read_bytes() == value.encode()
    assert not (ROOT / "hacked").exists()


def test_a_submission_for_a_registry_names_its_images(server: Recorder, recorded: Path) -> None:
    """Through make and the real program: the posted pipeline runs the images of that registry."""
    endpoint = f"http://127.0.0.1:{server.server_port}"
    python = recorded / "bin" / "python"
    python.write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    words = ("REGISTRY=registry.example.org/shop", "LLM=none", "GLOBAL_TIME=none", f"VENV={recorded}")
    done = make("submit", *words, KF_PIPELINES_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    spec = server.posted["/apis/v2beta1/runs"]["pipeline_spec"]["pipeline_spec"]
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images
    assert all(image.startswith("registry.example.org/shop/ssm4rec-") for image in images)
    committed = yaml.safe_load_all((ROOT / "pipelines/compiled/comparative_study.yaml").read_text(encoding="utf-8"))
    assert "registry.example.org" not in str(next(committed))


HARMFUL = "$(shell touch hacked)`touch hacked`$$(touch hacked);touch hacked;'\"*"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("help", "FOR=rum"), "make help: FOR=: there is no such target; name one of help run optimizer-study"),
        (("help", "FOR="), "make help: FOR=: name one of help run"),
        (("help", f"FOR={HARMFUL}"), "make help: FOR=: there is no such target"),
        (("deploy", "OVERLAY=../.."), "make deploy: OVERLAY=../..: choose one of a100 a100-login kind kind-login"),
        (("deploy", "OVERLAY="), "make deploy: OVERLAY=: choose one of a100"),
        (("deploy", "OVERLAY=."), "make deploy: OVERLAY=.: choose one of a100"),
        (("deploy", f"OVERLAY={HARMFUL}"), "choose one of a100"),
        (("images", "PUSH=2"), "make images: PUSH=: write 1 or 0"),
        (("images", "PUSH=1 0"), "make images: PUSH=: write 1 or 0"),
        (("manifests", f"WRITE={HARMFUL}"), "make manifests: WRITE=: write 1 or 0"),
        (("run", "VENV="), "make: VENV=: name a folder, without blanks and special characters"),
        (("run", "VENV=a b"), "make: VENV=: name a folder"),
        (("run", f"VENV={HARMFUL}"), "make: VENV=: name a folder"),
        (("clean", "TOOLS=a b"), "make: TOOLS=: name a folder"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_never_run(words: tuple[str, ...], line: str, tmp_path: Path) -> None:
    venv = () if any(word.startswith("VENV=") for word in words) else (f"VENV={tmp_path}/venv",)
    done = make(*words, *venv)
    assert done.returncode == 2
    assert line in done.stderr
    assert not (ROOT / "hacked").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["1", "yes", "true", "0", "no", "false", ""])
def test_a_switch_is_on_or_off(value: str, recorded: Path) -> None:
    done = make("images", f"PUSH={value}", f"VENV={recorded}", RECORD=str(recorded))
    assert done.returncode == 0, done.stderr
    arguments = (recorded / "arguments").read_bytes().split(b"\0")
    assert (b"--push" in arguments) is (value in ("1", "yes", "true"))


@pytest.mark.parametrize(("target", "variable"), [("test", "TESTS"), ("bench-ops", "BENCH"), ("bench-peers", "BENCH")])
def test_words_are_split_at_blanks_and_nothing_else_is_read_into_them(
    target: str, variable: str, recorded: Path
) -> None:
    done = make(target, f"{variable}=-k {HARMFUL} ~ M*", f"VENV={recorded}", RECORD=str(recorded))
    assert done.returncode == 0, done.stderr
    assert not (ROOT / "hacked").exists()
    arguments = (recorded / "arguments").read_bytes().split(b"\0")[:-1]
    expected = ["-k", *HARMFUL.split(), "~", "M*"]
    assert arguments[-len(expected) :] == [word.encode() for word in expected]


def test_the_number_of_cases_is_not_run(recorded: Path) -> None:
    assert make("fuzz", f"CASES={HARMFUL}", f"SEED={HARMFUL}", f"VENV={recorded}", RECORD=str(recorded)).returncode == 0
    assert not (ROOT / "hacked").exists()


def test_clean_removes_virtual_environments_only(tmp_path: Path) -> None:
    venv, home = tmp_path / "venv", tmp_path / "home"
    for folder in (venv, home):
        folder.mkdir()
        (folder / "letter").touch()
    (venv / "pyvenv.cfg").touch()
    assert make("clean", f"VENV={venv}", f"TOOLS={tmp_path}/none").returncode == 0
    assert not venv.exists()
    done = make("clean", f"VENV={home}", f"TOOLS={tmp_path}/none")
    assert f"make clean: {home} is not a virtual environment: it stays" in done.stderr
    assert (done.returncode, (home / "letter").exists()) == (2, True)
