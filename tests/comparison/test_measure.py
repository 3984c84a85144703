"""Outcomes as written: what they are of, their scale, and what is no outcome."""

import pytest

from sensorium.comparison.measure import FORMS, Measure, read
from sensorium.errors import PlanError


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("choice:caption_colours", Measure("choice", "caption_colours")),
        ("accuracy", Measure("accuracy", "label")),
        ("accuracy:kind", Measure("accuracy", "kind")),
        ("probe:stripes", Measure("probe", "stripes")),
        ("loss:matching", Measure("loss", "matching")),
        ("retrieval:text_to_image@10", Measure("retrieval", None, "text", "image", 10)),
        ("retrieval:text_to_image@1:caption_c2",
         Measure("retrieval", "caption_c2", "text", "image", 1)),
        ("accuracy without table", Measure("accuracy", "label", absent=("table",))),
    ],
)  # fmt: skip
def test_is_read(text, made):
    assert read(text) == made


@pytest.mark.parametrize(
    "text",
    ["", "choice", "choice:", "choice:a:b", "accuracy:", "probe:", "loss", "retrieval",
     "retrieval:text@3", "retrieval:text_to_image", "retrieval:text_to_image@",
     "retrieval:text_to_image@0", "retrieval:text_to_image@1:", "retrieval:image_to_image@1",
     "acuracy", "probe:a without table", "accuracy without "],
)  # fmt: skip
def test_is_no_outcome(text):
    with pytest.raises(PlanError) as caught:
        read(text)
    assert caught.value.field == "outcome"
    assert any(form in str(caught.value) for form in FORMS.values())


def test_scales():
    assert (read("choice:x").chance, read("choice:x").ceiling) == (0.5, 1.0)
    assert (read("loss:x").better, read("loss:x").unit) == ("lower", "nats")
    assert (read("accuracy").better, read("accuracy").unit) == ("higher", "share")
    assert read("probe:x").chance is None
