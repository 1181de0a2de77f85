"""A dataclass of settings as a command line and as a KFP component: what each kind of field becomes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import label, names, one_of, whole_number
from ssm4rec.settings.flags import Flag, Read, SettingsParser, Shown, StageSettings, Written, described
from ssm4rec.settings.kfp_component import component
from ssm4rec.settings.outputs import output_file, output_folder
from ssm4rec.settings.shared import FromKFP
from tests.conftest import Refusal


@dataclass(frozen=True, kw_only=True)
class Common(StageSettings):
    """What several stages have."""

    GROUP = "shared"

    share: Annotated[float, Flag("50% or another share")] = 0.5


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """Do something; the same command resumes.

    More that is not shown.
    """

    dataset_dir: Annotated[Path, Read("Dataset", "what is read")]
    parts: Annotated[tuple[Path, ...], Read("Artifact", "a list")] = ()
    extra: Annotated[Path | None, Read("Artifact", "may be left out", optional=True)] = None
    model: Annotated[str, Flag("which", one_of(("a", "b")), component_name="model_name")]
    count: Annotated[int, Flag("how many", whole_number(1))] = 3
    several: Annotated[tuple[str, ...], Flag("some", names(("x", "y")))] = ("x", "y")
    limit: Annotated[float | None, Flag("at most; none: no limit", lambda text: None)] = None
    quick: Annotated[bool, Flag("do less")] = False
    model_dir: Annotated[Path, Written("Model", output_folder("something"), "what is written")]
    table: Annotated[Path, Written("Artifact", output_file("Parquet"), "a file")]
    shown: Annotated[None, Shown("numbers for the UI")] = None
    executor_input: FromKFP = ""


GIVEN = ["--dataset-dir", "data", "--model", "b", "--model-dir", "model", "--table", "t.parquet"]


def parsed(*flags: str) -> Settings:
    settings: Settings = SettingsParser("a.module", Settings).parse_args([*GIVEN, *flags])
    return settings


def test_flags_have_the_fields_names_types_and_defaults() -> None:
    settings = parsed("--count", "5", "--several", "y", "--quick", "yes", "--parts", "p", "q")
    assert settings == Settings(
        dataset_dir=Path("data"), parts=(Path("p"), Path("q")), model="b", count=5, several=("y",), quick=True,
        model_dir=Path("model"), table=Path("t.parquet"),
    )  # fmt: skip
    assert parsed() == Settings(
        dataset_dir=Path("data"), model="b", model_dir=Path("model"), table=Path("t.parquet")
    ), "what is not given is the dataclass's default, after its trip through the flag's parser"


def test_help_shows_descriptions_groups_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        SettingsParser("a.module", Settings).parse_args(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Do something; the same command resumes. options:" in shown
    assert "shared: --share SHARE 50% or another share (default: 0.5)" in shown
    assert "some (default: x,y)" in shown
    assert "(default: ())" not in shown
    assert "--shown" not in shown


def test_paths_are_checked_by_their_kind(tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "letter.txt").write_text("mine")

    def run(options: Settings) -> None:
        pytest.fail(f"it ran: {options}")

    assert "--model-dir model" in refusal(run, *GIVEN)


def test_lists_and_what_may_be_left_out_come_from_the_executor_input() -> None:
    artifacts = {name: {"artifacts": [{"name": name, "uri": f"/{name}"}]} for name in ("parts", "extra")}
    settings = parsed("--executor-input", json.dumps({"inputs": {"artifacts": artifacts}}))
    assert (settings.parts, settings.extra) == ((Path("/parts"),), Path("/extra"))
    del artifacts["extra"]
    assert parsed("--executor-input", json.dumps({"inputs": {"artifacts": artifacts}})).extra is None
    with pytest.raises(InputError, match="have no artifact 'parts'"):
        parsed("--executor-input", json.dumps({"inputs": {"artifacts": {}}}))


def test_component_has_the_same_settings() -> None:
    """Values that KFP has no type for are texts; what may be left out comes last; lists are in no flag."""
    spec = component(Settings).component_spec
    assert {name: one.type for name, one in spec.inputs.items()} == {
        "dataset": "system.Dataset@0.0.1", "parts": "system.Artifact@0.0.1", "share": "Float",
        "model_name": "String", "count": "Integer", "several": "String", "limit": "String", "quick": "Boolean",
        "extra": "system.Artifact@0.0.1",
    }  # fmt: skip
    assert {name for name, one in spec.inputs.items() if one.optional} == {"extra"}
    assert spec.inputs["parts"].is_artifact_list
    assert {*spec.outputs} == {"model", "table", "shown"}
    assert spec.inputs["share"].description == "50% or another share"
    args = spec.implementation.container.args
    assert [text for text in args if isinstance(text, str) and text.startswith("--")] == [
        one.flag for one in described(Settings) if one.name not in ("parts", "extra", "shown")
    ]


@pytest.mark.parametrize("text", ["a b", "../x", "-x", "x" * 61, "ä"])
def test_a_label_is_a_name_for_a_folder(text: str) -> None:
    with pytest.raises(Exception, match="letters, digits"):
        label(text)
    assert (label(""), label("best-repeat-term"), label("usgm-0.1")) == ("", "best-repeat-term", "usgm-0.1")


def test_an_executor_input_that_is_damaged_is_one_error() -> None:
    for artifacts in ([{"name": "p"}], [{"uri": 5}], 5, None, ["x"]):
        damaged = json.dumps({"inputs": {"artifacts": {"parts": {"artifacts": artifacts}}}})
        with pytest.raises(InputError, match="--executor-input: inputs have no artifact 'parts'"):
            parsed("--executor-input", damaged)
    for text in ("[" * 5000, "{", "5", "[]"):
        with pytest.raises(InputError, match="--executor-input: "):
            parsed("--executor-input", text)


@dataclass(frozen=True, kw_only=True)
class Curves(StageSettings):
    """Read curves."""

    curve: Annotated[str, Flag("what was called history")] = ""


def test_an_old_name_works_but_not_next_to_todays(caplog: pytest.LogCaptureFixture) -> None:
    parser = SettingsParser("a.module", Curves)
    assert parser.parse_args(["--history", "a"]) == Curves(curve="a")
    assert "--history is called --curve now" in caplog.text
    for flags in (["--history", "a", "--curve", "b"], ["--curve=a", "--history=b"]):
        with pytest.raises(InputError, match="--history: the old name of --curve, which is given, too"):
            parser.parse_args(flags)


@dataclass(frozen=True, kw_only=True)
class Prepared(StageSettings):
    """Split data."""

    splitting: Annotated[str, Flag("how")] = ""


@dataclass(frozen=True, kw_only=True)
class Evaluated(StageSettings):
    """Evaluate a split."""

    split: Annotated[str, Flag("which")] = ""


def test_split_is_the_old_name_of_splitting_but_where_it_is_a_flag(caplog: pytest.LogCaptureFixture) -> None:
    assert SettingsParser("a.module", Evaluated).parse_args(["--split", "test"]) == Evaluated(split="test")
    assert not caplog.messages
    parser = SettingsParser("a.module", Prepared)
    assert parser.parse_args(["--split=global-time"]) == Prepared(splitting="global-time")
    assert caplog.messages == ["--split is called --splitting now; the old name works until the next release"]
