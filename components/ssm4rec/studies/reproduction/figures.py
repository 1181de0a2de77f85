"""The figure of a reproduction study: our intervals and the published figures, history unmasked."""

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.report.figures import INK, Figure, cells, drawing, style, whiskers
from ssm4rec.studies.reproduction.study import Reproduction


def next_to_published(study: Reproduction, metric: str) -> Figure:
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
