"""The sentences of a long-history study's report that depend on its numbers."""

from collections.abc import Sequence

from ssm4rec.artifacts.estimate import NOT_SIGNIFICANT
from ssm4rec.artifacts.latency import Crossing
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.evaluation.windows import NAME, WindowPair, label
from ssm4rec.latency.summary import BASELINE
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.findings import ran_out_of_epochs, tie_cautions
from ssm4rec.report.latency_sections import latency_cautions
from ssm4rec.report.markdown import bullets, escape, listed, plural
from ssm4rec.report.measurements import FULL, MODE_NAMES, PREFILL, STEP
from ssm4rec.studies.long_histories.study import LongHistoryStudy


def in_short(study: LongHistoryStudy) -> str:
    """Return what the study found, a line a finding."""
    lines = [quality_verdict(study, model) for model, own in study.windows.windows.items() if len(own) > 1]
    lines += filter(None, [against_baseline(study)])
    for mode in (FULL, PREFILL, STEP):
        found = [f"{crossing_words(one)} ({how_sure(study, one)})" for one in study.crossings() if one.mode == mode]
        if found:
            lines.append(f"**Time of one user, {MODE_NAMES[mode]}**: {'; '.join(found)}.")
    return bullets([*lines, *state_words(study), *latency_cautions(study.latency)])


def best_window(study: LongHistoryStudy, model: str) -> int:
    """Return the window with the highest NDCG@10, history unmasked; of equal ones the shortest."""
    reached = {
        window: model_row(study.windows.comparison, label(model, window), UNMASKED, NAME).mean.value
        for window in study.windows.windows[model]
    }
    return max(reached, key=lambda window: (reached[window], -window))


def judged_pair(pair: WindowPair) -> str:
    """Return the verdict on a pair."""
    return pair.all_users.verdict("significantly better", "significantly worse")


def quality_verdict(study: LongHistoryStudy, model: str) -> str:
    """Say which window of a model is best, and which ones differ significantly from the longest."""
    best, longest = best_window(study, model), study.windows.windows[model][-1]
    reached = model_row(study.windows.comparison, label(model, best), UNMASKED, NAME).mean.text()
    pairs = [pair for pair in study.windows.to_longest if (pair.model, pair.protocol) == (model, UNMASKED)]
    different = [f"{words} with {found}" for words, found in _different(pairs)]
    rest = listed(different) if different else f"{NOT_SIGNIFICANT} with any shorter one"
    return (
        f"**{escape(model)}**: best with a window of {best:,} items, NDCG@10 {reached}. Compared with its longest "
        f"window of {longest:,}: {rest}."
    )


def _different(pairs: Sequence[WindowPair]) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.all_users.sign):  # the better ones first
        if pair.all_users.sign:
            found.setdefault(judged_pair(pair), []).append(f"{pair.window:,}")
    return [(side, listed(windows)) for side, windows in found.items()]


def against_baseline(study: LongHistoryStudy) -> str:
    """Say at which windows the models differ from the baseline, and how the gap is at the longest common window."""
    words = []
    for model in study.windows.windows:
        pairs = [pair for pair in study.windows.to_baseline if (pair.model, pair.protocol) == (model, UNMASKED)]
        if pairs:
            different = [f"{side} at {found}" for side, found in _different(pairs)]
            last = max(pairs, key=lambda pair: pair.window)
            words.append(
                f"{escape(model)} is {listed(different) if different else 'at no window significantly different'} "
                f"(at {last.window:,}: {last.all_users.stated()})"
            )
    return f"**Compared with {BASELINE} at the same window**: {'; '.join(words)}." if words else ""


def crossing_words(crossing: Crossing) -> str:
    """Say at which lengths a model is faster than the baseline.

    >>> crossing_words(Crossing("lrurec", "quick", 0, "full", "generated", (50, 1000), (1000,), (812.4,), ()))
    'lrurec is slower than sasrec up to about L = 810 and faster from there on'
    >>> crossing_words(Crossing("lrurec", "quick", 0, "full", "generated", (50, 1000), (), (), ()))
    'lrurec is slower than sasrec at every length measured (50 to 1,000): no crossing'
    """
    model, measured = escape(crossing.model), f"{min(crossing.measured):,} to {max(crossing.measured):,}"
    side = "faster" if min(crossing.measured) in crossing.cheaper_at else "slower"
    places = sorted([*crossing.cheaper_from, *crossing.dearer_from])
    if not places:
        return f"{model} is {side} than {BASELINE} at every length measured ({measured}): no crossing"
    ranges: list[str] = []
    for length in places:
        ranges.append(f"{side}{'' if ranges else f' than {BASELINE}'} up to about L = {_two_digits(length)}")
        side = "slower" if side == "faster" else "faster"
    return f"{model} is {listed([*ranges, f'{side} from there on'])}"


def how_sure(study: LongHistoryStudy, crossing: Crossing) -> str:
    """Say at which measured lengths the 95% intervals of the two curves do not overlap."""
    curves = study.latency.of_lengths(crossing.mode)
    baseline = {one.length: one.median for one in curves[BASELINE]}
    apart = [
        f"{one.length:,}"
        for one in curves[crossing.model]
        if one.median.side(baseline[one.length].low, baseline[one.length].high)
    ]
    if apart:
        return f"intervals do not overlap at L = {listed(apart)}"
    return "intervals overlap at every length: not significant"


def _two_digits(length: float) -> str:
    """Return a length to two digits: between two measured lengths no more is known.

    >>> _two_digits(812.4), _two_digits(1034.0)
    ('810', '1,000')
    """
    return f"{int(float(f'{length:.1e}')):,}"


def state_words(study: LongHistoryStudy) -> list[str]:
    """Say which states grow with the history, and how large they are after the longest one."""
    words = []
    for model, sizes in study.states().items():
        shortest, longest = min(sizes), max(sizes)
        if sizes[shortest] == sizes[longest]:
            words.append(f"{escape(model)} keeps {size_words(sizes[longest])} at every length")
        else:
            words.append(
                f"{escape(model)} {size_words(sizes[shortest])} after {shortest:,} items and "
                f"{size_words(sizes[longest])} after {longest:,}"
            )
    return [f"**What a server keeps of one user**: {'; '.join(words)}."] if words else []


def size_words(size: int) -> str:
    """Return a size in a unit that keeps it short.

    >>> size_words(18_688), size_words(10_240_000)
    ('18.2 KiB', '9.8 MiB')
    """
    return f"{size / 1024**2:,.1f} MiB" if size >= 1024**2 else f"{size / 1024:,.1f} KiB"


def what_it_shows_not(study: LongHistoryStudy) -> str:
    """Return plainly what the run cannot show."""
    trainings, manifest = study.recommenders.trainings, study.recommenders.manifest
    longest = manifest["sequence_length"]["maximum"]
    lengths = study.latency.summary.protocol["lengths"]
    lines = [f"The data's longest sequence holds {longest:,} items: quality is shown up to there."]
    if max(lengths) > longest:
        lines[0] = (
            f"{lines[0].removesuffix('.')}, and nothing is said of quality at 10,000. Generated histories are random "
            "items: they show what a length costs, never what it is worth."
        )
    lines += tie_cautions(manifest["event_order"])
    random = sorted({one.model for one in study.latency.summary.results if one.weights == "random"})
    if random:
        lines.append(
            f"In the sweep over lengths {listed([escape(name) for name in random])} had random weights, because a "
            "position table of the trained length does not fit another. Time and bytes are the same with any weights."
        )
    unfinished = [name for name in study.recommenders.models if ran_out_of_epochs(study.recommenders, name)]
    if unfinished:
        lines.append(
            f"Under-trained: {len(unfinished)} of {plural(len(study.recommenders.models), 'model')} ended because the "
            "epochs ran out, with the best epoch among the last two. Longer trainings may order the windows otherwise."
        )
    fewest = min(len(study.recommenders.seeds(name)) for name in study.recommenders.models)
    if fewest < 3:
        lines.append(
            f"{plural(fewest, 'seed')} of each training: the intervals are over users, for the models as trained. How "
            "much another seed would move a number is not in them."
        )
    if all(one.recipe["training"].get("crops") == "all" for one in trainings):
        lines.append(
            "All windows saw the same targets in every epoch, with the same settings, tuned for none of them. In "
            "training the targets at the head of a window have a shorter context than the window: with short windows "
            "they are more of all."
        )
    return bullets(lines)
