"""What is counted and timed, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OPERATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Buckets (s) of storage operations and HTTP requests."""

ANSWERS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""Buckets (s) of answers, up to beyond the default of ``LLM_STREAM_TIMEOUT``."""

CONNECTIONS = (1, 10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600)
"""Buckets (s) of sockets' lives."""


class Metrics:
    """All metrics, each an attribute named without ``chatbox_``, in a registry of their own.

    ``mongodb`` publishes the metrics of that store too. Labels take few values: models, operations, routes; never ids.
    """

    def __init__(self, *, mongodb: bool = False) -> None:
        self.registry = CollectorRegistry()
        self._count_sockets()
        self._count_answers()
        self._count_sessions()
        self._count_alerts()
        self._time_operations(mongodb)

    def _count_sockets(self) -> None:
        self.websocket_connections_total = self._gauge("websocket_connections_total", "Open sockets.")
        self.websocket_connection_duration_seconds = self._histogram(
            "websocket_connection_duration_seconds", "How long sockets were open.", CONNECTIONS
        )
        self.messages_received_total = self._counter("messages_received_total", "Frames received from clients.")
        self.messages_sent_total = self._counter("messages_sent_total", "Frames sent to clients.")
        self.message_errors_total = self._counter("message_errors_total", "Frames answered with an error.")
        self.ratelimit_blocked_total = self._counter("ratelimit_blocked_total", "What a limit refused.", "limiter")

    def _count_answers(self) -> None:
        self.llm_requests_total = self._counter("llm_requests_total", "Answers asked of a model.", "provider")
        self.llm_errors_total = self._counter("llm_errors_total", "Answers that a model failed to give.", "provider")
        self.llm_latency_seconds = self._histogram(
            "llm_latency_seconds", "Time of a whole answer.", ANSWERS, "provider"
        )
        self.llm_first_token_seconds = self._histogram(
            "llm_first_token_seconds", "Time to the first piece of an answer.", ANSWERS, "provider"
        )
        self.tokens_used_total = self._counter("tokens_used_total", "Tokens of prompts and answers.", "provider")

    def _count_sessions(self) -> None:
        self.active_sessions_total = self._gauge("active_sessions_total", "Sessions in memory that are active.")
        self.sessions_created_total = self._counter("sessions_created_total", "Sessions created.")
        self.sessions_ended_total = self._counter("sessions_ended_total", "Sessions ended.")
        self.admin_takeovers_total = self._counter("admin_takeovers_total", "Sessions taken over by staff.")
        self.admin_messages_dropped_total = self._counter(
            "admin_messages_dropped_total", "Frames of staff beyond the limit, and to staff that the line did not take."
        )

    def _count_alerts(self) -> None:
        self.alerts_sent_total = self._counter("alerts_sent_total", "Alerts delivered, by address.", "event", "channel")
        self.alerts_held_total = self._counter("alerts_held_total", "Alerts left to a digest.", "event")
        self.alerts_dead_total = self._counter("alerts_dead_total", "Alerts given up, by address.", "event", "channel")
        self.alert_failures_total = self._counter(
            "alert_failures_total", "Tries to deliver an alert that failed, by address.", "channel"
        )

    def _time_operations(self, mongodb: bool) -> None:
        self.storage_operation_seconds = self._histogram(
            "storage_operation_seconds", "Time of a store's operation.", OPERATIONS, "operation"
        )
        self.mongodb_operation_seconds = self._histogram(
            "mongodb_operation_seconds", "Time of MongoDB's operation.", OPERATIONS, "operation", published=mongodb
        )
        self.storage_timers = [self.storage_operation_seconds] + [self.mongodb_operation_seconds] * mongodb
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds", "Time of an HTTP request.", OPERATIONS, "endpoint", "method"
        )

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(_WithoutCreationTimes(self.registry))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"chatbox_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"chatbox_{name}", text, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str, published: bool = True
    ) -> Histogram:
        registry = self.registry if published else None
        return Histogram(f"chatbox_{name}", text, labels, buckets=buckets, registry=registry)


class _WithoutCreationTimes(Collector):
    """The library adds a ``_created`` series to each metric, which is not in the contract and doubles the names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
