"""What the report of a long-history study says, in order."""

from collections.abc import Callable, Sequence
from typing import Final

from matplotlib.ticker import NullLocator

from ssm4rec.artifacts.estimate import SIGNIFICANCE, interval_text, p_text
from ssm4rec.artifacts.names import MOST_POPULAR, PROTOCOLS, UNMASKED
from ssm4rec.evaluation.windows import NAME, WindowPair, label
from ssm4rec.latency.summary import BASELINE
from ssm4rec.report import tables
from ssm4rec.report.comparison_sections import TEN, model_row, slice_reaches, slice_rows
from ssm4rec.report.document import Report, Section
from ssm4rec.report.figures import INK, Figure, cells, drawing, logarithmic, whiskers
from ssm4rec.report.findings import event_order, sequence_lengths
from ssm4rec.report.latency_sections import length_section, machine_table
from ssm4rec.report.markdown import MISSING, escape, plural, table, table_of
from ssm4rec.report.paper import SOURCE
from ssm4rec.studies.long_histories.findings import in_short, judged_pair, size_words, what_it_shows_not
from ssm4rec.studies.long_histories.study import LongHistoryStudy

_PAPER: Final = f"""\
{SOURCE} says of transformers that attention costs O(n² d) in the length n of the history and width d, of state-space
models that they cost O(n d²), "which makes them a more efficient alternative, especially when operating on long
sequences"; its data sets have short histories. How the models compare on much longer ones, in quality and in cost, is
an open question of the paper, and a measurement of latency over lengths the first check that follows from it.

This study answers in two parts that must not be mixed up:

- **Quality**, on real histories: the same models trained and evaluated with windows of several lengths L. A window is
  the most items of a history that a model reads; of a longer one it reads the last L.
- **Cost**, on histories of any length: the time of one user's answer, and what a server keeps of a user to go on with
  one more event: the state of a state-space model or of a linear recurrence, the key-value cache of a transformer."""

_STATES: Final = (
    "The state is what `prefill` makes of a history and `step` goes on from, its tensors measured as they are: of "
    "SASRec the keys and values of every layer and item, with the items themselves, which it needs when its window "
    "slides; of the others a matrix or vector of fixed size a layer. Both hold the last hidden vector and a counter, "
    "too. In float32. Hydra4Rec reads both ways and keeps no state: after every event it reads the whole history again."
)

_WINDOW: Final = "Window: the most items of a history that are read"
_READING: Final = f"""\
- **The same users, the same targets, the same protocol** for every window: each user's last item, ranked among all
  items. The windows change what a model reads, not whom it is asked about.
- **History unmasked** (the paper's protocol): items of the user's history compete with the target. **Masked**: they are
  taken out. The mask is the whole history for every window.
- **Intervals** are 95% bootstrap intervals over users, paired: the difference of two models of the same users. p-values
  are of two-sided permutation tests, Holm-corrected for all pairs of one table. A difference is significant if its
  interval excludes zero and its corrected p is below {SIGNIFICANCE:g}; otherwise its minimum detectable effect (MDE)
  is given: what one uncorrected test on these users would find with a chance of 80%.
- **Users cut**: those whose history is longer than the window. The others lose nothing by it: for them two windows
  differ by what the models learnt only.
- **Crossing points** are interpolated between two measured lengths, along straight lines of log time over log L.
  Next to each stands where the two curves' 95% intervals do not overlap: elsewhere which one is faster may be noise."""


def make_report(study: LongHistoryStudy) -> Report:
    """Return the report of the study."""
    data = f"{sequence_lengths(study.recommenders)} {event_order(study.recommenders.manifest['event_order'])}"
    quality = [data, *(_quality(study, protocol) for protocol in PROTOCOLS)]
    sections = [
        Section("In short", in_short(study)),
        Section("What this run does not show", what_it_shows_not(study)),
        Section("The paper's open question", _PAPER),
        Section(
            "Quality against the window",
            "\n\n".join(quality),
            tuple(_against_window(study, protocol) for protocol in PROTOCOLS),
        ),
        Section("What shorter windows lose", "\n\n".join(_losses(study, protocol) for protocol in PROTOCOLS)),
        Section(
            "Whom a longer window serves", _by_history_length(study), (_of_the_longest_histories(study, UNMASKED),)
        ),
    ]
    if study.windows.to_baseline:
        rivals = "\n\n".join(_rivals(study, protocol) for protocol in PROTOCOLS)
        sections.append(Section(f"Compared with {BASELINE} at the same window", rivals))
    sections.append(length_section(study.latency))
    if study.states():
        sections.append(Section("State against key-value cache", _states(study), (_state_sizes(study),)))
    sections += [
        Section("How to read this", _READING),
        Section("How the models were trained", _trainings(study)),
        Section("What the latency was measured on", machine_table(study.latency)),
    ]
    return Report(study.dataset, f"Long histories on {study.dataset}", sections, study.results())


def _quality(study: LongHistoryStudy, protocol: str) -> str:
    rows = []
    for model, windows in study.windows.windows.items():
        for window in windows:
            of_window = [model_row(study.windows.comparison, label(model, window), protocol, metric) for metric in TEN]
            seconds = f"{study.cpu_seconds(model, window):,.0f}"
            rows.append([escape(model), f"{window:,}", *(row.mean.text() for row in of_window), seconds])
    header = ["Model", "Window", "HIT@10", "NDCG@10", "MRR@10", "Training, CPU-s"]
    users = plural(study.windows.comparison.users, "user")
    return f"### History {protocol}, over {users}\n\n{table(header, rows)}"


def _losses(study: LongHistoryStudy, protocol: str) -> str:
    columns: dict[str, Callable[[WindowPair], str]] = {
        "Model": lambda pair: escape(pair.model),
        "Windows": lambda pair: f"{pair.window:,} \N{MINUS SIGN} {pair.other_window:,}",
        "Verdict": judged_pair,
        "All users": lambda pair: pair.all_users.text(),
        "p, Holm-corrected": _corrected,
        "Users cut": lambda pair: f"{pair.cut_users:,}",
        "Cut users only": lambda pair: pair.of_cut_users.text() if pair.of_cut_users else MISSING,
    }
    pairs = [pair for pair in study.windows.to_longest if pair.protocol == protocol]
    return f"### NDCG@10, history {protocol}\n\n{table_of(pairs, columns, text_columns=3)}"


def _rivals(study: LongHistoryStudy, protocol: str) -> str:
    columns: dict[str, Callable[[WindowPair], str]] = {
        "Model": lambda pair: escape(pair.model),
        "Window": lambda pair: f"{pair.window:,}",
        f"Than {BASELINE}": judged_pair,
        "Difference in NDCG@10": lambda pair: pair.all_users.text(),
        "p, Holm-corrected": _corrected,
    }
    pairs = [pair for pair in study.windows.to_baseline if pair.protocol == protocol]
    return f"### History {protocol}\n\n{table_of(pairs, columns, text_columns=3)}"


def _corrected(pair: WindowPair) -> str:
    return MISSING if pair.all_users.p_holm is None else p_text(pair.all_users.p_holm)


def _by_history_length(study: LongHistoryStudy) -> str:
    parts = [
        "NDCG@10 with the history unmasked, of the users in quarters by the number of items before the target, with "
        "95% intervals over users. A window cuts nobody whose history is no longer."
    ]
    slices = slice_rows(study.windows.comparison, "history_length", UNMASKED)
    means = {(row.part, row.model): interval_text(row.mean, row.standard_error) for row in slices}
    targets = {row.part: row.targets for row in slices}
    for model, windows in study.windows.windows.items():
        rows = [
            [f"{part} items", f"{count:,}", *(means[part, label(model, window)] for window in windows)]
            for part, count in targets.items()
        ]
        header = ["History", "Targets", *(f"L = {window:,}" for window in windows)]
        parts += [f"### {escape(model)}", table(header, rows)]
    return "\n\n".join(parts)


def _states(study: LongHistoryStudy) -> str:
    states = study.states()
    lengths = sorted({length for sizes in states.values() for length in sizes})
    rows = [
        [escape(model), *(size_words(sizes[length]) if length in sizes else MISSING for length in lengths)]
        for model, sizes in states.items()
    ]
    return f"{_STATES}\n\n{table(['Model', *(f'L = {length:,}' for length in lengths)], rows)}"


def _trainings(study: LongHistoryStudy) -> str:
    parts = ["### Trainings", tables.trainings(study.recommenders)]
    if shared := tables.recipes(study.recommenders, shared=True):
        parts += ["### Settings that all share", shared]
    for model, windows in study.windows.windows.items():
        recipe = study.recommenders.models[label(model, windows[-1])].recipe
        parts += [f"### {escape(model)}", tables.key_values("Model", recipe["model"])]
    return "\n\n".join(parts)


def _against_window(study: LongHistoryStudy, protocol: str) -> Figure:
    comparison = study.windows.comparison
    caption = (
        f"NDCG@10 with the history {protocol} against the window (logarithmic), 95% intervals over users. All points "
        "are of the same users, so the intervals overlap more than the differences warrant: those stand in the table. "
        "Points of one window stand a little apart, to be seen."
    )
    columns = ("model", "window", "ndcg@10", "low", "high")
    labels = (_WINDOW, f"NDCG@10, history {protocol}")
    with drawing(f"ndcg-against-window-{protocol}", caption, columns, labels, height=4.0) as figure:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            means = [model_row(comparison, label(model, window), protocol, NAME).mean for window in windows]
            points = zip(_apart(windows, place), (mean.value for mean in means), strict=True)
            figure.series(place, model, points, whiskers(means))
            figure.rows.extend((model, window, *cells(mean)) for window, mean in zip(windows, means, strict=True))
        popular = model_row(comparison, MOST_POPULAR, protocol, NAME).mean
        figure.axes.axhline(popular.value, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label=MOST_POPULAR)
        figure.rows.append((MOST_POPULAR, None, *cells(popular)))
        _window_axis(figure, study)
    return figure


def _of_the_longest_histories(study: LongHistoryStudy, protocol: str) -> Figure:
    slices = slice_rows(study.windows.comparison, "history_length", protocol)
    part = slices[-1].part
    own = {row.model: row for row in slices if row.part == part}
    caption = (
        f"NDCG@10 with the history {protocol} against the window, for the quarter of the users with the longest "
        f"histories ({part} items); whiskers are 95% intervals over users."
    )
    columns = ("model", "window", "history_length", "targets", "ndcg@10", "standard_error")
    labels = (_WINDOW, f"NDCG@10, history {protocol}")
    with drawing("ndcg-of-the-longest-histories", caption, columns, labels) as figure:
        for place, (model, windows) in enumerate(study.windows.windows.items()):
            rows = [own[label(model, window)] for window in windows]
            points = zip(_apart(windows, place), (row.mean for row in rows), strict=True)
            figure.series(place, model, points, slice_reaches(rows))
            for window, row in zip(windows, rows, strict=True):
                figure.rows.append((model, window, part, row.targets, row.mean, row.standard_error))
        _window_axis(figure, study)
    return figure


def _state_sizes(study: LongHistoryStudy) -> Figure:
    caption = (
        "What a server keeps of one user to go on with one more event, against the length of the history; both axes "
        "logarithmic. The sizes are those of the tensors."
    )
    labels = ("Items in the history, L", "State of one user, KiB")
    with drawing("state-against-length", caption, ("model", "length", "bytes"), labels, height=4.0) as figure:
        for place, (model, sizes) in enumerate(study.states().items()):
            figure.series(place, model, [(length, size / 1024) for length, size in sizes.items()])
            figure.rows.extend((model, length, size) for length, size in sizes.items())
        logarithmic(figure.axes, "x", "y")
    return figure


def _apart(windows: Sequence[int], place: int) -> list[float]:
    return [window * 1.03**place for window in windows]


def _window_axis(figure: Figure, study: LongHistoryStudy) -> None:
    windows = sorted({window for own in study.windows.windows.values() for window in own})
    logarithmic(figure.axes, "x")
    figure.axes.set_xticks(windows, [f"{window:,}" for window in windows])
    figure.axes.xaxis.set_minor_locator(NullLocator())
    figure.axes.set_ylim(bottom=0)
