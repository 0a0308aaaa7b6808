# SPDX-License-Identifier: MIT
"""How a service looks from outside: the dialects of its log lines and of its series."""
import datetime
import json
import subprocess
import time

import pytest
import requests

from prometheus_client.parser import text_string_to_metric_families as families

from host_test import BINARY, HELLO, script, serve  # noqa: F401 (a fixture)
from lab import free_port, wait_until

TRACE, PARENT = "a1" * 16, "b2" * 8
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}

# Names that some dialect uses itself, and a few like them.
TAKEN = ["@", "@@t", "@l", "@mt", "@sp", "@t", "@tr", "generation", "level", "level_", "message", "msg",
         "service", "span_id", "time", "timestamp", "trace_flags", "trace_id"]

SERVICE = script(
    'local log = require "log"',
    's:get("/users/:id", function(req)',
    '  log.info("Checking promotions for user {UserId}",',
    '    { UserId = req.path.id, amount = 99.99, quantity = 5, first = true })',
    '  log.warn("low") log.error("bad", { error = "no answer" })',
    '  return 200, "done"',
    'end)',
    's:get("/mean", function()',
    '  log.info("mean", {' + ", ".join(f'["{name}"] = {i}' for i, name in enumerate(TAKEN)) + '})',
    '  return 200, "done"',
    'end)')


def unique(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
    return dict(pairs)


def lines(host):
    return [json.loads(line, object_pairs_hook=unique) for line in host.printed().splitlines()
            if line.startswith("{")]


def line_of(host, key, message):
    """The one line with this message."""
    found = wait_until(lambda: [line for line in lines(host) if line.get(key) == message], what=message)
    assert len(found) == 1
    return found[0]


def is_rfc3339(text):
    at = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
    return abs(at.timestamp() - time.time()) < 60


def is_seconds(number):
    return isinstance(number, float) and abs(number - time.time()) < 60


def is_milliseconds(number):
    return isinstance(number, int) and abs(number / 1000 - time.time()) < 60


# dialect: the message's key, (the time's key, what it is), the level's key and what info, warn and
# error are called, the keys of trace and span, the other keys in front
DIALECTS = {
    "default": ("message", ("timestamp", is_rfc3339), ("level", "INFO", "WARN", "ERROR"),
                ("trace_id", "span_id"), {"service", "trace_flags"}),
    "trio": ("msg", None, ("level", "info", "warn", "error"), ("trace_id", None), set()),
    "python": ("msg", ("timestamp", is_rfc3339), ("level", "info", "warning", "error"),
               ("trace_id", "span_id"), {"service"}),
    "zap": ("msg", ("timestamp", is_seconds), ("level", "info", "warn", "error"),
            ("trace_id", "span_id"), {"service"}),
    "clef": ("@mt", ("@t", is_rfc3339), ("@l", "Information", "Warning", "Error"), ("@tr", "@sp"), {"service"}),
    "pino": ("msg", ("time", is_milliseconds), ("level", 30, 40, 50), ("trace_id", "span_id"), {"service"}),
}


@pytest.fixture(params=DIALECTS)
def spoken(request, serve):  # noqa: F811
    """A host that speaks the dialect, and the dialect."""
    return serve(SERVICE, ORRERY_LOG_DIALECT=request.param), *DIALECTS[request.param]


def test_a_line_in_a_trace_has_the_words_of_the_dialect(spoken):
    host, message, when, (level, *levels), (trace, span), others = spoken
    assert host.get("/users/user_1", headers=HEADERS).status_code == 200
    told = [line_of(host, message, text)
            for text in ("Checking promotions for user {UserId}", "low", "bad")]
    for line, name in zip(told, levels):
        assert line[level] == name
        assert line[trace] == TRACE
        if span:
            assert len(bytes.fromhex(line[span])) == 8 and line[span] != PARENT
        if when:
            key, good = when
            assert good(line[key]), line
        if "service" in others:
            assert line["service"] == "sample"
    front = {message, level, trace, *others, "generation"} | ({span} if span else set()) | \
        ({when[0]} if when else set())
    assert {k: v for k, v in told[0].items() if k not in front} == \
        {"UserId": "user_1", "amount": 99.99, "quantity": 5, "first": True}
    assert front <= set(told[0])
    assert told[2]["error"] == "no answer"


def test_a_line_without_a_trace_has_no_ids(spoken):
    host, message, _, (level, info, *_), ids, _ = spoken
    line = line_of(host, message, "serving")
    assert line[level] == info and line["port"] == host.port
    assert not {*ids, "trace_flags", "trace_id", "span_id"} & set(line)


def test_no_key_stands_twice_and_no_field_is_lost(spoken):
    host, message, *_ = spoken
    host.get("/mean")
    line = line_of(host, message, "mean")
    values = [v for v in line.values() if isinstance(v, int) and not isinstance(v, bool) and v < len(TAKEN)]
    assert set(range(len(TAKEN))) <= set(values)


def test_what_opentelemetry_gets_is_the_same_in_every_dialect(serve, collector):  # noqa: F811
    def sent(dialect):
        host = serve(SERVICE, ORRERY_LOG_DIALECT=dialect, OTEL_SERVICE_NAME="dialect-" + dialect,
                     OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BLRP_SCHEDULE_DELAY="100")
        host.get("/users/user_1")
        host.get("/mean")

        def records():
            with collector.lock:
                return [(r.body.string_value, r.severity_text, len(r.trace_id),
                         sorted((a.key, str(a.value)) for a in r.attributes))
                        for resource, r in collector.logs if resource["service.name"] == "dialect-" + dialect
                        and r.body.string_value not in ("serving", "request")]

        wait_until(lambda: len(records()) == 4, 15, "four log records")
        return sorted(records())

    assert sent("clef") == sent("pino") == sent("default")


def test_an_unknown_dialect_is_a_clear_error():
    for setting in ("--log_dialect", "--dialect"):
        done = subprocess.run([BINARY, "serve", str(HELLO), "--port", str(free_port()), setting, "logfmt"],
                              text=True, timeout=10, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 2
        assert f"{setting[2:]} cannot be 'logfmt'" in done.stdout


# --- series -----------------------------------------------------------------------------------


def visit(host):
    """One request of each sort; gives (method, route, status) -> count as it should be."""
    def ask(method, path):
        return requests.request(method, f"http://127.0.0.1:{host.port}{path}", timeout=10).status_code

    assert [ask("GET", "/users/1"), ask("GET", "/users/2"), ask("DELETE", "/users/1"), ask("BREW", "/users/1"),
            ask("GET", "/nowhere/1"), ask("GET", "/nowhere/2"), ask("POST", "/elsewhere")] == \
        [200, 200, 405, 405, 404, 404, 404]
    return {("GET", "/users/:id", "200"): 2, ("DELETE", "/users/:id", "405"): 1, ("HTTP", "/users/:id", "405"): 1,
            ("GET", "unmatched", "404"): 2, ("POST", "unmatched", "404"): 1}


def counts(text, name, route):
    """(method, route, status) -> value, without what a scrape and the probes count."""
    own = {"/health", "/ready", "/metrics", "/actuator/prometheus"}
    return {(s.labels["method"], s.labels[route], s.labels["status"]): s.value
            for family in families(text) for s in family.samples
            if s.name == name and s.labels[route] not in own}


def test_the_default_dialect_counts_by_method_endpoint_and_status(serve):  # noqa: F811
    host = serve(SERVICE)
    expected = visit(host)
    text = host.get("/metrics").text
    assert counts(text, "http_requests_total", "endpoint") == expected
    timed = {(s.labels["method"], s.labels["endpoint"]): s.value for family in families(text)
             for s in family.samples if s.name == "http_request_duration_seconds_count"}
    assert timed["GET", "/users/:id"] == 2 and timed["GET", "unmatched"] == 2
    assert "http_server_requests_seconds" not in text
    assert host.get("/actuator/prometheus").status_code == 404


def test_micrometer_counts_by_method_uri_and_status_on_both_paths(serve):  # noqa: F811
    host = serve(SERVICE, "--dialect", "micrometer")
    expected = visit(host)
    for path in ("/metrics", "/actuator/prometheus"):
        answer = host.get(path)
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert counts(answer.text, "http_server_requests_seconds_count", "uri") == expected
        assert "http_requests_total" not in answer.text
        assert "http_request_duration_seconds" not in answer.text
    scraped = {s.labels["uri"] for family in families(host.get("/metrics").text) for s in family.samples
               if s.name == "http_server_requests_seconds_count"}
    assert {"/metrics", "/actuator/prometheus"} <= scraped


def test_a_summary_is_scraped_as_one(serve):  # noqa: F811
    host = serve(script(
        'local metrics = require "metrics"',
        'local waits = metrics.summary("wait_seconds", "Waits.", { "queue" }, { 0.5, 0.95 })',
        'waits:zero("idle")',
        's:get("/wait", function()',
        '  for i = 1, 100 do waits:observe(i / 100, "busy") end',
        '  return 200, "done"',
        'end)'))
    host.get("/wait")
    family, = (f for f in families(host.get("/metrics").text) if f.name == "wait_seconds")
    assert family.type == "summary"
    value = {(s.name, s.labels["queue"], s.labels.get("quantile")): s.value for s in family.samples}
    assert value["wait_seconds", "busy", "0.5"] == pytest.approx(0.5, rel=1 / 64)
    assert value["wait_seconds", "busy", "0.95"] == pytest.approx(0.95, rel=1 / 64)
    assert value["wait_seconds_sum", "busy", None] == pytest.approx(50.5)
    assert value["wait_seconds_count", "busy", None] == 100
    assert str(value["wait_seconds", "idle", "0.5"]) == "nan" and value["wait_seconds_count", "idle", None] == 0
