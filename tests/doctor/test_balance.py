import math

import pytest
from clean_data import clean, rows

from sensorium.doctor import examine


def _classes(tmp_path, names):
    table = [row | {"caption": names[at]} for at, row in enumerate(rows())]
    return examine(clean(tmp_path, table=table))


def test_even_classes(tmp_path):
    diagnosis = _classes(tmp_path, ["dog", "cat", "owl", "bee"] * 10)
    told = diagnosis.facts["balance"]["caption"]
    assert told["distinct"] == 4
    assert told["effective"] == pytest.approx(4)
    assert told["majority_share"] == 0.25
    assert told["values"] == dict.fromkeys(("dog", "cat", "owl", "bee"), 10)
    assert "class-imbalance" not in {finding.id for finding in diagnosis.findings}


def test_uneven_classes(tmp_path):
    names = ["dog"] * 35 + ["cat", "cat", "owl", "owl", "bee"]
    diagnosis = _classes(tmp_path, names)
    told = diagnosis.facts["balance"]["caption"]
    shares = [35 / 40, 2 / 40, 2 / 40, 1 / 40]
    assert told["effective"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))
    finding = next(x for x in diagnosis.findings if x.id == "class-imbalance")
    assert finding.where == ("dog: 35", "cat: 2", "owl: 2", "bee: 1")
    assert "88%" in finding.advice


def test_one_of_two_classes_is_nearly_all(tmp_path):
    diagnosis = _classes(tmp_path, ["dog"] * 34 + ["cat"] * 6)
    assert "class-imbalance" in {finding.id for finding in diagnosis.findings}


def test_another_field_with_few_values_is_counted_only(tmp_path):
    table = [
        row | {"kind": "rare" if at < 2 else "usual", "price": str(at), "same": "x"}
        for at, row in enumerate(rows())
    ]
    diagnosis = examine(clean(tmp_path, table=table))
    assert list(diagnosis.facts["balance"]) == ["kind"]
    assert diagnosis.facts["balance"]["kind"]["values"] == {"usual": 38, "rare": 2}
    assert diagnosis.exit_code == 0
