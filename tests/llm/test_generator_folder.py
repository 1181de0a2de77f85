"""The generator folder: a pretrained model goes in, what comes back is the same model; damage is named."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.llm.generator_folder import GeneratorFacts, load_generator, new_generator, write_generator
from ssm4rec.llm.generator_settings import GeneratorRecipe, ScratchSettings, SearchSettings
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.runtime.errors import InputError
from tests.language_models import title

CPU = torch.device("cpu")
TITLES = ["", *(title(item) for item in range(1, 200))]
PROMPT = "Previously, the customer has bought: Red Red (1951). In the future, the customer wants to buy"


def recipe(source: str) -> GeneratorRecipe:
    return GeneratorRecipe(
        source=source,
        scratch=ScratchSettings(width=32, layers=1, vocabulary=500),
        prompt=PromptFormat(maximum_tokens=100),
        search=SearchSettings(new_tokens=20),
    )


def facts(dataset, chosen: GeneratorRecipe) -> GeneratorFacts:
    return GeneratorFacts(
        model="mamrec",
        source=chosen.source,
        from_scratch=True,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        seed=4,
        profile="smoke",
        parameters=7,
        k1=0.9,
        b=0.25,
        recipe=chosen,
        training={"rows": [], "best_epoch": 0},
    )


@pytest.mark.parametrize("kind", ["gpt2", "mamba2", "scratch:gpt2", "scratch:mamba2"])
def test_what_was_written_is_read(kind, language_model, cycle_dataset, tmp_path):
    dataset = read_sequences(cycle_dataset)
    chosen = recipe(kind if kind.startswith("scratch:") else str(language_model(kind)))
    made = new_generator(chosen, TITLES, tmp_path, CPU, seed=1)
    written = facts(dataset, chosen)
    write_generator(tmp_path / "generator", made, written)
    assert GeneratorFacts.read(tmp_path / "generator", dataset) == written
    assert not [path.name for path in (tmp_path / "generator").iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    again = load_generator(tmp_path / "generator", chosen, CPU)
    tokens = torch.tensor([again.tokenizer(PROMPT)["input_ids"]])
    assert tokens.tolist() == [made.tokenizer(PROMPT)["input_ids"]]
    with torch.inference_mode():
        assert torch.equal(made.model.eval()(tokens).logits, again.model(tokens).logits)


@pytest.mark.parametrize("source", ["scratch:gpt2", "scratch:mamba2"])
def test_random_weights_are_the_seeds(source):
    first, same, other = (
        new_generator(recipe(source), TITLES, "unused", CPU, seed).model.get_input_embeddings().weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_tokenizer_from_scratch_loses_nothing():
    tokenizer = new_generator(recipe("scratch:gpt2"), TITLES, "unused", CPU, 1).tokenizer
    for text in (PROMPT, " Amélie: été 1°", " 七人の侍 (1954)"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer(PROMPT)["input_ids"]) < len(PROMPT) / 3
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_what_cannot_be_read(language_model, cycle_dataset, tmp_path):
    dataset = read_sequences(cycle_dataset)
    with pytest.raises(InputError, match=r"scratch:llama: unknown; from scratch there are scratch:gpt2, scratch:mamba"):
        new_generator(recipe("scratch:llama"), TITLES, tmp_path, CPU, 1)
    long = replace(recipe(str(language_model("gpt2"))), prompt=PromptFormat(maximum_tokens=500))
    with pytest.raises(
        InputError, match=r"it reads 512 tokens, and prompt.maximum_tokens=500 with search.new_tokens=20"
    ):
        new_generator(long, TITLES, tmp_path, CPU, 1)

    folder, chosen = tmp_path / "generator", recipe("scratch:gpt2")
    write_generator(folder, new_generator(chosen, TITLES, tmp_path, CPU, 1), facts(dataset, chosen))
    written = json.loads((folder / "generator.json").read_text())
    for change in ({"recipe": {}}, {"k1": 1.0, "k2": 2.0}, {"recipe": written["recipe"] | {"training": {"epochs": 0}}}):
        (folder / "generator.json").write_text(json.dumps(written | change))
        with pytest.raises(
            InputError, match=r"generator.json: not the description of a generator .*; run train_generator again"
        ):
            GeneratorFacts.read(folder, dataset)
    (folder / "generator.json").write_text(json.dumps(written | {"fingerprint": "0" * 64}))
    with pytest.raises(InputError, match=r"trained on toy \(000000000000\), but the data set given is toy"):
        GeneratorFacts.read(folder, dataset)
    with pytest.raises(InputError, match=r"with search.new_tokens=9000 are more"):
        load_generator(folder, replace(chosen, search=replace(chosen.search, new_tokens=9000)), CPU)
    search = written["recipe"]["search"] | {"new_tokens": 2**70}
    (folder / "generator.json").write_text(json.dumps(written | {"recipe": written["recipe"] | {"search": search}}))
    with pytest.raises(InputError, match=r"generator.json: not the description of a generator .*new_tokens"):
        GeneratorFacts.read(folder, dataset)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        load_generator(folder, chosen, CPU)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"generator.json: no such file"):
        GeneratorFacts.read(folder, dataset)
