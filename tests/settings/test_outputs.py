"""No output path destroys anything: a list of hostile ones, tried by an unprivileged user, over several stages."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import StageParser
from ssm4rec.settings.outputs import PathFlag, kept_folder, output_file, output_folder
from tests.hostile_paths import REFUSED, TAKEN

Attempts = list[dict[str, Any]]


@pytest.fixture(scope="module")
def attempts() -> Iterator[Attempts]:
    # Not tmp_path: an unprivileged user does not get into it.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.hostile_paths", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[f"{flags}" for _, flags, _ in REFUSED])
def test_refused_before_any_work(attempts: Attempts, number: int) -> None:
    attempt, said = attempts[number], REFUSED[number][2]
    assert re.search(said, attempt["error"]), attempt["error"]
    assert attempt["error"].count("\n") == 1
    assert (attempt["status"], attempt["reached"], attempt["unharmed"]) == (2, False, True)


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a user whom its passwd does not know."""
    monkeypatch.setattr(Path, "expanduser", _no_home)
    parser = StageParser("a stage", "")
    parser.add_argument("--model-dir", type=output_folder("train"))
    parser.add_argument("--cache-dir", type=kept_folder)
    parser.check_paths(parser.parse_args(["--model-dir", str(tmp_path / "new"), "--cache-dir", "~/cache"]))


@pytest.mark.parametrize(
    ("kind", "what"), [(output_file("JSON"), "file"), (output_folder("train"), "folder"), (kept_folder, "folder")]
)
def test_an_address_is_no_path_to_write(kind: PathFlag, what: str, tmp_path: Path) -> None:
    parser = StageParser("a stage", "")
    parser.add_argument("--written", type=kind)
    for address in ("s3://bucket/x", "S3://bucket/x", "file:///x", "http://host/x"):
        with pytest.raises(InputError, match=rf"^--written {address}: a {what} of this machine is written; give its"):
            parser.parse_args(["--written", address])
    for path in ("/s3/bucket/x", "s3:/bucket/x", f"{tmp_path}/a://b"):  # the first is KFP's, on a cluster
        assert Path(parser.parse_args(["--written", path]).written) == Path(path)


def _no_home(path: Path) -> Path:
    raise RuntimeError(f"Could not determine home directory of {path}.")


@pytest.mark.parametrize("number", range(len(TAKEN)), ids=[f"{flags}" for _, flags in TAKEN])
def test_taken(attempts: Attempts, number: int) -> None:
    attempt = attempts[len(REFUSED) + number]
    assert (attempt["status"], attempt["error"], attempt["reached"]) == (0, "", True)
