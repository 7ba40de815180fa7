"""Timings, as ratios to something in the same run. Run from the checkout: `python -m benchmarks.state_cost`."""
