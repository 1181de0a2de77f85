"""The figure of a reproduction study: our intervals and the published figures, history unmasked."""

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.figures import INK, Figure, drawing, style, whiskers
from ssm4rec.studies.reproduction.study import Reproduction


def next_to_published(study: Reproduction, metric: str) -> Figure:
    """Draw each recipe's mean with its 95% interval, and below the recipes of a model its published figures."""
    lines: list[tuple[str, str, Estimate | float]] = []
    for model in dict.fromkeys(recipe.model for recipe in study.recipes):
        rows = [study.row(recipe.label, UNMASKED, metric) for recipe in study.recipes if recipe.model == model]
        lines += [("this run", row.model, row.mean) for row in rows]
        lines += [
            ("published", f"{model}, {one.source}", float(printed))
            for one in study.published(model)
            if (printed := one.printed(metric))
        ]
    places = range(len(lines), 0, -1)
    with drawing(f"{metric.replace('@', '-')}-next-to-published", height=1.2 + 0.2 * len(lines)) as made:
        for place, (_, _, found) in zip(places, lines, strict=True):
            if isinstance(found, Estimate):
                look = {"fmt": "o", "color": style(0)["color"], "capsize": 2}
                made.axes.errorbar([found.value], [place], xerr=whiskers([found]), **look)
            else:
                made.axes.plot([found], [place], "x", color=INK, markersize=7)
        made.axes.set_yticks(places, [name for _, name, _ in lines], fontsize=7)
        made.axes.set_xlim(left=0)
        made.axes.set_xlabel(f"{metric.upper()}, history unmasked")
    caption = (
        f"{metric.upper()} with the history unmasked, in RecBole's order of events: circles are this run with 95% "
        f"intervals over users{'' if study.other_data else ', crosses are published figures'}."
    )
    numbers = [
        (whose, name, found.value, found.low, found.high)
        if isinstance(found, Estimate)
        else (whose, name, found, None, None)
        for whose, name, found in lines
    ]
    return made.figure(caption, ("whose", "name", metric, "low", "high"), numbers)
