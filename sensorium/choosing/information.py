"""Is what modalities tell of a label redundant, unique or synergistic: additive against
interacting fusion, all together against each alone.

What is said is what small models got at within a budget. That a fusion which cannot interact does
as well shows that interaction is not needed is the idea of EMAP (Hessel and Lee 2020, arXiv
2010.06572); the words are those of partial information decomposition (Williams and Beer 2010), but
no bits are estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.choosing.candidates import ADDITIVE, JOINT, single_of
from sensorium.choosing.wording import SHUFFLED, compared, give, mean, modalities_of, size
from sensorium.report.words import in_hundred

Verdicts = Mapping[tuple[str, str], dict[str, Any]]


def information(
    result: Mapping[str, Any], verdicts: Verdicts, together: str | None
) -> dict[str, Any]:  # fmt: skip
    """Additive against interacting, all together against each alone."""
    question = "Is the information redundant, unique or synergistic?"
    label = result["subject"]["label"]
    if together is None:
        return {"key": "information", "question": question, "kind": "unknown",
                "sentence": "That cannot be told without a label: it is about what both halves say "
                f"of something third. {give(result)}"}  # fmt: skip
    singles = [single_of(x) for x in modalities_of(result["subject"])]
    kind, why = kind_of(result, verdicts, together, singles)
    interacting = verdicts.get((JOINT, ADDITIVE))
    told = [why.format(label=label)]
    if interacting is not None:
        told.append(f"Where modalities can interact {in_hundred(mean(result, JOINT))} in 100, "
                    f"where each only adds its score {in_hundred(mean(result, ADDITIVE))}: "
                    f"{compared(interacting)}.")  # fmt: skip
    told.append(
        "The additive control is the idea of EMAP (Hessel and Lee 2020). Measured with small "
        f"models at this budget on {size(result)}; a larger model may get at more."
    )
    return {"key": "information", "question": question, "kind": kind, "sentence": " ".join(told)}


def kind_of(
    result: Mapping[str, Any], verdicts: Verdicts, together: str, singles: Sequence[str]
) -> tuple[str, str]:
    """`synergistic`, `unique`, `redundant` or `unknown`, and why in words; see deciding.RULES.

    Nothing is called redundant on which a modality alone shows nothing, and nothing synergistic
    that one modality alone tells as well: an interacting fusion may just learn faster.
    """
    luck = result["luck"]
    scores = {x["name"]: x for x in result["scores"]}
    if not {JOINT, ADDITIVE, *singles} <= set(scores):
        return "unknown", "Cannot tell: a recipe that this needs diverged."
    beyond = [name for name in singles if scores[name]["interval"][0] > luck]
    interacting = verdicts[JOINT, ADDITIVE]["kind"]
    over = {name: verdicts[together, name]["kind"] for name in singles}
    if interacting == "better" and all(verdicts[JOINT, x]["kind"] == "better" for x in singles):
        return "synergistic", ("Synergistic, at least in part: some of what tells {label} is in "
                               "neither half alone nor in their sum.")  # fmt: skip
    if not any(x["interval"][0] > luck for x in result["scores"] if x["name"] != SHUFFLED):
        return "unknown", "Cannot tell: nothing is shown to be better than luck at this budget."
    if interacting in ("equal", "worse"):
        if all(x == "better" for x in over.values()) and beyond:
            return "unique", ("Unique: each half tells something of {label} that the other does "
                              "not, and adding up is enough.")  # fmt: skip
        enough = [x for x in singles if over[x] == "equal" and x in beyond]
        if enough and len(beyond) == len(singles):
            return "redundant", (f"Redundant: {enough[0]} tells {{label}} as well as all together, "
                                 "and the rest tells some of the same.")  # fmt: skip
        if enough:
            rest = " and ".join(x for x in singles if x not in beyond)
            return "unique", (f"Unique: {enough[0]} tells {{label}} as well as all together; "
                              f"{rest} is not shown to tell anything.")  # fmt: skip
    return "unknown", ("Cannot tell: the differences between together, added up and alone are too "
                       "uncertain at this budget.")  # fmt: skip
