"""All runs of a comparison in one Parquet table, and questions to it in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sensorium import files
from sensorium.errors import UserError, clip

FILE = "runs.parquet"


def rows(results: Sequence[dict[str, Any]], costs: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run and outcome: what was run, what came out, what it cost.

    Args:
        results: of `running.carry_out`.
        costs: arm -> unit -> amount of one run.
    """
    made = []
    for result in results:
        told = result["outcomes"] or {"": {"mean": None, "items": 0, "how": ""}}
        for name, outcome in told.items():
            made.append(
                {
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
                    **{
                        unit: float(amount)
                        for unit, amount in costs[result["arm"]].items()
                        if unit != "seconds"
                    },
                    "training_seconds": result["training_seconds"],
                    "failed": result["failed"],
                    "curve": json.dumps(result["curve"]),
                }
            )
    return made


def write(folder: Path, content: list[dict[str, Any]]) -> Path:
    """Writes the table, whole or not at all."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(content), sink)
    files.write_bytes(folder / FILE, sink.getvalue().to_pybytes())
    return folder / FILE


def ask(folder: Path, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query in SQL over the table `runs`.

    Raises:
        UserError: duckdb is missing, nothing was run yet, or the query is wrong.
    """
    try:
        import duckdb
    except ImportError:
        raise UserError("queries need duckdb", expected="pip install 'sensorium[compare]'",
                        found="none") from None  # fmt: skip
    file = folder / FILE
    if not file.is_file():
        raise UserError(file=file, expected="a table of runs", found="nothing")
    with duckdb.connect(":memory:") as database:
        database.execute("SET enable_external_access = true")
        place = str(file).replace("'", "''")
        database.execute(f"CREATE TABLE runs AS SELECT * FROM read_parquet('{place}')")  # noqa: S608
        database.execute("SET enable_external_access = false")
        try:
            found = database.execute(query)
            names = [column[0] for column in found.description or []]
            return names, found.fetchall()
        except duckdb.Error as error:
            raise UserError("query", expected="SQL over the table runs", found=clip(str(error)),
                            ) from None  # fmt: skip
