"""The number of the index's search tells of which search a stored recall is."""

from ssm4rec.registry import item_index


def test_another_search_has_another_number() -> None:
    """Who changes a setting raises SEARCH, and writes both here: stored recalls are of the search of their day."""
    settings = ("_PROPOSED", "_AT_LEAST", "_MOST", "_SHARE", "_LEFT")
    assert {name: getattr(item_index, name) for name in ("SEARCH", *settings)} == {
        "SEARCH": 1, "_PROPOSED": 20, "_AT_LEAST": 200, "_MOST": 1000, "_SHARE": 250, "_LEFT": 0.85,
    }  # fmt: skip
