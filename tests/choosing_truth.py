"""Answers of `choose` from outcomes that were made to have a known truth."""

from sensorium import draws
from sensorium.choosing import questions
from sensorium.choosing.candidates import ADDITIVE, JOINT
from sensorium.choosing.deciding import SHARES, share_name

PICTURES, TEXTS = "pictures alone", "texts alone"
LABELLED = [PICTURES, TEXTS, ADDITIVE, JOINT]


def outcomes(truth, seeds=3, items=800, spread=0.004):
    """arm -> seed -> record -> 0/1, by the true share of each arm; items are hard for all alike."""
    made = {}
    for name, share in truth.items():
        rng = draws.generator("outcomes", name)
        hard = draws.generator("hard").uniform(-0.2, 0.2, items)
        made[name] = {}
        for seed in range(seeds):
            right = rng.random(items) < share + hard + rng.normal(0, spread)
            made[name][seed] = {f"r{at}": float(x) for at, x in enumerate(right)}
    return made


def content(candidates, label="kind", luck=0.25):
    fields = {"image": "image", "caption": "text"} | ({label: "label"} if label else {})
    return {
        "hash": "a" * 64,
        "request": {"data": "things", "fields": None, "label": label, "budget": 60.0, "seeds": 3},
        "subject": {
            "data": "things", "name": "things", "fields": fields, "label": label, "train": 1000,
            "test": 800, "luck": luck, "classes": 4 if label else 0, "could_be": ["shape"],
            "pixels": 32,
        },
        "outcome": "accuracy" if label else "retrieval:text_to_image@1",
        "candidates": candidates, "seeds": [0, 1, 2], "seconds_each": 10.0, "margin": 0.02,
        "alpha": 0.05, "shares": list(SHARES), "notes": [],
    }  # fmt: skip


def answer(truth, label="kind", **more):
    """What is answered when recipes are truly as good as told; the curve is flat."""
    names = [name for name in truth if name != "shuffled"]
    best = max(names, key=lambda name: truth[name])
    whole = truth | {share_name(best, share): truth[best] for share in SHARES}
    run = {"seconds": 10.0, "steps": 100, "samples": 6400.0, "parameters": 1000}
    arms = {name: {"recipe": {"name": "tells"}, "run": run} for name in names}
    held = outcomes(whole, **more)
    return questions.answered(content(names, label), best, {x: truth[x] for x in names}, held, arms)


def told(result, key):
    return next(x for x in result["answers"] if x["key"] == key)


def labelled(pictures, texts, additive, joint, **more):
    return answer({PICTURES: pictures, TEXTS: texts, ADDITIVE: additive, JOINT: joint,
                   "shuffled": 0.25}, **more)  # fmt: skip
