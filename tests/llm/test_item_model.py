"""The model whose tokens are items: a Llama over the items' vectors, causal, blind to padding, and ranked with."""

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from ssm4rec.llm.item_model import ItemModel, principal_components
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.ranking import padded

ITEMS = 30
SETTINGS = ItemSettings(features=6, id_width=4, query_width=5, dropout=0.3)


def item_model(items=ITEMS, settings=SETTINGS):
    """Return a small model with random weights, the same at every call."""
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=items + 1, num_key_value_heads=2, initializer_range=0.3, **sizes)
    model = ItemModel(config, items, settings)
    model.items.initialize(torch.randn(items + 1, 32), torch.arange(items + 1))
    model.initialize_query()
    with torch.no_grad():
        model.query.weight.mul_(30)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return item_model()


def histories():
    random = torch.Generator().manual_seed(1)
    return [[0, *torch.randint(1, ITEMS + 1, (length,), generator=random).tolist()] for length in (3, 9, 1, 6)]


def test_it_is_a_llama_fed_with_the_items_vectors(model):
    """An independent Llama of transformers gets the input vectors, and its states are scored by hand."""
    plain = LlamaModel(model.config).eval()
    plain.load_state_dict(model.model.state_dict(), strict=False)
    vectors = model.items
    own = vectors.own.weight
    inputs = vectors.features + vectors.scale * (
        vectors.components @ vectors.text_in.weight.T + own @ vectors.own_in.weight.T
    )
    outputs = vectors.components @ vectors.text_out.weight.T + own @ vectors.own_out.weight.T
    for history in histories():
        with torch.no_grad():
            states = plain(inputs_embeds=inputs[history][None]).last_hidden_state[0]
            expected = (states @ model.query.weight.T + model.query.bias) @ outputs.T + vectors.bias
            found = model(input_ids=torch.tensor([history])).logits[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.1


def test_later_items_change_nothing_before(model):
    with torch.no_grad():
        first = model(input_ids=torch.tensor([[0, 1, 2, 3, 4, 5]])).logits
        second = model(input_ids=torch.tensor([[0, 1, 2, 3, 9, 8]])).logits
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not torch.allclose(first[:, 4], second[:, 4], atol=1e-2)


def test_padding_changes_nothing(model):
    rows = histories()
    tokens, mask = padded(rows, torch.device("cpu"))
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        together = model(input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[:, 0]
        alone = [model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_a_training_pass_differs_by_dropout_alone(model):
    tokens = torch.tensor(histories()[1:2])
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
        model.train()
        torch.manual_seed(0)
        dropped = model(input_ids=tokens).logits
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        found = model(input_ids=tokens).logits
    model.eval()
    assert torch.equal(found, expected)
    assert not torch.allclose(dropped, expected)


def test_components_are_uncorrelated_and_keep_the_distances():
    """With all components, distances are those of the standardized features in their own, whitened, space."""
    torch.manual_seed(0)
    features = torch.randn(40, 5) @ torch.randn(5, 5) + 3
    found = principal_components(features, 7)
    assert found.shape == (40, 7)
    assert (found[:, 5:] == 0).all()
    torch.testing.assert_close(found[:, :5].T @ found[:, :5] / 40, torch.eye(5), rtol=0, atol=1e-4)
    centred = features - features.mean(dim=0)
    mahalanobis = centred @ torch.linalg.inv(centred.T @ centred / 40) @ centred.T
    torch.testing.assert_close(found @ found.T, mahalanobis, rtol=1e-3, atol=1e-3)
