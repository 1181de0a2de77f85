"""The titles that a language model was trained with: no fingerprint of a data set covers them, its sequences alone."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)


def titles_digest(titles: Sequence[str]) -> str:
    """Return the SHA-256 of titles, in their order."""
    return hashlib.sha256(json.dumps(list(titles)).encode()).hexdigest()


def check_titles_trained_with(folder: Path, digest: str, titles: Sequence[str]) -> None:
    """Raise InputError unless a folder's model was trained with these titles, by their digest in its description.

    Folders of the last release have none, which is said and accepted.
    """
    if not digest:
        logger.warning("%s: does not say which titles it was trained with; those given are taken for them", folder)
    elif digest != titles_digest(titles):
        raise InputError(
            f"{folder}: trained with other titles than those of the data set given; prepare the data with the same "
            "titles (--items-source), or train it again"
        )
