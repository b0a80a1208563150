"""Benchmarks that a user can run: each measures beside what it is compared with, interleaved."""
