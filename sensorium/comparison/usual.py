"""What a comparison does where nobody says otherwise: a small sweep of rates, and controls.

The sweep is fixed and the same for every arm, so that no arm has more luck with its tuning.
"""

from __future__ import annotations

from sensorium import shelf
from sensorium.comparison import arms
from sensorium.comparison.measure import ABSENCE
from sensorium.comparison.plan import Plan

AROUND = (1 / 3, 1.0, 3.0)  # times the recipe's learning rate
DECAY = (0.1, 1.0)  # times its weight decay


def sweep(plan: Plan) -> dict[str, list[float]]:
    """Rate -> values to try, around those of the first arm; what the axis itself is, is left out.

    A weight decay of 0 stays as it is.
    """
    options = arms.derive(plan)[0].recipe.optimiser
    made = {
        "learning_rate": [_round(x * options.learning_rate) for x in AROUND],
        "weight_decay": [_round(x * options.weight_decay) for x in DECAY],
    }
    return {
        rate: values
        for rate, values in made.items()
        if any(values) and plan.axis not in ("optimiser", f"optimiser.{rate}")
    }


def controls(plan: Plan) -> list[str]:
    """Those that say something of this plan.

    `only:MODALITY` where the outcome can be asked without the others; `additive` where modalities
    meet, and no arm is additive itself.
    """
    derived = arms.derive(plan)
    recipe = derived[-1].recipe  # the arm that controls are run of
    made = ["shuffled"] if len(recipe.modalities) > 1 else []
    made.append("untrained")
    if len(recipe.modalities) > 1 and plan.measure.kind in ABSENCE:
        made += [f"only:{name}" for name in recipe.modalities if name not in plan.measure.absent]
    meets = any(_meets(arm.recipe.fusion["use"]) for arm in derived)
    if meets and _meets(recipe.fusion["use"]) and "additive" not in _uses(derived):
        made.append("additive")
    return made


def _uses(derived: list[arms.Arm]) -> list[str]:
    return [str(arm.recipe.fusion["use"]) for arm in derived]


def _meets(use: str) -> bool:
    return use not in ("none", "additive") and use in shelf.names("fusion")


def _round(value: float) -> float:
    return float(f"{value:.3g}")
