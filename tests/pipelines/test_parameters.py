"""A file of parameters: read as it is written, or refused with its line."""

from pathlib import Path

import pytest

from pipelines.run import build_parser
from pipelines.submit import build_parser as build_submission
from ssm4rec.runtime.errors import InputError


def flags(tmp_path: Path, text: str) -> dict[str, object]:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return vars(build_parser().parse_args(["--parameters", str(file)])[0])


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("k_core: 010", "k_core", 10),  # 8 to YAML 1.1
        ("k-core: 0", "k_core", 0),
        ("name: 1:30", "name", "1:30"),  # 90
        ("name: 2024_01", "name", "2024_01"),  # 202401
        ("name: 1.10", "name", "1.10"),  # 1.1
        ("name: yes", "name", "yes"),  # true
        ("name: off", "name", "off"),
        ("data_version: 2026-11-28", "data_version", "2026-11-28"),
        ("data_version: 0x1F", "data_version", "0x1F"),
        ("minimum_rating: 3.50", "minimum_rating", 3.5),
        ("name: 'null'", "name", "null"),
        ("source: null", "source", ""),
        ("source: ~", "source", ""),
        ("source:", "source", ""),
        ("any_checksum: yes", "any_checksum", True),
        ("any_checksum: false", "any_checksum", False),
        ("seeds: [0, 1]", "seeds", (0, 1)),
        ("seeds:\n- 0\n- 2", "seeds", (0, 2)),
        ("overrides: -x", "overrides", "-x"),
        ("# nothing", "k_core", 5),
        ("\ufeffk_core: 7", "k_core", 7),
    ],
)
def test_a_value_is_read_as_it_is_written(tmp_path: Path, text: str, name: str, value: object) -> None:
    assert flags(tmp_path, text)[name] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k_core: 3\nk_core: 4", "line 2: k_core is set twice; leave one line"),
        ("k-core: 3\nseeds: 1\nk_core: 4", "line 3: k_core is set twice; leave one line"),
        ("seeds: [0, [1, 2]]", "line 1: an entry of a list is a list or a mapping; write a plain value"),
        ("models:\n- sasrec\n-", "line 3: an entry of a list is empty; leave it out or write a value"),
        ("models: [sasrec, null]", "line 1: an entry of a list is empty"),
        ("models: [sasrec, '']", "line 1: an entry of a list is empty"),
        ("seeds: &a [*a]", "line 1: *a: write the value itself"),
        ("dataset: &a ml-1m\nname: *a", "line 2: *a: write the value itself"),
        ("k_core: !!int 3", "line 1: tag:yaml.org,2002:int: leave the tag out"),
        ("name: !mine 3", "line 1: !mine: leave the tag out"),
        ("<<: {k_core: 3}", "line 1: there is no parameter '<<'"),
        ("? [a, b]\n: 3", "line 1: a name is a list or a mapping"),
        ("null: 3", "line 1: a name is empty"),
        ("k_core", "line 1: write a line `name: value` for each flag"),
        ("k_core: 3\n---\nk_core: 4", "line 2: not YAML (expected a single document in the stream but found another"),
        ("k_core: [3", "line 1: not YAML (while parsing a flow sequence expected ',' or ']', but got"),
        ("name: a b: c", "line 1: not YAML (mapping values are not allowed here)"),
        ("name: \x07", "not YAML (unacceptable character #x0007: special characters are not allowed)"),
        ("k_cor: 3", "line 1: there is no parameter 'k_cor'; did you mean k_core?"),
        ("k_core: null", "--k-core '': write a whole number"),
        ("seeds: " + "[" * 3000, "nested too deeply"),
        ("any_checksum: on", "--any-checksum on: neither true nor false"),
        ("k_core: 1:30", "--k-core 1:30: write a whole number"),
        ("parameters: x", "line 1: there is no parameter 'parameters'"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        flags(tmp_path, text)
    (line,) = str(error.value).splitlines()
    assert message in line
    assert line.startswith(f"--parameters {tmp_path / 'study.yaml'}: ")
    assert "<unicode string>" not in line
    assert len(line) < 300 + len(str(tmp_path))


def test_a_file_that_cannot_be_read_is_said_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    for name, said in (("none.yaml", "no such file"), (".", "cannot be read (Is a directory)"),
                       ("latin.yaml", "not a text in UTF-8")):  # fmt: skip
        with pytest.raises(InputError) as error:
            build_parser().parse_args(["--parameters", str(tmp_path / name)])
        assert str(error.value) == f"--parameters {tmp_path / name}: {said} (see --help)"


def test_a_wrong_value_of_the_command_line_is_not_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("k_core: 3\nseeds: x\n")
    with pytest.raises(InputError, match=r"^--k-core x: write a whole number"):
        build_parser().parse_args(["--parameters", str(tmp_path / "study.yaml"), "--seeds", "0", "--k-core=x"])


def test_mappings_are_handed_on_as_json_with_its_types(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "gpu_pool: {pool: a100, zone: '1', rack: 010}\n"
        "gpu_toleration:\n- {key: gpu, operator: Exists, tolerationSeconds: 300}\n- {key: spot, value: 'true'}\n"
    )
    _, options = build_submission().parse_args(["--parameters", str(file)])
    assert options.gpu_pool == {"pool": "a100", "zone": "1", "rack": "010"}
    assert list(options.gpu_toleration) == [
        {"key": "gpu", "operator": "Exists", "tolerationSeconds": 300},
        {"key": "spot", "value": "true"},
    ]
    file.write_text("gpu_pool: {pool: a, pool: b}\n")
    with pytest.raises(InputError, match="line 1: pool is set twice"):
        build_submission().parse_args(["--parameters", str(file)])


def test_a_file_does_not_name_the_study(tmp_path: Path) -> None:
    """Which flags there are is the study's, before the file is read: it would be another study's package."""
    (tmp_path / "study.yaml").write_text("study: reproduction\n")
    with pytest.raises(InputError, match="study"):
        build_submission().parse_args(["--parameters", str(tmp_path / "study.yaml")])


@pytest.mark.parametrize(
    ("in_file", "typed"), [("split", "--splitting"), ("splitting", "--split"), ("split", "--split")]
)
def test_the_command_line_wins_by_whichever_name(
    in_file: str, typed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"{in_file}: global-time\n")
    assert build_parser().parse_args(["--parameters", str(file)])[0].splitting == "global-time"
    told, _ = build_parser().parse_args(["--parameters", str(file), typed, "leave-one-out"])
    assert told.splitting == "leave-one-out"
    assert caplog.text.count("--split is called --splitting now") == caplog.text.count("is called") > 0
