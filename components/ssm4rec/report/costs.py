"""What training a model and answering users cost: in words for people, in rows for results.json."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from ssm4rec.artifacts.evaluations import NumberRow
from ssm4rec.artifacts.latency import LatencyResult
from ssm4rec.report.document import Section
from ssm4rec.report.latency_sections import MODEL_AND_READ
from ssm4rec.report.markdown import MISSING, escape, plural, table_of
from ssm4rec.report.measurements import MODE_NAMES, Latency
from ssm4rec.report.recommenders import Recommenders
from ssm4rec.report.tables import ENERGY, ENERGY_NAMES, device_seconds, trainings

_GPU_COST: Final = "1,000 users / users per second"
_MEAN_OF_SAMPLES: Final = "seconds that all threads were on a CPU for the timed parts, mean over samples"
"""How earlier versions counted, whose files say nothing of it."""


def costs_section(study: Recommenders, latency: Latency | None) -> Section:
    """Return what each training cost and, where latency was measured, what 1,000 users' lists cost."""
    parts = ["### Training a model", trainings(study)]
    if latency:
        parts += ["### Lists for 1,000 users", _answering(latency)]
    return Section("What it costs", "\n\n".join(parts))


def cost_rows(study: Recommenders, latency: Latency | None) -> Iterator[NumberRow]:
    """Yield these costs as rows of results.json: of each training, then of 1,000 users by each way to answer."""
    for one in study.trainings:
        unit = "cpu_seconds" if one.training["device"] == "cpu" else "gpu_seconds"
        found = {unit: device_seconds(one.training)}
        found |= {f"{what}_joules": one.training.get(f"{what}_joules") for what in ENERGY}
        for name, value in found.items():
            if value is not None:
                yield NumberRow(one.dataset, one.model, one.seed, "train", "cost", name, value)
    if latency is None:
        return
    on_cpu = latency.summary.machine["device"] == "cpu"
    dataset = latency.summary.dataset
    for result in latency.of_users():
        read = f"{MODE_NAMES[result.mode]}, {plural(result.batch, 'user')} per request"
        costs: dict[str, float | None] = {"cpu_seconds" if on_cpu else "gpu_seconds": _seconds(result, on_cpu=on_cpu)}
        costs |= {f"{what}_joules": _joules(result, what) for what in ENERGY}
        for counted, value in costs.items():
            if value is not None:
                name = f"{counted}_per_1000_users"
                yield NumberRow(dataset, result.model, result.seed, study.split, read, name, value)


def _answering(latency: Latency) -> str:
    """Return what 1,000 users' lists cost with each model, and how that was counted."""
    on_cpu = latency.summary.machine["device"] == "cpu"
    unit = "CPU-s" if on_cpu else "GPU-s"
    rule = str(latency.summary.protocol.get("cost_rule", _MEAN_OF_SAMPLES)) if on_cpu else _GPU_COST
    results = latency.of_users()
    columns: dict[str, Callable[[LatencyResult], str]] = {
        **MODEL_AND_READ,
        "Users per request": lambda one: f"{one.batch:,}",
        f"{unit} per 1,000 users": lambda one: _seconds_text(one, on_cpu=on_cpu),
    }
    notes = [f"{unit} per 1,000 users, without loading the model: {escape(rule)}."]
    if any(one.cpu_seconds_per_user and one.cpu_seconds_per_user.n > 1 for one in results) and on_cpu:
        notes.append(
            "Brackets are 95% bootstrap intervals over requests, for users drawn like these; a single request has "
            "none. How another run on this machine would differ is not in them."
        )
    for what, counted in ENERGY.items():
        if any(_joules(one, what) is not None for one in results):
            heading = f"J per 1,000 users, {ENERGY_NAMES[what]}"
            columns[heading] = _joules_text(what)
            notes.append(
                f"{heading}: {counted} per second while the samples were answered, whatever else ran on it, x the "
                "seconds that 1,000 users take."
            )
    return f"{table_of(results, columns, text_columns=2)}\n\n{' '.join([*notes, *_not_counted(latency)])}"


def _seconds(result: LatencyResult, *, on_cpu: bool) -> float:
    """Return the CPU- or GPU-seconds of 1,000 users.

    An earlier version's have no CPU clock of their own but the whole sample's share of the CPU.
    """
    if on_cpu and result.cpu_seconds_per_user:
        return 1000 * result.cpu_seconds_per_user.value
    return 1000 / result.users_per_second * (result.cpu_per_wall if on_cpu else 1.0)


def _seconds_text(result: LatencyResult, *, on_cpu: bool) -> str:
    if on_cpu and result.cpu_seconds_per_user and result.cpu_seconds_per_user.n > 1:
        return result.cpu_seconds_per_user.text(lambda seconds: f"{1000 * seconds:.3f}")
    return f"{_seconds(result, on_cpu=on_cpu):.3f}"


def _joules(result: LatencyResult, what: str) -> float | None:
    watts: float | None = getattr(result, f"{what}_watts")
    return None if watts is None else 1000 / result.users_per_second * watts


def _joules_text(what: str) -> Callable[[LatencyResult], str]:
    def cell(result: LatencyResult) -> str:
        joules = _joules(result, what)
        return MISSING if joules is None else f"{joules:.3g}"

    return cell


def _not_counted(latency: Latency) -> list[str]:
    """Return why there are no joules of what answered, in one sentence; nothing where there are some."""
    machine: dict[str, Any] = latency.summary.machine
    reasons = machine.get("energy_missing", {})
    missing = [reasons[what] for what in ("package", *(["gpu"] * (machine["device"] != "cpu"))) if reasons.get(what)]
    return [f"Joules were not readable here: {escape('; '.join(missing))}."] if missing else []
