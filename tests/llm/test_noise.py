"""What a library says to nobody's use."""

import logging
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import ssm4rec.llm as silenced


def test_bitsandbytes_does_not_say_what_it_does_without(caplog: pytest.LogCaptureFixture) -> None:
    """On every machine without the package `kernels`, it would be the first line of each language-model stage."""
    assert silenced
    spec = find_spec("bitsandbytes")
    assert spec
    assert spec.origin
    source = Path(spec.origin).parent / "backends" / "cpu" / "ops.py"
    (message,) = re.findall(r'"(Failed to load CPU gemm_4bit_forward[^"]*)"', source.read_text())
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    log.warning(message, "No module named 'kernels'")
    log.warning("%s", "another")
    assert caplog.messages == ["another"]
