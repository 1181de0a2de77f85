"""What the report of a reproduction study says, in order."""

import itertools
from typing import Final

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.names import BASELINES, LEAVE_ONE_OUT, MASKED, UNMASKED
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.report import findings, tables
from ssm4rec.report.document import Report, Section
from ssm4rec.report.figures import INK, Figure, cells, drawing, style, whiskers
from ssm4rec.report.findings import PROFILE_CAUTIONS, ran_out_of_epochs
from ssm4rec.report.markdown import MISSING, bullets, escape, listed, plural, table
from ssm4rec.report.paper import COMMON_NOTES, PAPER
from ssm4rec.studies.reproduction.plan import DATASET, PUBLISHED_EPOCHS
from ssm4rec.studies.reproduction.published import PAPER_TABLE, PUBLISHED, published_of
from ssm4rec.studies.reproduction.study import ABOVE, BELOW, METRICS, Judgement, Recipe, Reproduction

_LIKE_WITH_LIKE: Final = (
    "Published figures stand next to our numbers with the history **unmasked** alone, in RecBole's **order of "
    f"events** (`{RECBOLE}`), on each user's last item, ranked among all items: that is how they were made. "
    "RecBole's evaluation of sequential models never masks the history. Figures of another order of events, or with "
    "the history masked, are of another data set or task and are not shown."
)
_UNKNOWN: Final = (MISSING, MISSING, MISSING)
"""Seeds, epochs and CPU minutes of what was not trained here."""
_HOW_TO_READ: Final = """\
- **Intervals** are 95% bootstrap intervals over users of this run's models as trained; a model of several seeds counts,
  for each user, with the mean over its seeds. They say nothing about other seeds. Published figures come without any.
- **above**, **level**, **below**: the whole interval lies above the published figure, the figure lies in it, or the
  whole interval lies below. "At or above" is above or level. A figure that was printed with three digits may have been
  rounded from anything within half of the last one; all of that counts as the figure.
- **Epochs**: those that each training had, of the most that its recipe allows; training ends before when validation
  NDCG@10 has not improved for the recipe's patience. An epoch of `paper` shows every prefix of every user, RecBole's
  data augmentation, so that epochs of `paper` and of `best` are not of one size.
- **CPU minutes** of one training with its validation, the mean over seeds.
- **Repeat term**: one learned number that is added to the scores of the items that the user had. No published model has
  one. It needs no mask to keep down what was already had."""


def make_report(study: Reproduction) -> Report:
    """Return the report of the study."""
    told = f"No published figure stands here: {study.other_data}." if study.other_data else _LIKE_WITH_LIKE
    over = f"Over {plural(study.comparison.users, 'user')}, {plural(study.comparison.items, 'item')}."
    masked = (
        "The items of the user's history are taken out of the ranking. No published figure of RecBole's is made this "
        f"way, so none stands here.\n\n{_table([*_ours(study, MASKED), *_of_baselines(study, MASKED)])}"
    )
    own = study.recommenders
    trainings = [tables.trainings(own), *tables.recipe_tables(own, "Where the recipes differ")]
    sections = [
        Section("In short", bullets([_in_short(study, model) for model in _models(study)])),
        Section("Before reading the numbers", bullets(_cautions(study))),
        Section(
            "History unmasked, next to the published figures",
            f"{over} {told}\n\n{_next_to_published(study)}",
            tuple(_figure(study, metric) for metric in METRICS),
        ),
        Section("At or above the published figures", _verdicts(study)),
        Section("History masked", masked),
        Section("Where the published figures are from", _sources()),
        Section("Data", _data(study)),
        Section("How the models were trained", "\n\n".join(trainings)),
        Section("How to read this", _HOW_TO_READ),
    ]
    title = f"{PAPER[DATASET].title} in RecBole's order of events: {plural(len(study.recipes), 'recipe')}"
    return Report(DATASET, title, sections, study.results())


def _models(study: Reproduction) -> list[str]:
    order = [one.model for one in PUBLISHED]
    return sorted(dict.fromkeys(recipe.model for recipe in study.recipes), key=order.index)


def _called(recipe: Recipe) -> str:
    return f"`{escape(recipe.profile)}` {'with' if recipe.repeat_term else 'without'} the repeat term"


def _in_short(study: Reproduction, model: str) -> str:
    (paper,) = [one for one in published_of(model) if one.source == PAPER_TABLE]
    row = f"{PAPER_TABLE}: {paper.hit_10} / {paper.ndcg_10}"
    found = [one for one in study.judgements() if one.published is paper]
    if not found:
        return f"**{escape(model)}** ({row}): not judged, as {study.other_data}."
    said = [
        f"{_called(recipe)} {' / '.join(f'{one.ours.mean.value:.4f}' for one in of_recipe)}, {_judged(of_recipe)}"
        for recipe in study.recipes
        if (of_recipe := [one for one in found if one.recipe is recipe])
    ]
    return f"**{escape(model)}** ({row}), HIT@10 / NDCG@10 unmasked: {'; '.join(said)}."


def _judged(judgements: list[Judgement]) -> str:
    """Say whether a recipe reaches a row: no metric's interval lies below the printed figure."""
    below = [one.metric.upper() for one in judgements if one.verdict == BELOW]
    if below:
        return f"**below** the row in {listed(below)}"
    above = [one.metric.upper() for one in judgements if one.verdict == ABOVE]
    return f"**at or above** the row{f' (above in {listed(above)})' if above else ''}"


def _cautions(study: Reproduction) -> list[str]:
    lines = [findings.comparability(study.recommenders, PAPER[DATASET])]
    lines += findings.tie_cautions(study.recommenders.manifest["event_order"])
    if study.other_data:
        lines.append(f"No published figure stands next to these numbers, and nothing is judged: {study.other_data}.")
    short = [
        f"{escape(recipe.model)} at most {recipe.most_epochs:,}"
        for recipe in study.recipes
        if recipe.profile == "paper" and recipe.most_epochs < PUBLISHED_EPOCHS
    ]
    if short:
        lines.append(
            f"Recipe `paper` is bounded by the time of a CPU: it asks for up to {PUBLISHED_EPOCHS} epochs, and here "
            f"had {listed(short)}. What is below a published figure there may be under-trained."
        )
    few = [escape(recipe.label) for recipe in study.recipes if len(recipe.trainings) < 3]
    if few:
        lines.append(f"Fewer than three seeds say nothing about the spread between seeds: {'; '.join(few)}.")
    unfinished = [
        escape(recipe.label) for recipe in study.recipes if ran_out_of_epochs(study.recommenders, recipe.label)
    ]
    if unfinished:
        lines.append(
            "Under-trained: training ended because its epochs ran out, and the best epoch was among the last two; more "
            f"epochs may give better numbers: {'; '.join(unfinished)}."
        )
    profiles = {recipe.profile for recipe in study.recipes}
    lines += [f"Profile {name} {caution}." for name, caution in PROFILE_CAUTIONS.items() if name in profiles]
    return [*lines, *findings.other_copies(study.recommenders)]


def _next_to_published(study: Reproduction) -> str:
    ours = list(zip(study.recipes, _ours(study, UNMASKED), strict=True))
    rows = []
    for model in _models(study):
        rows += [line for recipe, line in ours if recipe.model == model]
        rows += [
            [f"*{escape(model)}*", f"*{escape(one.source)}*", MISSING, one.hit_10, one.ndcg_10 or MISSING, *_UNKNOWN]
            for one in study.published(model)
        ]
    return _table([*rows, *_of_baselines(study, UNMASKED)])


def _figure(study: Reproduction, metric: str) -> Figure:
    """Draw each recipe's mean with its 95% interval, and below the recipes of a model its published figures."""
    lines: list[tuple[str, Estimate | float]] = []
    for model in dict.fromkeys(recipe.model for recipe in study.recipes):
        own = [recipe.label for recipe in study.recipes if recipe.model == model]
        lines += [(label, study.row(label, UNMASKED, metric).mean) for label in own]
        lines += [
            (f"{model}, {one.source}", float(printed))
            for one in study.published(model)
            if (printed := one.printed(metric))
        ]
    caption = (
        f"{metric.upper()} with the history unmasked, in RecBole's order of events: circles are this run with 95% "
        f"intervals over users{'' if study.other_data else ', crosses are published figures'}."
    )
    name, columns = f"{metric.replace('@', '-')}-next-to-published", ("whose", "name", metric, "low", "high")
    labels, height = (f"{metric.upper()}, history unmasked", ""), 1.2 + 0.2 * len(lines)
    with drawing(name, caption, columns, labels, height=height) as figure:
        places = range(len(lines), 0, -1)
        for place, (title, found) in zip(places, lines, strict=True):
            if isinstance(found, Estimate):
                look = {"fmt": "o", "color": style(0)["color"], "capsize": 2}
                figure.axes.errorbar([found.value], [place], xerr=whiskers([found]), **look)
                figure.rows.append(("this run", title, *cells(found)))
            else:
                figure.axes.plot([found], [place], "x", color=INK, markersize=7)
                figure.rows.append(("published", title, found, None, None))
        figure.axes.set_yticks(places, [title for title, _ in lines], fontsize=7)
        figure.axes.set_xlim(left=0)
    return figure


def _table(rows: list[list[str]]) -> str:
    return table(["Model", "Recipe", "Repeat term", "HIT@10", "NDCG@10", "Seeds", "Epochs", "CPU minutes"], rows, 5)


def _ours(study: Reproduction, protocol: str) -> list[list[str]]:
    return [
        [
            escape(recipe.model),
            f"`{escape(recipe.profile)}`",
            "yes" if recipe.repeat_term else "no",
            *(study.row(recipe.label, protocol, metric).mean.text() for metric in METRICS),
            listed([str(one.seed) for one in recipe.trainings]),
            f"{listed([f'{epochs:,}' for epochs in recipe.epochs])} of {recipe.most_epochs:,}",
            f"{recipe.cpu_minutes:,.1f}",
        ]
        for recipe in study.recipes
    ]


def _of_baselines(study: Reproduction, protocol: str) -> list[list[str]]:
    return [
        [name, "baseline", MISSING, *(study.row(name, protocol, metric).mean.text() for metric in METRICS), *_UNKNOWN]
        for name in BASELINES
    ]


def _verdicts(study: Reproduction) -> str:
    found = study.judgements()
    if not found:
        return f"Nothing is judged: {study.other_data}."
    rows = []
    for published, recipe in itertools.product(PUBLISHED, study.recipes):
        cells = {
            one.metric: f"{one.verdict}: {one.ours.mean.text()} against {published.printed(one.metric)}"
            for one in found
            if one.published is published and one.recipe is recipe
        }
        if cells:
            told = (published.model, published.source, published.setting)
            rows.append([*map(escape, told), _called(recipe), *(cells.get(metric, MISSING) for metric in METRICS)])
    header = ["Model", "Published by", "Their training", "This run, history unmasked", "HIT@10", "NDCG@10"]
    return table(header, rows, text_columns=len(header))


def _sources() -> str:
    lines = [
        f"{escape(one.model)}: {one.hit_10} / {one.ndcg_10 or 'not given'}, {escape(one.source)} ({one.setting})"
        for one in PUBLISHED
    ]
    return f"HIT@10 / NDCG@10, history unmasked, order `{RECBOLE}`, {LEAVE_ONE_OUT}:\n\n{bullets(lines)}"


def _data(study: Reproduction) -> str:
    manifest = study.recommenders.manifest
    parts = [
        findings.sequence_lengths(study.recommenders),
        tables.data_counts(manifest, PAPER[DATASET]),
        findings.event_order(manifest["event_order"]),
        tables.sources(manifest),
        bullets(COMMON_NOTES[:2]),
    ]
    return "\n\n".join(parts)
