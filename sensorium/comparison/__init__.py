"""Comparing: one axis of a recipe varied, all else held fixed, and a verdict with an interval."""
