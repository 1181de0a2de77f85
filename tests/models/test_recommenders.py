"""What every recommender must be: causal where it says so, indifferent to padding and company; and SASRec against
torch's own layers."""

import dataclasses

import pytest
import torch
from torch import nn

from ssm4rec.models.recommender import Recommender, parameter_counts
from ssm4rec.models.sasrec import SASRec, SASRecConfig
from ssm4rec.models.table import MODELS, config_class, config_from_json
from ssm4rec.recipes.recommenders import recipe

CAUSAL = [name for name in MODELS if config_class(name).causal]


def model_of(name: str, profile: str = "best") -> Recommender:
    torch.manual_seed(0)
    return recipe(name, profile, "long").model.build(50).double().eval()


@pytest.mark.parametrize("profile", ["smoke", "paper", "best"])
@pytest.mark.parametrize("name", CAUSAL)
def test_outputs_depend_on_the_past_only(name: str, profile: str) -> None:
    model = model_of(name, profile)
    assert model.causal
    items = torch.randint(1, 51, (3, 70))
    changed = items.clone()
    changed[:, 40:] = torch.randint(1, 51, (3, 30))
    before, after = model(items), model(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40], rtol=0, atol=1e-12)
    assert (before[:, 40] != after[:, 40]).any()


def test_the_bidirectional_one_says_that_it_sees_the_future() -> None:
    model = model_of("hydra4rec")
    assert not model.causal
    items = torch.randint(1, 51, (1, 9))
    changed = items.clone()
    changed[:, 8] = items[:, 8] % 50 + 1
    assert (model(items)[:, 0] != model(changed)[:, 0]).any()


@pytest.mark.parametrize("profile", ["paper", "best"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_and_company_change_nothing(name: str, profile: str) -> None:
    model = model_of(name, profile)
    short = torch.randint(1, 51, (1, 9))
    long = torch.randint(1, 51, (1, 77))
    together = torch.zeros(2, 90, dtype=torch.long)
    together[0, :9], together[1, :77] = short, long
    scores = model.score_next(together, torch.tensor([9, 77]))
    torch.testing.assert_close(scores[:1], model.score_next(short, torch.tensor([9])), rtol=0, atol=1e-12)
    torch.testing.assert_close(scores[1:], model.score_next(long, torch.tensor([77])), rtol=0, atol=1e-12)
    assert scores.shape == (2, 50)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("profile", ["paper", "best"])
@pytest.mark.parametrize("name", MODELS)
def test_the_last_positions_alone_are_those_of_all(name: str, profile: str, packed: bool) -> None:
    model = model_of(name, profile)
    lengths = torch.tensor([1, 9, 33, 34])
    items = torch.randint(1, 51, (4, 34)) * (torch.arange(34) < lengths[:, None])
    segments = (torch.arange(34) >= torch.tensor([0, 4, 30, 33])[:, None]).long() if packed else None
    found = {}
    for way in ("all", "alone"):
        model.zero_grad()
        if way == "all":
            hidden = model(items, segments)[torch.arange(4), lengths - 1]
        else:
            hidden = model(items, segments, lengths)[:, 0]
        hidden.square().sum().backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        found[way] = {"hidden": hidden, **gradients}
    assert found["all"].keys() == found["alone"].keys()
    for part, value in found["all"].items():
        torch.testing.assert_close(found["alone"][part], value, rtol=1e-9, atol=1e-12, msg=part)


@pytest.mark.parametrize("name", MODELS)
def test_histories_packed_into_a_row_are_read_as_if_alone(name: str) -> None:
    model = model_of(name)
    parts = [torch.randint(1, 51, (1, length)) for length in (5, 1, 40, 3)]
    segments = torch.cat([torch.full((1, part.shape[1]), 7 * place) for place, part in enumerate(parts)], dim=1)
    packed = model(torch.cat(parts, dim=1), segments)
    torch.testing.assert_close(packed, torch.cat([model(part) for part in parts], dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_sasrec_layers_equal_torch_encoder_layers(norm: str) -> None:
    torch.manual_seed(1)
    config = SASRecConfig(max_length=20, d_model=8, n_layers=2, n_heads=2, d_ff=12, dropout=0.3, norm=norm)
    model = SASRec(config, item_count=30).double().eval()
    items = torch.randint(1, 31, (4, 13))
    x = model.item_embedding(items) + model.position_embedding.weight[:13]
    x = model.norm(x) if norm == "post" else x
    for ours in model.layers:
        theirs = nn.TransformerEncoderLayer(
            8, 2, 12, activation="gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=norm == "pre"
        ).double()
        theirs.self_attn.in_proj_weight = ours.query_key_value.weight
        theirs.self_attn.in_proj_bias = ours.query_key_value.bias
        theirs.self_attn.out_proj, theirs.linear1, theirs.linear2 = ours.output, ours.expand, ours.contract
        theirs.norm1, theirs.norm2 = ours.attention_norm, ours.feed_forward_norm
        x = theirs.train(False)(x, src_mask=nn.Transformer.generate_square_subsequent_mask(13, dtype=torch.float64))
    expected = x if norm == "post" else model.norm(x)
    torch.testing.assert_close(model(items), expected, rtol=1e-10, atol=1e-10)


def layer_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.layers.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    """Per layer with its feed-forward, at D = 64; the paper prints them rounded: 100k, 70k and 80k."""
    assert layer_parameters(recipe("sasrec", "paper", "long").model.build(10)) == 99_968
    paper = recipe("2mamba4rec", "paper", "long").model
    assert layer_parameters(paper.build(10)) == 76_486
    assert layer_parameters(recipe("mamba4rec", "paper", "long").model.build(10)) == 72_128
    lean = dataclasses.replace(paper, mixer=dataclasses.replace(paper.mixer, d_state=32, headdim=32))
    projections = 64 * (2 * 128 + 2 * 32 + 4) + 128 * 64
    convolution = (128 + 2 * 32) * (4 + 1)
    feed_forward = 2 * 64 * 256 + 256 + 64
    assert layer_parameters(lean.build(10)) == projections + convolution + 3 * 4 + 128 + feed_forward + 4 * 64


def test_embeddings_are_counted_apart() -> None:
    model = recipe("sasrec", "paper", "long").model.build(3416)
    total, without = parameter_counts(model)
    assert total - without == 3417 * 64 + 200 * 64  # items with padding, positions
    assert without == 99_968 + 2 * 64  # layers and the first normalization


@pytest.mark.parametrize("name", MODELS)
def test_configuration_survives_json(name: str) -> None:
    config = recipe(name, "best", "long").model
    assert config_from_json(name, dataclasses.asdict(config)) == config
