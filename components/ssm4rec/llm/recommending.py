"""What a generator recommends: queries for users, items for queries; BM25's parameters by the validation split."""

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.llm.generator_folder import Generator
from ssm4rec.llm.generator_settings import GeneratorRecipe, SearchSettings
from ssm4rec.llm.queries import QueryPrompts, draw_users, history_and_target
from ssm4rec.llm.query_generation import Generated, generate_queries
from ssm4rec.llm.title_retrieval import TitleIndex, Tuned, UserQueries, merged_list, tune
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.task import Task


def ask(
    dataset: SequenceDataset,
    users: Int64s,
    split: Split,
    generator: Generator,
    prompts: QueryPrompts,
    search: SearchSettings,
) -> tuple[list[UserQueries], Generated]:
    """Return the queries that a generator writes for users' histories, in the users' order, and how that went."""
    positions = dataset.position(split)
    known = [history_and_target(dataset, user, int(positions[user])) for user in users.tolist()]
    generated = generate_queries(
        generator.model, generator.tokenizer, [prompts.prompt(history) for history, _ in known], search
    )
    asked = zip(generated.queries, known, strict=True)
    return [UserQueries(texts, history, target) for texts, (history, target) in asked], generated


def tune_search(task: Task[GeneratorRecipe], generator: Generator, prompts: QueryPrompts, titles: list[str]) -> Tuned:
    """Choose k1 and b on users of the validation split, with the generator as it is."""
    search = task.recipe.search
    users = draw_users(task.dataset, "validation", search.tuning_users, task.seed)
    queries, _ = ask(task.dataset, users, "validation", generator, prompts, search)
    return tune(titles, queries, search.list_length // search.queries, CANDIDATES_PER_USER)


def recommend(queries: list[UserQueries], index: TitleIndex, search: SearchSettings) -> list[list[int]]:
    """Return the list of items of every user, best first."""
    per_query = search.list_length // search.queries
    return [merged_list(index, user, per_query, CANDIDATES_PER_USER) for user in queries]


def split_users(dataset: SequenceDataset, split: Split, most: int, seed: int) -> Int64s:
    """Return the users to evaluate; raise InputError if the split has none."""
    users = draw_users(dataset, split, most, seed)
    if not len(users):
        raise InputError(f"data set {dataset.name}: no user is in the {split} split; nothing can be evaluated")
    return users
