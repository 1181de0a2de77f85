"""What the report says of latency: who answers a user how fast, what that buys, and how it grows with the history."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from ssm4rec.artifacts.latency import LatencyResult
from ssm4rec.latency.summary import BASELINE
from ssm4rec.report.figures import Figure
from ssm4rec.report.latency_figures import against_length, spreads
from ssm4rec.report.markdown import MISSING, escape, listed, plural, setting_cell, table
from ssm4rec.report.measurements import GENERATED, HISTORY_NAMES, MODE_NAMES, STEP, Latency
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.sections import Section

_BUSY: Final = (
    "**Read with care: other processes used {cores:.2f} cores on average while this was measured**, so a difference "
    "may be theirs."
)

_MACHINE_NAMES: Final = {"clock_mhz": "clock, MHz", "clock_mhz_after": "clock after, MHz"}


def users_section(latency: Latency, paper: PaperTable | None, figures: Sequence[Figure]) -> Section:
    """Return who answers a user how fast, with figures of the study and one of the samples."""
    return Section("Latency", _of_users(latency, paper), (*figures, *spreads(latency)))


def length_section(latency: Latency) -> Section:
    """Return what one user costs against the length of the history, where the curves cross, and figures."""
    return Section("Cost against the length of the history", _of_lengths(latency), against_length(latency))


def latency_cautions(latency: Latency | None, failure: str = "") -> list[str]:
    """Return what speaks against the measurement, or why there is none."""
    if failure:
        return [f"Latency was not measured: {escape(failure)}"]
    machine = latency.summary.machine if latency else {}
    if machine.get("idle") is False:
        return [f"Latency. {_BUSY.format(cores=machine['others_cores'])}"]
    return []


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with three digits and no exponent.

    >>> [milliseconds(seconds) for seconds in (0.00123456, 0.0123456, 0.000123456)]
    ['1.23', '12.3', '0.123']
    """
    value = seconds * 1000
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def _of_users(latency: Latency, paper: PaperTable | None) -> str:
    protocol, machine = latency.summary.protocol, latency.summary.machine
    parts = [
        f"Milliseconds per user, from the history to ten suggestions out of {latency.summary.items:,} items: "
        f"{plural(protocol['samples'], 'sample')} of {plural(protocol['users'], 'user')} each (paper: 30 of 1,500), "
        f"the same for every model, on {escape(str(machine['device_name']))}, "
        f"{plural(machine['threads'], 'thread')}. Brackets are 95% bootstrap intervals over samples. Outliers: "
        f"{escape(str(protocol['outlier_rule']))}. *Whole history*: it is read again; *one more event*: from a kept "
        "state."
    ]
    if machine["idle"] is False:
        parts.append(_BUSY.format(cores=machine["others_cores"]))
    if paper:
        parts.append(
            f"The paper's column is Table {paper.number}'s, one A100-80GB, as printed: without a unit (seconds, if it "
            "is the time of one user), without a batch size and without an interval."
        )
    for batch in latency.batches:
        parts += [f"### {plural(batch, 'user')} per request", _batch(latency, batch, paper)]
    parts += ["### Requests", _requests(latency)]
    parts += ["### Memory, and where the time goes", _shares(latency)]
    return "\n\n".join([*parts, "### Machine", machine_table(latency)])


def machine_table(latency: Latency) -> str:
    """Return what was measured on, as a table."""
    machine = latency.summary.machine
    settings = {name: machine[name] for name in sorted(machine) if not isinstance(machine[name], dict)}
    kernels = {f"kernel of {name}": chosen for name, chosen in machine["kernels"].items()}
    rows = [
        [
            escape(_MACHINE_NAMES.get(name, name.replace("_", " "))),
            f"{value:,.2f}" if isinstance(value, float) else setting_cell(value),
        ]
        for name, value in {**settings, **kernels}.items()
    ]
    return table(["Property", "Value"], rows)


def _batch(latency: Latency, batch: int, paper: PaperTable | None) -> str:
    printed = {row.model: row.latency for row in paper.rows} if paper else {}
    header = ["Model", "Read", "Mean", "Without outliers", "Median", "Outliers", *(["Paper"] if paper else [])]
    rows = [
        [
            _model(result),
            MODE_NAMES[result.mode],
            *(one.text(milliseconds) for one in (result.mean, result.mean_without_outliers, result.median)),
            f"{result.outliers} of {result.samples}",
            *([MISSING if result.mode == STEP else printed.get(result.model) or MISSING] if paper else []),
        ]
        for result in latency.of_users()
        if result.batch == batch
    ]
    return table(header, rows, text_columns=5)


def _requests(latency: Latency) -> str:
    rows = [
        [
            _model(result),
            MODE_NAMES[result.mode],
            f"{result.batch:,}",
            f"{result.users_per_second:,.0f}",
            *(milliseconds(value) for value in (result.request_p50, result.request_p95, result.request_p99)),
            f"{result.cpu_per_wall:.2f}",
        ]
        for result in latency.of_users()
    ]
    header = [
        "Model",
        "Read",
        "Users per request",
        "Users per second",
        "Request, ms: p50",
        "p95",
        "p99",
        "CPU-s per second",
    ]
    return table(header, rows, text_columns=2)


def _model(result: LatencyResult) -> str:
    return f"{escape(result.model)} seed {result.seed}"


def _shares(latency: Latency) -> str:
    rows = [
        [
            _model(result),
            MODE_NAMES[result.mode],
            f"{result.batch:,}",
            *(f"{share:.0%}" for share in (result.forward_share, result.scoring_share, result.topk_share)),
            f"{result.mean_length:,.1f}",
            *(_kibibytes(size) for size in (result.weight_bytes, result.state_bytes, result.working_bytes)),
        ]
        for result in latency.of_users()
    ]
    header = ["Model", "Read", "Users per request", "Forward", "Scores", "Best ten", "Items of a history"]
    header += ["Weights, KiB", "State of a user, KiB", "Working memory of a request, KiB"]
    return table(header, rows, text_columns=2)


def _kibibytes(size: int | None) -> str:
    return MISSING if size is None else f"{size / 1024:,.0f}"


def _of_lengths(latency: Latency) -> str:
    parts = [
        "Median milliseconds of one user, alone in a request, whose history holds L items. Models are built for each "
        "L; where a position table of the trained length does not fit, weights are random, which changes no time."
    ]
    for mode, histories in product(MODE_NAMES, HISTORY_NAMES):
        curves = latency.of_lengths(mode, histories)
        if not curves:
            continue
        lengths = sorted({result.length or 0 for curve in curves.values() for result in curve})
        rows = []
        for model, curve in curves.items():
            medians = {result.length: result.median.text(milliseconds) for result in curve}
            rows.append([escape(model), *(medians.get(length, MISSING) for length in lengths)])
        header = ["Model", *(f"L = {length:,}" for length in lengths)]
        parts += [
            f"### {MODE_NAMES[mode].capitalize()}, {HISTORY_NAMES[histories]}",
            table(header, rows, text_columns=len(header)),
        ]
    rows = [
        [
            escape(one.model),
            MODE_NAMES[one.mode],
            "generated" if one.histories == GENERATED else "of users",
            _lengths(one.cheaper_from, "from about"),
            _lengths(one.dearer_from, "from about"),
            _lengths(one.cheaper_at, "at") if one.cheaper_at else "at none",
            f"{min(one.measured):,} to {max(one.measured):,}",
        ]
        for one in latency.summary.crossings
    ]
    if rows:
        header = [
            "Model",
            "Read",
            "Histories",
            f"Gets cheaper than {BASELINE}",
            "Gets dearer again",
            "Is cheaper",
            "Measured L",
        ]
        parts += [f"### Where the curves cross {BASELINE}'s", table(header, rows, text_columns=len(header))]
    return "\n\n".join(parts)


def _lengths(lengths: tuple[float, ...] | tuple[int, ...], before: str) -> str:
    return f"{before} L = {listed([f'{length:,.0f}' for length in lengths])}" if lengths else MISSING
