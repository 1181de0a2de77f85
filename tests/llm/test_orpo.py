"""trl's trainer with our forward pass, against the paper's equations 2 to 9 written out in float64."""

import copy
import gc

import pytest
import torch

from ssm4rec.llm.adapters import LetterRanker, new_ranker
from ssm4rec.llm.alignment import AlignmentTask, AlignmentTrainer, ORPOTrainer
from ssm4rec.llm.language_models import load_language_model
from ssm4rec.llm.orpo import IGNORED, answer_log_probabilities, packed, packed_logits, sequence_error
from ssm4rec.llm.preference_examples import PreferenceExample, PreferenceSet
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, StepSettings
from ssm4rec.llm.validation_callback import ValidationCallback

CPU = torch.device("cpu")
BETA = 0.3
END = 0


def examples(count, longest=30):
    """Prompts of unequal lengths, with letters 40 to 43 and the end as answers."""
    random = torch.Generator().manual_seed(count)
    made = []
    for number in range(count):
        length = int(torch.randint(3, longest, (1,), generator=random))
        prompt = torch.randint(2, 500, (length,), generator=random).tolist()
        made.append(PreferenceExample(prompt, [40 + number % 2, END], [42 + number % 2, END]))
    return made


@pytest.fixture(autouse=True)
def no_open_loaders() -> None:
    """Collect the data loaders of trainings in other tests: accelerate counts the last rows of an open one only."""
    gc.collect()


@pytest.fixture
def ranker(language_model, tmp_path) -> LetterRanker:
    source = str(language_model("llama"))
    torch.manual_seed(3)
    ranker = new_ranker(source, "none", LoraSettings(dropout=0.1), tmp_path, CPU)
    for name, parameter in ranker.model.named_parameters():
        if "lora_B" in name:  # zero at first, and with it the gradient of lora_A
            torch.nn.init.normal_(parameter, std=0.1)
    return ranker


def trainer_for(ranker, tmp_path, made, **steps):
    settings = AlignmentSettings(beta=BETA, steps=StepSettings(**{"batch": len(made), "warmup": 0, **steps}))
    task = AlignmentTask(PreferenceSet(made, made[:2]), settings, 0)
    return AlignmentTrainer(ranker, task, ValidationCallback(tmp_path / "out", {}, lambda point: None))


def batch_of(trainer):
    return trainer.data_collator(list(trainer.train_dataset))


def log_probability(model, prompt, answer):
    """Equation 2, from one sequence alone and all of its logits."""
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    each = torch.log_softmax(logits, dim=-1)
    return sum(each[len(prompt) - 1 + t, token] for t, token in enumerate(answer)) / len(answer)


def odds(probability):
    return probability / (1 - probability)  # equation 3


@pytest.fixture
def exact(ranker):
    """The same model in float64, without dropout."""
    return copy.deepcopy(ranker.model).double().eval()


def test_the_loss_is_equations_2_to_6(ranker, exact, tmp_path):
    made = examples(5)
    trainer = trainer_for(ranker, tmp_path, made)
    loss, metrics = trainer.get_batch_loss_metrics(trainer.model, batch_of(trainer))
    losses, ratios, margins = [], [], []
    with torch.no_grad():
        for example in made:
            chosen = log_probability(exact, example.prompt, example.chosen)
            rejected = log_probability(exact, example.prompt, example.rejected)
            ratio = odds(chosen.exp()) / odds(rejected.exp())  # equation 4
            losses.append(-chosen - BETA * torch.log(torch.sigmoid(torch.log(ratio))))  # equations 5 and 6
            ratios.append(ratio.log())
            margins.append(BETA * (chosen - rejected))
    assert loss.item() == pytest.approx(float(sum(losses)) / 5, rel=1e-5)
    assert metrics["log_odds_chosen"] == pytest.approx(float(sum(ratios)) / 5, rel=1e-4)
    assert metrics["rewards/margins"] == pytest.approx(float(sum(margins)) / 5, rel=1e-4)
    assert metrics["rewards/accuracies"] == pytest.approx(sum(ratio > 0 for ratio in ratios) / 5)
    assert metrics["nll_loss"] - BETA * metrics["log_odds_ratio"] == pytest.approx(loss.item(), rel=1e-6)


def test_the_gradient_is_equations_7_to_9(ranker, exact, tmp_path):
    """Only the gradients of log P are taken by machine; delta and h are the paper's, with the sign that falls."""
    made = examples(4)
    trainer = trainer_for(ranker, tmp_path, made)
    trainer.compute_loss(trainer.model, batch_of(trainer)).backward()
    found = {name: parameter.grad for name, parameter in ranker.model.named_parameters() if parameter.requires_grad}

    weights = {name: parameter for name, parameter in exact.named_parameters() if parameter.requires_grad}
    expected = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for example in made:
        sides = []
        for answer in (example.chosen, example.rejected):
            value = log_probability(exact, example.prompt, answer)
            sides.append((value.detach().exp(), torch.autograd.grad(value, weights.values())))
        (chosen, chosen_gradient), (rejected, rejected_gradient) = sides
        delta = 1 / (1 + odds(chosen) / odds(rejected))  # equation 8
        for name, of_chosen, of_rejected in zip(weights, chosen_gradient, rejected_gradient, strict=True):
            h = of_chosen / (1 - chosen) - of_rejected / (1 - rejected)  # equation 9
            expected[name] += (-of_chosen - BETA * delta * h) / len(made)  # equation 7, a minus before it
    assert found.keys() == expected.keys()
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_equation_7_needs_its_minus():
    """A finite difference of equation 6 in log P(y_w|x), P = 0.3 against 0.2."""

    def loss(chosen):
        ratio = odds(torch.tensor(chosen, dtype=torch.float64).exp()) / odds(torch.tensor(0.2, dtype=torch.float64))
        return float(-torch.log(torch.sigmoid(torch.log(ratio))))

    at = float(torch.log(torch.tensor(0.3, dtype=torch.float64)))
    slope = (loss(at + 1e-6) - loss(at - 1e-6)) / 2e-6
    delta = 1 / (1 + (0.3 / 0.7) / (0.2 / 0.8))
    assert slope == pytest.approx(-delta / (1 - 0.3), rel=1e-6)


def plain_batch(trainer, made):
    """What trl's own tokenising gives: prompt and answer, once for each answer."""
    rows = []
    for example in made:
        row = {}
        for side, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
            row[f"{side}_input_ids"] = example.prompt + answer
            row[f"{side}_attention_mask"] = [1] * len(example.prompt + answer)
            row[f"{side}_labels"] = [IGNORED] * len(example.prompt) + answer
        rows.append(row)
    return trainer.data_collator(rows)


def test_trl_agrees_but_for_the_prompt_in_the_nll(ranker, exact, tmp_path):
    """Its unchanged forward pass on whole sequences: the same log P, another likelihood term."""
    made = examples(5)
    trainer = trainer_for(ranker, tmp_path, made)
    ours = trainer.concatenated_forward(trainer.model, batch_of(trainer))
    theirs = ORPOTrainer.concatenated_forward(trainer, trainer.model, plain_batch(trainer, made))
    for our, their in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-6)
    answers = [log_probability(exact, example.prompt, example.chosen).item() for example in made]
    assert ours[4].item() == pytest.approx(-sum(answers) / 5, rel=1e-5)
    tokens = [example.prompt + example.chosen for example in made]
    everything = sum(len(row[1:]) * -log_probability(exact, row[:1], row[1:]).item() for row in tokens)
    assert theirs[4].item() == pytest.approx(everything / sum(len(row) - 1 for row in tokens), rel=1e-5)
    assert abs(ours[4].item() - theirs[4].item()) > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packed_answers_are_what_they_are_alone(kind, language_model):
    """Positions that rotate and positions that are learned; answers of one to four tokens."""
    model = load_language_model(language_model(kind), CPU)
    prompt = [7, 8, 9, 10, 11]
    for chosen, rejected in (([20], [21]), ([20, 22, END], [21, 23, 24, END]), ([20, 25, 26], [21])):
        columns = {name: torch.tensor([values]) for name, values in packed(prompt, chosen, rejected).items()}
        everywhere = torch.arange(columns["packed_input_ids"].shape[1])
        with torch.no_grad():
            logits = packed_logits(model, columns["packed_input_ids"], columns["packed_attention_mask"], everywhere)
            for side, answer in (("chosen", chosen), ("rejected", rejected)):
                found = answer_log_probabilities(logits, columns[f"{side}_labels"])
                assert found.item() == pytest.approx(log_probability(model, prompt, answer).item(), rel=1e-5)
        assert sequence_error(model, prompt, chosen, rejected) < 1e-5


def test_long_prompts_keep_their_answers(ranker, tmp_path):
    """Longer than any limit trl knows of (1,024 tokens)."""
    made = [PreferenceExample([5] * 1500, [40, END], [41, END]), *examples(2)]
    batch = batch_of(trainer_for(ranker, tmp_path, made))
    assert batch["packed_input_ids"][0].tolist() == [5] * 1500 + [40, 41]
    for side, letter in (("chosen", 40), ("rejected", 41)):
        labels = batch[f"{side}_labels"]
        assert labels[0][labels[0] != IGNORED].tolist() == [letter, END]
        assert (labels != IGNORED).sum(dim=1).tolist() == [2, 2, 2]


def test_log_probabilities_by_hand():
    """Two answers of one and two tokens, of a vocabulary of two."""
    probabilities = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.6, 0.4]]])
    labels = torch.tensor([[0, IGNORED], [1, 0]])
    found = answer_log_probabilities(probabilities.log(), labels).exp()
    torch.testing.assert_close(found, torch.tensor([0.9, (0.8 * 0.6) ** 0.5]))


def test_certain_answers_have_finite_gradients(ranker, tmp_path):
    """P = 1 in float32, of the chosen answer and of the rejected one: trl's odds alone give NaN there."""
    trainer = trainer_for(ranker, tmp_path, examples(2))
    logits = torch.tensor([[[99.0, 0.0]], [[0.0, 99.0]]], requires_grad=True)
    chosen, rejected = answer_log_probabilities(logits, torch.tensor([[0], [0]])).chunk(2)
    for first, second in ((chosen, rejected), (rejected, chosen), (chosen, chosen)):
        (gradient,) = torch.autograd.grad(-trainer.odds_ratio_loss(first, second)[0].sum(), logits, retain_graph=True)
        assert gradient.isfinite().all()
    certain = torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(trainer.odds_ratio_loss(certain, rejected.detach())[0].sum(), certain)[0].isnan().all()


def test_accumulation_is_one_larger_batch(language_model, tmp_path):
    """One step of plain SGD, whose length shows a wrong scale."""
    made = examples(8)
    after, source = [], str(language_model("llama"))
    for number, (batch, accumulation) in enumerate(((8, 1), (2, 4))):
        torch.manual_seed(3)
        ranker = new_ranker(source, "none", LoraSettings(), tmp_path, CPU)
        steps = {"batch": batch, "accumulation": accumulation, "optimizer": "sgd", "learning_rate": 10.0}
        trainer = trainer_for(ranker, tmp_path / str(number), made, gradient_norm=1e9, **steps)
        trainer.run()
        after.append({name: weight for name, weight in ranker.model.named_parameters() if "lora_B" in name})
    assert all(weight.abs().max() > 1e-3 for weight in after[0].values())
    for name, weight in after[0].items():
        torch.testing.assert_close(weight, after[1][name], rtol=1e-4, atol=1e-4 * float(weight.detach().abs().max()))
