"""The titles that a language model was trained with, and later ones."""

import hashlib
from pathlib import Path

import pytest

from ssm4rec.artifacts.titles import check_titles_trained_with, titles_digest
from ssm4rec.runtime.errors import InputError


def test_the_digest_is_of_each_title_at_its_place() -> None:
    assert titles_digest(["", "Alien", 'A "B"']) == hashlib.sha256(b'["", "Alien", "A \\"B\\""]').hexdigest()
    assert (
        len({titles_digest(titles) for titles in (["", "ab", "c"], ["", "a", "bc"], ["", "c", "ab"], ["ab", "c"])}) == 4
    )


def test_other_titles_are_refused_and_unknown_ones_accepted_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    titles = ["", "Alien", "Brazil"]
    check_titles_trained_with(Path("adapter"), titles_digest(titles), titles)
    assert not caplog.messages
    with pytest.raises(InputError, match=r"^adapter: trained with other titles than those of the data set given; "):
        check_titles_trained_with(Path("adapter"), titles_digest(titles), ["", "Brazil", "Alien"])
    check_titles_trained_with(Path("adapter"), "", titles)
    assert caplog.messages == ["adapter: does not say which titles it was trained with; those given are taken for them"]
