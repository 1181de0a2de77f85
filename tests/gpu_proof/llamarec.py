"""LlamaRec at the published size: language models of random weights, made here, trained and ranking as the stages do.

Times depend on shapes and tokens, not on what the weights know. A prompt has 20 titles of history, 20 candidates, and
about as many tokens as one of MovieLens-1M has in Llama-2's tokenizer.
"""

import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from ssm4rec.artifacts.rankings import RETRIEVER_ORDER, SHUFFLED_ORDER
from ssm4rec.llm.adapters import LetterRanker, new_ranker
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.examples import Example
from ssm4rec.llm.finetuning import FinetuningTask, finetune
from ssm4rec.llm.prompts import INSTRUCTION, LETTERS, RankingPrompts
from ssm4rec.llm.ranking import answer_logits
from ssm4rec.llm.scratch_models import train_tokenizer
from ssm4rec.llm.sources import QUANTIZATIONS
from ssm4rec.recipes.rankers import ranker_recipe
from ssm4rec.runtime.files import write_json
from tests.gpu_proof.cost import LLAMA_2_7B, PEAKS, PUBLISHED, layer_weights, published_cost, training_flops

if TYPE_CHECKING:
    from tests.gpu_proof.parts import Part

SHAPES: Final = {
    "tiny": LlamaConfig(
        vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    ),
    "SmolLM2-135M": LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3,
    ),
    "TinyLlama-1.1B": LlamaConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4,
    ),
    "Llama-2-7b": LLAMA_2_7B,
}  # fmt: skip
_PAPER: Final = ranker_recipe("paper").finetune
# A machine may lack bitsandbytes: then nf4 is left out, and the steps, whose time is the model's, have torch's AdamW.
_OPTIMIZER: Final = _PAPER.steps.optimizer if find_spec("bitsandbytes") else "adamw_torch"
_SETTINGS: Final = replace(_PAPER, evaluations=1, steps=replace(_PAPER.steps, optimizer=_OPTIMIZER))
_BATCH: Final = _SETTINGS.steps.prompts
_ITEMS: Final = 500


def measure_language_models(part: "Part") -> None:
    """Record what the published training costs by the count, and what each shape takes; small ones first."""
    part.record("as published", published_cost())
    left = len(part.size.shapes) * len(QUANTIZATIONS)
    for shape in part.size.shapes:
        with TemporaryDirectory(dir=part.out) as folder:
            write_random_model(SHAPES[shape], Path(folder), part.device)
            for form in reversed(QUANTIZATIONS):
                work = partial(_measure, part, SHAPES[shape], Path(folder), form, part.left / left)
                part.measure(f"{shape} {form}", work)
                left -= 1


def _measure(part: "Part", config: LlamaConfig, folder: Path, form: Any, seconds: float) -> dict[str, Any]:
    """Return what a shape takes, measured in about so many seconds."""
    end = time.monotonic() + seconds
    ranker = new_ranker(str(folder), form, _SETTINGS.lora, folder, part.device)
    prompts = RankingPrompts(ranker.tokenizer, titles(), _SETTINGS.prompt)
    part.peak_bytes()
    _seconds(part, ranker, prompts, 1)  # the first step compiles and chooses kernels
    once = _seconds(part, ranker, prompts, 1)
    more = min(part.size.steps, max(1, int((end - time.monotonic()) / 2 / once)))
    step = (_seconds(part, ranker, prompts, 1 + more) - once) / more  # validation and checkpoint drop out
    users = [[prompts.tokens(example.history, example.candidates)] for example in draw(part.size.ranked)]
    letters = numpy.array(prompts.letters[:20])
    answer_logits(ranker.model, users, letters, lambda _: None)
    started = time.monotonic()
    answer_logits(ranker.model, users, letters, lambda _: None)
    ranked = len(users) / (time.monotonic() - started)

    tokens = float(numpy.mean([len(prompt) + 2 for (prompt,) in users]))  # with the letter and the end
    checkpointing = part.device.type == "cuda" and (form == "nf4" or layer_weights(config) > 10**9)
    flops = training_flops(config, tokens, checkpointing=checkpointing) * _BATCH / step
    gpu = torch.cuda.get_device_name() if part.device.type == "cuda" else ""
    speed = _BATCH * tokens / step
    return {
        "layer_weights": layer_weights(config), "tokens_per_prompt": tokens, "batch": _BATCH, "steps": more,
        "optimizer": _OPTIMIZER, "seconds_per_step": step, "tokens_per_second": speed,
        "prompts_ranked_per_second": ranked, "peak_bytes": part.peak_bytes(), "flops_per_second": flops,
        "utilization": next((flops / peak for name, peak in PEAKS.items() if name in gpu), None),
        # prompts x padded tokens of one / tokens per second / 3,600
        "hours": {name: data.count * data.padded / speed / 3600 for name, data in PUBLISHED.items()},
    }  # fmt: skip


def _seconds(part: "Part", ranker: LetterRanker, prompts: RankingPrompts, steps: int) -> float:
    """Return the seconds of a fine-tuning of so many steps, with the ranking of one user before and after."""
    (user,) = draw(1)
    pool = {order: [list(user.candidates)] for order in (RETRIEVER_ORDER, SHUFFLED_ORDER)}
    nobody, target = numpy.zeros(1, numpy.int32), numpy.array([user.candidates[user.place]], numpy.int32)
    none = {order: [[0.0] * len(user.candidates)] for order in pool}  # a retriever's scores, which it does not have
    validation = RankingTask(nobody, target, [list(user.history)], pool, none, 1, 1)
    task = FinetuningTask(prompts, draw(steps * _BATCH), validation, _SETTINGS, 0)
    with TemporaryDirectory(dir=part.out) as folder:
        started = time.monotonic()
        finetune(ranker, task, Path(folder), {}, lambda _: None)
        return time.monotonic() - started


def draw(count: int) -> list[Example]:
    """Return random prompts of 20 items of history and 20 candidates."""
    rng = numpy.random.default_rng(0)
    drawn = [(1 + rng.permutation(_ITEMS)[:40]).tolist() for _ in range(count)]
    return [Example(0, items[:20], items[20:], int(rng.integers(20))) for items in drawn]


def titles() -> list[str]:
    """Return titles of 10 digits, each a token, which makes prompts as long as MovieLens-1M's."""
    rng = numpy.random.default_rng(1)
    return ["", *("".join(map(str, rng.integers(0, 10, 10))) for _ in range(_ITEMS))]


def write_random_model(config: LlamaConfig, folder: Path, device: torch.device) -> None:
    """Write a Llama of random weights in transformers' format, a file per layer: one layer's memory suffices."""
    with torch.device("meta"):
        weights = LlamaForCausalLM(config).state_dict()
    files = defaultdict[str, dict[str, Any]](dict)
    for name, tensor in weights.items():
        layer = name.split(".")[2] if ".layers." in name else name
        files[f"model-{layer}.safetensors"][name] = tensor
    for file, tensors in files.items():
        for name, tensor in tensors.items():
            drawn = torch.randn(tensor.shape, dtype=torch.bfloat16, device=device) * 0.02
            tensors[name] = drawn.cpu() if tensor.dim() > 1 else torch.ones(tensor.shape, dtype=torch.bfloat16)
        save_file(tensors, str(folder / file), metadata={"format": "pt"})
        tensors.update(dict.fromkeys(tensors))
    places = {name: file for file, tensors in files.items() for name in tensors}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    config.save_pretrained(str(folder))
    text = f"### Instruction:\n{INSTRUCTION}\n\n### Input:\nUser history: ; \n Candidate pool: \n\n### Response:\n"
    train_tokenizer([text, *LETTERS], 600).save_pretrained(str(folder))
