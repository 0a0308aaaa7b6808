# SPDX-License-Identifier: MIT
"""What is wrong is named, nothing of it is stored, and the process lives."""
import copy
import uuid

import pytest
import requests

from lab import CARD

GOOD = {"items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
        "payment": {"method": "card", "card": CARD}}


def changed(path, value=None, remove=False):
    body = copy.deepcopy(GOOD)
    place = body
    for step in path[:-1]:
        place = place[step]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return body


CASES = [
    ("a wrong type", changed(["items"], "many"), 422, "items"),
    ("a wrong type inside", changed(["items", 0, "quantity"], "one"), 422, "items[0].quantity"),
    ("a missing field", changed(["currency"], remove=True), 422, "currency"),
    ("a missing field inside", changed(["payment", "card", "number"], remove=True), 422,
     "payment.card.number"),
    ("a negative quantity", changed(["items", 0, "quantity"], -1), 422, "items[0].quantity"),
    ("a zero quantity", changed(["items", 0, "quantity"], 0), 422, "items[0].quantity"),
    ("a fraction", changed(["items", 0, "quantity"], 1.5), 422, "items[0].quantity"),
    ("no items", changed(["items"], []), 422, "items"),
    ("an unknown SKU", changed(["items", 0, "sku"], "SKU-9999"), 422, "items[0].sku"),
    ("an unknown field", changed(["discount"], 100), 422, "discount"),
    ("an array", [], 422, None),
]


def counts(lab):
    return {table: lab.one(f"select count(*) from {table}") for table in
            ("orders.orders", "orders.outbox", "inventory.holds", "payments.payments")}


def post(lab, headers=None, **how):
    return requests.post(lab.url("orders", "/api/v1/orders"), timeout=20, **how, headers={
        "Authorization": "Bearer " + lab.token(), "Idempotency-Key": str(uuid.uuid4()), **(headers or {})})


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "kind", "detail", "trace_id"} <= set(body)
    assert body["status"] == status
    return body


def fields(body):
    return [error["field"] for error in body["errors"]]


@pytest.fixture
def unchanged(lab):
    pid, before = lab.pids()["orders"], counts(lab)
    yield lab
    assert counts(lab) == before, "nothing is stored"
    assert lab.pids()["orders"] == pid, "the process lives"


@pytest.mark.parametrize("body, status, field", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_input_is_refused_naming_the_field(unchanged, body, status, field):
    answer = problem(post(unchanged, json=body), status)
    assert answer["kind"] == "bad_input"
    if field:
        assert field in fields(answer)


def test_all_problems_are_named_at_once(unchanged):
    body = changed(["items", 0, "quantity"], -1)
    del body["currency"]
    assert {"items[0].quantity", "currency"} <= set(fields(problem(post(unchanged, json=body), 422)))


def test_a_missing_idempotency_key_is_named(unchanged):
    answer = requests.post(unchanged.url("orders", "/api/v1/orders"), json=GOOD, timeout=10,
                           headers=unchanged.headers())
    assert "Idempotency-Key" in fields(problem(answer, 422))


@pytest.mark.parametrize("text", ["{", '{"items": }', "nonsense", '{"a": 1} tail', "[" * 5000,
                                  '{"items": NaN}', b"\xff\xfe"])
def test_malformed_json_is_400(unchanged, text):
    assert problem(post(unchanged, data=text, headers={"Content-Type": "application/json"}),
                   400)["kind"] == "bad_input"


def test_another_content_type_is_415(unchanged):
    problem(post(unchanged, data="a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)


def test_an_oversized_body_is_413(unchanged):
    answer = post(unchanged, data=b" " * (2 << 20), headers={"Content-Type": "application/json"})
    assert problem(answer, 413)["kind"] == "bad_input"


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x.y.z", "Basic abc", "Bearer " + "a" * 3000])
def test_a_bad_token_is_401(unchanged, token):
    answer = requests.post(unchanged.url("orders", "/api/v1/orders"), json=GOOD, timeout=10,
                           headers={"Authorization": token, "Idempotency-Key": "k"})
    assert problem(answer, 401)["kind"] == "denied"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_signed_by_another_key_is_401(unchanged):
    head, claims, signature = unchanged.token().split(".")
    for forged in (f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims}.",
                   f"eyJhbGciOiJub25lIn0.{claims}."):
        answer = requests.get(unchanged.url("orders", f"/api/v1/orders/{uuid.uuid4()}"), timeout=10,
                              headers={"Authorization": "Bearer " + forged})
        problem(answer, 401)


def test_unknown_paths_and_methods_never_need_lua(unchanged):
    assert problem(requests.get(unchanged.url("orders", "/nowhere"), timeout=10), 404)["kind"] == "missing"
    answer = requests.patch(unchanged.url("orders", "/api/v1/orders"), timeout=10)
    problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_inventory_names_its_fields_too(unchanged):
    answer = requests.post(unchanged.url("inventory", "/api/v1/inventory/reserve"), timeout=10,
                           headers={"Authorization": "Bearer " + unchanged.token("operator@orrery.test", "operator-password")},
                           json={"order_id": str(uuid.uuid4()), "items": [{"sku": "SKU-0001", "quantity": -3}]})
    assert "items[0].quantity" in fields(problem(answer, 422))
    answer = requests.get(unchanged.url("inventory", "/api/v1/inventory/SKU-9999"), timeout=10,
                          headers=unchanged.headers())
    problem(answer, 404)
