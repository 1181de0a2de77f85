"""The sentences of the report that depend on its numbers."""

from dataclasses import asdict
from typing import Any, Final

from ssm4rec.data.event_order import EXACT, RANDOM_TIES, RECBOLE
from ssm4rec.report.document import Section
from ssm4rec.report.markdown import escape, listed
from ssm4rec.report.paper import PaperTable
from ssm4rec.report.recommenders import Recommenders

_ORDER_WORDS: Final = {
    EXACT: "Order `exact`: by time, events of equal times as in the file.",
    RECBOLE: "Order `recbole`: by time as RecBole has it, the time column in float32, events that then tie as in the "
    "file.",
    RANDOM_TIES: "Order `random-ties`: by time, events of equal times in a random order.",
}
SEEDS_FOR_A_SPREAD: Final = 3
"""Fewer say nothing about how trainings vary."""
MANY: Final = 0.1
"""Share of the targets that tie, or that repeat, from which this is said."""
PROFILE_CAUTIONS: Final = {
    "smoke": "trains for seconds, to see that everything works: the numbers say nothing about the models",
    "quick": "trains for minutes on a CPU: real data and honest numbers, of models that are untuned or under-trained",
}


def other_copies(recommenders: Recommenders) -> list[str]:
    """Return which files of the data have another checksum than the published ones."""
    return [
        f"The data may not be the published ones: {escape(source['file'])} has another checksum (md5 {source['md5']}) "
        "than the published one and was accepted as it is."
        for source in recommenders.manifest["sources"]
        if source["checksum"] == "accepted unverified"
    ]


def other_data(manifest: dict[str, Any], paper: PaperTable) -> str:
    """Return why data of the right name and order of events are not the paper's, or nothing."""
    counts = asdict(paper.counts)
    if {name: manifest["recbole_counts"][name] for name in counts} != counts:
        return "the data have other counts than the paper's"
    if (manifest["event_order"]["pairs_in_one_order"] or 0.0) < paper.in_one_order:
        return "the rows of the file stand in another order than in the published one, which decides ties"
    return ""


def comparability(recommenders: Recommenders, paper: PaperTable) -> str:
    """Return whether data and split are the paper's, which comes before any comparison of metrics."""
    lines = []
    ours: dict[str, int] = recommenders.manifest["recbole_counts"]
    printed = asdict(paper.counts)
    different = [
        f"{ours[noun]:,} {noun} here, {printed[noun]:,} there" for noun in printed if ours[noun] != printed[noun]
    ]
    if different:
        lines.append(f"The data are not the paper's: counted as RecBole counts, {listed(different)} (Table 4).")
    else:
        lines.append("The data have the counts of the paper's Table 4.")
    if recommenders.manifest["split"]["name"] != "leave-one-out" or recommenders.split != "test":
        lines.append(
            f"This run's numbers are on the {recommenders.split} targets of the split "
            f"{escape(recommenders.splitting)}, not on each user's last item as in leave-one-out, so they cannot be "
            "compared with the paper's."
        )
    return " ".join(lines)


def event_order(facts: dict[str, Any]) -> str:
    """Return in which order events stand whose times tie, and what hangs on it."""
    alike = facts["pairs_in_one_order"]
    leak = (
        ""
        if alike is None
        else f" Of two users whose ties hold the same two items, {alike:.1%} have them in the same order: 50% is "
        "chance, and what is above it gives the next item away."
    )
    return (
        f"{_ORDER_WORDS[facts['name']]} {facts['neighbours_that_tie']:.1%} of the events next to each other tie.{leak} "
        f"{facts['targets_in_ties']:.1%} of the test targets tie with another event of their user, "
        f"{facts['targets_that_repeat']:.1%} are an item that the user had before."
    )


def order_section(manifest: dict[str, Any] | None) -> list[Section]:
    """Return the section that names the order of events, with a warning where ties decide much; none without data."""
    if manifest is None:
        return []
    facts = manifest["event_order"]
    return [Section("Data", "\n\n".join([*tie_cautions(facts), event_order(facts)]))]


def tie_cautions(facts: dict[str, Any]) -> list[str]:
    """Return a warning where ties decide many of the test targets."""
    if facts["targets_in_ties"] <= MANY:
        return []
    return [
        f"The order of ties decides much here: {facts['targets_in_ties']:.0%} of the test targets have the time of "
        f"another event of their user. These numbers are of the order {facts['name']} and compare only with numbers of "
        "the same order."
    ]


def sequence_lengths(recommenders: Recommenders) -> str:
    """Return how long the users' sequences are."""
    length: dict[str, Any] = recommenders.manifest["sequence_length"]
    return (
        f"A user's sequence holds {length['mean']:,.1f} items on average, {length['median']:,g} in the median and "
        f"{length['maximum']:,} at most."
    )


def ran_out_of_epochs(recommenders: Recommenders, model: str) -> bool:
    """Return whether a training ended because its epochs ran out, with the best epoch among the last two."""
    return any(
        evaluation.training["stopped"] == "epochs"
        and evaluation.training["best_epoch"] >= evaluation.training["epochs"] - 1
        for evaluation in recommenders.trainings
        if evaluation.model == model
    )
