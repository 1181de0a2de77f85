"""No output path destroys anything: a list of hostile ones, tried by an unprivileged user, over several stages."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

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


@pytest.mark.parametrize("number", range(len(TAKEN)), ids=[f"{flags}" for _, flags in TAKEN])
def test_taken(attempts: Attempts, number: int) -> None:
    attempt = attempts[len(REFUSED) + number]
    assert (attempt["status"], attempt["error"], attempt["reached"]) == (0, "", True)
