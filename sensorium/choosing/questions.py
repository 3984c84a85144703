"""The four answers, from outcomes alone: which recipe, what each modality gives, what kind of
information it is, and whether more records would help. Each has its number, its interval and its
size, or says that it cannot be told and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sensorium.choosing import learning_curve
from sensorium.choosing.candidates import ADDITIVE, JOINT, single_of
from sensorium.choosing.deciding import share_name
from sensorium.choosing.information import information
from sensorium.choosing.wording import (
    PARTNERS,
    SHUFFLED,
    amount,
    compared,
    does,
    give,
    mean,
    modalities_of,
    points,
    size,
    span,
    title,
)
from sensorium.comparison import statistics
from sensorium.comparison.statistics import Values
from sensorium.comparison.verdict import Evidence, Question, judge, weigh
from sensorium.report.words import in_hundred

Outcomes = Mapping[str, Mapping[int, Mapping[str, float]]]
Verdicts = Mapping[tuple[str, str], dict[str, Any]]


def table_of(outcomes: Outcomes, names: Sequence[str]) -> list[Values]:
    """Values [seeds, items] of some arms, over the seeds and records that all of them have."""
    seeds = sorted(set.intersection(*(set(outcomes[name]) for name in names)))
    held = [set(outcomes[name][seed]) for name in names for seed in seeds]
    keys = [x for x in outcomes[names[0]][seeds[0]] if all(x in each for each in held)]
    return [
        np.array([[outcomes[name][seed][key] for key in keys] for seed in seeds], float)
        for name in names
    ]


def answered(
    content: dict[str, Any], best: str, validation: Mapping[str, float], outcomes: Outcomes,
    arms: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """All that `result.json` holds.

    Args:
        content: the decision. best: the recipe that is recommended.
        validation: recipe -> mean on validation, of those that did not diverge.
        outcomes: arm, or `shuffled` -> seed -> record -> value on test.
        arms: name -> recipe, steps, cost.
    """
    subject, luck = content["subject"], content["subject"]["luck"]
    names = [name for name in content["candidates"] if name in validation]
    together = max((x for x in names if x in (JOINT, ADDITIVE)), default=None,
                   key=lambda name: validation[name])  # fmt: skip
    pairs = [(best, name) for name in (*names, SHUFFLED) if name != best and name in outcomes]
    if together is not None:
        singles = [single_of(x) for x in modalities_of(subject)]
        pairs += [(x, single) for x in names if x in (JOINT, ADDITIVE) for single in singles]
        pairs += [(JOINT, ADDITIVE)]
    # One test a pair, whichever way round it is asked for.
    pairs = list({frozenset(x): x for x in reversed(pairs) if set(x) <= set(outcomes)}.values())
    family = [_evidence(pair, content, outcomes) for pair in pairs]
    judged = [made.to_json() for made in judge(family)]
    verdicts = both_ways(judged)
    alone = {
        name: statistics.difference(table_of(outcomes, [name])[0])
        for name in (*names, SHUFFLED) if name in outcomes
    }  # fmt: skip
    learned = _interval(alone[best])[0] > luck
    scores = [
        {
            "name": name,
            "mean": one.mean,
            "interval": _interval(one),
            "seeds": one.spread.seeds,
            "items": one.spread.items,
        }
        for name, one in alone.items()
    ]
    others = sorted((x for x in names if x != best), key=lambda name: -alone[name].mean)
    result: dict[str, Any] = {
        "choice": content["hash"],
        "request": content["request"],
        "subject": subject,
        "outcome": content["outcome"],
        "margin": content["margin"],
        "seeds": len(content["seeds"]),
        "items": alone[best].spread.items,
        "seconds_each": content["seconds_each"],
        "best": best,
        "learned": learned,
        "next": others[0] if others else None,
        "scores": scores,
        "luck": luck,
        "verdicts": judged,
        "costs": {name: arms[name]["run"] for name in names},
        "notes": [*content["notes"], *(f"{name} was left out: it diverged"
                  for name in content["candidates"] if name not in names)],
        "recipe": arms[best]["recipe"]["name"],
    }  # fmt: skip
    curve = _curve(content, best, outcomes)
    result["curve"] = None if curve is None else {
        **asdict(curve),
        "line": [[n, curve.value(n)] for n in np.geomspace(curve.records[0], curve.at, 25)],
    }  # fmt: skip
    result["title"] = title(result)
    result["answers"] = [
        which(result, verdicts, learned),
        earns(result, verdicts, together),
        information(result, verdicts, together),
        more(result, curve, learned),
    ]
    return result


def _interval(one: statistics.Difference) -> list[float]:
    """95 %; of outcomes that do not vary at all by the rule of three, as verdicts have it."""
    off = 0.0 if one.error else 3 / one.spread.items
    return [x + sign * off for x, sign in zip(one.interval(), (-1, 1), strict=True)]


def both_ways(judged: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """(name, against) -> the verdict on a pair, seen from either of the two."""
    made = {(x["name"], x["against"]): x for x in judged}
    return {(x["against"], x["name"]): _mirrored(x) for x in judged} | made


def _mirrored(verdict: dict[str, Any]) -> dict[str, Any]:
    kind = {"better": "worse", "worse": "better"}.get(verdict["kind"], verdict["kind"])
    words = kind if kind in ("better", "worse") else verdict["words"]
    low, high = verdict["interval"]
    return {
        **verdict,
        "name": verdict["against"],
        "against": verdict["name"],
        "kind": kind,
        "words": words,
        "difference": -verdict["difference"],
        "interval": [-high, -low],
    }


def _evidence(pair: tuple[str, str], content: dict[str, Any], outcomes: Outcomes) -> Evidence:
    first, second = table_of(outcomes, pair)
    asked = Question(
        pair[0], pair[1], content["outcome"], content["margin"], alpha=content["alpha"],
        floor=content["subject"]["luck"],
    )  # fmt: skip
    return weigh(asked, first, second)


def _curve(content: dict[str, Any], best: str, outcomes: Outcomes) -> learning_curve.Curve | None:
    names = [*(share_name(best, x) for x in content["shares"]), best]
    if not all(name in outcomes for name in names):
        return None
    train = content["subject"]["train"]
    records = [max(2, round(x * train)) for x in (*content["shares"], 1.0)]
    return learning_curve.learn(records, table_of(outcomes, names), (content["hash"], best))


# --- 1: which recipe ---------------------------------------------------------------------------


def which(result: Mapping[str, Any], verdicts: Verdicts, learned: bool) -> dict[str, Any]:
    """The best recipe against the next, luck and shuffled partners."""
    best, following = result["best"], result["next"]
    own = next(x for x in result["scores"] if x["name"] == best)
    low, high = (in_hundred(max(0.0, x)) for x in own["interval"])
    told = [
        f"{best} {does(result)} {in_hundred(own['mean'])} times in 100 (95 % interval {low} to "
        f"{high}; {size(result)}); luck {in_hundred(result['luck'])}."
    ]
    kind = "unknown"
    if not learned:
        told.append("Nothing is shown to be better than luck, so no recipe can be recommended: "
                    "cannot tell.")  # fmt: skip
    else:
        verdict = verdicts.get((best, str(following)))
        if verdict is not None:
            kind = verdict["kind"]
            told.append(f"Against the next best, {following}: {compared(verdict)}.")
        partner = verdicts.get((best, SHUFFLED))
        if partner is not None:
            told.append(f"Against itself trained on {PARTNERS}: {compared(partner)}.")
    return {"key": "which", "question": "Which recipe, by how much?", "kind": kind,
            "sentence": " ".join(told)}  # fmt: skip


# --- 2: does each modality earn its keep -------------------------------------------------------


def earns(
    result: Mapping[str, Any], verdicts: Verdicts, together: str | None
) -> dict[str, Any]:  # fmt: skip
    """All modalities together against each alone; without a label, what the pairing gives."""
    told, kinds = [], {}
    if together is None:
        partner = verdicts.get((result["best"], SHUFFLED))
        if partner is not None:
            told.append(
                f"With its own text a picture is found {in_hundred(mean(result, result['best']))} "
                f"times in 100, after training on {PARTNERS} "
                f"{in_hundred(mean(result, SHUFFLED))} times: the right partner gives "
                f"{amount(partner)}; {size(result)}."
            )
        told.append("What pictures or texts tell alone cannot be asked without a label: search "
                    f"needs both. {give(result)}")  # fmt: skip
        kind = "unknown"
    else:
        modalities = modalities_of(result["subject"])
        for name in modalities:
            # Of two, what one adds is what both have over the other; of more, what all others add.
            other = next(x for x in modalities if x != name) if len(modalities) == 2 else name
            verdict = verdicts.get((together, single_of(other)))
            if verdict is None:
                continue
            kinds[name] = verdict["kind"]
            what = _reads(name) if len(modalities) == 2 else f"all others beside {_reads(name)}"
            told.append(
                f"{_sentence(what, verdict)}: {together} {in_hundred(mean(result, together))}, "
                f"{single_of(other)} {in_hundred(mean(result, single_of(other)))} in 100, "
                f"{amount(verdict)}."
            )
        told.append(f"On {size(result)}.")
        kind = "known" if kinds and "unknown" not in kinds.values() else "unknown"
    return {"key": "earns", "question": "Does each modality earn its keep?", "kind": kind,
            "sentence": " ".join(told), "modalities": kinds, "together": together}  # fmt: skip


def _reads(modality: str) -> str:
    return single_of(modality).partition(" ")[0]


def _sentence(what: str, verdict: Mapping[str, Any]) -> str:
    what = f"{what[:1].upper()}{what[1:]}"
    if verdict["kind"] == "better":
        return f"{what} earn their keep"
    if verdict["kind"] == "equal":
        return f"{what} add {verdict['words']}".replace("add no difference", "make no difference")
    if verdict["kind"] == "worse":
        return f"{what} do harm at this budget"
    return f"{what}: {verdict['words']}"


# --- 4: would more help ------------------------------------------------------------------------


def more(
    result: Mapping[str, Any], curve: learning_curve.Curve | None, learned: bool
) -> dict[str, Any]:
    """What twice the records would give."""
    told: dict[str, Any] = {"key": "more", "question": "Would more records help?"}
    if curve is None or not learned:
        why = "a run on part of the records diverged" if learned else "nothing is shown to be " \
            "better than luck yet"  # fmt: skip
        return {**told, "kind": "unknown", "sentence": f"Cannot tell: {why}."}
    kind = helps(curve, result["margin"])
    amount = f"{points(curve.gain)} points ({span(curve.interval)})"
    margin = f"{100 * result['margin']:g} points"
    first = {
        "better": f"Yes: twice the records, {curve.at:,}, are expected to give {amount}.",
        "worse": f"No: with twice the records, {curve.at:,}, {amount} are expected.",
        "equal": f"No gain larger than {margin}: twice the records, {curve.at:,}, are expected to "
        f"give {amount}.",
        "unknown": f"Cannot tell: twice the records, {curve.at:,}, may give {amount}.",
    }[kind]
    steps = ", ".join(f"{in_hundred(m)} with {n:,}"
                      for n, m in zip(curve.records, curve.means, strict=True))  # fmt: skip
    return {**told, "kind": kind, "sentence": f"{first} Of 100, {result['best']} gets {steps}. "
            f"{result['seeds']} seeds, {result['items']:,} test records; the curve is taken to go "
            "on as it went, and every run took the same time."}  # fmt: skip


def helps(curve: learning_curve.Curve, margin: float) -> str:
    """`better`, `worse`, `equal` (within the margin) or `unknown`, by the rules of a verdict."""
    if -margin < curve.narrow[0] and curve.narrow[1] < margin:
        return "equal"
    if curve.interval[0] > 0:
        return "better"
    return "worse" if curve.interval[1] < 0 else "unknown"
