"""Benchmarks of every kernel family against what people write today.

`python -m bench.collect` measures, `python -m bench.render` writes docs/benchmarks.md.
"""
