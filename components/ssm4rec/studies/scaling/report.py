"""The report of a scaling study: what the runs show of a law, in words, figures and tables."""

from collections.abc import Callable
from typing import Final

from ssm4rec.artifacts.estimate import Difference, p_text
from ssm4rec.report.document import Report, Section
from ssm4rec.report.markdown import MISSING, bullets, escape, plural, table, table_of
from ssm4rec.scaling.held_out import Extrapolation
from ssm4rec.scaling.law import LEVEL, Law, LawNumber
from ssm4rec.studies.scaling.figures import against_data, isoflops, largest_runs, transfers
from ssm4rec.studies.scaling.study import Fitted, ModelRuns, ScalingStudy, Trained
from ssm4rec.studies.scaling.transfer import LOSS, NDCG, Measure, TargetSize, Transfer

_PERCENT: Final = f"{LEVEL:.0%}"
_NOTES: Final = f"""\
- **Loss** is the mean of -log p(target) in nats over the test targets, the softmax over all items, history unmasked.
  Catalog and test users are the same for all runs; **data** are the training events of a nested share of the users.
  Of the test users, a run was trained on the earlier events of that share, too.
- **Trainings** differ in width, depth and data; d_ff is 4 times the width. Each has a schedule that falls to zero at
  its own end, and more epochs on fewer data. The learning rate is the same for all sizes: a law of trainings tuned
  one by one may lie lower. The weights kept are those of the best validation NDCG@10, not always the last.
- **Parameters** and **FLOPs** are without item and position vectors. FLOPs are counted by torch, forward and backward,
  over the shapes of an epoch's batches: matrix products, convolutions and attention over whole rows. Elementwise
  operations are not counted. The product with the item vectors is counted apart.
- **A law** is L = E + one falling power of each column; E is the floor. Intervals are at {_PERCENT}: by profile
  likelihood for floor and exponents, prediction intervals for runs.
- **Not identified**: the interval of a number has no end where the search has one; then other laws fit as well, and the
  number printed is one of many. Or the form does not fit: cells lie further from the law than seeds of one cell from
  each other (F test of lack of fit, at 5%); then the interval is of the form's number, and the true one may lie outside
  by any amount. The floor is identified if it is by each form whose held-out error is not significantly above the best
  one's, and their intervals overlap. The predictions may still be good.
- **Held-out error**: the mean of abs(log measured - log predicted) over cells (width, depth, data), each predicted by
  the law of all others; about the share of the loss."""
_TRANSFER_NOTES: Final = """\
- Both starts train the same recipe, on the same users and with the same seed, for as many epochs; validation users, on
  whom the best epoch is chosen, and test users are all of the data set's, whatever share is trained on.
- A gain is the mean over seeds of fine-tuned less from scratch, in loss the other way round: above zero is better.
  Intervals are at 95%, by Student's t over these seeds; p is corrected (Holm) for all sizes. Gains are of pairs, and so
  surer than the two curves' intervals. Data and pre-trained model are one: other ones may gain more, or less.
- Fine-tuning takes over the vectors of words, as the pre-trained model's tokenizer reads them, and all weights but
  those of items: equal ids of two data sets may mean different items. What both have under one title starts alike."""
_GAINED: Final = (("NDCG@10", NDCG, "{:.4f}", "{:+.4f}"), ("loss, in nats", LOSS, "{:.3f}", "{:+.3f}"))
"""What gains are told in: name, measure, how its values are written, and how its gains are."""
_PUBLIC: Final = """\
The 119 public runs of Zivic, Vazquez and Sanchez (2024, arXiv 2412.07585; github.com/mercadolibre/srt, MIT licence)
were fitted with this code, those of width 64 and more, by -log of validation NDCG@5. They show no law in the number of
parameters: the floor is not identified. By width, depth and data the exponent of width is 1.42 and that of data 0.138,
that of depth is open: depth does not help. Width and depth predict cells held out better than parameters do (errors of
0.0133 and 0.0304). The runs and the fit are in tests/scaling/test_public_runs.py of the repository; it is another loss,
so that no number compares with those above."""


def make_report(study: ScalingStudy) -> Report:
    """Return the report of the study."""
    data = str(study.manifest["dataset"])
    told = [_in_short(study, one) for one in study.models]
    if study.transfer:
        told.append(_gain(study.transfer))
    sections = [Section("In short", bullets(told))]
    for one in study.models:
        model = one.model
        sections.append(Section(f"{model}: loss and data", _floor(study, one), against_data(study, one)))
        if one.fitted:
            law = one.fitted.laws[0]
            sections += [
                Section(f"{model}: the laws", _laws(one.fitted)),
                Section(
                    f"{model}: the largest runs, predicted by the others",
                    bullets([_predicted(found) for found in one.fitted.largest]),
                    (largest_runs(model, one.fitted.largest[0]),),
                ),
                Section(f"{model}: what a budget buys", _budgets(law), isoflops(one, law)),
            ]
        sections.append(Section(f"{model}: the runs", _cost(one), folded={f"Every run of {model}": _runs(one)}))
    if study.transfer:
        sections.append(
            Section(
                "Pre-training on other data",
                f"{_gain(study.transfer)}\n\n{_gains(study.transfer)}\n\n{_TRANSFER_NOTES}",
                transfers(study.transfer),
            )
        )
    sections += [Section("Another group's runs", _PUBLIC), Section("How to read this", _NOTES)]
    return Report(data, f"Scaling on {data}: width, depth and data", sections, study.results())


def _in_short(study: ScalingStudy, one: ModelRuns) -> str:
    best = one.best
    told = [
        f"**{escape(one.model)}**: {plural(len(one.trained), 'run')}; the least loss is {best.run.loss:.3f} nats, of "
        f"width {best.run.width}, depth {best.run.depth} and {best.run.data:,} training events"
    ]
    if study.floor is not None:
        told.append(f"{best.run.loss - study.floor:.3f} above the known floor of {study.floor:.3f}")
    if one.fitted is None:
        return f"{', '.join(told)}. No law was fitted: {escape(one.problem)}."
    law, largest = one.fitted.laws[0], one.fitted.largest[0]
    said = [f"{', '.join(told)}.", f"The best form is {law.form.name}; {law.verdict()}."]
    said.append(_common(one.fitted))
    if study.floor is not None:
        floors = [_known_floor(study.floor, law) for law in one.fitted.laws]
        said.append(f"The known floor: {'; '.join(floors)}.")
    said.append(f"Of the largest runs, {largest.inside} of {len(largest.runs)} are inside their prediction intervals.")
    return " ".join(said)


def _floor(study: ScalingStudy, one: ModelRuns) -> str:
    if study.floor is None:
        return "The least loss that is possible on these targets is not known."
    below = sum(trained.run.loss < study.floor for trained in one.trained)
    gaps = [trained.run.loss - study.floor for trained in one.trained]
    return (
        f"The data are generated: the least loss that any model can expect on these targets is {study.floor:.3f} nats. "
        f"The runs lie {min(gaps):.3f} to {max(gaps):.3f} above it; {below or 'none'} of them below."
    )


def _common(fitted: Fitted) -> str:
    """Say what the floor is by all forms that the runs do not tell apart."""
    floor = fitted.floor
    names = " and in ".join(form.name for form in floor.forms)
    problem = floor.number.problem
    verdict = f"not identified ({problem}): these runs do not say what the floor is" if problem else "identified"
    return f"The floor, by the law in {names}: {_number(floor.number)}, {verdict}."


def _known_floor(floor: float, law: Law) -> str:
    estimate = law.floor.estimate
    inside = "inside" if estimate.low <= floor <= estimate.high else "outside"
    return f"{inside} the interval of the law in {law.form.name}, {_number(law.floor)}"


def _number(number: LawNumber) -> str:
    estimate = number.estimate
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _laws(fitted: Fitted) -> str:
    rows = [
        [law.form.name, number.name, _number(number), f"not identified: {number.problem}" if number.problem else "yes"]
        for law in fitted.laws
        for number in (law.floor, *law.exponents)
    ]
    best = fitted.errors[0]
    forms = [
        [
            error.form.name,
            f"{error.error:.4f}",
            error.excess.text() if error.excess else MISSING,
            f"{law.noise:.4f}",
            MISSING if law.seed_noise is None else f"{law.seed_noise:.4f}",
            MISSING if law.misfit is None else f"{law.misfit.ratio:.1f}, p {p_text(law.misfit.p_value)}",
        ]
        for error, law in zip(fitted.errors, fitted.laws, strict=True)
    ]
    more = f"More than {best.form.name}"
    headings = ["Form", "Held-out error", more, "Noise around the law", "Noise between seeds", "Lack of fit, F"]
    verdicts = " ".join(
        f"The law in {error.form.name} predicts cells held out significantly worse."
        for error in fitted.errors
        if error.excess and error.excess.sign > 0
    )
    compared = verdicts or "Held-out errors of the forms do not differ significantly."
    identified = table(["Form", "Number", f"Value [{_PERCENT} interval]", "Identified"], rows, text_columns=4)
    return f"{identified}\n\n{compared}\n\n{table(headings, forms)}"


def _predicted(found: Extrapolation) -> str:
    chance = f"the chance of so few, or fewer, is {found.chance:.0%}"
    reach = "" if found.as_announced else ": the law does not reach so far"
    return (
        f"By {found.form.name}, fitted to the {found.fitted} smaller runs: {found.inside} of {len(found.runs)} inside "
        f"their {_PERCENT} prediction intervals ({chance}{reach}); mean error {found.error:.4f} of the loss."
    )


def _budgets(law: Law) -> str:
    return (
        f"The loss to expect by the law in {law.form.name} if each size is trained on as many data as a budget of "
        "FLOPs pays for, at the epochs of its largest run. The lowest size of a curve is the best use of the budget. "
        "Where data run beyond those of the study, it is extrapolated."
    )


def _cost(one: ModelRuns) -> str:
    ratios = sorted(trained.run.flops / trained.six_nd for trained in one.trained)
    cpu = sum(float(trained.evaluation.training["cpu_seconds"]) for trained in one.trained)
    return (
        f"All trainings took {cpu / 60:,.0f} CPU-minutes. Counted FLOPs are {ratios[0]:.2f} to {ratios[-1]:.2f} times "
        "6 N D, N parameters without embeddings and D targets seen: what is above is the work of attention or of the "
        "scan, what is below are parameters that no product takes."
    )


def _runs(one: ModelRuns) -> str:
    def _nll(trained: Trained) -> str:
        return trained.evaluation.nll.text("{:.3f}".format) if trained.evaluation.nll else MISSING

    columns = {
        "Width": lambda trained: f"{trained.run.width}",
        "Depth": lambda trained: f"{trained.run.depth}",
        "Share of users": lambda trained: f"{trained.share:g}",
        "Events": lambda trained: f"{trained.run.data:,}",
        "Seed": lambda trained: f"{trained.run.seed}",
        "Parameters": lambda trained: f"{trained.run.parameters:,}",
        "GFLOPs": lambda trained: f"{trained.run.flops / 1e9:.3g}",
        "6 N D, billions": lambda trained: f"{trained.six_nd / 1e9:.3g}",
        "GFLOPs of the output": lambda trained: f"{trained.evaluation.training['output_flops'] / 1e9:.3g}",
        "Test loss, nats [95%]": _nll,
        "Test NDCG@10": lambda trained: f"{trained.ndcg:.4f}",
        "Best epoch": lambda trained: (
            f"{trained.evaluation.training['best_epoch']} of {trained.evaluation.training['epochs']}"
        ),
        "CPU-s": lambda trained: f"{trained.evaluation.training['cpu_seconds']:,.0f}",
    }
    return table_of(one.trained, columns, text_columns=0)


def _gain(transfer: Transfer) -> str:
    """Say in words where pre-training gains."""
    told = f"**Pre-training** of {escape(transfer.model)} on {escape(transfer.source)}, fine-tuned on "
    parts = [_where(transfer, measure, name, signed) for name, measure, _, signed in _GAINED]
    return f"{told}{escape(transfer.target)}: {'; '.join(parts)}."


def _where(transfer: Transfer, measure: Measure, name: str, form: str) -> str:
    gains, users = transfer.gains(measure), [size.users for size in transfer.sizes]
    first = f"{name}: a gain of {gains[0].text(form.format)} at {users[0]:,} users"
    if not all(one.has_interval for one in gains):
        return f"{first}, not tested with one seed"
    better = [f"{count:,}" for count, one in zip(users, gains, strict=True) if one.sign > 0]
    worse = [f"{count:,}" for count, one in zip(users, gains, strict=True) if one.sign < 0]
    if not better:
        told = "significant at no size"
    elif len(better) == len(users):
        told = f"significant at all sizes, up to {users[-1]:,} users"
    else:
        last = max(place for place, one in enumerate(gains) if one.sign > 0)
        told = f"significant at {', '.join(better)} users"
        told += f", none seen from {users[last + 1]:,} users on" if last + 1 < len(users) else ""
    return f"{first}, {told}" + (f"; significantly worse at {', '.join(worse)} users" if worse else "")


def _gains(transfer: Transfer) -> str:
    tables = [f"{name}:\n\n{_gains_in(transfer, measure, *forms)}" for name, measure, *forms in _GAINED]
    floor = "" if transfer.floor is None else f" The least loss possible on the test targets is {transfer.floor:.3f}."
    return "\n\n".join([*tables, f"Pre-training took {transfer.cpu_seconds:,.0f} CPU-seconds.{floor}"])


def _gains_in(transfer: Transfer, measure: Measure, plain: str, signed: str) -> str:
    rows = list(zip(transfer.sizes, transfer.gains(measure), strict=True))
    columns: dict[str, Callable[[tuple[TargetSize, Difference]], str]] = {
        "Users": lambda row: f"{row[0].users:,}",
        "Events": lambda row: f"{row[0].events:,}",
        "Seeds": lambda row: f"{row[1].n}",
        "From scratch": lambda row: row[0].mean("scratch", measure).text(plain.format),
        "Pre-trained": lambda row: row[0].mean("finetuned", measure).text(plain.format),
        "Gain": lambda row: row[1].stated(signed.format),
    }
    return table_of(rows, columns, text_columns=0)
