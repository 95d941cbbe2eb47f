"""From 6.4 million parameters to fewer than 8,000: MNIST at 99.4 %, step by step."""

__version__ = "0.2.0"
