"""Fine-tuning a tiny Llama: the loss on the answer alone, what is learned, resuming, adapters on disk."""

import dataclasses
import json

import numpy
import pytest
import torch
from bitsandbytes.functional import has_avx512bf16

from ssm4rec.artifacts.curve import TRAIN, VALIDATION
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.llm import finetuning
from ssm4rec.llm.adapters import load_letter_ranker, new_ranker, write_adapter
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.examples import draw_examples
from ssm4rec.llm.finetuning import FinetuningTask, finetune
from ssm4rec.llm.prompts import PromptFormat, RankingPrompts
from ssm4rec.llm.settings import LoraSettings, RankerSettings, StepSettings
from ssm4rec.optim.usgm import USGM
from ssm4rec.runtime.errors import InputError
from tests.llm.test_ranking import candidates_for

CPU = torch.device("cpu")
SETTINGS = RankerSettings(
    prompt=PromptFormat(history=3, title_tokens=8),
    negatives=3,
    prompts=48,
    validation_users=4,
    evaluations=3,
    lora=LoraSettings(rank=8, alpha=16, dropout=0.1, modules="all-linear"),
    steps=StepSettings(batch=4, accumulation=2, learning_rate=5e-3, warmup=1, optimizer="adamw_torch"),
)


@pytest.fixture
def data(write_dataset, add_titles):
    folder = add_titles(write_dataset([[(user + step) % 9 + 1 for step in range(9)] for user in range(40)]))
    return read_sequences(folder), read_titles(folder)


@pytest.fixture
def start(data, language_model, tmp_path):
    dataset, titles = data
    folder = language_model("llama")

    def run(checkpoints="checkpoints", settings=SETTINGS, on_point=lambda point: None, seed=1):
        torch.manual_seed(5)  # of the fresh LoRA matrices
        ranker = new_ranker(str(folder), "none", settings.lora, tmp_path, CPU)
        prompts = RankingPrompts(ranker.tokenizer, titles, settings.prompt)
        empty = numpy.empty(0, numpy.int32)
        examples = list(draw_examples(dataset, settings.prompts, settings.negatives, 0.0, empty, seed))
        validation = ranking_task(dataset, candidates_for(dataset, "validation"), "validation", 4, seed)
        identity = dataclasses.asdict(settings) | {"seed": seed}
        task = FinetuningTask(prompts, examples, validation, settings, seed)
        tuned = finetune(ranker, task, tmp_path / checkpoints, identity, on_point)
        return ranker, tuned, prompts

    return run


def weights(ranker):
    return {name: tensor.clone() for name, tensor in ranker.model.state_dict().items() if "lora" in name}


def values(tuned, name):
    return [point.values[name] for point in tuned.points if name in point.values]


def test_the_loss_is_that_of_letter_and_end_alone(start, monkeypatch):
    """The first batch's loss, computed from the logits of whole unpadded prompts in the plain way."""
    seen = []
    compute = finetuning._RankerTrainer.compute_loss

    def spy(trainer, model, inputs, *args, **more):
        copy = {name: tensor.clone() for name, tensor in inputs.items()}
        loss = compute(trainer, model, inputs, *args, **more)
        if not seen:
            expected, letters = [], []
            with torch.no_grad():
                for tokens, mask in zip(copy["input_ids"], copy["attention_mask"], strict=True):
                    plain = tokens[mask.bool()]
                    torch.manual_seed(0)
                    was = model.training
                    model.eval()
                    logits = model(input_ids=plain[None]).logits[0]
                    model.train(was)
                    letters.append(torch.nn.functional.cross_entropy(logits[-3], plain[-2]).item())
                    expected += torch.nn.functional.cross_entropy(logits[-3:-1], plain[-2:], reduction="none").tolist()
            # Eight prompts of two tokens each make a step; this is the part of its first four.
            seen.append((loss.item(), sum(expected) / 16))
            seen.append((trainer._letter_losses[-1].item(), sum(letters) / 4))
        return loss

    monkeypatch.setattr(finetuning._RankerTrainer, "compute_loss", spy)
    no_dropout = dataclasses.replace(SETTINGS, lora=dataclasses.replace(SETTINGS.lora, dropout=0.0), prompts=8)
    start(settings=no_dropout)
    for found, wanted in seen[:2]:
        assert found == pytest.approx(wanted, rel=1e-5)


def test_it_learns(start):
    """Items follow each other in a circle: which candidate is right can be known."""
    settings = dataclasses.replace(SETTINGS, prompts=480, evaluations=6)
    _, tuned, _ = start(settings=settings)
    for name in ("loss", "letter_loss"):
        losses = values(tuned, name)
        assert losses[-1] < 0.7 * losses[0]
    found = values(tuned, "ndcg@10")
    assert len(found) == 7  # one before the first step
    assert tuned.best.values["ndcg@10"] == max(found[1:])
    assert tuned.last.step == 60  # of 8 prompts
    assert tuned.tokens_per_second > 0


def test_the_best_weights_are_what_is_left(start, monkeypatch):
    """With a measure that falls, the weights of the first validation after some training remain."""
    falling = iter([0.1, 0.5, 0.4, 0.3])
    monkeypatch.setattr("ssm4rec.llm.finetuning.metric_at", lambda *_: next(falling))
    left, tuned, _ = start()
    assert (tuned.best.step, tuned.best.values["ndcg@10"]) == (2, 0.5)
    rising = iter([0.1, 0.5, 0.6, 0.7])
    monkeypatch.setattr("ssm4rec.llm.finetuning.metric_at", lambda *_: next(rising))
    last, tuned, _ = start("other")
    assert (tuned.best.step, tuned.best.values["ndcg@10"]) == (6, 0.7)
    assert not all(torch.equal(tensor, weights(last)[name]) for name, tensor in weights(left).items())


def test_patience(start, monkeypatch):
    falling = iter([0.9, 0.5, 0.4, 0.3])
    monkeypatch.setattr("ssm4rec.llm.finetuning.metric_at", lambda *_: next(falling))
    _, tuned, _ = start(settings=dataclasses.replace(SETTINGS, patience=1))
    assert values(tuned, "ndcg@10") == [0.9, 0.5, 0.4]
    assert tuned.last.step == 4


class Killed(BaseException):
    """The end of a process."""


def test_resumes_to_the_same_weights(start):
    whole, tuned, _ = start("whole")

    def kill(point):
        if point.step == 5:
            raise Killed

    with pytest.raises(Killed):
        start("killed", on_point=kill)
    points = []
    resumed, again, _ = start("killed", on_point=points.append)
    assert again.points == tuned.points == tuple(points)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_resumes_a_checkpoint_whose_metrics_have_the_names_of_before(start, tmp_path):
    whole, tuned, _ = start("before")
    for progress in (tmp_path / "before").glob("checkpoint-*/progress.json"):
        text = progress.read_text(encoding="utf-8")
        assert '"ndcg@10"' in text
        progress.write_text(text.replace('"ndcg@10"', '"ndcg_10"'), encoding="utf-8")
    resumed, again, _ = start("before")
    assert again.points == tuned.points
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(whole).items())


def test_a_checkpoint_of_another_training_is_refused(start):
    start()
    other = dataclasses.replace(SETTINGS, negatives=4)
    with pytest.raises(InputError, match="of another training: negatives is 3 there and 4 here; remove it"):
        start(settings=other)


def test_a_training_that_patience_ended_takes_no_further_step(start, monkeypatch):
    """Killed before its outputs were written, it resumes at its last checkpoint, where it had stopped."""
    settings = dataclasses.replace(SETTINGS, patience=1)
    falling = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr("ssm4rec.llm.finetuning.metric_at", lambda *_: next(falling))
    whole, tuned, _ = start(settings=settings)
    again, resumed, _ = start(settings=settings)
    assert resumed.points == tuned.points
    assert (resumed.last.step, resumed.best.step) == (4, 2)
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_losses_are_means_since_the_checkpoint_before(start):
    """Else a row of a resumed training would be a mean over fewer steps than that of a whole one."""
    _, tuned, _ = start(settings=dataclasses.replace(SETTINGS, prompts=160, evaluations=3))
    validated = {point.step for point in tuned.points if point.split == VALIDATION} - {0}
    assert validated == {6, 12, 18, 20}
    assert validated <= {point.step for point in tuned.points if point.split == TRAIN}


def test_a_checkpoint_of_an_earlier_version_is_refused(start, tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    with pytest.raises(InputError, match="a checkpoint of an earlier version of this project; remove it to start"):
        start()


def test_a_damaged_checkpoint_is_named(start, tmp_path):
    start()
    (damaged,) = (tmp_path / "checkpoints").iterdir()
    (damaged / "best.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=rf"{damaged.name}: a damaged checkpoint .*; remove it to start"):
        start()


def test_divergence_is_said(start):
    steps = dataclasses.replace(SETTINGS.steps, learning_rate=1e30, gradient_norm=1e30)
    with pytest.raises(InputError, match=r"fine-tuning diverged: .*lower rate"):
        start(settings=dataclasses.replace(SETTINGS, steps=steps))


USGM_STEPS = dataclasses.replace(SETTINGS.steps, optimizer="usgm", diameter=0.5)


def test_usgm_trains_an_adapter_as_it_trains_anything(start, monkeypatch):
    """Trainer's steps are those of the optimizer by hand, on the gradients that Trainer had."""
    taken = []
    step = USGM.step

    def spy(optimizer, closure=None):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        before = [parameter.detach().clone() for parameter in parameters]
        step(optimizer, closure)
        taken.append((before, [parameter.grad.clone() for parameter in parameters], optimizer.curvature))

    monkeypatch.setattr(USGM, "step", spy)
    ranker, tuned, _ = start(settings=dataclasses.replace(SETTINGS, steps=USGM_STEPS, evaluations=1))
    monkeypatch.undo()
    assert len(taken) == 6
    norm = sum(float(tensor.square().sum()) for tensor in taken[0][0]) ** 0.5
    mine = [torch.nn.Parameter(tensor.clone()) for tensor in taken[0][0]]
    byhand = USGM(mine, 0.5 * norm)
    for before, gradients, curvature in taken:
        for parameter, seen, gradient in zip(mine, before, gradients, strict=True):
            assert torch.allclose(parameter, seen, rtol=1e-5, atol=1e-7)
            parameter.grad = gradient
        byhand.step()
        assert byhand.curvature == pytest.approx(curvature, rel=1e-6)  # the norm is a sum in another order
        assert 0 < byhand.distance_from_start <= 0.25 * norm * (1 + 1e-6)
    left = [parameter for parameter in ranker.model.parameters() if parameter.requires_grad]
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(left, mine, strict=True))
    assert values(tuned, "learning_rate")[-1] == 1 / taken[-1][2]


def test_usgm_resumes_to_the_same_weights(start):
    settings = dataclasses.replace(SETTINGS, steps=USGM_STEPS)
    whole, tuned, _ = start("whole", settings)

    def kill(point):
        if point.step == 5:
            raise Killed

    with pytest.raises(Killed):
        start("killed", settings, on_point=kill)
    resumed, again, _ = start("killed", settings)
    assert again.points == tuned.points
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_gradients_that_are_no_numbers_stop_usgm(start, monkeypatch):
    def undefined(trainer, model, *_, **__):
        del trainer
        return sum(float("nan") * parameter.sum() for parameter in model.parameters() if parameter.requires_grad)

    monkeypatch.setattr(finetuning._RankerTrainer, "compute_loss", undefined)
    with pytest.raises(InputError, match=r"fine-tuning diverged: .*finetune\.steps\.diameter=0\.125"):
        start(settings=dataclasses.replace(SETTINGS, steps=USGM_STEPS))


def facts(dataset, source, quantization="none"):
    return RankerFacts(
        source=source,
        quantization=quantization,
        stage="finetune_llm",
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        seed=1,
        profile="smoke",
        retriever="sasrec",
        recipe={},
        training={},
    )


@pytest.fixture
def ranker(language_model, tmp_path):
    """A ranker whose LoRA matrices are no longer those of the beginning, which change nothing."""
    ranker = new_ranker(str(language_model("llama")), "none", SETTINGS.lora, tmp_path, CPU)
    with torch.no_grad():
        for name, parameter in ranker.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return ranker


def test_adapters_come_back_with_the_same_logits(ranker, data, language_model, tmp_path):
    prompts = RankingPrompts(ranker.tokenizer, data[1], SETTINGS.prompt)
    source = str(language_model("llama"))
    write_adapter(tmp_path / "adapter", ranker.model, facts(data[0], source))
    assert not [path for path in (tmp_path / "adapter").iterdir() if path.suffix in (".bin", ".pt")]
    again = load_letter_ranker(RankerFacts.read(tmp_path / "adapter", data[0]), tmp_path / "adapter", tmp_path, CPU)
    tokens = torch.tensor([prompts.tokens([1, 2, 3], [4, 5, 6])])
    with torch.no_grad():
        first, second = (one.model.eval()(input_ids=tokens).logits for one in (ranker, again))
        with again.model.disable_adapter():
            untrained = again.model(input_ids=tokens).logits
    assert torch.equal(first, second)
    assert not torch.allclose(first, untrained)


def test_adapters_that_do_not_fit(ranker, data, language_model, write_dataset, tmp_path):
    folder = tmp_path / "adapter"
    write_adapter(folder, ranker.model, facts(data[0], str(language_model("llama"))))
    other = read_sequences(write_dataset([[1, 2, 3, 4]], name="other", folder="other"))
    with pytest.raises(InputError, match=r"adapter: trained on toy .* the data set given is other"):
        RankerFacts.read(folder, other)
    weights_file = folder / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: damaged \(.*\); get or train it again"):
        load_letter_ranker(RankerFacts.read(folder, data[0]), folder, tmp_path, CPU)
    (folder / "ranker.json").write_text('{"source": "x"}')
    with pytest.raises(InputError, match=r"ranker\.json: not the description of a ranker"):
        RankerFacts.read(folder, data[0])


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("adapter_config.json", {"alora_invocation_tokens": "0"}, "alora_invocation_tokens is '0', which finetune_llm"),
        (
            "adapter_config.json",
            {"lora_alpha": 640},
            r"config\.json: .*lora_alpha is 640, ranker\.json says 16",
        ),
        ("adapter_config.json", {"lora_dropout": 0.5}, r"lora_dropout is 0\.5, ranker\.json says 0\.1"),
        ("adapter_config.json", {"use_dora": True}, "use_dora is True, which finetune_llm and align_llm leave"),
        (
            "ranker.json",
            {"recipe": {"finetune": {"prompt": {"history": 1, "title_tokens": 1, "maximum_tokens": 9, "x": 1}}}},
            "prompt.x: Extra inputs",
        ),
    ],
)
def test_an_adapter_that_was_changed_by_hand(ranker, data, language_model, tmp_path, name, change, expected):
    folder = tmp_path / "adapter"
    trained = {"finetune": {"lora": dataclasses.asdict(SETTINGS.lora)}}
    described = dataclasses.replace(facts(data[0], str(language_model("llama"))), recipe=trained)
    write_adapter(folder, ranker.model, described)
    document = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(document | change))
    with pytest.raises(InputError, match=expected):
        load_letter_ranker(RankerFacts.read(folder, data[0]), folder, tmp_path, CPU)


def test_layers_that_are_not_there(language_model, tmp_path):
    with pytest.raises(InputError, match=r"LoRA does not fit it .*set lora.modules"):
        new_ranker(str(language_model("llama")), "none", LoraSettings(modules="query"), tmp_path, CPU)


@pytest.mark.skipif(
    has_avx512bf16(), reason="bitsandbytes 0.50.2 packs weights for AVX512-BF16 in blocks of 64; these are 32 wide"
)
def test_four_bits_on_a_cpu(language_model, tmp_path):
    """nf4 loads, its logits are near the full model's, and LoRA matrices get gradients."""
    full = new_ranker(str(language_model("llama")), "none", SETTINGS.lora, tmp_path, CPU)
    small = new_ranker(str(language_model("llama")), "nf4", SETTINGS.lora, tmp_path, CPU)
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        wide, narrow = full.model.eval()(input_ids=tokens).logits, small.model.eval()(input_ids=tokens).logits
    assert 0 < (wide - narrow).norm() < 0.5 * wide.norm()
    small.model(input_ids=tokens, labels=tokens).loss.backward()
    gradients = {name: parameter.grad for name, parameter in small.model.named_parameters() if parameter.requires_grad}
    assert gradients
    assert all("lora" in name for name in gradients)
    assert any(gradient.norm() > 0 for gradient in gradients.values())
