"""What the report of a comparative study says, in order."""

from typing import Final

from ssm4rec.artifacts.names import GLOBAL_TIME, PROTOCOLS
from ssm4rec.report.comparison_sections import comparison_sections
from ssm4rec.report.costs import costs_section
from ssm4rec.report.document import Report, Section
from ssm4rec.report.findings import comparability, event_order, sequence_lengths
from ssm4rec.report.generator_sections import generator_cautions, generator_headlines, generator_sections
from ssm4rec.report.language_model_sections import ranker_cautions, ranker_headlines, ranker_sections
from ssm4rec.report.latency_sections import latency_cautions, length_section, users_section
from ssm4rec.report.markdown import bullets
from ssm4rec.report.paper import COMMON_NOTES, PAPER, SOURCE, PaperTable
from ssm4rec.report.tables import data_counts, filters, key_values, recipe_tables, sources
from ssm4rec.studies.comparative import findings, tables
from ssm4rec.studies.comparative.claims import claims_section
from ssm4rec.studies.comparative.figures import against_hits, learning_curves
from ssm4rec.studies.comparative.global_time import global_time_sections
from ssm4rec.studies.comparative.headline import headline_section
from ssm4rec.studies.comparative.study import Study

_PROTOCOL_NOTES: Final = """\
- **Rank.** A target's rank is 1 + the number of items with a higher score + the number of other items with the same
  score. Ties count against the model: a model that gives all items one score ranks every target last.
- **Metrics.** For a target at rank r and a cutoff k: HIT@k is 1 if r ≤ k, NDCG@k is 1 / log2(r + 1) if r ≤ k, MRR@k is
  1 / r if r ≤ k; each is 0 otherwise. A table shows the mean over targets, every target with the same weight; with
  leave-one-out that is the mean over users. The whole catalog is ranked, nothing is sampled.
- **History unmasked.** The items of the user's own history compete with the target. This is RecBole's sequential
  evaluation{paper}.
- **History masked.** The items of the user's own history are taken out of the ranking; a target among them counts as
  missed, at every cutoff. Where nobody returns to an item, this gives higher numbers with the same model, or the same
  with a repeat term. The two are never in one table.
- **Seeds.** A seed decides the first weights, the order of the batches and what dropout drops. Data, split and targets
  are the same for all seeds: one seed is one training, and a spread over seeds says nothing about other users or
  other data. A ± is the sample standard deviation over seeds.
- **most-popular.** Items by their number of training interactions, the same list for everyone: the least to beat.
- **most-popular-lately** (where data are split by time). Items by their number of training interactions in the last
  seven days of training, then by all.
- **most-recent.** The items of the user's history, most recent first, then the others by popularity.
- **most-frequent.** The items of the user's history by how often the user had them, of equal counts the more recent
  first, then the others by popularity.
- **markov.** A Markov chain with three lags: items by how often they came one, two or three places after the last
  three items of the history, in training."""

_EARLY_STOPPING: Final = (
    "Training looks at validation NDCG@10, history unmasked, after each epoch, keeps the weights of the best epoch "
    "and stops when it has not improved for `training.patience` epochs. Test targets are used once, after it."
)


def make_report(study: Study) -> Report:
    """Return the report of the study."""
    dataset = study.manifest["dataset"]
    paper = PAPER.get(dataset)
    models = study.language_models
    more = [*ranker_headlines(models), *generator_headlines(models)]
    cautions = [*ranker_cautions(models, study.manifest), *generator_cautions(models)]
    cautions += latency_cautions(study.latency, study.latency_failure)
    settings = [_EARLY_STOPPING, *recipe_tables(study, "Where the models differ")]
    sections = [
        headline_section(study, more),
        Section("Before reading the numbers", findings.cautions(study, cautions)),
        *claims_section(study, paper),
        _comparison(study, paper),
        *comparison_sections(study.comparison, judged=not study.smoke),
        *global_time_sections(study),
        *_latency(study, paper),
        costs_section(study, study.latency),
        *ranker_sections(models, paper),
        *generator_sections(models, paper),
        Section("All metrics", _metrics(study)),
        Section("Data", _data(study, paper)),
        Section("Learning curves", findings.missing_curves(study), learning_curves(study)),
        Section("Settings", "\n\n".join(settings)),
        Section("How ranks and metrics are defined", _definitions(study)),
    ]
    return Report(dataset, f"Sequential recommenders on {dataset}", sections, study.results_document())


def _definitions(study: Study) -> str:
    share = study.manifest["event_order"]["targets_that_repeat"]
    repeated = "No test target here is an item that the user had before."
    if share:
        repeated = (
            f"{share:.1%} of the test targets here are an item that the user had before. With the history masked they "
            f"count as missed, so that no HIT can be above {1 - share:.1%} there: those numbers say how well new items "
            "are found, as means over all targets."
        )
    also = " and so the paper's protocol" if study.manifest["dataset"] in PAPER else ""
    return f"{_PROTOCOL_NOTES.format(paper=also)}\n- **Repeated targets.** {repeated}"


def _comparison(study: Study, paper: PaperTable | None) -> Section:
    why = findings.alone(study, paper)
    if paper is None:
        return Section("This run", f"History unmasked. {findings.repeat_terms(study)}\n\n{tables.this_run(study)}")
    if why:
        text = f"{why} History unmasked, the paper's protocol. {findings.repeat_terms(study)}"
        return Section("This run", f"{text}\n\n{tables.this_run(study)}\n\n{_sizes(study, paper)}")
    text = (
        f"{paper.title}: this run, with the history unmasked, next to Table {paper.number} of {SOURCE}. "
        f"{comparability(study, paper)} {findings.repeat_terms(study)} The paper's models have none.\n\n"
        f"{tables.paper_comparison(study, paper)}\n\n{_sizes(study, paper)}"
    )
    return Section("This run | the paper", text)


def _sizes(study: Study, paper: PaperTable) -> str:
    latency = "This study measured no latency."
    if study.latency:
        latency = "This study's own latencies, whose protocol and device are named there, are in the section Latency."
    notes = bullets([*paper.caveats, *COMMON_NOTES, latency])
    sizes = tables.parameter_comparison(study, paper)
    return f"Numbers of parameters, ours exact; the paper's as printed:\n\n{sizes}\n\n{notes}"


def _latency(study: Study, paper: PaperTable | None) -> list[Section]:
    if (latency := study.latency) is None:
        return []
    sections = [users_section(latency, paper, [against_hits(study, latency, batch) for batch in latency.batches])]
    if any(result.kind == "length" for result in latency.summary.results):
        sections.append(length_section(latency))
    return sections


def _metrics(study: Study) -> str:
    parts = [findings.repeat_terms(study)]
    for split in study.splits:
        for protocol in PROTOCOLS:
            parts += [f"### {split.capitalize()}, history {protocol}", tables.all_metrics(study, split, protocol)]
    return "\n\n".join(parts)


def _data(study: Study, paper: PaperTable | None) -> str:
    manifest = study.manifest
    parts = [
        sequence_lengths(study),
        data_counts(manifest, paper),
        "### Filters",
        filters(manifest) if manifest["filters"] else "None: every interaction of the source is used.",
        "### Order of events",
        event_order(manifest["event_order"]),
        "### Preparation and split",
        *([findings.time_split(manifest["split"])] if study.splitting == GLOBAL_TIME else []),
        key_values("Preparation", manifest["settings"]),
        key_values("Split", manifest["split"]),
        "### Sources",
        sources(manifest),
    ]
    return "\n\n".join(parts)
