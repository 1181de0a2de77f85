"""Vectors of items from the words of their titles: against numpy, in training and for scores, in every recommender."""

import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.models.item_vectors import WordVectors
from ssm4rec.models.item_words import ItemWords, item_words, train_tokenizer
from ssm4rec.models.recommender import parameter_counts
from ssm4rec.models.serving import ServingRecommender
from ssm4rec.models.sizes import RecommenderConfig
from ssm4rec.models.table import MODELS, config_class
from ssm4rec.recipes.recommenders import recipe

TITLES = [
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "",
    "Heat (1995)",
    "Amélie",
    "東京物語 (1953)",
    "Heat and Dust (1983)",
]
V = len(TITLES)


def words() -> ItemWords:
    return item_words(TITLES, train_tokenizer(TITLES, 300))


def sizes(kind: str, name: str = "sasrec", more: str = "") -> RecommenderConfig:
    return recipe(name, "smoke", "long", f"model.item_vectors={kind},{more}").model


def vectors(kind: str, *, mask_token: bool = False) -> WordVectors:
    torch.manual_seed(0)
    made = WordVectors(sizes(kind), words(), mask_token=mask_token).double()
    if made.ids is not None:
        torch.nn.init.normal_(made.ids.weight[1:])
    return made


def by_hand(made: WordVectors) -> numpy.ndarray:
    """Return the table (V + 1, D), row by row."""
    found = words()
    weight, linear = made.words.weight.detach().numpy(), made.linear.weight.detach().numpy()
    rows = [numpy.zeros(len(linear))]
    stops = [*found.starts[1:], len(found.tokens)]
    for item, (start, stop) in enumerate(zip(found.starts, stops, strict=True), start=1):
        row = numpy.zeros(len(linear))
        for token in found.tokens[start:stop]:
            row += linear @ weight[token] / (stop - start)
        rows.append(row if made.ids is None else row + made.ids.weight[item].detach().numpy())
    return numpy.stack(rows)


def test_a_tokenizer_is_the_same_for_the_same_titles_and_knows_every_text() -> None:
    tokenizer = train_tokenizer(TITLES, 300)
    assert train_tokenizer(TITLES, 300) == tokenizer
    found = item_words([*TITLES, "Ένα 🎬 nie gesehen"], tokenizer)
    assert found.vocabulary <= 300
    assert (found.tokens < found.vocabulary).all()
    lengths = numpy.diff([*found.starts, len(found.tokens)])
    assert ((lengths > 0) == [bool(title) for title in [*TITLES, "x"]]).all()
    assert lengths[0] < len(TITLES[0])  # what stands twice is one token
    assert item_words(["TOY story"], tokenizer).tokens.tolist() == item_words(["toy story"], tokenizer).tokens.tolist()


@pytest.mark.parametrize("kind", ["text", "id+text"])
def test_the_table_is_the_mean_of_the_words_through_a_layer(kind: str) -> None:
    made = vectors(kind, mask_token=True).eval()
    table = made.weight.detach()
    numpy.testing.assert_allclose(table[:-1].numpy(), by_hand(made), rtol=0, atol=1e-12)
    assert torch.equal(table[-1:], made.mask)  # type: ignore[arg-type] # it has one
    items = torch.tensor([[3, 0], [7, 1]])
    assert torch.equal(made(items), table[items])
    assert kind == "id+text" or not table[3].any()  # no title, no words


def test_gradients_are_those_of_the_matrix_of_means() -> None:
    """One loss through both uses of the table, in float64."""
    made = vectors("id+text")
    made.id_dropout = 0.0
    found = words()
    means = torch.zeros(V + 1, found.vocabulary, dtype=torch.float64)
    for item, (start, stop) in enumerate(zip(found.starts, [*found.starts[1:], len(found.tokens)], strict=True), 1):
        for token in found.tokens[start:stop]:
            means[item, token] += 1 / (stop - start)
    table = means @ made.words.weight @ made.linear.weight.T + torch.cat([torch.zeros(1, 16), made.ids.weight[1:]])  # type: ignore[union-attr]
    items = torch.tensor([1, 2, 7, 7, 0])
    weights = list(made.parameters())

    def loss(rows: Tensor, table: Tensor) -> Tensor:
        return (rows @ table[1:].T).logsumexp(1).sum()

    expected = torch.autograd.grad(loss(table[items], table), weights)
    with made.one_table():
        gradients = torch.autograd.grad(loss(made(items), made.weight), weights)
    for gradient, one in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, one, rtol=1e-10, atol=1e-12)


def test_a_table_in_training_leaves_out_whole_vectors_of_items_and_is_drawn_once() -> None:
    made = vectors("id+text", mask_token=True)
    own = made.ids.weight.detach()  # type: ignore[union-attr]
    whole = torch.from_numpy(by_hand(made))
    made.train()
    made.id_dropout = 0.5
    left_out = torch.zeros(V + 1)
    for _ in range(400):
        with made.one_table():
            table = made.weight
            assert made.weight is table
        gone = (table[:-1] - whole + own).abs().amax(1) < 1e-12
        assert (((table[:-1] - whole).abs().amax(1) < 1e-12) ^ gone)[1:].all()
        left_out += gone
    assert not left_out[0] - 400  # padding is 0 anyhow
    share = left_out[1:] / 400
    assert (share - 0.5).abs().max() < 5 * (0.25 / 400) ** 0.5
    made.eval()
    torch.testing.assert_close(made.weight[:-1], whole, rtol=0, atol=1e-12)


def test_the_table_is_kept_for_scoring_until_a_weight_changes() -> None:
    made = vectors("text").eval()
    with torch.no_grad():
        first = made.weight
        assert made.weight is first
        made.words.weight.mul_(2)
        torch.testing.assert_close(made.weight, 2 * first)
        made.load_state_dict({name: 3 * value for name, value in made.state_dict().items()})
        torch.testing.assert_close(made.weight, 18 * first)
        made.float()
        assert made.weight.dtype == torch.float32


def test_a_compiled_model_scores_with_the_weights_that_there_are() -> None:
    """Backend "eager" traces the model as any other does; what it would make of the table once must not stay."""
    torch.manual_seed(2)
    model = sizes("text").build(V, words()).eval()
    items = torch.tensor([[1, 5, 2], [7, 6, 0]])
    with torch.no_grad():
        first = model(items)
        model.compile(backend="eager")
        torch.testing.assert_close(model(items), first)
        assert isinstance(model.item_embedding, WordVectors)
        model.item_embedding.words.weight.neg_()
        compiled = model(items)
        assert not torch.allclose(compiled, first, atol=1e-3)
        torch.testing.assert_close(compiled, model.forward(items))


@pytest.mark.parametrize("kind", ["text", "id+text"])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_reads_and_scores_with_the_table(name: str, kind: str) -> None:
    """As the same model does with that table as its embedding; one event at a time as with the whole history."""
    torch.manual_seed(1)
    model = sizes(kind, name).build(V, words()).eval()
    plain = sizes("id", name).build(V).eval()
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("item_embedding.")}
    plain.load_state_dict({**weights, "item_embedding.weight": model.item_embedding.weight.detach()})
    items, lengths = torch.tensor([[1, 5, 2, 3], [7, 6, 0, 0]]), torch.tensor([4, 2])
    with torch.no_grad():
        scores = model.score_next(items, lengths)
        assert scores.shape == (2, V)
        torch.testing.assert_close(scores, plain.score_next(items, lengths))
        if isinstance(model, ServingRecommender):
            state = model.prefill(items[:, :1], torch.ones_like(lengths))
            state, stepped = model.step(state, items[:, 1])
            torch.testing.assert_close(stepped, model.score_next(items[:, :2], torch.tensor([2, 2])), rtol=0, atol=1e-6)
    of_tables, of_plain = (total - without for total, without in map(parameter_counts, (model, plain)))
    of_items = words().vocabulary + (V + 1 if kind == "id+text" else 0)
    assert of_tables == of_items * 16 + of_plain - plain.item_embedding.weight.numel()


@pytest.mark.parametrize("name", MODELS)
def test_items_without_events_have_their_words_alone(name: str) -> None:
    more = "model.output_bias=true" if name == "lrurec" else ""
    model = sizes("id+text", name, more).build(V, words()).eval()
    model.forget(numpy.array([2, 7]))
    made = model.item_embedding
    assert isinstance(made, WordVectors)
    expected = made.linear(made.words(made.tokens, made.starts))[[1, 6]]
    assert torch.equal(model.item_vectors()[[1, 6], :16], expected)
    if more:
        assert not model.item_vectors()[[1, 6], 16].any()


def test_words_are_those_of_the_items() -> None:
    config = config_class("sasrec").recipe("smoke", "long")[0]
    assert config.item_vectors == "id"
    with pytest.raises(ValueError, match="item_vectors text needs the words of 7 items"):
        sizes("text").build(V)
    with pytest.raises(ValueError, match="needs the words of 9 items"):
        sizes("text").build(9, words())
