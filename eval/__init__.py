"""Measuring agentmem on public benchmarks. The data is never part of the project; name its folder with --data."""
