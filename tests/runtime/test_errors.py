"""What a message shows of a user's data and addresses."""

import logging
import subprocess
import sys

import pytest

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError, one_line, printable
from ssm4rec.settings.command_line import StageParser, run_stage

HOSTILE = "column 'a\x1b[2J\x00\r\nFAILED nothing\u202e\u2028\x9b31m\udcff'"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("http://me:half/se?cr#et@host/x.csv", "http://host/x.csv"),
        ("http://me:secret@[::1]:80/x.csv", "http://[::1]:80/x.csv"),
        ("http://[::1]:80/x.csv", "http://[::1]:80/x.csv"),
        ("http://host:secret/x.csv", "http://host/x.csv"),
        ("http://me:secret@host:secret/x.csv", "http://host/x.csv"),
        ("http://token@host/x: not found", "http://host/x: not found"),
        ("a http://x:y@h/1?s=2, http://x:y@h/3#s (and more)", "a http://h/1, http://h/3 (and more)"),
        ('{"source": "s3://KEY:SECRET@bucket/a", "k": 5}', '{"source": "s3://bucket/a", "k": 5}'),
        ("postgresql+psycopg2://me:secret@db:5432/mlflow", "postgresql+psycopg2://db:5432/mlflow"),
        ("mysql://db/mlflow?user=me&password=secret", "mysql://db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("retries exceeded with url: /x?Signature=abc (Caused by", "retries exceeded with url: /x (Caused by"),
        ("http://[::1/me:secret@host/x.csv", "http://host/x.csv"),
        ("could not be cast to integer value as 'secret'", "could not be cast to integer value as '***'"),
        ("me:secret@host/x.csv: no such file", "host/x.csv: no such file"),
        ("use hf_AbCdEfGhIjKl here", "use hf_*** here"),
        *((same, same) for same in ("file:///data/a?b.csv, wheel:a/b, org/model", "models:/x@champion", "15:30")),
        ("epoch 3/30: loss 1.2, hit@10 .5, ndcg@10 .4", "epoch 3/30: loss 1.2, hit@10 .5, ndcg@10 .4"),
    ],
)  # fmt: skip
def test_what_is_public_of_a_text(text: str, public: str) -> None:
    assert public_text(text) == public


def test_secrets_of_the_environment_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "pl4nted-key")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "abc")  # too short to be told from a word
    assert public_text("signed with pl4nted-key of abc") == "signed with *** of abc"


def test_one_line_is_one_line() -> None:
    shown = printable(HOSTILE)
    assert shown == r"column 'a\x1b[2J\x00\r\nFAILED nothing\u202e\u2028\x9b31m\udcff'"
    long = one_line(f"file.csv: column {'x' * 5000}: rename it")
    assert len(long) < 1010
    assert long.startswith("file.csv: column x")
    assert long.endswith("x: rename it")
    assert " … " in long


def test_a_stage_prints_and_logs_printable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_stage(StageParser("stage", ""), lambda options: _refuse(), [])
    assert capsys.readouterr().err == f"python -m stage: error: {printable(HOSTILE)}\n"
    code = (
        "import logging; from ssm4rec.settings.command_line import StageParser, run_stage\n"
        "def run(options):\n"
        "    logging.info('a\\x1b[2J\\nb http://me:pl4nted@host/x')\n"
        "    raise ZeroDivisionError('http://me:pl4nted@host/x')\n"
        "run_stage(StageParser('stage', ''), run, [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, *_, last = done.stderr.splitlines()
    assert first == r"a\x1b[2J\nb http://host/x"
    assert last == "ZeroDivisionError: http://host/x"
    assert "pl4nted" not in done.stderr
    assert done.returncode == 1


def _refuse() -> None:
    logging.getLogger("ssm4rec").debug("nothing")
    raise InputError(HOSTILE)
