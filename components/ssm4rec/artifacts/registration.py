"""registration.json: what became of a study's best model, as its report reads it."""

from dataclasses import dataclass

from ssm4rec.artifacts.codec import Count, Document


@dataclass(frozen=True)
class RegistrationFacts(Document, what="the outcome of a registration", made_by="register_champion"):
    """What was registered as what, or why not.

    Attributes:
        model, seed: the best by validation.
        registered_model: its name in MLflow.
        version: of that name; "" where nothing was registered.
        champion: whether the version has the alias.
        outcome: the same in words, with the reason.
    """

    model: str
    seed: Count
    dataset: str
    fingerprint: str
    registered_model: str
    version: str
    champion: bool
    outcome: str
