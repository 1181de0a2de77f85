"""The choice of the champion, and when it takes over from another."""

from pathlib import Path
from typing import Any

import pytest

from ssm4rec.registry.champion import Contender, best, takes_over


def contender(model: str, seed: int, validation: float) -> Contender:
    config: dict[str, Any] = {"model": model, "seed": seed, "profile": "quick", "dataset": "toy", "fingerprint": "f"}
    return Contender(Path(model), config, validation)


def test_the_best_by_validation_and_of_equals_the_first_by_name_and_seed() -> None:
    low, high = contender("2mamba4rec", 0, 0.1), contender("sasrec", 10, 0.3)
    assert best([low, high]) is high
    equal = [contender("sasrec", 9, 0.3), high, contender("hydra4rec", 2, 0.3), contender("hydra4rec", 1, 0.3), low]
    assert best(equal).label == "hydra4rec seed 1"
    assert best([one for one in equal if one.config["model"] == "sasrec"]).label == "sasrec seed 9"


@pytest.mark.parametrize(
    ("validation", "fingerprint", "split", "wins", "said"),
    [
        (0.2, "f", "leave-one-out", False, "validation ndcg@10 0.2000, the champion so far 0.2000 (sasrec seed 1): it"),
        (0.1, "f", "leave-one-out", False, "it stays"),
        (0.2 + 1e-12, "f", "leave-one-out", True, "replaced"),
        (0.9, "g", "leave-one-out", False, "the champion so far is of other data: it stays; --replace-champion true"),
        (0.9, "f", "global-time", False, "of another split: it stays"),
    ],
)
def test_takes_over(validation: float, fingerprint: str, split: str, wins: bool, said: str) -> None:
    current = contender("sasrec", 1, 0.2).tags("leave-one-out")
    new = {**contender("2mamba4rec", 0, validation).tags(split), "fingerprint": fingerprint}
    taken, why = takes_over(new, current)
    assert taken is wins
    assert said in why


def test_a_champion_validated_with_the_history_masked_does_not_compare() -> None:
    new = contender("sasrec", 0, 0.9).tags("leave-one-out")
    masked = {**contender("sasrec", 1, 0.2).tags("leave-one-out"), "protocol": "masked"}
    kept, stays = takes_over(new, masked)
    assert not kept
    assert stays.startswith("the champion so far is of another protocol: it stays; --replace-champion true")
    assert takes_over(new, masked, replace=True) == (True, "the champion so far is of another protocol: replaced")


def test_a_champion_without_the_tag_was_validated_unmasked() -> None:
    untagged = contender("sasrec", 1, 0.2).tags("leave-one-out")
    del untagged["protocol"]
    assert takes_over(contender("sasrec", 0, 0.3).tags("leave-one-out"), untagged)[0]
    assert not takes_over(contender("sasrec", 0, 0.1).tags("leave-one-out"), untagged)[0]


def test_an_alias_that_somebody_else_set_stays_unless_asked() -> None:
    new = contender("sasrec", 0, 0.1).tags("leave-one-out")
    assert not takes_over(new, {})[0]
    assert takes_over(new, {}, replace=True)[0]


def test_on_the_same_data_a_worse_one_is_no_champion_whatever_is_asked() -> None:
    current = contender("sasrec", 1, 0.2).tags("leave-one-out")
    assert not takes_over(contender("sasrec", 0, 0.1).tags("leave-one-out"), current, replace=True)[0]


@pytest.mark.parametrize("current", [None, contender("sasrec", 1, 0.2).tags("leave-one-out"), {}])
def test_smoke_is_never_champion(current: dict[str, str] | None) -> None:
    new = {**contender("sasrec", 0, 0.9).tags("leave-one-out"), "profile": "smoke"}
    assert takes_over(new, current, replace=True) == (False, "trained with profile smoke")


def test_the_first_is_champion() -> None:
    assert takes_over(contender("sasrec", 0, 0.1).tags("leave-one-out"), None) == (True, "the first one")
