"""The report as a page and as Markdown: order, figures, escaping, nothing loaded from elsewhere."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.recommenders import gather_recommenders
from ssm4rec.studies.comparative.figures import learning_curves
from ssm4rec.studies.comparative.report import make_report
from ssm4rec.studies.comparative.study import study_of
from tests.report.measured_study import SECONDS, comparison

PAIRED = ("unmasked: NDCG@10", "unmasked: HIT@10", "masked: NDCG@10", "masked: HIT@10")
VOID = {"meta", "br", "hr", "img", "link", "input"}
TITLES = [
    "In short",
    "Before reading the numbers",
    "This run | the paper",
    "What it costs",
    "All metrics",
    "Data",
    "Learning curves",
    "Settings",
    "How ranks and metrics are defined",
]


class Page(HTMLParser):
    """Reads a page; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.headings, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture
def study(builder):
    evaluations = [builder.evaluation(model, seed) for model in ("sasrec", "2mamba4rec") for seed in (0, 1)]
    curves = [builder.curve(model, seed) for model in ("sasrec", "2mamba4rec") for seed in (0, 1)]
    return study_of(gather_recommenders(builder.manifest(), evaluations, curves))


def both(study):
    report = make_report(study)
    return render_html(report), render_markdown(report)


def test_sections_come_in_order_in_both(study):
    page, markdown = both(study)
    assert Page(page).headings == TITLES
    headings = [token.content for token in MarkdownIt().parse(markdown) if token.type == "inline" and token.level == 1]
    assert [text.replace("\\", "") for text in headings if text.replace("\\", "") in TITLES] == TITLES


def test_the_page_loads_nothing(study):
    page = Page(both(study)[0])
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    links = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset")]
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!#)", both(study)[0])
    assert ("meta", "charset", "utf-8") in page.attributes
    assert "@import" not in both(study)[0]
    assert "prefers-color-scheme" in both(study)[0]


def test_contents_lead_to_every_section(study):
    page = Page(both(study)[0])
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    anchors = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    assert links == [f"#{anchor}" for anchor in anchors]
    assert len(set(anchors)) == len(TITLES)
    assert "before-reading-the-numbers" in anchors


def test_contents_and_pair_tables_are_folded_and_printed_whole(builder):
    study = builder.study(*(builder.evaluation(model) for model in SECONDS))
    page = both(replace(study, comparison=comparison()))[0]
    folded = re.findall(r"<details>\n<summary>(.*?)</summary>\n(<\w+)", page)
    assert [title for title, _ in folded] == ["Contents", *(f"History {kind} of every pair" for kind in PAIRED)]
    assert {inside for _, inside in folded} == {"<ol", "<table"}
    screen, printed = page.split("@media print {")
    opened = "details::details-content { content-visibility: visible; block-size: auto; }"
    assert opened in printed
    assert f"@supports selector(::details-content) {{\n    nav summary {{ display: none; }}\n    nav {opened}" in screen
    assert "(prefers-color-scheme: dark)" not in printed
    assert "@media screen and (prefers-color-scheme: dark)" in screen


def test_head_says_what_made_it(study):
    report = replace(make_report(study), made="Made today, with: a <b>")
    assert "Made today, with: a &lt;b&gt;" in render_html(report)
    assert render_markdown(report).split("\n\n")[1] == "Made today, with: a &lt;b&gt;"


def test_page_and_markdown_say_the_same(study):
    page, markdown = both(study)
    assert Page(page).tags.count("table") == markdown.count("\n| ---")
    assert "0.2500 ± 0.0000" in page
    assert "0.2500 ± 0.0000" in markdown
    assert markdown.count("*Figure in report.html: ") == 3
    assert "<svg" not in markdown


def test_figures_are_well_formed_and_the_same_every_time(study):
    figures = learning_curves(study)
    assert [figure.svg for figure in learning_curves(study)] == [figure.svg for figure in figures]
    for figure, label in zip(figures, ("Validation NDCG@10", "Training loss"), strict=True):
        root = ElementTree.fromstring(figure.svg)
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert label in texts
        assert "Epoch" in texts
        assert texts.count("sasrec") == 1  # one entry of the legend for both seeds
        assert "metadata" not in figure.svg
    lines = re.findall(
        r"fill: none;( stroke-dasharray: [^;]*; stroke-dashoffset: [^;]*;)? stroke: (#\w{6})", figures[0].svg
    )
    colours = [colour for _, colour in lines]
    # Two models with two seeds each, and an entry in the legend for each model; told apart by their dashes, too.
    assert sorted(colours.count(colour) for colour in set(colours)) == [2 + 1, 2 + 1]
    assert len(set(lines)) == len(set(colours)) == len({dashes for dashes, _ in lines})


def test_validation_is_said_to_be_unmasked(builder):
    page, markdown = both(study_of(gather_recommenders(builder.manifest(), [builder.evaluation()], [builder.curve()])))
    assert "Training looks at validation NDCG@10, history unmasked, after each epoch" in markdown
    assert "Validation NDCG@10 with the history unmasked, against the epoch" in page


def test_no_curves_without_curves(builder):
    page, markdown = both(builder.study(builder.evaluation()))
    assert page.count("<svg") == 1  # the one in short
    assert "No learning curve was given of sasrec seed 0." in markdown


def test_a_hostile_name_is_text(builder_of):
    hostile = "<script>alert(1)</script> | **x** [l](javascript:a) $y$"
    builder = builder_of(hostile)
    manifest = builder.manifest(settings={hostile: hostile})
    study = study_of(gather_recommenders(manifest, [builder.evaluation(hostile)], [builder.curve(hostile)]))
    page, markdown = both(study)
    parsed = Page(page)
    assert "script" not in parsed.tags
    links = [value for tag, name, value in parsed.attributes if (tag, name) == ("a", "href")]
    assert len(links) == len(parsed.headings)
    assert all(re.fullmatch("#[a-z0-9-]+", value) for value in links)
    assert hostile in "".join(parsed.words)
    assert "<script" not in markdown
    figure = ElementTree.fromstring(learning_curves(study)[0].svg)
    assert hostile in [element.text for element in figure.iter("{http://www.w3.org/2000/svg}text")]
    rows = [line for line in markdown.splitlines() if line.startswith("| ---")]
    assert Page(page).tags.count("table") == len(rows)  # no row was broken by the bar


def section(text, title):
    return text.split(f"\n## {title}")[1].split("\n## ")[0]


def test_tables_with_models_say_which_have_a_repeat_term(builder):
    """A model with one stood next to the paper's figures without a word."""
    made = builder.evaluation()
    recipe = {**made.recipe, "model": {**made.recipe["model"], "repeat_term": True}}
    evaluation = replace(made, recipe=recipe)
    text = render_markdown(make_report(builder.study(evaluation)))
    assert "sasrec has a repeat term" in section(text, "This run")
    assert "The paper's models have none." in section(text, "This run")
    assert "sasrec has a repeat term" in section(text, "All metrics")
    exact = builder.manifest()["event_order"] | {"name": "exact"}
    alone = render_markdown(make_report(builder.study(evaluation, event_order=exact)))
    assert "sasrec has a repeat term" in section(alone, "This run")


def test_a_data_set_that_is_not_in_the_paper(builder_of):
    builder = builder_of("ml-100k")
    page, markdown = both(builder.study(builder.evaluation()))
    assert "paper" not in section(markdown, "This run") + section(markdown, "How ranks and metrics are defined")
    assert "RecBole's sequential\n  evaluation." in markdown
    assert "not trained" not in page
    assert Page(page).headings == ["This run" if title.startswith("This run") else title for title in TITLES]


@pytest.mark.parametrize("order", ["exact", "random-ties"])
def test_the_papers_numbers_stand_next_to_figures_of_its_own_order_only(builder, order):
    facts = builder.manifest()["event_order"] | {"name": order}
    text = render_markdown(make_report(builder.study(builder.evaluation(), event_order=facts)))
    assert "This run | the paper" not in text
    assert "0.340" not in text
    assert "EVENT_ORDER=recbole" in text
    assert "320k" in text  # sizes do not hang on the order


@pytest.mark.parametrize(
    ("split", "changes", "why"),
    [
        ("test", {"recbole_counts": {"users": 6041, "items": 3000, "interactions": 999611}}, "3,000 items here, 3,417"),
        ("test", {"event_order": {"pairs_in_one_order": 0.5}}, "the rows of the file stand in another order"),
        ("test", {"event_order": {"pairs_in_one_order": None}}, "the rows of the file stand in another order"),
        ("test", {"split": {"name": "global-time"}}, "targets of the split global-time"),
        ("validation", {}, "on the validation targets"),
    ],
)
def test_the_papers_numbers_stand_next_to_its_own_data_and_targets_only(builder, split, changes, why):
    """A file of other counts, or with its rows shuffled, has other targets: the report compared it with the paper."""
    manifest = builder.manifest()
    changed = {name: manifest[name] | values for name, values in changes.items()}
    changed = {name: values | ({"time_target": "last", "validation_from": 1, "test_from": 2} if name == "split" else {})
               for name, values in changed.items()}  # fmt: skip
    evaluation = builder.evaluation(split=split, by_time="split" in changes)
    text = render_markdown(make_report(builder.study(evaluation, **changed)))
    assert "This run | the paper" not in text
    assert "0.340" not in text
    assert why in text
    assert "So the paper's Table 3 does not stand next to this run's numbers" in text
