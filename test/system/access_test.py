# SPDX-License-Identifier: MIT
"""Who may do what: every role against every route, and tokens that were tampered with."""
import base64
import hashlib
import hmac
import json
import time
import uuid

import pytest
import requests

from lab import CARD

ROLES = ("nobody", "customer", "stranger", "operator", "admin", "service")
PEOPLE = {"customer": ("demo@orrery.test", "demo-password"), "stranger": ("stranger@orrery.test", "stranger-password"),
          "operator": ("operator@orrery.test", "operator-password"), "admin": ("admin@orrery.test", "admin-password")}
DEMO = "00000000-0000-4000-8000-000000000001"
SERVICE = "00000000-0000-4000-8000-00000000000a"

# A route, and what becomes of each role in the order of ROLES: ok (let in: any answer but 401, 403 and 404),
# or the status that turns it away. {order} and the like belong to the customer.
OK = "ok"
ALL, SIGNED, STAFF = (OK,) * 6, (401, OK, OK, OK, OK, OK), (401, 403, 403, OK, OK, OK)
PEOPLE_ONLY = (401, OK, OK, OK, OK, 403)
OWN = (401, OK, 404, OK, OK, OK)
OWN_PEOPLE = (401, OK, 404, OK, OK, 403)
MATRIX = {
    "users": {
        "POST /api/v1/users/register": ALL,
        "POST /api/v1/users/login": (401,) * 6,  # with a wrong password
        "POST /api/v1/users/refresh": (401,) * 6,  # with a refresh token of nobody's
        "POST /api/v1/users/logout": (401, OK, OK, OK, OK, 401),
        "GET /api/v1/users/me": (401, OK, OK, OK, OK, 401),
        "GET /api/v1/users/{user}": OWN,
        "PUT /api/v1/users/{user}": (401, OK, 404, 404, OK, 403),
        "GET /api/v1/users": (401, 403, 403, 403, OK, 403),
        "DELETE /api/v1/users/{user}/sessions": (401, OK, 404, 404, OK, 403),
    },
    "orders": {
        "GET /api/v1/orders": SIGNED,
        "POST /api/v1/orders": PEOPLE_ONLY,
        "GET /api/v1/orders/{order}": OWN,
        "PUT /api/v1/orders/{order}": OWN_PEOPLE,
        "DELETE /api/v1/orders/{order}": OWN_PEOPLE,
    },
    "inventory": {
        "GET /api/v1/inventory": SIGNED,
        "GET /api/v1/inventory/{sku}": SIGNED,
        "POST /api/v1/inventory/reserve": STAFF,
        "POST /api/v1/inventory/release": STAFF,
        "POST /api/v1/inventory/adjust": (401, 403, 403, OK, OK, 403),
        "GET /api/v1/inventory/alerts": STAFF,
        "GET /api/v1/inventory/{sku}/movements": STAFF,
    },
    "payments": {
        "POST /api/v1/payments": STAFF,
        "GET /api/v1/payments": SIGNED,
        "GET /api/v1/payments/{payment}": OWN,
        "POST /api/v1/payments/{payment}/refund": STAFF,
        "GET /api/v1/payments/order/{order}": SIGNED,  # a stranger's list is empty
        "POST /api/v1/payments/order/{order}/void": (401, 403, 403, 403, OK, OK),
    },
    "notifications": {
        "POST /api/v1/notifications/send": STAFF,
        "GET /api/v1/notifications": SIGNED,
        "GET /api/v1/notifications/{notification}": OWN,
        "GET /api/v1/notifications/preferences": PEOPLE_ONLY,
        "PUT /api/v1/notifications/preferences": PEOPLE_ONLY,
        "GET /ws": (401, OK, OK, OK, OK, 403),
    },
}
OPEN = {"GET /openapi.json", "GET /health", "GET /ready", "GET /metrics", "GET /actuator/prometheus"}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret, header=None, digest=hashlib.sha256, **claims):
    now = int(time.time())
    claims = {"iss": "orrery", "aud": "orrery", "sub": DEMO, "role": "admin", "iat": now, "exp": now + 300,
              "jti": str(uuid.uuid4()), **claims}
    signed = b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "." + b64(json.dumps(claims).encode())
    return signed + "." + b64(hmac.new(secret.encode(), signed.encode(), digest).digest())


def secret_of(lab):
    return (lab.state / "service/orders/env/ORRERY_JWT_SECRET").read_text().strip()


@pytest.fixture(scope="module")
def tokens(started_lab):
    lab = started_lab
    requests.post(lab.url("users", "/api/v1/users/register"), timeout=10,
                  json={"email": "stranger@orrery.test", "password": "stranger-password"})
    found = {role: lab.token(*who) for role, who in PEOPLE.items()}
    found["service"] = token(secret_of(lab), sub=SERVICE, role="service", name="test")
    return found


def fresh_session(lab, role):
    """A token that may be logged out."""
    email, password = PEOPLE[role]
    return requests.post(lab.url("users", "/api/v1/users/login"), timeout=10,
                         json={"email": email, "password": password}).json()["access_token"]


@pytest.fixture
def things(lab):
    """What the customer owns."""
    order = lab.order().json()
    notification = None
    while not notification:
        rows = lab.sql("select id::text from notifications.notifications where user_id = %s limit 1", DEMO)
        notification = rows and rows[0][0]
    return {"order": order["id"], "payment": order["payment_id"], "user": DEMO, "sku": "SKU-0001",
            "notification": notification, "id": order["id"]}


def body_for(route):
    """Enough to get past the shape; never enough to change much."""
    return {
        "POST /api/v1/users/register": {"email": f"{uuid.uuid4().hex[:12]}@orrery.test", "password": "a password"},
        "POST /api/v1/users/login": {"email": "demo@orrery.test", "password": "not the password"},
        "POST /api/v1/users/refresh": {"refresh_token": "x" * 43},
        "POST /api/v1/orders": {"items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
                                "payment": {"method": "card", "card": CARD}},
        "PUT /api/v1/orders/{order}": {"version": 1, "note": "ring twice"},
        "PUT /api/v1/users/{user}": {"version": 1, "name": "Demo Customer"},
        "PUT /api/v1/notifications/preferences": {"version": 1, "email": True},
        "POST /api/v1/inventory/reserve": {"order_id": str(uuid.uuid4()), "items": [{"sku": "SKU-0001", "quantity": 1}]},
        "POST /api/v1/inventory/release": {"order_id": str(uuid.uuid4())},
        "POST /api/v1/inventory/adjust": {"sku": "SKU-0001", "warehouse": "east", "quantity": 1, "reason": "received"},
        "POST /api/v1/payments": {"order_id": str(uuid.uuid4()), "customer_id": DEMO, "amount": 100, "currency": "USD",
                                  "method": "card", "card": CARD},
        "POST /api/v1/payments/{payment}/refund": {"amount": 1},
        "POST /api/v1/notifications/send": {"user_id": DEMO, "channel": "email", "recipient": "demo@orrery.test",
                                            "subject": "A word", "body": "about something"},
    }.get(route)


@pytest.mark.parametrize("service,route", [(s, r) for s, routes in MATRIX.items() for r in routes])
def test_a_route_lets_in_whom_it_should(lab, tokens, things, service, route):
    wrong = []
    for role, expected in zip(ROLES, MATRIX[service][route]):
        method, path = route.split(" ")
        bearer = tokens.get(role)
        if bearer and role in PEOPLE and path.endswith(("/logout", "/sessions")):
            bearer = fresh_session(lab, role)
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if bearer:
            headers["Authorization"] = "Bearer " + bearer
        if path == "/ws":
            headers.update({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        answer = requests.request(method, lab.url(service, path.format(**things)), json=body_for(route), timeout=20,
                                  headers=headers, stream=path == "/ws")
        answer.close()
        let_in = answer.status_code < 500 and answer.status_code not in (401, 403, 404)
        if not (let_in if expected == OK else answer.status_code == expected):
            wrong.append(f"{role}: {answer.status_code}, expected {expected}")
        if path.endswith("/sessions") and role in PEOPLE:
            for known in ("customer", "admin"):  # whose sessions are gone now
                lab.tokens.pop(PEOPLE[known][0], None)
                tokens[known] = lab.token(*PEOPLE[known])
    assert wrong == []


@pytest.mark.parametrize("service", MATRIX)
def test_no_route_is_missing_from_the_matrix(lab, service):
    document = requests.get(lab.url(service, "/openapi.json"), timeout=10).json()
    found = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
             if method in ("get", "post", "put", "patch", "delete")}
    listed = {" ".join([r.split(" ")[0], "/".join("{}" if part.startswith("{") else part
                                                  for part in r.split(" ")[1].split("/"))]) for r in MATRIX[service]}
    plain = {" ".join([r.split(" ")[0], "/".join("{}" if part.startswith("{") else part
                                                 for part in r.split(" ")[1].split("/"))]) for r in found - OPEN}
    assert plain == listed


PROTECTED = [("users", "GET /api/v1/users"), ("orders", "GET /api/v1/orders"), ("inventory", "GET /api/v1/inventory"),
             ("payments", "GET /api/v1/payments"), ("notifications", "GET /api/v1/notifications")]


def forgeries(secret, honest):
    """Claim -> token; none of them may pass."""
    head, body, signature = honest.split(".")
    none = b64(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    other = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    promoted = b64(json.dumps({**other, "role": "admin"}).encode())
    past = int(time.time()) - 3600
    return {
        "alg none without a signature": f"{none}.{body}.",
        "alg none with the old signature": f"{none}.{body}.{signature}",
        "alg NONE": f"{b64(json.dumps({'alg': 'NONE'}).encode())}.{promoted}.",
        "another key": token("another key, which is long enough as well"),
        "an empty key": token(""),
        "HS512 with the right key": token(secret, {"alg": "HS512", "typ": "JWT"}, hashlib.sha512),
        "HS384 with the right key": token(secret, {"alg": "HS384", "typ": "JWT"}, hashlib.sha384),
        "RS256 signed as HS256": token(secret, {"alg": "RS256", "typ": "JWT"}),
        "no alg": token(secret, {"typ": "JWT"}),
        "expired": token(secret, exp=past, iat=past - 60),
        "never expires": token(secret, exp=None),
        "expires as a text": token(secret, exp=str(int(time.time()) + 300)),
        "issued tomorrow": token(secret, iat=int(time.time()) + 86400, exp=int(time.time()) + 90000),
        "another audience": token(secret, aud="another"),
        "a list of audiences": token(secret, aud=["another"]),
        "no audience": token(secret, aud=None),
        "another issuer": token(secret, iss="another"),
        "no subject": token(secret, sub=None),
        "a role raised by hand": f"{head}.{promoted}.{signature}",
        "a signature cut short": honest[:-2],
        "a signature of another token": f"{head}.{promoted}.{token(secret).split('.')[2]}",
        "no signature": f"{head}.{body}",
        "four parts": honest + ".x",
        "no JSON": f"{b64(b'nothing')}.{b64(b'nothing')}.{signature}",
        "bytes that are no base64url": f"{head}.{body}.{signature[:-1]}!",
        "a very long one": honest + "A" * 20000,
        "empty": "",
    }


@pytest.mark.parametrize("service,route", PROTECTED)
def test_a_token_that_was_tampered_with_opens_nothing(lab, service, route):
    honest = lab.token()
    path = route.split(" ")[1]
    let_in = []
    for claim, forged in forgeries(secret_of(lab), honest).items():
        answer = requests.get(lab.url(service, path), headers={"Authorization": f"Bearer {forged}"}, timeout=10)
        if answer.status_code not in (400, 401, 431) or (answer.status_code != 401 and len(forged) < 8000):
            let_in.append(f"{claim}: {answer.status_code}")
    for scheme in ("Basic", "bearer:", "Token", ""):
        answer = requests.get(lab.url(service, path), headers={"Authorization": f"{scheme} {honest}".strip()}, timeout=10)
        if answer.status_code != 401:
            let_in.append(f"scheme {scheme!r}: {answer.status_code}")
    assert let_in == []


def test_a_token_in_the_query_opens_nothing_but_the_socket(lab):
    for service, route in PROTECTED:
        path = route.split(" ")[1]
        answer = requests.get(lab.url(service, path), params={"access_token": lab.token()}, timeout=10)
        assert answer.status_code in (401, 422), service


def same_answer(one, other):
    """Whether two answers tell apart nothing: status, headers but the date, body but the trace."""
    def told(answer):
        headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}
        body = answer.json() if answer.content else None
        return answer.status_code, headers, {**body, "trace_id": ""} if isinstance(body, dict) else body
    return told(one) == told(other)


STRANGE = [
    ("orders", "GET", "/api/v1/orders/{order}", {}, None), ("orders", "HEAD", "/api/v1/orders/{order}", {}, None),
    ("orders", "GET", "/api/v1/orders/{order}", {"If-None-Match": "*"}, None),
    ("orders", "PUT", "/api/v1/orders/{order}", {"If-Match": '"2"'}, {"note": "mine"}),
    ("orders", "PUT", "/api/v1/orders/{order}", {}, {"version": 1, "status": "shipped"}),
    ("orders", "DELETE", "/api/v1/orders/{order}", {}, None),
    ("orders", "GET", "/api/v1/orders?q={order}", {}, None), ("orders", "GET", "/api/v1/orders?customer_id={user}", {}, None),
    ("orders", "GET", "/api/v1/orders?q={email}", {}, None),
    ("payments", "GET", "/api/v1/payments/{payment}", {}, None), ("payments", "GET", "/api/v1/payments/order/{order}", {}, None),
    ("payments", "GET", "/api/v1/payments?order_id={order}", {}, None),
    ("payments", "GET", "/api/v1/payments?customer_id={user}", {}, None),
    ("payments", "POST", "/api/v1/payments/{payment}/refund", {"Idempotency-Key": "{order}:refund"}, {}),
    ("payments", "POST", "/api/v1/payments/order/{order}/void", {}, None),
    ("notifications", "GET", "/api/v1/notifications/{notification}", {}, None),
    ("notifications", "GET", "/api/v1/notifications?order_id={order}", {}, None),
    ("notifications", "GET", "/api/v1/notifications?user_id={user}", {}, None),
    ("users", "GET", "/api/v1/users/{user}", {"If-None-Match": "*"}, None),
    ("users", "PUT", "/api/v1/users/{user}", {"If-Match": '"1"'}, {"role": "admin"}),
    ("users", "DELETE", "/api/v1/users/{user}/sessions", {}, None),
]


def test_a_stranger_cannot_tell_what_is_there_from_what_is_not(lab, tokens, things):
    there = {**things, "email": "demo@orrery.test"}
    nowhere = {name: str(uuid.uuid4()) for name in there} | {"email": "nobody-at-all@orrery.test"}
    told = []
    for service, method, path, headers, body in STRANGE:
        one, other = (requests.request(method, lab.url(service, path.format(**which)), json=body, timeout=20, headers={
            "Authorization": "Bearer " + tokens["stranger"],
            **{name: value.format(**which) for name, value in headers.items()}}) for which in (there, nowhere))
        if not same_answer(one, other) or one.status_code >= 500:
            told.append(f"{method} {path}: {one.status_code} {one.text}, else {other.status_code} {other.text}")
    assert told == []


def test_a_search_finds_ones_own_orders_and_staff_finds_all(lab, tokens, things):
    def found(role, q):
        answer = requests.get(lab.url("orders", "/api/v1/orders"), params={"q": q, "limit": 100}, timeout=20,
                              headers={"Authorization": "Bearer " + tokens[role]})
        assert answer.status_code == 200, answer.text
        return {row["id"] for row in answer.json()["items"]}

    own = lab.order(headers={"Authorization": "Bearer " + tokens["stranger"]}).json()["id"]
    for q in ("SKU-0001", "sku-0001"):
        assert own in found("stranger", q) and things["order"] not in found("stranger", q)
        assert {own, things["order"]} <= found("operator", q)
    assert found("operator", things["order"]) == {things["order"]} == found("operator", things["order"][:13].upper())
    assert found("stranger", own[:8]) == {own} and found("stranger", "stranger@") == set()
    assert own in found("operator", "STRANGER@") and found("operator", "SKU-000") == set()


def test_nothing_but_what_a_body_may_say_is_taken(lab, tokens):
    head = {"Authorization": "Bearer " + tokens["customer"], "Idempotency-Key": str(uuid.uuid4())}
    other = str(uuid.uuid4())
    bodies = {
        ("users", "POST", "/api/v1/users/register"): (
            {"email": f"{other}@orrery.test", "password": "a password"},
            {"role": "admin", "status": "active", "id": other, "version": 9, "seq": 1, "password_hash": "x"}),
        ("users", "PUT", "/api/v1/users/" + DEMO): (
            {"version": 1, "name": "Demo"}, {"id": other, "email": "a@b.test", "password": "a password", "seq": 1}),
        ("orders", "POST", "/api/v1/orders"): (
            body_for("POST /api/v1/orders"),
            {"customer_id": other, "email": "a@b.test", "total": 1, "status": "processing", "payment_id": other}),
        ("notifications", "PUT", "/api/v1/notifications/preferences"): (
            {"version": 1, "email": True, "sms": False}, {"user_id": other, "id": other}),
    }
    taken = []
    for (service, method, path), (body, more) in bodies.items():
        for name, value in more.items():
            answer = requests.request(method, lab.url(service, path), json={**body, name: value}, headers=head, timeout=20)
            if answer.status_code != 422 or [e["field"] for e in answer.json()["errors"]] != [name]:
                taken.append(f"{path} {name}: {answer.status_code} {answer.text}")
    assert taken == []


def test_a_sku_that_is_the_name_of_a_route_is_no_product(lab):
    for sku in ("alerts", "reserve", "..", ".", "SKU-0001/movements"):
        answer = lab.order(items=[{"sku": sku, "quantity": 1}])
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"] == [{"field": "items[0].sku", "message": "is not a known product"}], sku


def test_the_card_network_gets_nothing_of_the_lab(lab):
    """It plays a machine of somebody else: with the key it could write tokens of administrators."""
    given = {file.name for file in (lab.state / "service/acquirer/env").iterdir()}
    assert not given & {"ORRERY_JWT_SECRET", "ORRERY_REDIS_URL", "ORRERY_AMQP_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"}


def test_a_session_that_was_revoked_is_over(lab):
    mine = fresh_session(lab, "customer")
    headers = {"Authorization": "Bearer " + mine}
    assert requests.get(lab.url("users", "/api/v1/users/me"), headers=headers, timeout=10).status_code == 200
    gone = requests.post(lab.url("users", "/api/v1/users/logout"), headers=headers, timeout=10)
    assert gone.status_code in (200, 204)
    assert requests.get(lab.url("users", "/api/v1/users/me"), headers=headers, timeout=10).status_code == 401
    placed = lab.order(headers=headers)
    assert placed.status_code == 401, "orders asks users, so an order is refused at once"
