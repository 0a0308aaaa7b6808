# SPDX-License-Identifier: MIT
"""A short soak; the long one is test/long/soak."""
from host_test import BINARY
from soak import Soak


def test_twenty_thousand_requests_with_reloads_and_faults_leave_nothing_behind():
    soak = Soak(BINARY, 20000, edit_s=0.3, trouble_s=0.4, edits_warm=16)
    wrong = soak.run()
    print(soak.table())
    assert wrong == []
    assert sum(soak.counts.values()) >= 20000
    assert all(soak.made.values()) and soak.made["edits"] >= 16 and soak.made["broken edits"] >= 3
    if not soak.sanitized:
        grown_mb = (soak.tenth("rss_kb", False) - soak.tenth("rss_kb", True)) / 1024
        assert grown_mb < 8, f"resident memory grew by {grown_mb:.1f} MB"
