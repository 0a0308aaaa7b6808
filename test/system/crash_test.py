# SPDX-License-Identifier: MIT
"""A short campaign of test/long/crash, with two replicas of every service."""
from crash import BOUND_S, Campaign
from lab import wait_until


def test_the_books_agree_after_everything_was_killed_under_load(lab):
    wait_until(lab.settled, BOUND_S, "rest before the campaign")
    campaign = Campaign(lab, orders=400, kills=9, seed=7, replicas=True, customers=8, pause_s=0.8)
    found = campaign.run()
    print(campaign.table())
    assert found == []
    assert len(campaign.ids) > 50, "orders were placed all the same"
