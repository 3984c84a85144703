"""Sensorium: multi-modal pre-training, every score beside its controls."""

__version__ = "0.1.0"
