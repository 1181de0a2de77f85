"""A whole alignment on a tiny Llama: what is learned and logged, resuming, checkpoints, adapters on disk."""

import socket
from dataclasses import replace

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, Curve, Training, read_curve, write_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.llm.adapters import load_letter_ranker, new_ranker, write_adapter
from ssm4rec.llm.alignment import AlignmentTask, AlignmentTrainer, align
from ssm4rec.llm.preference_examples import PreferenceExample, PreferenceSet
from ssm4rec.llm.settings import AlignmentSettings, LoraSettings, StepSettings
from ssm4rec.llm.validation_callback import ValidationCallback
from ssm4rec.runtime.errors import InputError

CPU = torch.device("cpu")
END = 0
LORA = LoraSettings(rank=8, alpha=16, dropout=0.1, modules="all-linear")
SETTINGS = AlignmentSettings(
    beta=0.5, evaluations=4, steps=StepSettings(batch=3, accumulation=2, learning_rate=5e-3, warmup=2)
)


def examples(train=43, held_out=7, seed=0):
    """The letter 40 is preferred to 41, 42 and 43 after any prompt."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for number in range(train + held_out):
        length = int(torch.randint(3, 20, (1,), generator=random))
        prompt = torch.randint(2, 500, (length,), generator=random).tolist()
        made.append(PreferenceExample(prompt, [40, END], [41 + number % 3, END]))
    return PreferenceSet(made[:train], made[train:])


@pytest.fixture
def start(language_model, tmp_path):
    source = str(language_model("llama"))

    def run(checkpoints="checkpoints", settings=SETTINGS, on_point=lambda point: None, made=None, seed=1):
        torch.manual_seed(5)  # of the fresh LoRA matrices
        ranker = new_ranker(source, "none", LORA, tmp_path, CPU)
        task = AlignmentTask(made or examples(), settings, seed)
        return ranker, align(ranker, task, tmp_path / checkpoints, on_point)

    return run


def weights(ranker):
    return {name: tensor.clone() for name, tensor in ranker.model.state_dict().items() if "lora" in name}


def same(first, second):
    return all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())


def test_it_learns_to_prefer(start):
    points = []
    steps = replace(SETTINGS.steps, batch=2, learning_rate=3e-2)
    _, alignment = start(settings=replace(SETTINGS, steps=steps), on_point=points.append)
    assert alignment.points == tuple(points)
    held_out = [point for point in points if point.split == HELD_OUT]
    # 43 pairs of 2 x 2 a step: 11 steps, the last of 3 pairs; validated before and at each quarter.
    assert [point.step for point in held_out] == [0, 3, 6, 8, 11]
    values = {name: [point.values[name] for point in held_out] for name in held_out[0].values}
    assert values["epoch"] == pytest.approx([0, 12 / 43, 24 / 43, 32 / 43, 1], abs=0.02)
    assert values["log_odds_ratio"][-1] > values["log_odds_ratio"][0] + 1
    assert values["margin"][-1] > values["margin"][0]
    assert values["nll"][-1] < values["nll"][0] - 1
    assert values["accuracy"][-1] == 1 > values["accuracy"][0]
    trained = [point for point in points if point.split == TRAIN]
    assert [point.step for point in trained] == list(range(1, 12))
    # Up over two steps, then linearly down to zero after the last.
    rates = [3e-2 * factor for factor in (0, 1 / 2, *(left / 9 for left in range(9, 0, -1)))]
    assert [point.values["learning_rate"] for point in trained] == pytest.approx(rates)
    # Of each answer the letter; its end is only predicted.
    assert alignment.tokens == sum(len(one.prompt) + 2 for one in examples().train)
    assert alignment.tokens_per_second > 0


def test_a_validation_is_a_mean_over_pairs(start, language_model, tmp_path):
    """Of 7 held-out pairs in batches of 3: the last pair counts as much as the others."""
    _, alignment = start()
    ranker = new_ranker(str(language_model("llama")), "none", LORA, tmp_path, CPU)  # LoRA changes nothing at first
    likelihoods, correct = [], []
    for example in examples().held_out:
        found = []
        for answer in (example.chosen, example.rejected):
            tokens = torch.tensor(example.prompt + answer)
            with torch.no_grad():
                each = torch.log_softmax(ranker.model(input_ids=tokens[None]).logits[0], dim=-1)
            found.append(each[-3:-1].gather(1, tokens[-2:, None]).mean().item())
        likelihoods.append(-found[0])
        correct.append(found[0] > found[1])
    first = alignment.points[0].values
    assert first["nll"] == pytest.approx(sum(likelihoods) / 7, rel=1e-5)
    assert first["accuracy"] == pytest.approx(sum(correct) / 7)
    for values in (point.values for point in alignment.points):
        assert values["loss"] == pytest.approx(values["nll"] + 0.5 * values["odds_ratio_loss"])


class Killed(BaseException):
    """The end of a process."""


def test_resumes_to_the_same_weights(start, tmp_path):
    whole, alignment = start("whole")

    def kill(point):
        if point.step == 6:
            raise Killed

    with pytest.raises(Killed):
        start("killed", on_point=kill)
    folder = tmp_path / "killed"
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-4"]
    # A second process that is killed while it writes a checkpoint.
    half = folder / "writing" / "checkpoint-6"
    half.mkdir(parents=True)
    (half / "trainer_state.json").write_text('{"global_step":')
    points = []
    resumed, again = start("killed", on_point=points.append)
    assert same(whole, resumed)
    assert tuple(points) == again.points == alignment.points
    assert again.tokens < alignment.tokens

    finished, nothing_left = start("killed")
    assert same(whole, finished)
    assert nothing_left.points == alignment.points
    assert nothing_left.tokens == 0


def test_checkpoints_of_another_alignment_are_refused(start):
    start()
    for field, change in {
        "seed": {"seed": 2},
        "align.beta": {"settings": replace(SETTINGS, beta=0.1)},
        "examples": {"made": examples(seed=1)},
    }.items():
        with pytest.raises(InputError, match=f"a checkpoint of another training: {field} is .*; remove it to start"):
            start(**change)


def test_nothing_is_sent_and_no_code_is_stored(start, tmp_path, monkeypatch):
    """trl reports each training to its makers, from a thread, unless told not to; transformers pickles arguments."""
    addresses = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: addresses.append(address) or [])
    start()
    assert addresses == []
    (folder,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    names = {path.name for path in folder.iterdir()}
    assert "training_args.bin" not in names
    assert "adapter_model.safetensors" in names
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(folder / name, weights_only=True)


def test_attention_that_heeds_no_mask_is_refused(tokenizer, tmp_path):
    """Windows of 8 tokens: what is further back is seen in a packed sequence, and not in one alone."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    for window in (8, 64):
        config = MistralConfig(
            vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=window, initializer_range=0.3, **sizes
        )
        folder = tmp_path / f"mistral-{window}"
        MistralForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        ranker = new_ranker(str(folder), "none", LORA, tmp_path, CPU)
        task = AlignmentTask(examples(train=4, held_out=1), SETTINGS, 1)
        if window == 64:
            assert align(ranker, task, tmp_path / "longer", lambda point: None).last.step == 1
            break
        with pytest.raises(InputError, match="type mistral cannot be aligned: its layers do not attend as a mask says"):
            align(ranker, task, tmp_path / "shorter", lambda point: None)


def test_divergence_is_said(start):
    steps = replace(SETTINGS.steps, learning_rate=1e30, gradient_norm=1e30)
    with pytest.raises(
        InputError,
        match=r"alignment diverged: the loss became nan at step \d; .*learning_rate=2\.5e\+29",
    ):
        start(settings=replace(SETTINGS, steps=steps))


def test_a_checkpoint_of_an_earlier_version_is_refused(start, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "identity.json").write_text("{}")
    with pytest.raises(InputError, match="a checkpoint of an earlier version of this project; remove it to start"):
        start()


def test_activations_computed_again_change_nothing(language_model, tmp_path):
    """What a GPU's training does to save memory, here on a CPU."""
    gradients, source = [], str(language_model("llama"))
    for again in (False, True):
        torch.manual_seed(5)
        ranker = new_ranker(source, "none", LORA, tmp_path, CPU)
        task = AlignmentTask(examples(), SETTINGS, 1)
        trainer = AlignmentTrainer(ranker, task, ValidationCallback(tmp_path / "out", {}, lambda point: None))
        if again:
            ranker.model.enable_input_require_grads()
            ranker.model.activation_checkpointing_enable()
        ranker.model.train()
        batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
        trainer.compute_loss(trainer.model, batch).backward()
        gradients.append({name: p.grad for name, p in ranker.model.named_parameters() if "lora_B" in name})
    assert all(gradient.abs().max() > 0 for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_adapters_come_back_with_the_same_logits(start, language_model, write_dataset, tmp_path):
    dataset = read_sequences(write_dataset([[1, 2, 3, 4]] * 3))
    ranker, _ = start()
    facts = RankerFacts(
        source=str(language_model("llama")),
        quantization="none",
        stage="align_llm",
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        seed=1,
        profile="smoke",
        retriever="sasrec",
        recipe={},
        training={},
    )
    folder = tmp_path / "aligned"
    write_adapter(folder, ranker.model, facts)
    again = load_letter_ranker(RankerFacts.read(folder, dataset), folder, tmp_path, CPU)
    tokens = torch.tensor([examples().held_out[0].prompt])
    with torch.no_grad():
        assert torch.equal(ranker.model(input_ids=tokens).logits, again.model.eval()(input_ids=tokens).logits)


def test_the_learning_curve_comes_back(start, tmp_path):
    _, alignment = start()
    path = tmp_path / "curve.parquet"
    training = Training("align_llm", "toy", "tiny", 0, "adamw_torch", 1e-4)
    curve = Curve.of(training, alignment.points)
    write_curve(path, curve)
    assert read_curve(path, "align_llm") == curve
    held_out = [point for point in alignment.points if point.split == HELD_OUT]
    assert curve.values("accuracy", HELD_OUT) == [point.values["accuracy"] for point in held_out]
    assert curve.against("step", "nll", HELD_OUT) == [(point.step, point.values["nll"]) for point in held_out]
    assert len(curve.values("learning_rate")) == len(alignment.points) - len(held_out)
