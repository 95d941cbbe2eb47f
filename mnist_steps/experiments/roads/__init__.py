"""Other roads to a small network: pruning, low rank, quantization, distillation, measured.

A road begins with a trained network, changes it, trains on for a few epochs where that is part of
it, and is judged like everything else. The modules with the roads' names hold what each does to a
network; `steps` trains, `chain` makes one run, and `arms` says which runs there are.
"""
