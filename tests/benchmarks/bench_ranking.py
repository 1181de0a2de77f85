"""Ranking by a language model beside a plain padded batch with all logits: ``make bench-ranking``.

The same prompts of the same users, each with its candidates in two orders: as long as those of MovieLens-100K with 20
titles of history (580 to 660 tokens, of which the first 330 or so are the same in both orders, and the first 34, the
instruction, for all users), or with histories of 3 to 20 titles, as short data sets have. The plain way: batches of
eight in the order they come, padded, logits at every position, as ``model(**tokenizer(prompts, padding=True))`` gives.
The floor of both is the matrix products of the tokens that are not padding.
"""

import random
from functools import partial

import numpy
import torch
from measure import Row, alternate, command_line, report
from transformers import PreTrainedModel

from ssm4rec.llm.language_models import SMOLLM2, language_model_folder, load_language_model
from ssm4rec.llm.ranking import answer_logits
from ssm4rec.runtime.files import cache_folder
from ssm4rec.training.device import choose_device

LETTERS = numpy.arange(49, 69)
BATCH = 8


def prompts_of(users: int, shortest: int) -> list[list[list[int]]]:
    """Return each user's two prompts, of random tokens; histories have ``shortest`` to 20 titles of 14 tokens or so."""
    draw = random.Random(0)
    tokens = partial(draw.choices, range(100, 40_000))
    made, instruction = [], tokens(k=34)
    for _ in range(users):
        head, size = (
            instruction + tokens(k=16 + sum(draw.choices(range(11, 18), k=draw.randint(shortest, 20)))),
            draw.randint(275, 305),
        )
        made.append([head + tokens(k=size), head + tokens(k=size)])
    return made


@torch.inference_mode()
def plain(model: PreTrainedModel, users: list[list[list[int]]]) -> None:
    """Score all prompts the plain way."""
    prompts = [prompt for user in users for prompt in user]
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch], device=model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask).logits
        logits[:, -1, LETTERS].float().cpu()


def bench(model: PreTrainedModel, device: torch.device, users: int, shortest: int, runs: int) -> list[Row]:
    """Return prompts a second of both."""
    made = prompts_of(users, shortest)
    works = {
        "plain padded batches, all logits": lambda: plain(model, made),
        "verbalizer, one order at a time": lambda: [
            answer_logits(model, [[user[order]] for user in made], LETTERS, lambda _: None) for order in range(2)
        ],
        "verbalizer, both orders share the history": lambda: answer_logits(model, made, LETTERS, lambda _: None),
    }
    spent = alternate(works, device, runs)
    first = spent["plain padded batches, all logits"]
    return [
        {"way": name, "prompts a second": 2e3 * users / time, "times the plain way": first / time}
        for name, time in spent.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__ or "", runs=3)
    parser.add_argument("--language-model", default=SMOLLM2, help="source of the language model")
    parser.add_argument("--users", type=int, default=8, help="with two prompts each")
    options = parser.parse_args()
    device = choose_device(options.device)
    model = load_language_model(language_model_folder(options.language_model, cache_folder("")), device)
    for shortest in (20, 3):
        rows = bench(model, device, options.users, shortest, options.runs)
        title = f"Ranking with {options.language_model}, histories of {shortest} to 20 titles"
        report(title, rows, device, options.output)


if __name__ == "__main__":
    main()
