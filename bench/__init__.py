"""The benchmark: the same work for every server, and ratios to the bare stack. `python -m bench --help`."""
