"""What every stage's process does with a bad command line, bad input, a full disk and a bug."""

import argparse
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import StageParser, boolean, run_stage
from ssm4rec.stages.choose_settings.settings import Settings as ChooseSettings


def parser() -> StageParser:
    made = StageParser("ssm4rec.stages.example", "An example.")
    made.add_argument("--count", type=int, default=3, help="a number")
    made.add_argument("--flag", type=boolean, default=False, help="a truth value")
    return made


def fail_with(error: Exception) -> None:
    def run(options: argparse.Namespace) -> None:
        raise error

    run_stage(parser(), run, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "many"], "--count invalid int value: 'many' (see --help)"),
        (["--cou", "3"], "unrecognized arguments: --cou 3 (see --help)"),
        (["--flag", "maybe"], "--flag maybe: neither true nor false (see --help)"),
    ],
)
def test_command_line_mistakes_take_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_stage(parser(), lambda options: None, arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"python -m ssm4rec.stages.example: error: {message}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a.csv: no column 'x'"), "a.csv: no column 'x'"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/a"),
            "/out/a: No space left on device; free space or choose another folder",
        ),
    ],
)
def test_what_the_user_can_mend_takes_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fail_with(error)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"python -m ssm4rec.stages.example: error: {message}\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        fail_with(ZeroDivisionError())
    with pytest.raises(OSError, match="broken"):
        fail_with(OSError(errno.EIO, "broken"))


def test_help_shows_defaults_that_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    made = parser()
    made.add_argument("--source", default="", help="an address; empty: the official one")
    made.add_argument("--out", required=True, help="a folder")
    with pytest.raises(SystemExit) as stopped:
        made.parse_args(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "a number (default: 3)" in text
    assert text.count("(default:") == 2


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "YES"])
def test_true(text: str) -> None:
    assert boolean(text)


@pytest.mark.parametrize("text", ["false", "False", "0", "no", ""])
def test_false(text: str) -> None:
    assert not boolean(text)


WRITE = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from ssm4rec.settings.command_line import StageParser, run_stage

def run(options):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    weights = {"weights": torch.zeros(100_000)}
    name = str(Path(sys.argv[2]) / "weights")
    save_file(weights, name) if sys.argv[1] == "safetensors" else torch.save(weights, name)

run_stage(StageParser("a.stage", ""), run, [])
"""


@pytest.mark.parametrize("library", ["safetensors", "torch"])
def test_a_full_disk_under_a_library_is_one_line(library: str, tmp_path: Path) -> None:
    """Their own errors, met by a limit on the size of a file: the way to a full disk that needs no privileges."""
    done = subprocess.run([sys.executable, "-c", WRITE, library, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m a.stage: error: a file cannot be written (")
    assert line.endswith("; free space or choose another folder")


@pytest.mark.parametrize("arguments", [["--histories", "a.parquet"], ["--histories=a.parquet"]])
def test_a_flag_by_its_name_of_the_last_release_works_with_a_warning(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = ChooseSettings.parser().parse_args([*arguments, "--trainings", str(tmp_path / "trainings.json")])
    assert made.curves == (Path("a.parquet"),)
    assert caplog.messages == ["--histories is called --curves now; the old name works until the next release"]
