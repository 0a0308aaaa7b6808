# SPDX-License-Identifier: MIT
"""What a whole run has said: span edges, series and log fields, kept for test/telemetry."""
import json

from prometheus_client.parser import text_string_to_metric_families as prometheus

from lab import CHECKOUT

FILE = CHECKOUT / "build" / "log" / "telemetry.json"
SERVICES = ["gateway", "orders", "inventory", "payments", "users", "notifications", "acquirer"]


def edges(spans):
    """(service, kind, service, kind) of every parent and child that were both seen."""
    by_id = {(span.trace_id, span.id): span for span in spans}
    found = set()
    for span in spans:
        parent = by_id.get((span.trace_id, span.parent))
        if parent:
            found.add((parent.service, parent.kind, span.service, span.kind))
    return sorted(found)


def series(lab, service):
    place = "gateway_admin" if service == "gateway" else service
    return sorted(family.name for family in prometheus(lab.metrics(place)))


def write(lab, collector):
    with collector.lock:
        spans = list(collector.spans)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({
        "edges": edges(spans),
        "attributes": sorted({name for span in spans for name in span.attributes}),
        "series": {service: series(lab, service) for service in SERVICES},
        "log_fields": {service: sorted({name for line in lab.log_lines(service) for name in line})
                       for service in SERVICES},
    }, indent=1))
