"""Every study's folder has what the report stage and the pipelines ask of it by name."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipelines.studies import PLANS
from ssm4rec.recipes import overrides
from ssm4rec.studies import STUDIES, module_of
from ssm4rec.studies.comparative.plan import Settings as Comparative
from ssm4rec.studies.optimizers.plan import Settings as Optimizers
from ssm4rec.studies.settings import StudySettings
from ssm4rec.tracking import finished, start_study
from tests.mlflow_stores import new_store


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_three_modules(study: str) -> None:
    plan, files, report = (module_of(study, part) for part in ("plan", "study", "report"))
    assert issubclass(plan.Settings, StudySettings)
    assert dataclasses.is_dataclass(files.Files)
    assert list(inspect.signature(files.read_study).parameters) == ["files"]
    assert list(inspect.signature(report.make_report).parameters) == ["study"]


def test_trainings_are_told_names_of_today_and_the_user_is_warned_once(caplog: pytest.LogCaptureFixture) -> None:
    overrides._warn_of_name.cache_clear()
    told = Comparative(overrides="model.width=16,training.stretches=one", seeds=(0, 1)).arguments()
    entries = [entry for entries in told.values() if isinstance(entries, list) for entry in entries]
    given = [told["overrides"], *(entry["overrides"] for entry in entries if "overrides" in entry)]
    assert len(given) > 1
    assert all(pairs.endswith("model.d_model=16,training.crops=random") for pairs in given)
    assert [line.split(": ")[1].split(" is")[0] for line in caplog.messages] == ["width", "stretches"]
    sweep = Optimizers(overrides="training.epochs=1,model.width=16").arguments()
    assert sweep["overrides"] == "training.epochs=1,model.d_model=16"
    assert all("model.d_model=16" in entry["overrides"] for entry in sweep["trainings"])


def test_smoke_draws_users_unless_told_how_many() -> None:
    drawn = [
        Comparative(profile=profile, draw_users=users).arguments()["draw_users"]
        for profile, users in (("smoke", -1), ("smoke", 0), ("smoke", 70), ("quick", -1), ("quick", 70))
    ]
    assert drawn == [1_000, 0, 70, 0, 70]
    assert Comparative(profile="smoke").arguments()["draw_users"] == 1_000


QUALITY = {"kind": "quality", "model": "sasrec", "protocol": "unmasked", "metric": "ndcg@10"}
SEEDS = {0: 0.1, 7: 0.4, 3: 0.4}
MEAN = (0.1 + 0.4 + 0.4) / 3
TRACKED = [
    ("comparative", {"splitting": "leave-one-out"}, "value", "sasrec/unmasked/ndcg_at_10"),
    ("orpo", {"splitting": "leave-one-out"}, "value", "sasrec/unmasked/ndcg_at_10"),
    (
        "reproduction",
        {"profile": "paper", "repeat_term": False},
        "value",
        "sasrec/paper-without-repeat-term/unmasked/ndcg_at_10",
    ),
    ("long-histories", {"window": 200}, "value", "sasrec/window200/unmasked/ndcg_at_10"),
    (
        "optimizers",
        {"phase": "comparison", "optimizer": "usgm", "batch_control": "none"},
        "best_validation_ndcg@10",
        "sasrec/usgm/none/validation_ndcg_at_10",
    ),
    ("adapters", {"optimizer": "usgm", "scale": 0.1}, "late_loss", "usgm/0.1/late_loss"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_study_s_run_has_the_means_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = new_store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for study, own, value, name in TRACKED:
        rows: list[dict[str, Any]] = [QUALITY | own | {"seed": seed, value: found} for seed, found in SEEDS.items()]
        if study == "comparative":  # a baseline has no seed, a second split is another metric, costs are of each seed
            rows.append(rows[0] | {"model": "most-popular", "seed": None, "value": 0.05})
            rows.append(rows[0] | {"splitting": "global-time", "value": 0.3})
            rows += [row | {"protocol": "cost", "metric": "seconds", "value": 2.0 + row["seed"]} for row in rows[:3]]
        tracker, variables = start_study(study, {})
        with finished(tracker):
            PLANS[study].track(tracker, rows)
        found = MlflowClient(uri).get_run(variables["MLFLOW_PARENT_RUN_ID"]).data.metrics
        assert found.pop(name) == pytest.approx(MEAN), study
        further = {"most-popular/unmasked/ndcg_at_10": 0.05, "global-time/sasrec/unmasked/ndcg_at_10": 0.3}
        further["sasrec/cost/seconds"] = 2.0 + (0 + 7 + 3) / 3
        assert found == pytest.approx(further if study == "comparative" else {})
