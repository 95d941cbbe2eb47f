"""Receptive fields of convolutional networks, exact per unit, and proved by NaN probing."""

from mnist_steps.receptive_field.analysis import Analysis, Layer, analyze, times
from mnist_steps.receptive_field.effective import EffectiveField, effective
from mnist_steps.receptive_field.probing import FieldMismatch, Proof, verify

__all__ = [
    "Analysis",
    "EffectiveField",
    "FieldMismatch",
    "Layer",
    "Proof",
    "analyze",
    "effective",
    "times",
    "verify",
]
