"""Secrets that the tests plant, to look for them where they must not be."""

import secrets
from dataclasses import dataclass, field

from tests.seaweed import ObjectStore


def _secret() -> str:
    return f"planted-{secrets.token_hex(16)}"


@dataclass(frozen=True)
class Planted:
    """Each of this run only.

    Attributes:
        build: in the environment of the images' build.
        pip: in pip's configuration during that build.
        database: MLflow's password to PostgreSQL.
        tracking: the stages' password to MLflow.
    """

    build: str = field(default_factory=_secret)
    pip: str = field(default_factory=_secret)
    database: str = field(default_factory=_secret)
    tracking: str = field(default_factory=_secret)

    def all(self, store: ObjectStore) -> list[str]:
        """Return them with the secret of an object store."""
        return [*vars(self).values(), store.variables["AWS_SECRET_ACCESS_KEY"]]
