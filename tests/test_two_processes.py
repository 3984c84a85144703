"""Two processes equal one on the joined batch: losses, gradients, queues. Level: close, 1e-5."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from two_processes import together

from sensorium import building, ranks
from sensorium.recipe import check
from sensorium.records import Source
from sensorium.step import views
from sensorium.tokens import Batch, Tokens
from sensorium.views import attach

N = 8
WORDS = SimpleNamespace(
    vocabulary=300, special=frozenset({0, 1, 2, 3}), hide_id=3, starts=np.ones(300, bool)
)
HIDE = {"use": "hide", "rate": 0.5}
CONTRAST = {"use": "contrastive", "temperature": 0.2}
TAUGHT = CONTRAST | {"queue": 11, "soft": 0.4}
HARD = {"use": "matching", "negatives": "hard"}
GIVEN = {"use": "matching", "negatives": "given", "variant": 1}
MASKED = {"use": "masked_tokens", "edits": [HIDE]}
SOFT = MASKED | {"soft": 0.4}
PICTURES = {"use": "image_self_supervision", "hidden": 16, "out": 8}
TRANSLATION = {"use": "translation_contrast"}
TOLD = {"use": "classification"}


def step(*objectives, seed=0, teacher=False):
    """A tiny model, in which modalities meet where it is asked for; variants of both."""
    content = {
        "name": "tiny",
        "summary": "",
        "source": "",
        "modalities": {
            "image": {"use": "image", "size": 16, "patch": 8},
            "text": {"use": "text", "length": 8, "vocabulary": 300},
        },
        "encoders": {
            "image": {"use": "vision_transformer", "width": 16, "depth": 1, "heads": 2},
            "text": {"use": "transformer", "width": 16, "depth": 1, "heads": 2},
        },
        "variants": {
            "image": [{"augment": True}, {"augment": True}],
            "text": [{"field": "other"}],
        },
        "space": 8,
        "objectives": list(objectives),
        "seed": seed,
    }
    if {"matching", "masked_tokens"} & {x["use"] for x in objectives}:
        content["fusion"] = {"use": "cross_attention", "depth": 1, "heads": 2}
    if "classification" in {x["use"] for x in objectives}:
        content["targets"] = {"label": {"use": "label"}}
    if teacher:
        content["teacher"] = {"momentum": 0.9}
    made = building.build(check(content))
    if teacher:  # one that has fallen behind
        torch.manual_seed(5)
        with torch.no_grad():
            for weight in made.teacher.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    return made


def batch(first=0, n=N, seed=0):
    """Records first, first + 1, ...: some lack a picture, a text, a translation; some share."""
    rng = torch.Generator().manual_seed(100 * first + seed)
    where = torch.arange(2).repeat_interleave(2), torch.arange(2).repeat(2)
    length = torch.randint(4, 9, (n,), generator=rng)
    real = torch.arange(8) < length[:, None]

    def pictures():
        values = torch.randint(0, 256, (n, 4, 192), generator=rng, dtype=torch.uint8)
        there = torch.ones(n, 4, dtype=torch.bool)
        return Tokens("image", there, torch.stack(where, dim=1)[None], values=values)

    def texts():
        ids = torch.randint(4, 300, (n, 8), generator=rng) * real
        return Tokens("text", real, torch.arange(8)[None, :, None], ids=ids)

    at = torch.arange(first, first + n)
    return Batch(
        keys=tuple(f"k{x}" for x in at.tolist()),
        sources=(Source("x"),) * n,
        tokens={("image", x): pictures() for x in range(3)}
        | {("text", x): texts() for x in (0, 1)},
        present={"image": at % 7 != 2, "text": at % 5 != 4, "text#1": at % 4 != 1},
        identity={"image": at, "text": 100 + at % 6, "text#1": 200 + at},
        targets={"label": torch.where(at % 3 == 1, -1, at % 2)},
        draw=at * 1001 + 7,
    )


def part(whole, rows):
    """Some records of a batch."""

    def of(tokens):
        position = tokens.position[rows] if len(tokens.position) > 1 else tokens.position
        ids = None if tokens.ids is None else tokens.ids[rows]
        values = None if tokens.values is None else tokens.values[rows]
        return Tokens(tokens.modality, tokens.real[rows], position, ids=ids, values=values)

    return Batch(
        keys=tuple(whole.keys[row] for row in rows),
        sources=tuple(whole.sources[row] for row in rows),
        tokens={at: of(tokens) for at, tokens in whole.tokens.items()},
        present={name: x[rows] for name, x in whole.present.items()},
        identity={name: x[rows] for name, x in whole.identity.items()},
        targets={name: x[rows] for name, x in whole.targets.items()},
        draw=whole.draw[rows],
    )


def mine(whole):
    """What this process has of a batch."""
    n = len(whole) // ranks.size()
    return part(whole, list(range(ranks.rank() * n, (ranks.rank() + 1) * n)))


def looked(made, whole):
    return attach(whole, views(made.objectives), {"text": WORDS})


def total(made, outcome):
    """The total and the losses, which are of the records of all processes."""
    return outcome.total, outcome.losses


def trained(objectives, teacher, steps):
    """Some steps of plain descent: losses of each, gradients of the first, and the state."""
    made = step(*objectives, teacher=teacher).train()
    wrapped = made
    if ranks.size() > 1:
        wrapped = DistributedDataParallel(made, forward_sync_buffers=False)
    log, grads = [], {}
    for at in range(steps):
        whole = looked(made, mine(batch(first=at * N)))
        made.follow()
        outcome = wrapped(whole)
        loss, losses = total(made, outcome)
        made.zero_grad()
        loss.backward()
        if at == 0:
            named = made.named_parameters()
            grads = {name: x.grad.clone() for name, x in named if x.grad is not None}
        with torch.no_grad():
            for weight in made.parameters():
                if weight.grad is not None:
                    weight -= 0.05 * weight.grad
        made.commit(outcome, whole)
        log.append({name: (x.mean.item(), x.chance.item()) for name, x in losses.items()})
    return log, grads, dict(made.state_dict())


def close(a, b, within=1e-5):
    """The same names, and numbers that close (to the largest, where they are larger than 1)."""
    assert a.keys() == b.keys()
    for name in a:
        scale = max(1.0, b[name].double().abs().max().item())
        apart = (a[name].double() - b[name].double()).abs().max().item()
        assert apart <= within * scale, f"{name}: {apart} apart, where the largest is {scale}"


@pytest.mark.parametrize(
    ("objectives", "teacher", "within"),
    [
        ([CONTRAST], False, 1e-5),
        ([TAUGHT], True, 1e-5),
        ([MASKED], False, 1e-5),
        ([GIVEN], False, 1e-5),
        # A norm over few records: one process on the same batch in another order is 2e-5 apart.
        ([CONTRAST, PICTURES], False, 5e-5),
        ([CONTRAST, TRANSLATION], False, 1e-5),
        ([TAUGHT, GIVEN, SOFT], True, 1e-5),
        ([TOLD], False, 1e-5),
    ],
    ids=lambda x: "+".join(o["use"] for o in x) if isinstance(x, list) else str(x),
)
def test_two_equal_one(objectives, teacher, within):
    log, grads, state = trained(objectives, teacher, 3)
    for their_log, their_grads, their_state in together(trained, objectives, teacher, 3):
        for at, (one, two) in enumerate(zip(log, their_log, strict=True)):
            assert one.keys() == two.keys()
            for name, (loss, chance) in one.items():
                assert two[name][0] == pytest.approx(loss, rel=(1 + 9 * at) * within)
                assert two[name][1] == pytest.approx(chance, abs=1e-6)
        close(their_grads, grads, within)
        close(their_state, state, 10 * within)  # rounding grows over steps


def halves(*objectives):
    """One process in which matching draws from each half by itself; contrast sees all."""
    made = step(*objectives).train()
    outcomes = [made(looked(made, part(batch(), list(rows)))) for rows in (range(4), range(4, 8))]
    means = {"contrastive": made(looked(made, batch())).losses["contrastive"].mean}
    some = [outcome.losses["matching"] for outcome in outcomes]
    means["matching"] = sum(x.sum for x in some) / sum(x.count for x in some)
    sum(means.values()).backward()
    grads = {name: x.grad for name, x in made.named_parameters() if x.grad is not None}
    return {name: mean.item() for name, mean in means.items()}, grads


def test_wrong_partners_are_drawn_within_a_process():
    """As ALBEF's code does: matching is that of the two halves, each drawing from itself."""
    means, grads = halves(CONTRAST, HARD)
    for log, their_grads, _ in together(trained, [CONTRAST, HARD], False, 1):
        for name, mean in means.items():
            assert log[0][name][0] == pytest.approx(mean, rel=1e-5)
        close(their_grads, grads)
