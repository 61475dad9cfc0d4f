"""Benchmarks of every kernel family against what people write today.

`python -m bench.run` measures, `python -m bench.render` writes the README's tables.
"""
