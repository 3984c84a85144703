"""All runs of a comparison in a Parquet table, and questions to it in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sensorium import files
from sensorium.comparison.findings import RUNS
from sensorium.errors import MissingExtra, UserError, clip

TIMINGS = "timings.parquet"
_UNITS = ("samples", "tokens", "flops", "steps", "parameters")
_RUNS = pa.schema(
    [
        *((name, pa.string()) for name in ("run", "stage", "arm", "control")),
        ("seed", pa.int64()),
        *((name, pa.float64()) for name in ("learning_rate", "weight_decay")),
        ("outcome", pa.string()),
        ("value", pa.float64()),
        ("items", pa.int64()),
        ("how", pa.string()),
        *((unit, pa.float64()) for unit in _UNITS),
        ("failed", pa.string()),
        ("curve", pa.string()),
    ]
)
_TIMINGS = pa.schema(
    [("run", pa.string()), ("training_seconds", pa.float64()), ("seconds", pa.float64())]
)


def rows(results: Sequence[dict[str, Any]], costs: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run and outcome: what was run, what came out, what it cost.

    Args:
        results: of `running.carry_out`.
        costs: arm -> unit -> amount of one run.
    """
    return [
        {
            "run": result["name"],
            "stage": result["stage"],
            "arm": result["arm"],
            "control": result["control"],
            "seed": result["seed"],
            "learning_rate": result["rates"].get("learning_rate"),
            "weight_decay": result["rates"].get("weight_decay"),
            "outcome": name,
            "value": outcome["mean"],
            "items": outcome["items"],
            "how": outcome["how"],
            **{unit: float(costs[result["arm"]][unit]) for unit in _UNITS},
            "failed": result["failed"],
            "curve": json.dumps(result["curve"]),
        }
        for result in results
        for name, outcome in (result["outcomes"] or {"": _NOTHING}).items()
    ]


_NOTHING = {"mean": None, "items": 0, "how": ""}  # of a run that diverged


def write(folder: Path, results: Sequence[dict[str, Any]], costs: dict[str, Any]) -> None:
    """Writes the tables, each whole or not at all.

    What a clock measured is in a table of its own, so that the other is the same to the byte
    whenever the same comparison is conducted again.
    """
    timings = [
        {"run": x["name"], "training_seconds": x["training_seconds"], "seconds": x["seconds"]}
        for x in results
    ]
    for name, content, schema in (
        (RUNS, rows(results, costs), _RUNS),
        (TIMINGS, timings, _TIMINGS),
    ):
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist(content, schema), sink)
        files.write_bytes(folder / name, sink.getvalue().to_pybytes())


def ask(folder: Path, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query in SQL over the tables `runs` and `timings`.

    Raises:
        MissingExtra: duckdb is not installed.
        UserError: nothing was run yet, or the query is wrong.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingExtra("a query", "the library duckdb", "compare") from None
    tables = {"runs": folder / RUNS, "timings": folder / TIMINGS}
    for file in tables.values():
        if not file.is_file():
            raise UserError(file=file, expected="a table of runs", found="nothing")
    with duckdb.connect(":memory:") as database:
        for name, file in tables.items():
            database.from_parquet(str(file)).create(name)
        database.execute("SET enable_external_access = false")  # a query reads no other file
        try:
            found = database.execute(query)
            names = [column[0] for column in found.description or []]
            return names, found.fetchall()
        except duckdb.Error as error:
            raise UserError("query", expected=f"SQL over the tables {', '.join(tables)}",
                            found=clip(str(error))) from None  # fmt: skip
