"""Redis or Valkey as backplane and as counts of many replicas."""

from __future__ import annotations

from chatbox.backplane.redis.backplane import RedisBackplane
from chatbox.backplane.redis.line import Timing
from chatbox.backplane.redis.quotas import RedisQuotas

__all__ = ["RedisBackplane", "RedisQuotas", "Timing"]
