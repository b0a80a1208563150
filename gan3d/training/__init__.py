"""Losses, the compiled step, schedules, checkpoints and the loop of adversarial training.

Importing this package does not import TensorFlow; `train` does, once the node is set up.
"""
