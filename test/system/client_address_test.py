# SPDX-License-Identifier: MIT
"""Whose request it is: what a proxy says of its client is believed where the proxy is trusted, and
what anybody else says of himself is not."""
import uuid

import pytest

from host_test import script, serve  # noqa: F401 (a fixture)
from lab import wait_until

SERVICE = script('s:get("/peer", function(req) return 200, req.peer end)')


def ask(host, *forwarded):
    headers = {"X-Forwarded-For": ", ".join(forwarded)} if forwarded else {}
    return host.get("/peer", headers=headers).text


def test_whoever_is_no_trusted_proxy_cannot_forge_his_address(serve):  # noqa: F811
    for trusted in ("", "192.0.2.0/24, ::1"):
        host = serve(SERVICE, ORRERY_TRUSTED_PROXIES=trusted)
        assert ask(host) == "127.0.0.1"
        assert ask(host, "203.0.113.9") == "127.0.0.1"
        assert ask(host, "203.0.113.9", "192.0.2.1", "127.0.0.1") == "127.0.0.1"


def test_a_chain_of_trusted_proxies_tells_of_its_client(serve):  # noqa: F811
    host = serve(SERVICE, ORRERY_TRUSTED_PROXIES="127.0.0.1, 192.0.2.0/24, fd00::/8")
    assert ask(host) == "127.0.0.1"
    assert ask(host, "203.0.113.9") == "203.0.113.9"
    assert ask(host, "203.0.113.9", "192.0.2.1", "fd00::7") == "203.0.113.9"
    assert ask(host, "2001:DB8:0::9", "::ffff:192.0.2.1") == "2001:db8::9"
    assert ask(host, "198.51.100.1", "203.0.113.9", "192.0.2.1") == "203.0.113.9", "the left is the client's own"
    assert ask(host, "203.0.113.9", "unknown") == "127.0.0.1"
    assert ask(host, "203.0.113.9", "' or 1=1 --", "192.0.2.1") == "192.0.2.1"
    assert ask(host, "203.0.113.9", "192.0.2.1:80") == "127.0.0.1"


def test_a_span_has_the_client_and_the_other_end_of_the_connection(serve, collector):  # noqa: F811
    host = serve(SERVICE, ORRERY_TRUSTED_PROXIES="127.0.0.1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
                 OTEL_BSP_SCHEDULE_DELAY="100")
    for forwarded, client, peer in (({"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9", "127.0.0.1"),
                                    ({}, "127.0.0.1", None)):
        trace = uuid.uuid4().hex
        host.get("/peer", headers={"traceparent": f"00-{trace}-{'f6' * 8}-01", **forwarded})
        span = wait_until(lambda trace=trace: collector.trace(trace), what="the span")[0]
        assert span.attributes["client.address"] == client
        assert span.attributes.get("network.peer.address") == peer


@pytest.mark.parametrize("bad", ["gateway", "192.0.2.0/33", "192.0.2.1/24", "127.0.0.1 ::1", "*"])
def test_a_proxy_that_cannot_be_read_is_a_clear_error(serve, bad):  # noqa: F811
    host = serve(SERVICE, ORRERY_TRUSTED_PROXIES=f"127.0.0.1, {bad}", wait=False)
    assert host.process.wait(10) == 2
    assert f"trusted_proxies: '{bad}'" in host.printed()
