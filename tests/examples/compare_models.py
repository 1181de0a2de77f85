"""Draw the models of a finished study: ``python tests/examples/compare_models.py runs/first comparison.png``.

NDCG@10 with the history unmasked, of results.json, on the study's own split; its 95% interval over users, each with all
their targets, of each evaluation's ranks.parquet.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot
import polars

if len(sys.argv) != 3:
    sys.stderr.write("usage: python tests/examples/compare_models.py STUDY_FOLDER PICTURE (such as comparison.png)\n")
    sys.exit(2)
study, picture = Path(sys.argv[1]), sys.argv[2]
if not (study / "results.json").is_file():
    sys.stderr.write(f"{study}: no results.json there; name the folder of a finished study, such as runs/first\n")
    sys.exit(2)
rows = json.loads((study / "results.json").read_text())
splitting = rows[0]["splitting"]  # the study's own; a second split's rows come after it
wanted = {"metric": "ndcg@10", "protocol": "unmasked", "splitting": splitting}
rows = sorted((row for row in rows if wanted.items() <= row.items()), key=lambda row: row["value"])
figure, axes = matplotlib.pyplot.subplots(figsize=(7, 0.4 * len(rows) + 1), layout="constrained")
for row in rows:
    if row["seed"] is None:  # a baseline, which is not trained
        axes.plot(row["value"], row["model"], "o", color="grey")
        continue
    name = f"{row['model']}-seed{row['seed']}"
    folder = name if splitting == "leave-one-out" else f"{name}-{splitting}"
    ranks = polars.read_parquet(study / "evaluations" / folder / "ranks.parquet")  # a row per target: user_id, ...
    rank = polars.col("rank_unmasked")
    ranks = ranks.with_columns(gain=(rank <= 10).cast(polars.Float64) / (rank + 1).log(2))
    mean, users = ranks["gain"].mean(), ranks["user_id"].n_unique()
    off = ranks.group_by("user_id").agg((polars.col("gain") - mean).sum())[
        "gain"
    ]  # of users: their targets go together
    error = (users / (users - 1) * (off**2).sum()) ** 0.5 / len(ranks)
    axes.errorbar(mean, name, xerr=1.96 * error, fmt="o", color="tab:blue", capsize=3)
    first = ranks.filter(rank == 1)["user_id"].unique(maintain_order=True).head(5)
    print(f"{name} {mean:.4f}; ranked first for users {', '.join(first)}")
axes.set_xlabel(f"NDCG@10 on {rows[0]['dataset']}, 95% interval over users")
figure.savefig(picture, dpi=150)
