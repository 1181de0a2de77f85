"""The documents: their sizes, and that every link in them leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("components", "images", "manifests", "pipelines", "tests")
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)
LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as forges make them.

    >>> sorted(anchors("# A b\\n## `c`: d, e"))
    ['a-b', 'c-d-e']
    """
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize(("document", "kilobytes"), [("RESULTS.md", 15)])
def test_documents_stay_short(document: str, kilobytes: int) -> None:
    assert (ROOT / document).stat().st_size <= 1000 * kilobytes
