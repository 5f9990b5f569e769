"""Tests of many replicas. What starts a cluster is one of the tools."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tools"))
