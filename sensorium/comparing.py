"""Whether a run can search, and the way out where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sensorium.errors import RecipeError, RunError, command
from sensorium.finetuning import deriving

if TYPE_CHECKING:
    from sensorium.recipe import Recipe
    from sensorium.run import Run


def can_learn(recipe: Recipe) -> bool:
    """Whether fine-tuning can teach a model of a recipe to compare pictures with texts."""
    try:
        deriving.refuse(recipe, deriving.Wish("retrieval"))
    except RecipeError:
        return False
    return True


def refuse_blind(run: Run) -> None:
    """Refuses a finished run that compares no pictures with texts.

    Raises:
        RunError: names the way out: fine-tuning where its model can learn it, else another recipe.
    """
    if "best_step" not in run.info or run.compares:
        return
    data = str(run.info["data"])
    if can_learn(run.recipe):
        see = command("finetune", run.folder, data, "--task", "retrieval")
    else:
        see = command("pretrain", data, "--recipe", "clip")
    trains = " and ".join(content["use"] for content in run.recipe.objectives)
    raise RunError(
        file=run.folder,
        expected="a run that compares pictures with texts",
        found=f"recipe {run.recipe.name}, which trains {trains}",
        see=see,
    )
