"""What the report says of latency: who answers a user how fast, what that buys, and how it grows with the history."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Final

from ssm4rec.artifacts.latency import Crossing, LatencyResult, TimedSample
from ssm4rec.latency.summary import BASELINE
from ssm4rec.report.document import Section
from ssm4rec.report.figures import INK, Figure, cells, drawing, logarithmic, style, whiskers
from ssm4rec.report.markdown import MISSING, escape, listed, plural, setting_cell, table, table_of
from ssm4rec.report.measurements import FULL, GENERATED, HISTORY_NAMES, MODE_NAMES, STEP, Latency
from ssm4rec.report.paper import PaperTable

MILLI: Final = 1000

_BUSY: Final = (
    "**Read with care: other processes used {cores:.2f} cores on average while this was measured**, so a difference "
    "may be theirs."
)

_MACHINE_NAMES: Final = {"clock_mhz": "clock, MHz", "clock_mhz_after": "clock after, MHz"}


def users_section(latency: Latency, paper: PaperTable | None, figures: Sequence[Figure]) -> Section:
    """Return who answers a user how fast, with figures of the study and one of the samples."""
    return Section("Latency", _of_users(latency, paper), (*figures, *_spreads(latency)))


def length_section(latency: Latency) -> Section:
    """Return what one user costs against the length of the history, where the curves cross, and figures."""
    curves = {mode: latency.of_lengths(mode) for mode in MODE_NAMES}
    figures = tuple(_against_length(latency, mode, found) for mode, found in curves.items() if found)
    return Section("Cost against the length of the history", _of_lengths(latency), figures)


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
    theirs = " (paper: 30 of 1,500)" if paper else ""
    parts = [
        f"Milliseconds per user, from the history to ten suggestions out of {latency.summary.items:,} items: "
        f"{plural(protocol['samples'], 'sample')} of {plural(protocol['users'], 'user')} each{theirs}, "
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
    parts += ["### Requests", _requests(latency), "### Memory, and where the time goes", _shares(latency)]
    return "\n\n".join([*parts, "### Machine", machine_table(latency)])


def machine_table(latency: Latency) -> str:
    """Return what was measured on, as a table."""
    machine = latency.summary.machine
    settings = {name: machine[name] for name in sorted(machine) if not isinstance(machine[name], dict)}
    kernels = {f"kernel of {name}": chosen for name, chosen in machine["kernels"].items()}
    columns: dict[str, Callable[[tuple[str, Any]], str]] = {
        "Property": lambda one: escape(_MACHINE_NAMES.get(one[0], one[0].replace("_", " "))),
        "Value": lambda one: f"{one[1]:,.2f}" if isinstance(one[1], float) else setting_cell(one[1]),
    }
    return table_of({**settings, **kernels}.items(), columns, text_columns=2)


MODEL_AND_READ: Final[dict[str, Callable[[LatencyResult], str]]] = {
    "Model": lambda one: f"{escape(one.model)} seed {one.seed}",
    "Read": lambda one: MODE_NAMES[one.mode],
}


def _batch(latency: Latency, batch: int, paper: PaperTable | None) -> str:
    printed = {row.model: row.latency for row in paper.rows} if paper else {}
    columns = {
        **MODEL_AND_READ,
        "Mean": lambda one: one.mean.text(milliseconds),
        "Without outliers": lambda one: one.mean_without_outliers.text(milliseconds),
        "Median": lambda one: one.median.text(milliseconds),
        "Outliers": lambda one: f"{one.outliers} of {one.samples}",
    }
    if paper:
        columns["Paper"] = lambda one: MISSING if one.mode == STEP else printed.get(one.model) or MISSING
    return table_of([one for one in latency.of_users() if one.batch == batch], columns, text_columns=5)


def _requests(latency: Latency) -> str:
    columns = {
        **MODEL_AND_READ,
        "Users per request": lambda one: f"{one.batch:,}",
        "Users per second": lambda one: f"{one.users_per_second:,.0f}",
        "Request, ms: p50": lambda one: milliseconds(one.request_p50),
        "p95": lambda one: milliseconds(one.request_p95),
        "p99": lambda one: milliseconds(one.request_p99),
        "CPU-s per second": lambda one: f"{one.cpu_per_wall:.2f}",
    }
    return table_of(latency.of_users(), columns, text_columns=2)


def _shares(latency: Latency) -> str:
    columns = {
        **MODEL_AND_READ,
        "Users per request": lambda one: f"{one.batch:,}",
        "Forward": lambda one: f"{one.forward_share:.0%}",
        "Scores": lambda one: f"{one.scoring_share:.0%}",
        "Best ten": lambda one: f"{one.topk_share:.0%}",
        "Items of a history": lambda one: f"{one.mean_length:,.1f}",
        "Weights, KiB": lambda one: _kibibytes(one.weight_bytes),
        "State of a user, KiB": lambda one: _kibibytes(one.state_bytes),
    }
    if any(one.working_bytes is not None for one in latency.of_users()):  # known of GPUs alone
        columns["Working memory of a request, KiB"] = lambda one: _kibibytes(one.working_bytes)
    return table_of(latency.of_users(), columns, text_columns=2)


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
    if latency.summary.crossings:
        columns: dict[str, Callable[[Crossing], str]] = {
            "Model": lambda one: escape(one.model),
            "Read": lambda one: MODE_NAMES[one.mode],
            "Histories": lambda one: "generated" if one.histories == GENERATED else "of users",
            f"Gets cheaper than {BASELINE}": lambda one: _lengths(one.cheaper_from, "from about"),
            "Gets dearer again": lambda one: _lengths(one.dearer_from, "from about"),
            "Is cheaper": lambda one: _lengths(one.cheaper_at, "at") if one.cheaper_at else "at none",
            "Measured L": lambda one: f"{min(one.measured):,} to {max(one.measured):,}",
        }
        crossings = table_of(latency.summary.crossings, columns, text_columns=len(columns))
        parts += [f"### Where the curves cross {BASELINE}'s", crossings]
    return "\n\n".join(parts)


def _lengths(lengths: tuple[float, ...] | tuple[int, ...], before: str) -> str:
    return f"{before} L = {listed([f'{length:,.0f}' for length in lengths])}" if lengths else MISSING


def _spreads(latency: Latency) -> tuple[Figure, ...]:
    if not latency.samples:
        return ()
    batch = latency.batches[0]
    rows = sorted(
        (row for row in latency.samples if (row.kind, row.mode, row.batch) == ("users", FULL, batch)),
        key=lambda row: (row.model, row.seed, row.sample),
    )
    trainings: dict[str, list[TimedSample]] = {}
    for row in rows:
        trainings.setdefault(f"{row.model} seed {row.seed}", []).append(row)
    caption = f"Every sample's time per user, {batch:,} users per request, whole history read; crosses are outliers."
    columns = ("model", "seed", "sample", "milliseconds", "outlier")
    labels, height = ("Milliseconds per user", ""), 1.2 + 0.4 * len(trainings)
    with drawing("latency-samples", caption, columns, labels, height=height) as figure:
        for place, own in enumerate(trainings.values()):
            for outlier, marker in ((False, "o"), (True, "x")):
                times = [row.total_seconds / row.users * MILLI for row in own if row.outlier == outlier]
                look = {"color": style(place)["color"], "alpha": 0.6, "markersize": 4}
                figure.axes.plot(times, [place] * len(times), marker, **look)
        logarithmic(figure.axes, "x")
        figure.axes.set_yticks(range(len(trainings)), list(trainings))
        figure.axes.set_ylim(-0.5, len(trainings) - 0.5)
        figure.axes.invert_yaxis()
        for row in rows:
            milli = row.total_seconds / row.users * MILLI
            figure.rows.append((row.model, row.seed, row.sample, milli, str(row.outlier)))
    return (figure,)


def _against_length(latency: Latency, mode: str, curves: dict[str, list[LatencyResult]]) -> Figure:
    caption = (
        f"Cost of one user against the length of a generated history, {MODE_NAMES[mode]}: medians with 95% intervals, "
        "both axes logarithmic; dotted lines where a model gets cheaper than SASRec."
    )
    columns = ("model", "weights", "length", "median_ms", "low", "high")
    labels = ("Items in the history, L", "Milliseconds per user")
    with drawing(f"cost-against-length-{mode}", caption, columns, labels, height=4.0) as figure:
        for place, (model, curve) in enumerate(curves.items()):
            medians = [result.median for result in curve]
            points = [(result.length or 0, result.median.value * MILLI) for result in curve]
            figure.series(place, model, points, whiskers(medians, MILLI))
            figure.rows.extend((model, one.weights, one.length, *cells(one.median, MILLI)) for one in curve)
        logarithmic(figure.axes, "x", "y")
        for crossing in latency.summary.crossings:
            if (crossing.mode, crossing.histories) == (mode, GENERATED):
                for length in crossing.cheaper_from:
                    figure.axes.axvline(length, color=INK, linewidth=0.6, alpha=0.5, linestyle=":")
    return figure
