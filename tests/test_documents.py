"""The documents: their sizes, and that links, commands and code in them work and trees and pictures are complete."""

import re
from pathlib import Path

import numpy
import pytest

from tests.datasets import write_dataset_folder

ROOT = Path(__file__).parents[1]
FOLDERS = ("components", "images", "manifests", "pipelines", "tests")
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAGES = {path.parent.name for path in (ROOT / "components" / "ssm4rec" / "stages").glob("*/component.py")}
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


@pytest.mark.parametrize(("document", "kilobytes"), [("README.md", 10), ("RESULTS.md", 15)])
def test_documents_stay_short(document: str, kilobytes: int) -> None:
    assert (ROOT / document).stat().st_size <= 1000 * kilobytes


def test_example_of_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    rng = numpy.random.default_rng(0)
    sequences = [(rng.permutation(30)[: rng.integers(12, 25)] + 1).tolist() for _ in range(40)]
    write_dataset_folder(tmp_path / "runs" / "first" / "dataset", sequences)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    hit, candidates = re.fullmatch(r"HIT@10 (0\.\d+) next items of the first user \[(.*)\]\n", printed).groups()
    assert 0 < float(hit) < 1
    assert len({*candidates.split()}) == 10


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "RESULTS.md", "pipelines/README.md"])
def test_make_knows_every_target(document: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|&& )make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert named <= targets
    assert named


def test_picture_in_readme_has_every_stage_of_the_comparative_study() -> None:
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    drawn = set(re.findall(r"\b[a-z]+_[a-z_]+\b|\bevaluate\b|\breport\b", picture))
    of_other_studies = {"choose_settings", "recommend_all", *(stage for stage in STAGES if stage.startswith("report_"))}
    assert drawn == STAGES - of_other_studies


def test_tree_in_components_has_every_package() -> None:
    text = (ROOT / "components" / "README.md").read_text(encoding="utf-8")
    tree = text.partition("## The package")[2].partition("```")[2].partition("```")[0]
    packages = {path.parent.name for path in (ROOT / "components" / "ssm4rec").glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == packages
    for name in re.findall(r"[\w/]+\.py", tree.partition("artifacts/")[0]):
        assert any((ROOT / "components" / folder / name).is_file() for folder in (".", "ssm4rec")), name
