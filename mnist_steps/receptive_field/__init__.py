"""Receptive fields of convolutional networks, exact per unit, and proved by NaN probing."""

from mnist_steps.receptive_field.analysis import (
    Analysis,
    EffectiveField,
    FieldMismatch,
    Layer,
    Verification,
    analyze,
    effective,
    times,
    verify,
)

__all__ = [
    "Analysis",
    "EffectiveField",
    "FieldMismatch",
    "Layer",
    "Verification",
    "analyze",
    "effective",
    "times",
    "verify",
]
