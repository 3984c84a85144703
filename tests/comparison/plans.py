"""Plans for tests, typed but refused by nobody yet."""

from __future__ import annotations

from typing import Any

from sensorium.comparison.plan import Budget, Plan


def plan(axis: str, arms: dict[str, Any], recipe: str = "albef", **others: Any) -> Plan:
    """A plan over data that nobody reads."""
    content: dict[str, Any] = {
        "question": "which?",
        "data": "nowhere",
        "recipe": recipe,
        "axis": axis,
        "arms": arms,
        "seeds": (0, 1),
        "budget": Budget(amount=3000, unit="samples"),
        "outcome": "loss:matching",
    }
    return Plan(**(content | others))
