"""The long-history study on this machine, whole, and what it refuses."""

import json
from pathlib import Path

import pytest

from pipelines.packages import COMPILED
from pipelines.run import main
from pipelines.spec import read_spec
from ssm4rec.studies.long_histories.plan import Settings
from tests.pipelines.studies import finish_study, study_metrics


@pytest.mark.slow
def test_long_history_study(archive: Path, tmp_path: Path) -> None:
    """Every model at every window; one of each model is timed."""
    flags = ["--models", "sasrec,2mamba4rec", "--lengths", "3,8", "--latency-lengths", "4,30", "--latency-samples", "5"]
    flags += ["--overrides", "training.epochs=1"]
    done = finish_study(archive, tmp_path, *flags, study="long-histories")
    study = tmp_path / "study"
    trained = {f"{model}-seed0-window{window}" for model in ("sasrec", "2mamba4rec") for window in (3, 8)}
    assert {path.name for path in (study / "models").iterdir()} == trained
    assert {path.name for path in (study / "evaluations").iterdir()} == trained
    for name in trained:
        config = json.loads((study / "models" / name / "config.json").read_text())
        assert config["recipe"]["model"]["max_length"] == int(name.rpartition("window")[2])
        assert config["recipe"]["training"]["crops"] == "all"
    rows = json.loads((study / "results.json").read_text())
    costs = [row for row in rows if row["kind"] == "cost" and row["histories"] == "generated"]
    assert {(row["model"], row["mode"], row["length"]) for row in costs} == {
        (model, mode, length)
        for model in ("sasrec", "2mamba4rec") for mode in ("full", "step", "prefill") for length in (4, 30)
    }  # fmt: skip
    states = {(row["model"], row["length"]): row["state_bytes"] for row in costs if row["mode"] == "step"}
    assert states["2mamba4rec", 4] == states["2mamba4rec", 30] > 0
    assert states["sasrec", 30] > 5 * states["sasrec", 4]
    assert "**2mamba4rec**: best with a window of" in done.stdout
    assert "What a server keeps of one user" in done.stdout
    assert (study / "figures" / "state-against-length.png").is_file()
    wanted = ("sasrec", 8, "unmasked", "ndcg@10")
    (value,) = [
        row["value"]
        for row in rows
        if row["kind"] == "quality" and (row["model"], row["window"], row["protocol"], row["metric"]) == wanted
    ]
    assert study_metrics(tmp_path)["sasrec/window8/unmasked/ndcg_at_10"] == value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lengths", "50"], "--lengths 50: at least two, each at least 1, such as 50,200"),
        (["--lengths", "50,many"], "--lengths many: write a whole number"),
        (["--lengths", "0,50"], "--lengths 0: at least 1"),
        (["--latency-lengths", "0"], "--latency-lengths 0: at least 1"),
        (["--latency-samples", "2"], "--latency-samples 2: at least 5, or there is no interval"),
        (["--models", "gru4rec"], "--models gru4rec: unknown; choose from"),
        (["--overrides", "model.max_length=9"], "model.max_length is what this study sets; name windows with"),
        (["--overrides", "training.crops=one"], "training.crops is what this study sets; leave it out"),
    ],
)
def test_mistakes_in_a_long_history_study(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["run", "long-histories", "--out", str(tmp_path / "study"), *flags])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "study").exists()


def test_a_long_history_study_is_every_model_at_every_window() -> None:
    flags = ["--models", "lrurec,sasrec", "--lengths", "10,99", "--seeds", "3,4", "--overrides", "training.epochs=2"]
    arguments = Settings.parser().parse_args(flags).arguments()
    assert arguments["trainings"] == [
        {
            "model": model,
            "seed": seed,
            "overrides": f"model.max_length={window},training.crops=all,training.epochs=2",
            "label": f"window{window}",
        }
        for model in ("lrurec", "sasrec")
        for window in (10, 99)
        for seed in (3, 4)
    ]
    proposed = read_spec(COMPILED / "long_history_study.yaml")["root"]["inputDefinitions"]["parameters"]
    for name in ("trainings", "latency_lengths"):
        assert Settings().arguments()[name] == proposed[name]["defaultValue"]
