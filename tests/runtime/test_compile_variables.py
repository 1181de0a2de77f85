"""What a compilation may be told, and how every program that compiles refuses the rest."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

from ssm4rec.runtime.compile_variables import (
    ACCELERATOR,
    AT_ONCE,
    NODES,
    REGISTRY,
    VOLUME,
    CompileVariable,
    check_compile_variables,
)
from ssm4rec.runtime.errors import InputError

ROOT = Path(__file__).parents[2]

ALLOWED = [
    (REGISTRY, "registry.example.org/team"),
    (REGISTRY, "registry.example.org/team/"),
    (REGISTRY, "localhost:5000"),
    (REGISTRY, "10.0.0.1:5000/a/b_c/d.e/f--g"),
    (REGISTRY, "[2001:db8::1]:5000/team"),
    (REGISTRY, "my__team/x"),
    (ACCELERATOR, "cpu"),
    (ACCELERATOR, "cuda"),
    (VOLUME, "ssm4rec-cache"),
    (VOLUME, "a.b-c.0"),
    (VOLUME, "v" * 253),
    (AT_ONCE, "1"),
    (AT_ONCE, "9999"),
    (NODES, "1"),
    (NODES, "999"),
]
REFUSED = [
    *((REGISTRY, text) for text in (
        " ", "a b", "Registry.example.org/team", "registry.example.org/Team", "https://registry.example.org/team",
        "registry.example.org/team:1", "team@sha256:0", "registry:port/x", "'r'", '"r"', "r//x", "/r", "r/-x", "r/x-",
        "r/a___b", "a_b.c/d", "r\n", "host:123456", "x" * 201,
    )),
    *((ACCELERATOR, text) for text in ("gpu", "CPU", "rocm", "tpu", " cpu", "0")),
    *((VOLUME, text) for text in ("Cache", "a_b", "-a", "a-", "a..b", ".a", "a/b", " ", "v" * 254, "a\n", "ä")),
    *((AT_ONCE, text) for text in ("0", "-1", "2.5", "x", "08", " 8", "10000", "٣")),
    *((NODES, text) for text in ("0", "-1", "2.5", "x", "02", "1000")),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "text"), ALLOWED)
def test_what_is_allowed_is_taken_as_it_is(
    variable: CompileVariable, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, text)
    variable.check()
    assert variable.value == text


@pytest.mark.parametrize(("variable", "text"), REFUSED)
def test_what_is_not_allowed_is_refused_in_one_line(
    variable: CompileVariable, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.name, text)
    with pytest.raises(InputError) as error:
        variable.check()
    (line,) = str(error.value).splitlines()
    make = variable.name.removeprefix("SSM4REC_")
    assert line.startswith(f"{variable.name} (make: {make}=) {text!r}: write ")
    assert variable.value == variable.default  # modules that read it are imported before


@pytest.mark.parametrize("variable", [REGISTRY, ACCELERATOR, VOLUME, AT_ONCE, NODES])
def test_an_empty_one_says_nothing(variable: CompileVariable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable.name, "")
    variable.check()
    assert variable.value == variable.default


def test_several_nodes_need_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSM4REC_NODES", "2")
    monkeypatch.delenv("SSM4REC_VOLUME", raising=False)
    with pytest.raises(InputError, match=r"^SSM4REC_NODES \(make: NODES=\) '2': the nodes of a training share a vol"):
        check_compile_variables()
    monkeypatch.setenv("SSM4REC_VOLUME", "ssm4rec-cache")
    check_compile_variables()


def test_a_study_of_this_machine_has_no_other_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--out", str(tmp_path / "out")])
    monkeypatch.setenv("SSM4REC_NODES", "2")
    monkeypatch.setenv("SSM4REC_VOLUME", "ssm4rec-cache")
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("pipelines.run").main()
    assert ended.value.code == 2
    assert "SSM4REC_NODES (make: NODES=) '2': other nodes are a cluster's" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("pipelines.compile", ["--folder", "{out}"]),
        ("pipelines.run", ["--out", "{out}"]),
        ("pipelines.submit", ["--endpoint", "http://127.0.0.1:9"]),
        ("images/build.py", ["--only", "cpu"]),
    ],
)
def test_every_program_that_compiles_refuses_it_before_it_writes(
    program: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", [program, *(flag.format(out=out) for flag in flags)])
    monkeypatch.setenv("SSM4REC_AT_ONCE", "2.5")
    with pytest.raises(SystemExit) as ended:
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            importlib.import_module(program).main()
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert (ended.value.code, printed.out) == (2, "")
    assert line.endswith("error: SSM4REC_AT_ONCE (make: AT_ONCE=) '2.5': write a whole number from 1 to 9999")
    assert not out.exists()
