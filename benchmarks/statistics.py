"""Do the intervals of a comparison cover what they say, and are its verdicts right?

Simulated outcomes whose true difference is known exactly. `python -m benchmarks.statistics` writes
benchmarks/results/statistics.json and the tables of docs/statistics.md; ten minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from benchmarks import statistics_page
from benchmarks.machine import write_result
from sensorium import draws
from sensorium.comparison import statistics
from sensorium.comparison.statistics import Difference, Values, difference, mean_squares
from sensorium.comparison.verdict import Question, Verdict, judge, weigh

SEEDS, ITEMS, POINTS = (3, 5, 10, 20), (200, 4000), (0.0, 0.5, 1.0, 2.0, 4.0)
LEVELS = (0.95, 0.9)
SAME = 1000  # comparisons of an arm with itself, a setting
# Variance of what decides an item: its own for both arms, its own for one arm, chance. Sum 1.
BOTH, ONE, REST = 0.3, 0.3, 0.4


@dataclass(frozen=True)
class Setting:
    """Two arms whose expected outcomes are known.

    rates: expected share of items that each arm gets right once it has learned. seed_sd: SD over
    seeds of the expected difference, as a share. learned: chance that a seed of each arm learns;
    one that does not is right half of the time.
    """

    seeds: int
    items: int
    seed_sd: float
    rates: tuple[float, float] = (0.7, 0.7)
    learned: tuple[float, float] = (1.0, 1.0)

    @property
    def truth(self) -> float:
        """The expected difference."""
        a, b = (
            chance * rate + (1 - chance) / 2
            for chance, rate in zip(self.learned, self.rates, strict=True)
        )
        return a - b


def outcomes(setting: Setting, *key: draws.Key) -> tuple[Values, Values]:
    """0/1 outcomes of both arms, [seeds, items].

    An item is right where its difficulty, which all seeds share, and chance stay below a bound of
    the seed. A normal spread of bounds keeps the expected share exactly: Phi(c / sqrt(1 + t^2)).
    """
    rng = draws.generator("statistics", setting.seeds, setting.items, *key)
    both = math.sqrt(BOTH) * rng.standard_normal(setting.items, np.float32)
    made = []
    for rate, chance in zip(setting.rates, setting.learned, strict=True):
        known = rng.random(setting.seeds) < chance
        level = special.ndtri(np.where(known, rate, 0.5))
        slope = np.exp(-(level**2) / 2) / math.sqrt(2 * math.pi)  # share by bound
        spread = setting.seed_sd / math.sqrt(2) / slope
        bound = level * np.sqrt(1 + spread**2) + spread * rng.standard_normal(setting.seeds)
        own = math.sqrt(ONE) * rng.standard_normal(setting.items, np.float32)
        luck = rng.standard_normal((setting.seeds, setting.items), np.float32)
        made.append(both + own + math.sqrt(REST) * luck < bound[:, None])
    return made[0].astype(float), made[1].astype(float)


# --- intervals that were tried ------------------------------------------------------------------

Squares = tuple[float, float, float]  # see `mean_squares`


def freedom(squares: Squares, variance: float, found: Difference) -> float:
    """Degrees of freedom of a sum of mean squares (Satterthwaite 1946)."""
    seeds, items = found.spread.seeds - 1, found.spread.items - 1
    below = sum(
        x**2 / count for x, count in zip(squares, (seeds, items, seeds * items), strict=True)
    )
    return max(seeds, variance**2 / below) if below else seeds


def satterthwaite(squares: Squares, found: Difference, level: float) -> float:
    """Half width: the same standard error with one t quantile."""
    of = freedom(squares, found.error**2, found)
    return float(-special.stdtrit(of, (1 - level) / 2)) * found.error


def corrected(squares: Squares, found: Difference, level: float) -> float:
    """Half width: the crossed bootstrap with S/(S - 1) and N/(N - 1), one t quantile."""
    of = freedom(squares, sum(squares), found)
    return float(-special.stdtrit(of, (1 - level) / 2)) * math.sqrt(sum(squares))


def plain(squares: Squares, found: Difference, level: float) -> float:
    """Half width: the crossed bootstrap's standard error and the normal quantile."""
    return float(-special.ndtri((1 - level) / 2)) * found.bootstrap_error


def of_seeds(squares: Squares, found: Difference, level: float) -> float:
    """Half width: the t interval of the seeds' means, as if the items were all there are."""
    return statistics.quantile(found.spread.seeds - 1, level) * found.spread.seed_error


METHODS: dict[str, Callable[[Squares, Difference, float], float]] = {
    "used": lambda squares, found, level: found.half(level),
    "random effects, Satterthwaite": satterthwaite,
    "bootstrap corrected, Satterthwaite": corrected,
    "bootstrap, normal quantile": plain,
    "t of seed means": of_seeds,
}


def coverage(setting: Setting, times: int, *key: draws.Key) -> dict[str, Any]:
    """How often each method's interval holds the truth, by level; and the mean half width."""
    inside = {name: dict.fromkeys(LEVELS, 0) for name in METHODS}
    length = dict.fromkeys(METHODS, 0.0)
    for at in range(times):
        first, second = outcomes(setting, *key, at)
        found, squares = difference(first, second), mean_squares(first - second)
        for name, method in METHODS.items():
            halves = [method(squares, found, level) for level in LEVELS]
            for level, half in zip(LEVELS, halves, strict=True):
                inside[name][level] += abs(found.mean - setting.truth) <= half
            length[name] += halves[0] / times
    return {
        name: {
            **{f"{100 * level:.0f} %": round(inside[name][level] / times, 4) for level in LEVELS},
            "half width in points": round(100 * length[name], 2),
        }
        for name in METHODS
    }


# --- verdicts -----------------------------------------------------------------------------------


def answers(setting: Setting, margin: float, times: int, *key: draws.Key) -> list[Verdict]:
    """Verdicts on `times` simulated comparisons of one setting."""
    question = Question("first", "second", "simulated", margin, floor=0.5)
    made = []
    for at in range(times):
        made += judge([weigh(question, *outcomes(setting, *key, at))])
    return made


def shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Share of each kind."""
    return {
        kind: round(sum(x.kind == kind for x in verdicts) / len(verdicts), 4)
        for kind in ("better", "worse", "equal", "unknown")
    }


def promised(setting: Setting, times: int, *key: draws.Key) -> float:
    """The power that is stated for a setting's true difference, from its spread.

    The spread is estimated from `times` simulations: root mean squares of what each found.
    """
    found = [difference(*outcomes(setting, *key, "spread", at)).spread for at in range(times)]
    spread = statistics.Spread(
        setting.seeds,
        setting.items,
        math.sqrt(np.mean([x.seed_sd**2 for x in found])),
        math.sqrt(np.mean([x.item_sd**2 for x in found])),
    )
    return statistics.power(setting.truth, spread)


def main(words: list[str] | None = None) -> None:
    """Writes the result."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=2000, help="simulations a setting")
    times = options.parse_args(words).times
    covered, plateaus, same, planted = [], [], [], []
    for seeds in SEEDS:
        for items in ITEMS:
            for points in POINTS:
                setting = Setting(seeds, items, points / 100)
                row = {"seeds": seeds, "items": items, "seed SD in points": points}
                covered.append({**row, **coverage(setting, times, "coverage", str(points))})
                told = shares(answers(setting, 0.02, SAME, "same", str(points)))
                same.append({**row, "simulations": SAME, **told})
                print(covered[-1]["used"], told, row, flush=True)
        for learned in ((0.5, 0.5), (0.8, 0.5), (0.95, 0.95)):
            setting = Setting(seeds, 4000, 0.01, (0.95, 0.95), learned)
            row = {"seeds": seeds, "items": 4000, "chance to learn": list(learned)}
            told = shares(answers(setting, 0.02, 500, "plateau verdicts", str(learned)))
            plateaus.append(
                {**row, **coverage(setting, times, "plateau", str(learned)), "verdicts": told}
            )
            print(plateaus[-1]["used"], told, row, flush=True)
        for effect in (0.02, 0.04, 0.08):
            setting = Setting(seeds, 4000, 0.02, (0.7 + effect / 2, 0.7 - effect / 2))
            planted.append(
                {
                    "seeds": seeds, "items": 4000, "seed SD in points": 2.0,
                    "true difference in points": 100 * effect,
                    "power stated": round(promised(setting, times, "planted", str(effect)), 4),
                    "found": shares(answers(setting, 0.01, 1000, "planted", str(effect)))["better"],
                }
            )  # fmt: skip
            print(planted[-1], flush=True)
    write_result(
        "statistics",
        {
            "simulations of a setting": times,
            "coverage": covered,
            "coverage on plateaus": plateaus,
            "same arms, margin 2 points": same,
            "planted difference": planted,
        },
    )
    statistics_page.write()


if __name__ == "__main__":
    main()
