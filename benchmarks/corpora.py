"""`clip` from scratch on the emoji and `lit` on Tux Paint's photographs, beside their controls.

    python -m benchmarks.corpora        three seeds each; the test split is read once a seed

Per seed the difference to each control with its paired bootstrap over records; over seeds the mean
difference with a bootstrap crossed over seeds and records is not claimed: three are too few.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from sensorium.errors import UserError
from sensorium.pretraining import pretrain

SEEDS = range(3)
ARMS = (
    # Budgets are counted, so that a busy machine changes nothing.
    {"data": "tuxpaint", "recipe": "lit", "size": "tiny", "budget": "16-epochs"},
    {"data": "emoji", "recipe": "clip", "size": "tiny", "budget": "20-epochs"},
)


def verdict(score: dict[str, Any], control: str) -> str:
    """`better`, `worse` or `cannot tell`, by the paired interval of the difference."""
    told = score["controls"][control]
    if told["value"] is None:
        return "not measured: " + told["reason"]
    low, high = told["difference_interval"]
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def main() -> None:
    """Runs the arms and writes benchmarks/results/corpora.json, anew after each arm."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arm in ARMS:
            name = f"{arm['recipe']} on {arm['data']}"
            result[name] = {"options": arm, "seeds": []}
            for seed in SEEDS:
                out = Path(folder) / f"{arm['recipe']}-{seed}"
                options = {k: v for k, v in arm.items() if k not in ("data", "recipe")}
                try:
                    run = pretrain(arm["data"], arm["recipe"], out=out, seed=seed, **options)
                except UserError as error:
                    result[name]["not run"] = str(error)
                    print(name, error)
                    break
                scores = json.loads((out / "evaluation" / "test.json").read_text())
                told = {
                    "seed": seed,
                    "plan": run.info["plan"],
                    "best_step": run.info["best_step"],
                    "training_seconds": run.info["training_seconds"],
                    "scores": scores,
                    "verdicts": {
                        f"{s['direction']} {s['metric']} against {control}": verdict(s, control)
                        for s in scores
                        for control in s["controls"]
                        if control != "chance"
                    },
                }
                result[name]["seeds"].append(told)
                first = scores[0]
                print(name, seed, f"{first['value']:.3f}", first["interval"],
                      {k: v["value"] for k, v in first["controls"].items()},
                      {k: v for k, v in told["verdicts"].items() if "text_to_image recall@1 " in k},
                      flush=True)  # fmt: skip
            write_result("corpora", result)


if __name__ == "__main__":
    main()
