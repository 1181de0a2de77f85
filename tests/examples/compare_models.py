"""Draw the models of a finished study: ``python tests/examples/compare_models.py runs/first comparison.png``.

NDCG@10 with the history unmasked, of results.json; its 95% interval over users, of each evaluation's ranks.parquet.
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
wanted = {"metric": "ndcg@10", "protocol": "unmasked", "splitting": "leave-one-out"}
rows = [row for row in json.loads((study / "results.json").read_text()) if wanted.items() <= row.items()]
rows.sort(key=lambda row: row["value"])
figure, axes = matplotlib.pyplot.subplots(figsize=(7, 0.4 * len(rows) + 1), layout="constrained")
for row in rows:
    name = f"{row['model']}-seed{row['seed']}"
    if row["seed"] is None:  # a baseline, which is not trained
        axes.plot(row["value"], row["model"], "o", color="grey")
        continue
    ranks = polars.read_parquet(study / "evaluations" / name / "ranks.parquet")  # a row per user: user_id, item_id, ...
    rank = ranks["rank_unmasked"]
    gains = (rank <= 10).cast(polars.Float64) / (rank + 1).log(2)
    axes.errorbar(gains.mean(), name, xerr=1.96 * gains.std() / len(gains) ** 0.5, fmt="o", color="tab:blue", capsize=3)
    print(f"{name} {gains.mean():.4f}; ranked first for users {', '.join(ranks.filter(rank == 1)['user_id'].head(5))}")
axes.set_xlabel(f"NDCG@10 on {rows[0]['dataset']}, 95% interval over users")
figure.savefig(picture, dpi=150)
