"""The paper's claims, one by one: what this run says to each, and how sure it is."""

from collections.abc import Sequence
from typing import Final

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.data.data_sets import is_published
from ssm4rec.report.alignment_effect import changes, named, preference_term, without_control
from ssm4rec.report.comparison_sections import pair_row
from ssm4rec.report.document import Section
from ssm4rec.report.findings import SEEDS_FOR_A_SPREAD
from ssm4rec.report.language_models import RankerRun
from ssm4rec.report.markdown import bullets, escape, listed, plural, population
from ssm4rec.report.paper import PAPER, SOURCE, PaperTable
from ssm4rec.studies.comparative.findings import of_these_trainings
from ssm4rec.studies.comparative.study import Study

_STATE_SPACE_MODELS: Final = ("mamba4rec", "2mamba4rec", "hydra4rec")
_TRANSFORMER: Final = "sasrec"
_HYDRA, _MAMBA = "hydra4rec", "mamba4rec"
_CLAIMED: Final = 4.0


def claims_section(study: Study, paper: PaperTable | None) -> list[Section]:
    """Return the section of the claims; none where nothing was measured that could judge one, and for own data."""
    if not is_published(study.manifest["dataset"]) or not (
        study.comparison or study.latency or study.language_models.rankers
    ):
        return []
    if study.smoke:
        text = f"What {SOURCE} claims is not judged by this run: profile smoke trains for seconds."
        return [Section("The paper's claims", text)]
    lines = [
        f"**State-space models recommend better than SASRec.** {_ssms_beat_sasrec(study)}",
        f"**Hydra is four to five times as fast as Mamba, with similar metrics.** {_hydra_is_faster(study, paper)}",
        f"**ORPO improves the ranking of a language model slightly.** {_orpo_helps(study)}",
        "**USGM with adaptive batches trains better than Adam.** Not in this study; the optimizer study measures it "
        "(`make optimizer-study`).",
    ]
    text = f"What {SOURCE} claims, and what this run says to it on {escape(study.manifest['dataset'])}:"
    return [Section("The paper's claims", f"{text}\n\n{bullets(lines)}")]


def _ssms_beat_sasrec(study: Study) -> str:
    if study.comparison is None:
        return "Not judged: the models were not compared user by user."
    words = []
    for model in _STATE_SPACE_MODELS:
        if row := pair_row(study.comparison, model, _TRANSFORMER, UNMASKED, "ndcg@10"):
            whose = of_these_trainings(study, model, _TRANSFORMER)
            verdict = row.difference.verdict(f"yes{whose}", f"no, SASRec is significantly better{whose}")
            words.append(f"{model}: {verdict}, NDCG@10 {row.difference.stated()}")
    if not words:
        return "Not judged: SASRec or all state-space models are missing."
    seeds = {len(study.seeds(model)) for model in study.models}
    counted = f"{'' if len(seeds) == 1 else 'at least '}{plural(min(seeds), 'seed')} per model"
    if min(seeds) < SEEDS_FOR_A_SPREAD:
        counted += ", too few to say how trainings vary, so this is said of these trainings alone"
    return (
        f"{'; '.join(words)}. History unmasked, over {population(study.comparison.users, study.comparison.targets)}; "
        f"{counted}, all with this run's settings."
    )


def _hydra_is_faster(study: Study, paper: PaperTable | None) -> str:
    latency = study.latency
    ratios = []
    for table in [paper] if paper else PAPER.values():
        latencies = {row.model: float(row.latency) for row in table.rows if row.latency}
        ratios.append(f"{latencies[_MAMBA] / latencies[_HYDRA]:.1f}")
    theirs = f"The latencies in its own table{'' if paper else 's'} give {listed(ratios)} times."
    if latency is None:
        return f"Not judged: no latency was measured. {theirs}"
    words = []
    for batch in latency.batches:
        if ratio := latency.times_as_fast(_HYDRA, _MAMBA, batch):
            shown = f"{ratio.text('{:.2f}'.format)} times as fast"
            words.append(f"with {plural(batch, 'user')} per request: {_judged_ratio(ratio)}, {shown}")
    if not words:
        return f"Not judged: samples of one of the two are missing. {theirs}"
    metrics = ""
    row = pair_row(study.comparison, _HYDRA, _MAMBA, UNMASKED, "ndcg@10") if study.comparison else None
    if row:
        whose = of_these_trainings(study, _HYDRA, _MAMBA)
        first, second = (f"{model} is significantly better{whose}" for model in (_HYDRA, _MAMBA))
        same = row.difference.verdict(first, second)
        metrics = f" NDCG@10, hydra4rec \N{MINUS SIGN} mamba4rec: {row.difference.stated()}: {same}."
    device = escape(str(latency.summary.machine["device_name"]))
    return f"On {device} (paper: A100) {'; '.join(words)}.{metrics} {theirs}"


def _judged_ratio(ratio: Estimate) -> str:
    match ratio.side(1), ratio.side(_CLAIMED):
        case _, 1:
            return "yes"
        case -1, _:
            return "no, hydra4rec is significantly slower"
        case 1, -1:
            return "significantly faster, but not four times as fast"
        case _, -1:
            return "no, not four times as fast"
        case _:
            return "open, four times lies in the interval"


def _orpo_helps(study: Study) -> str:
    models = study.language_models
    groups = models.aligned_groups()
    if not groups:
        return "Not judged: no aligned ranker."
    words = []
    for runs in groups:
        change, *_ = changes(runs)
        seeds = f", {len(runs)} seeds together, each fine-tuned and aligned" if runs[1:] else ""
        shown = ", candidates in the retriever's order" if runs[0].letters else ""
        verdict = change.verdict("yes", "no, it is significantly worse")
        words.append(f"{named(runs)}{seeds}{change.whose}: {verdict}, {change.stated()}{shown}")
    told = [f"{'; '.join(words)}."]
    if len(groups) > len({run.kind for runs in groups for run in runs}):
        told.append("Seeds whose pairs, profile, recipe or users differ are not put together.")
    controlled = [said for runs in groups if (said := _against_control(runs))]
    told += controlled
    if not all(run.control for runs in groups for run in runs):
        alone = "not every ranker" if any(run.control for run in models.rankers) else "no ranker"
        told.append(
            f"Alignment also trains on the winners once more, and {alone} was trained on them alone: without that, "
            "this does not tell a gain by ORPO's preference term from one by more training."
        )
    return " ".join([*told, "See the notes on how little was trained."])


def _against_control(runs: Sequence[RankerRun]) -> str:
    """Return what the preference term did, next to a control trained on the winners alone; "" without one."""
    _, *controlled = changes(runs)
    if not controlled:
        return ""
    words = [
        f"{change.title}: {change.verdict('significantly better', 'significantly worse')}, {change.stated()}"
        for change in controlled
    ]
    compared = [run for run in runs if run.control]
    text = (
        f"{named(compared)}, next to the same training on the pairs' winners alone (*the winners again*), without the "
        f"preference term{controlled[0].whose}: {'; '.join(words)}. **{preference_term(controlled)}**"
    )
    return f"{text} {without_control(runs)}".strip()
