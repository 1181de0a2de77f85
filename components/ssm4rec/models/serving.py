"""Serving one event at a time: a state per user, and what one more event does to it.

``prefill`` reads a history once, ``step`` adds one event per user; the scores are those of reading the whole history.
Every event has a sequence number, 1, 2, ... per user, so that an event delivered twice changes nothing.

Shapes: B users, L length, H length of whole histories, D width, V items.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm4rec.models.feed_forward import AfterMixer
from ssm4rec.models.item_vectors import item_embedding
from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mixer import Memory
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.sizes import RecommenderConfig


@dataclass(frozen=True)
class ServingState:
    """What a model remembers of B users."""

    memory: Memory  # the model's own tensors, each (B, ...)
    hidden: Tensor  # from which the next item is predicted, (B, D)
    events: Tensor  # read so far, which is the sequence number of the last one, (B,), int64
    had: Tensor
    """The items read so far, one bit each: item i is bit (i - 1) mod 8 of byte (i - 1) div 8; (B, V / 8), rounded up,
    uint8, or (B, 0) for a model without a repeat term."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors, each (B, ...)."""
        return (self.hidden, self.events, self.had, *self.memory)

    def bytes_per_user(self) -> int:
        """Return the size of one user's state."""
        return sum(tensor[:1].numel() * tensor.element_size() for tensor in self.tensors())


class ServingRecommender(Recommender):
    """A causal recommender that can resume from a state."""

    @abstractmethod
    def read_histories(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Memory]:
        """Return hidden states (B, D) and memory after histories (B, L), padded on the right, of ``lengths`` (B,)."""

    @abstractmethod
    def read_events(self, memory: Memory, events: Tensor, items: Tensor) -> tuple[Tensor, Memory]:
        """Return hidden states (B, D) and memory after one more item (B,) of every user, who had ``events`` (B,)."""

    def prefill(self, items: Tensor, lengths: Tensor, whole: Tensor | None = None) -> ServingState:
        """Return the state after histories (B, L), padded on the right, of ``lengths`` (B,) items.

        ``whole`` (B, H), padded with 0: the whole histories, where ``items`` are the most recent part of them.
        """
        hidden, memory = self.read_histories(items, lengths)
        had = items.new_zeros(len(items), 0, dtype=torch.uint8)
        if self.repeat_term is not None:
            size = -(-len(self.item_vectors()) // 8)
            among = items.new_zeros(len(items), 8 * size + 1, dtype=torch.uint8)
            bits = among.scatter(1, items if whole is None else whole, 1)[:, 1:].reshape(len(items), -1, 8)
            had = (bits << _bits(items.device)).sum(2, dtype=torch.uint8)
        return ServingState(memory, hidden, lengths, had)

    def advance(self, state: ServingState, items: Tensor) -> ServingState:
        """Return the state after one more item (B,) of every user."""
        hidden, memory = self.read_events(state.memory, state.events, items)
        had = state.had
        if self.repeat_term is not None:
            place = (items[:, None] - 1) // 8
            bit = torch.ones_like(place, dtype=torch.uint8) << ((items[:, None] - 1) % 8).to(torch.uint8)
            had = had.scatter(1, place, had.gather(1, place) | bit)
        return ServingState(memory, hidden, state.events + 1, had)

    def score_state(self, state: ServingState) -> Tensor:
        """Return the scores (B, V) of items 1..V as the next one."""
        bits = (state.had[..., None] >> _bits(state.had.device)) & 1  # (B, V / 8, 8)
        seen = bits.flatten(1)[:, : len(self.item_vectors())].flatten().nonzero()[:, 0]
        return self.score(state.hidden, seen)

    def step(
        self, state: ServingState, items: Tensor, sequence_numbers: Tensor | None = None
    ) -> tuple[ServingState, Tensor]:
        """Add one event per user; return the new state and the scores (B, V) of items 1..V as the next.

        Raise ValueError if an event is missing between the state and this one; names the first such row.

        Args:
            state: of B users; left as it is.
            items: (B,).
            sequence_numbers: (B,), of these events; None: they are the next. An event that was read already changes
                nothing, and the scores are those after the last event read.
        """
        if sequence_numbers is None:
            after = self.advance(state, items)
            return after, self.score_state(after)
        ahead = sequence_numbers - state.events
        if bool((ahead > 1).any()):
            row = int((ahead > 1).nonzero()[0])
            raise ValueError(
                f"row {row}: event {int(sequence_numbers[row])} follows event {int(state.events[row])}: "
                "those between are missing; step through them first"
            )
        fresh = (ahead == 1).nonzero()[:, 0]
        if len(fresh) == len(items):
            after = self.advance(state, items)
        elif len(fresh):
            some = _state(tuple(tensor[fresh] for tensor in state.tensors()))
            changed = self.advance(some, items[fresh]).tensors()
            pairs = zip(state.tensors(), changed, strict=True)
            after = _state(tuple(old.index_copy(0, fresh, new) for old, new in pairs))
        else:
            after = state
        return after, self.score_state(after)


class RecurrentLayer(nn.Module):
    """A causal mixer and what follows it; arguments and result as in ``mixer.py``."""

    def __init__(self, mixer: nn.Module, config: RecommenderConfig, *, residual: bool) -> None:
        super().__init__()
        self.mixer = mixer
        self.after = AfterMixer(config, residual=residual)

    def forward(
        self, x: Tensor, segments: Tensor | None, state: Memory | None, lengths: Tensor | None, ends: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Return the layer's output (B, L, D), or at the ``ends`` alone (B, 1, D), and the mixer's state."""
        mixed, state = self.mixer(x, segments, state, lengths, ends)
        return self.after(x, mixed, ends), state


class RecurrentRecommender(ServingRecommender):
    """A stack of mixers whose states are the whole memory: a step costs the same after any number of events."""

    def __init__(
        self,
        config: RecommenderConfig,
        item_count: int,
        build_mixer: Callable[[], nn.Module],
        words: ItemWords | None = None,
        *,
        residual: bool,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__(config)
        self.item_embedding = item_embedding(config, item_count, words)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.d_model, eps=norm_eps)
        self.layers = nn.ModuleList(
            RecurrentLayer(build_mixer(), config, residual=residual) for _ in range(config.n_layers)
        )

    def read(
        self, items: Tensor, segments: Tensor | None, memory: Memory | None, lengths: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Return hidden states (B, L, D) and the layers' states one after another; arguments as in ``mixer.py``.

        With ``lengths`` the hidden states are those of the last real positions, (B, 1, D).
        """
        x: Tensor = self.norm(self.dropout(self.item_embedding(items)))
        count = len(memory) // len(self.layers) if memory else 0
        states: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            ends = lengths if index == len(self.layers) - 1 else None  # nothing else reads the last layer's outputs
            x, state = layer(x, segments, memory and memory[index * count : (index + 1) * count], lengths, ends)
            states.extend(state)
        return x, tuple(states)

    def forward(self, items: Tensor, segments: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return hidden states (B, L, D), or (B, 1, D), for items (B, L)."""
        return self.read(items, segments, None, lengths)[0]

    def read_histories(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Memory]:
        """Return hidden states (B, D) and states after histories (B, L) of ``lengths`` (B,) items, however long."""
        hidden, memory = self.read(items, None, None, lengths)
        return hidden[:, 0], memory

    def read_events(self, memory: Memory, events: Tensor, items: Tensor) -> tuple[Tensor, Memory]:  # noqa: ARG002
        """Return hidden states (B, D) and states after one more item (B,) of every user."""
        hidden, after = self.read(items[:, None], None, memory, None)
        return hidden[:, 0], after


def _state(tensors: tuple[Tensor, ...]) -> ServingState:
    hidden, events, had, *memory = tensors
    return ServingState(tuple(memory), hidden, events, had)


def _bits(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
