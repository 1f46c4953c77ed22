"""Speed, as ratios inside one run: `python -m benchmarks`. Never part of the tests."""
