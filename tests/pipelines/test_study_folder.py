"""The folder of a study: what is not the study's own stays."""

from pathlib import Path

from pipelines.study_folder import StudyFolder


def test_a_link_is_replaced_and_what_is_no_link_stays(tmp_path: Path) -> None:
    said: list[str] = []
    folder = StudyFolder(tmp_path, "", said.append)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        folder._replace_link(tmp_path / "dataset", tmp_path / name)
    assert (tmp_path / "dataset").readlink() == Path("second")
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "notes.txt").write_text("mine")
    folder._replace_link(tmp_path / "latency", tmp_path / "first")
    assert (tmp_path / "latency" / "notes.txt").read_text() == "mine"
    assert said == [
        f"{tmp_path / 'latency'}: not a link of this study, so it stays as it is; what would be linked there is "
        f"{tmp_path / 'first'}"
    ]
