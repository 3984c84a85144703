"""What a report is made of: plain data, collected by `collecting`, written as HTML by `page`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.report.charts import Curve
from sensorium.report.verdict import Verdict


@dataclass(frozen=True)
class Row:
    """One competitor and its scores.

    kind: `run`, `control` or `luck`.
    scores: metric -> {value, interval} or {value: None, reason}.
    """

    label: str
    kind: str
    scores: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Block:
    """One task and direction: a row per competitor, the run first, luck last."""

    task: str
    direction: str
    metrics: list[str]
    rows: list[Row]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One picture of an answer: its caption, and a WebP, or None where it cannot be read."""

    caption: str
    language: str | None
    webp: bytes | None
    right: bool
    rank: int


@dataclass(frozen=True)
class Answer:
    """A query, the pictures it finds first, the right one, and the right one's rank."""

    query: str
    language: str | None
    found: list[Picture]
    wanted: Picture
    rank: int


@dataclass(frozen=True)
class Gap:
    """Something that is not there: what, why, and the command that fills it."""

    what: str
    why: str
    see: str | None = None


@dataclass
class Shown:
    """Answers of the model on one split."""

    split: str
    pool: int
    queries: int
    median: int
    gallery: list[Answer]
    worst: list[Answer]
    collapsed: float | None


@dataclass(frozen=True)
class Example:
    """One answer of the model.

    before, after: the words around what was asked for, with a hole between them if `hole`; None
        where the record has no words to show.
    truth, answer: what was right, and what the model said; right: None where that is no yes or no.
    certainty: the probability that the model gave to its answer.
    beside: another answer to read it against, e.g. the caption that is found; None: there is none.
    """

    picture: Picture | None
    before: str | None
    after: str
    hole: bool
    truth: str
    answer: str
    right: bool | None
    certainty: float | None
    language: str | None
    beside: str | None = None


@dataclass(frozen=True)
class Examples:
    """Answers to one kind of question: a section of the page.

    key, name, title: of the section. lead: what to see. heads: of the columns after the picture.
    of: from how many records they were drawn. certain: whether certainties are shown.
    """

    key: str
    name: str
    title: str
    lead: str
    heads: tuple[str, ...]
    split: str
    of: int
    rows: list[Example]
    certain: bool


@dataclass(frozen=True)
class Weights:
    """Weights that were not trained in the run.

    source: the package or folder they came in. evidence: how the licence was established.
    card: what is known of them. use: what they did in the run.
    """

    name: str
    source: str
    licence: str
    evidence: str
    card: str
    use: str


@dataclass
class Facts:
    """All that the page shows."""

    place: str
    info: dict[str, Any]
    verdict: Verdict
    split: str | None
    blocks: list[Block] | Gap
    curves: list[Curve] | Gap
    log: list[dict[str, Any]]
    shown: Shown | Gap | None
    examples: list[Examples | Gap]
    counts: dict[str, int]
    about: list[str]
    licence: str | None
    unused: list[str]
    rejected: list[dict[str, Any]]
    recipe: str
    name: str
    size: str
    seed: int
    source: str
    departures: list[str]
    weights: list[Weights]
    doubts: list[str]
    missing: list[dict[str, Any]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)
