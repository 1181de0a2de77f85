"""``python -m ssm4rec``: what an image says of itself."""

import subprocess
import sys

from ssm4rec import __version__


def say(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-m", "ssm4rec", *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_version_names_torch_and_what_stands_behind_every_compiled_operator() -> None:
    import torch

    from ssm4rec.ops.backend import kernels

    version, torch_line, *operators = say("--version")
    assert version == f"ssm4rec {__version__}"
    assert torch_line.startswith(f"  torch {torch.__version__}: ")
    assert [line.split(": ")[0].strip() for line in operators] == [
        f"{name} on {kind}" for kind in ("cuda", "cpu") for name in kernels(kind)
    ]
    assert {"selective_scan on cuda", "ssd on cuda", "selective_scan on cpu"} <= {
        line.split(": ")[0].strip() for line in operators
    }


def test_without_a_question_it_shows_its_help() -> None:
    assert "python -m ssm4rec.stages.NAME --help" in " ".join(say())
