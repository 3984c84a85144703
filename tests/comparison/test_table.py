"""The tables of runs: what is in them, and what SQL may ask."""

import json

import pytest
from pyarrow import parquet

from sensorium.comparison import table
from sensorium.errors import UserError


def result(name, seed, outcomes, failed="", **rates):
    return {
        "name": name, "stage": "run", "arm": name[0], "control": "", "seed": seed,
        "rates": rates, "outcomes": outcomes, "failed": failed,
        "curve": [{"samples": 8, "outcome": 0.5}], "training_seconds": 1.5, "seconds": 2.5,
    }  # fmt: skip


COSTS = {
    arm: {"samples": 64, "tokens": 9, "flops": 1e9, "steps": 4, "parameters": 7, "seconds": 3.0}
    for arm in "ab"
}
ONE = {"x": {"mean": 0.25, "items": 4, "how": "by hand"}}
BOTH = ONE | {"y": {"mean": 0.75, "items": 3, "how": "by hand"}}


@pytest.fixture
def written(tmp_path):
    results = [
        result("a-1", 1, BOTH, learning_rate=1e-3),
        result("b-1", 1, ONE),
        result("b-2", 2, {}, failed="at step 3: no finite loss"),
    ]
    table.write(tmp_path, results, COSTS)
    return tmp_path


def test_one_row_a_run_and_outcome(written):
    rows = parquet.read_table(written / table.RUNS).to_pylist()
    assert [(x["run"], x["outcome"], x["value"], x["items"]) for x in rows] == [
        ("a-1", "x", 0.25, 4), ("a-1", "y", 0.75, 3), ("b-1", "x", 0.25, 4), ("b-2", "", None, 0),
    ]  # fmt: skip
    assert [x["learning_rate"] for x in rows] == [1e-3, 1e-3, None, None]
    assert rows[3]["failed"] == "at step 3: no finite loss"
    assert rows[0]["flops"] == 1e9
    assert json.loads(rows[0]["curve"]) == [{"samples": 8, "outcome": 0.5}]


def test_what_a_clock_measured_is_apart(written, tmp_path_factory):
    """So two tables of one comparison are equal to the byte, whatever the clock said."""
    other = tmp_path_factory.mktemp("other")
    slower = [result("a-1", 1, BOTH, learning_rate=1e-3) | {"training_seconds": 9.0},
              result("b-1", 1, ONE) | {"seconds": 9.0},
              result("b-2", 2, {}, failed="at step 3: no finite loss")]  # fmt: skip
    table.write(other, slower, {arm: cost | {"seconds": 8.0} for arm, cost in COSTS.items()})
    assert (other / table.RUNS).read_bytes() == (written / table.RUNS).read_bytes()
    timings = parquet.read_table(other / table.TIMINGS).to_pylist()
    assert timings[0] == {"run": "a-1", "training_seconds": 9.0, "seconds": 2.5}


def test_questions_in_sql(written):
    pytest.importorskip("duckdb")
    names, rows = table.ask(
        written, "SELECT arm, avg(value) AS mean FROM runs WHERE outcome = 'x' GROUP BY arm "
        "ORDER BY arm",
    )  # fmt: skip
    assert (names, rows) == (["arm", "mean"], [("a", 0.25), ("b", 0.25)])
    _, rows = table.ask(written, "SELECT DISTINCT run, seconds FROM runs JOIN timings USING (run)")
    assert sorted(rows) == [("a-1", 2.5), ("b-1", 2.5), ("b-2", 2.5)]


@pytest.mark.parametrize(
    "query", ["SELECT nothing FROM runs", "no SQL", "SELECT * FROM read_csv('{file}')"]
)
def test_a_wrong_query_is_one_error_and_reads_no_file(written, query, tmp_path_factory):
    pytest.importorskip("duckdb")
    file = tmp_path_factory.mktemp("secret") / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="SQL over the tables runs, timings"):
        table.ask(written, query.format(file=file))


def test_nothing_was_run(tmp_path):
    pytest.importorskip("duckdb")
    with pytest.raises(UserError, match=r"runs\.parquet"):
        table.ask(tmp_path, "SELECT 1")
