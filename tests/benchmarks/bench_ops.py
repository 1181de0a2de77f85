"""What each operator costs, forward and backward, in every form: ``make bench-ops``.

On a CPU one thread. The sequential form is the reference; the whole Mamba and Mamba-2 blocks stand beside the slow
path of transformers' blocks of the same sizes. Prints times and asserts nothing: ratios carry over to other machines.
"""

from collections.abc import Callable

import torch
from measure import Row, alternate, command_line, report, training_step
from torch import Tensor, nn
from transformers import Mamba2Config as PeerMamba2Config
from transformers import MambaConfig as PeerMambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from ssm4rec.models.mamba import Mamba, MambaConfig
from ssm4rec.models.mamba2 import Mamba2, Mamba2Config
from ssm4rec.ops.backend import MissingKernelError, backend_of, choose_backend
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.linear_recurrence import linear_recurrence
from ssm4rec.ops.selective_scan import selective_scan
from ssm4rec.ops.ssd import ssd
from ssm4rec.training.device import choose_device

SIZES = ((64, 200), (400, 8))
BLOCK_SIZES = ((8, 200), (400, 8))
"""Smaller: transformers' slow Mamba path takes seconds a run at the former."""
D, E, N, P = 64, 128, 32, 32


def operators(B: int, L: int, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Return each operator on random inputs of the recommenders' sizes (D = 64, E = 128, N = 32, P = 32)."""

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, device=device, dtype=dtype, requires_grad=True)

    wide, maps, steps = draw(B, L, E), (draw(B, L, N), draw(B, L, N)), torch.rand(B, L, E, device=device) * 0.1
    rates, heads, head_rates = (
        -torch.rand(E, N, device=device) * 16,
        draw(B, L, E // P, P),
        -torch.rand(E // P, device=device),
    )
    complex_input = draw(B, L, E, dtype=torch.complex64)
    decay = torch.polar(torch.full((E,), 0.9, device=device), torch.rand(E, device=device))
    mixed, kernel, bias = draw(B, L, E + 2 * N), draw(E + 2 * N, 4), draw(E + 2 * N)
    return {
        "causal_convolution": lambda: causal_convolution(mixed, kernel, bias)[0],
        "selective_scan": lambda: selective_scan(wide, steps.requires_grad_(), rates, *maps)[0],
        "ssd": lambda: ssd(heads, steps[..., : E // P].contiguous(), head_rates, *maps)[0],
        "linear_recurrence": lambda: linear_recurrence(complex_input, decay)[0].real,
    }


def bench_operators(device: torch.device, runs: int) -> list[Row]:
    """Return a row per operator, size and form."""
    rows = []
    for B, L in SIZES:
        found: dict[tuple[str, str], float] = {}
        for form in ("sequential", "torch", "fused"):
            try:
                choose_backend(form, device)
            except MissingKernelError:
                continue
            for name, work in operators(B, L, device).items():
                if form != "fused" or backend_of(name, device).endswith("kernel"):
                    found[name, form] = alternate({name: training_step(work)}, device, runs)[name]
        choose_backend("auto", device)
        for (name, form), spent in found.items():
            rows.append(
                {
                    "operator": name,
                    "B x L": f"{B} x {L}",
                    "form": form,
                    "ms": spent,
                    "faster than sequential": found[name, "sequential"] / spent,
                    "of ssd (torch)": spent / found["ssd", "torch"],
                }
            )
    return rows


def bench_blocks(device: torch.device, runs: int) -> list[Row]:
    """Return our blocks beside transformers' of the same sizes."""
    peer_mamba = PeerMambaConfig(hidden_size=D, state_size=N, conv_kernel=4, expand=2, num_hidden_layers=1)
    peer_mamba2 = PeerMamba2Config(
        hidden_size=D, state_size=N, conv_kernel=4, expand=2, num_heads=E // P, head_dim=P, n_groups=1, chunk_size=32
    )
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {
        "mamba": (Mamba(MambaConfig(N, 4, 2, 0, "mamba"), D), MambaMixer(peer_mamba, layer_idx=0)),
        "mamba2": (Mamba2(Mamba2Config(N, P, 4, 2, 32), D), Mamba2Mixer(peer_mamba2, layer_idx=0)),
    }
    rows = []
    for B, L in BLOCK_SIZES:
        x = torch.randn(B, L, D, device=device)
        for name, (ours, theirs) in pairs.items():
            ours, theirs = ours.to(device), theirs.to(device)
            spent = alternate(
                {
                    "ours": training_step(lambda ours=ours, x=x: ours(x)[0]),
                    "theirs": training_step(lambda theirs=theirs, x=x: theirs(x)),
                },
                device,
                runs,
            )
            rows.append(
                {
                    "block": name,
                    "B x L": f"{B} x {L}",
                    "ours ms": spent["ours"],
                    "transformers ms": spent["theirs"],
                    "times faster": spent["theirs"] / spent["ours"],
                }
            )
    return rows


def main() -> None:
    """Run the benchmark."""
    options = command_line("Measure the operators, forward and backward.", runs=3).parse_args()
    device = choose_device(options.device)
    report("operators, forward and backward", bench_operators(device, options.runs), device, options.output)
    report("blocks, forward and backward", bench_blocks(device, options.runs), device, options.output)


if __name__ == "__main__":
    main()
