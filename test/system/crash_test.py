# SPDX-License-Identifier: MIT
"""A short campaign of test/long/crash, with two replicas of every service."""
from crash import Campaign


def test_the_books_agree_after_everything_was_killed_under_load(books_lab):
    campaign = Campaign(books_lab, orders=400, kills=9, seed=7, replicas=True, customers=8, pause_s=0.8)
    found = campaign.run()
    print(campaign.table())
    assert found == []
    assert len(campaign.ids) > 50, "orders were placed all the same"
