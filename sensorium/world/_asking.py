"""Floors of the questions, by counting: what one answers by the question alone, or the picture.

`question.py` draws one question of a scene. Here all that it may draw are listed, of every
combination of a split, each with its probability and its answer. A split holds some combinations
and not others, so within it a question can give its answer away: where cats are never red, "is the
cat red?" is answered. These floors say how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from sensorium.world import question
from sensorium.world._setting import Setting
from sensorium.world._support import MOST, Support, coded, support
from sensorium.world._views import Views, grouped, right

FORMS = ("colour", "relation", "count", "yes_no")
Entry = tuple[NDArray, NDArray, NDArray]  # of each combination: share float, question int, answer


@dataclass(frozen=True)
class Asked:
    """Cases: a picture, a question, its answer; numbers from 0, int64 [cases].

    form: place in `FORMS`. question, answer: numbers within the form. image: what the picture
    shows. weight: float64 [cells]; sums to the share of the records that have a question.
    """

    form: NDArray[np.int64]
    question: NDArray[np.int64]
    answer: NDArray[np.int64]
    image: NDArray[np.int64]
    weight: NDArray[np.float64]


def floors(setting: Setting, split: str) -> dict[str, dict[str, float]]:
    """Floors of answering: `question` for all, `question:FORM` for each form that is asked.

    `chance` draws one of the form's answers, `majority` gives the most frequent one,
    `best_text_only` reads the question, which is the text here, `best_image_only` sees the picture
    and knows the form, where it is one, `best_possible` has both. Of records with a question; where
    the picture can be missing, the mean over what is there.

    Raises:
        ValueError: too many combinations to count.
    """
    cases = asked(setting, split)
    found = {}
    for name in ("", *FORMS):
        rows = np.ones(len(cases.form), bool) if not name else cases.form == FORMS.index(name)
        if rows.any():
            key = f"question:{name}" if name else "question"
            found[key] = _scores(setting, cases, np.flatnonzero(rows))
    return found


def _scores(setting: Setting, cases: Asked, rows: NDArray) -> dict[str, float]:
    form, weight = cases.form[rows], cases.weight[rows] / cases.weight[rows].sum()
    text = coded([form, cases.question[rows]], len(rows))
    target = coded([form, cases.answer[rows]], len(rows))
    image = coded([cases.image[rows]], len(rows))
    seen = Views(target, image, text, np.zeros_like(text), weight, int(target.max()) + 1)
    majority = float(np.bincount(target, weight).max())
    lack = setting.missing.image
    alone = right(seen, text)
    scores = {
        "chance": float((weight / _answers(setting)[form]).sum()),
        "majority": majority,
        "best_text_only": alone,
        "best_image_only": (1 - lack) * right(seen, image) + lack * majority,
        "best_possible": (1 - lack) * right(seen, image, text) + lack * alone,
    }
    return {name: round(value, 12) for name, value in scores.items()}


def _answers(setting: Setting) -> NDArray[np.int64]:
    """How many answers each form has: any colour, any other kind, any count, yes or no."""
    counts = question.counts(setting.things, setting.colours, setting.distinct)
    return np.array([setting.colours, max(setting.kinds - 1, 1), len(counts), 2])


def asked(setting: Setting, split: str) -> Asked:
    """All questions of a split.

    Raises:
        ValueError: more than `MOST` cases.
    """
    things = range(1, setting.things + 1)
    names = [f"{what}_{at}" for what in ("kind", "colour") for at in things]
    cells = support(setting, split, (*names, "relation"))
    n = len(cells.weight)
    entries = _entries(setting, cells)
    if n * sum(map(len, entries.values())) > MOST:
        raise ValueError(f"{n} combinations of many questions")
    first = _first({form: np.sum([e[0] for e in its], 0) for form, its in entries.items()})
    image = cells.pictured(setting.shown)
    forms, questions, answers, weights = [], [], [], []
    for form, its in entries.items():
        for share, asking, answer in its:
            forms.append(np.full(n, FORMS.index(form)))
            questions.append(asking)
            answers.append(answer.astype(np.int64))
            weights.append(cells.weight * share * first[form])
    columns = [np.concatenate(x) for x in (forms, questions, answers)]
    columns.append(np.tile(image, len(forms)))
    weight = np.concatenate(weights)
    there = weight > 0
    columns, weight = grouped([column[there] for column in columns], weight[there])
    if split == "train" and setting.wrong_pairs:
        columns, weight = _wrong(columns, weight, image, cells.weight, setting.wrong_pairs)
    form_, question_, answer_, image_ = columns
    return Asked(form_, question_, answer_, image_, weight)


def _entries(setting: Setting, cells: Support) -> dict[str, list[Entry]]:
    """Form -> what may be asked when that form has its turn, with the share of each.

    The shares of a form add up to how likely it is that a question of it comes about.
    """
    n, things, colours = len(cells.weight), setting.things, setting.colours
    ones = np.ones(n)

    def column(name: str) -> NDArray[np.int64]:
        return cells.index.get(name, np.zeros(n)).astype(np.int64)

    kind = [column(f"kind_{at}") for at in range(1, things + 1)]
    colour = [column(f"colour_{at}") for at in range(1, things + 1)]
    nameable = ones if things == 1 else (kind[0] != kind[1]) * 1.0
    named = question.label_factor(setting)
    if named:
        at, told = int(named[-1]) - 1, column("named_colour")
        which = told if things == 1 else kind[at] * colours + told
        return {"yes_no": [(nameable * (colour[at] >= 0), which, told == colour[at])]}
    found: dict[str, list[Entry]] = {form: [] for form in FORMS}
    for own, its in zip(kind, colour, strict=True) if colours > 1 else ():
        plain = nameable * (its >= 0) / things
        found["colour"].append((plain, own, its))
        for value in range(colours):
            likely = np.where(its == value, 0.5, 0.5 / (colours - 1))
            found["yes_no"].append((plain * likely, own * colours + value, its == value))
    if "relation" in setting.factors:
        relation = column("relation")
        turned = relation ^ 1  # left_of, right_of, above, below: neighbours are converse
        found["relation"] += [
            (nameable / 2, relation * setting.kinds + kind[1], kind[0]),
            (nameable / 2, turned * setting.kinds + kind[0], kind[1]),
        ]
    shares = question.counts(things, colours, setting.distinct)
    visible = np.all([its >= 0 for its in colour], 0)
    for value in range(colours) if len(shares) > 1 else ():
        many = np.sum([its == value for its in colour], 0)
        likely = sum((many == count) * min(shares.values()) / shares[count] for count in shares)
        found["count"].append((visible * likely / colours, np.full(n, value), many))
    return {form: its for form, its in found.items() if its or form != "relation"}


def _first(success: dict[str, NDArray]) -> dict[str, NDArray]:
    """Form -> the probability, float [cells], that all forms that come before it in a random order
    fail; `success` is the probability that a form does not, where it has its turn."""
    made = {}
    for form in success:
        others = [other for other in success if other != form]
        total: NDArray = np.zeros(1)
        for many in range(len(others) + 1):
            for before in combinations(others, many):
                failed = np.prod([1 - success[other] for other in before], 0)
                # All sizes of the set before are equally likely, and all sets of one size.
                total = total + failed / (len(success) * comb(len(others), many))
        made[form] = total
    return made


def _wrong(
    columns: list[NDArray],
    weight: NDArray[np.float64],
    image: NDArray[np.int64],
    cells: NDArray[np.float64],
    share: float,
) -> tuple[list[NDArray], NDArray[np.float64]]:
    """The cases where a share of the records has what is asked of another."""
    (pictures,), own = grouped([image], cells)
    told, other = grouped(columns[:3], weight)
    if len(own) * len(other) > MOST:
        raise ValueError(f"{len(own)} pictures beside {len(other)} questions")
    rows, at = np.divmod(np.arange(len(own) * len(other)), len(other))
    strange = [*(column[at] for column in told), pictures[rows]]
    joined = [np.concatenate(pair) for pair in zip(columns, strange, strict=True)]
    both = np.concatenate([weight * (1 - share), own[rows] * other[at] * share])
    return grouped(joined, both)
