"""What Prometheus reads."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatbox.metrics import Metrics

NAMES = {
    "chatbox_websocket_connections_total": ("gauge", []),
    "chatbox_websocket_connection_duration_seconds": ("histogram", []),
    "chatbox_messages_received_total": ("counter", []),
    "chatbox_messages_sent_total": ("counter", []),
    "chatbox_message_errors_total": ("counter", []),
    "chatbox_llm_requests_total": ("counter", ["provider"]),
    "chatbox_llm_errors_total": ("counter", ["provider"]),
    "chatbox_llm_latency_seconds": ("histogram", ["provider"]),
    "chatbox_llm_first_token_seconds": ("histogram", ["provider"]),
    "chatbox_tokens_used_total": ("counter", ["provider"]),
    "chatbox_active_sessions_total": ("gauge", []),
    "chatbox_sessions_created_total": ("counter", []),
    "chatbox_sessions_ended_total": ("counter", []),
    "chatbox_admin_takeovers_total": ("counter", []),
    "chatbox_admin_messages_dropped_total": ("counter", []),
    "chatbox_ratelimit_blocked_total": ("counter", ["limiter"]),
    "chatbox_alerts_sent_total": ("counter", ["event", "channel"]),
    "chatbox_alerts_held_total": ("counter", ["event"]),
    "chatbox_alerts_dead_total": ("counter", ["event", "channel"]),
    "chatbox_alert_failures_total": ("counter", ["channel"]),
    "chatbox_storage_operation_seconds": ("histogram", ["operation"]),
    "chatbox_mongodb_operation_seconds": ("histogram", ["operation"]),
    "chatbox_http_request_duration_seconds": ("histogram", ["endpoint", "method"]),
}


def touched(metrics: Metrics) -> str:
    """What is rendered once every metric has a value."""
    for name, (kind, labels) in NAMES.items():
        metric = getattr(metrics, name.removeprefix("chatbox_"))
        child = metric.labels(**dict.fromkeys(labels, "x")) if labels else metric
        child.observe(0.2) if kind == "histogram" else child.inc()
    return metrics.render().decode()


def test_every_metric_is_published_by_its_exact_name_and_type() -> None:
    text = touched(Metrics(mongodb=True))
    assert dict(re.findall(r"# TYPE (\S+) (\S+)", text)) == {name: kind for name, (kind, _) in NAMES.items()}


def test_every_sample_belongs_to_a_metric_of_the_contract() -> None:
    text = touched(Metrics(mongodb=True))
    samples = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples} == set(NAMES)


def test_every_metric_has_its_labels_and_a_help_text() -> None:
    text = touched(Metrics(mongodb=True))
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name if family.name in NAMES else f"{family.name}_total"
        assert labels == set(NAMES[name][1])
        assert family.documentation.endswith(".")


def test_the_metric_of_mongodb_is_published_only_with_that_store() -> None:
    assert "mongodb" not in touched(Metrics())


def test_two_instances_do_not_share_their_counts() -> None:
    first, second = Metrics(), Metrics()
    first.messages_sent_total.inc()
    assert "chatbox_messages_sent_total 1.0" in first.render().decode()
    assert "chatbox_messages_sent_total 0.0" in second.render().decode()


@pytest.mark.parametrize("name", ["llm_latency_seconds", "llm_first_token_seconds"])
def test_buckets_of_answers_reach_beyond_the_longest_answer(name: str) -> None:
    metrics = Metrics()
    getattr(metrics, name).labels("m").observe(119)
    lines = [line for line in metrics.render().decode().splitlines() if 'le="120.0"' in line]
    assert lines
    assert all(line.endswith(" 1.0") for line in lines)
