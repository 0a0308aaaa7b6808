# SPDX-License-Identifier: MIT
"""Real things to ask the services for: people with their tokens, orders, payments, keys. Requests
that are made of schemas alone meet none of them. Of two replicas the one prepares what is then
asked of the other."""
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections import Counter

import requests

from lab import CARD, wait_until

CARDS = ["4242424242424242", "5555555555554444", "378282246310005"]
IBANS = ["DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"]
SERVICE_ID = "00000000-0000-4000-8000-00000000000a"
PASSWORD = "a long password"
MUCH = 10**9  # minor units: many small refunds fit in


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def service_token(secret):
    now = int(time.time())
    claims = {"iss": "orrery", "aud": "orrery", "sub": SERVICE_ID, "role": "service", "name": "test",
              "iat": now, "exp": now + 600}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return signed + "." + encoded(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


class World:
    def __init__(self, lab, replicas):
        self.urls = (lab.url, replicas.url)
        self.turn = 0  # whose turn it is to be asked what is judged
        self.sent, self.across, self.cursors = Counter(), Counter(), {}
        self.http = requests.Session()
        self.http.trust_env = False
        self.mark = uuid.uuid4().hex[:8]
        self.count = 0
        self.tokens = {"service": service_token(lab.env["ORRERY_JWT_SECRET"])}
        self.seeded_admin = lab.token("admin@orrery.test", "admin-password")
        self.people = {role: self.person(role) for role in ("customer", "operator", "admin")}
        # Of those with the most left, and not those that other tests count.
        self.skus = [row[0] for row in lab.sql(
            "select sku from inventory.stock where sku > 'SKU-0010'"
            " group by sku order by sum(on_hand - reserved) desc, sku limit 5")]
        self.orders = [self.order() for _ in range(6)]
        self.payments = [self.payment() for _ in range(2)]
        self.keys = [self.authorized(captured) for captured in (False, True, True)]
        self.notifications = wait_until(self.told, what="notifications of the orders")

    def ask(self, service, method, path, token=None, headers=None, at=None, **more):
        """Of the replica `at`; of the one whose turn it is not when that is not said."""
        at = 1 - self.turn if at is None else at
        self.sent[service, at] += 1
        headers = {**(headers or {}), **({"Authorization": "Bearer " + token} if token else {})}
        return self.http.request(method, self.urls[at](service, path), headers=headers, timeout=20, **more)

    def made(self, *words, **more):
        answer = self.ask(*words, **more)
        assert answer.status_code < 300, f"{words}: {answer.status_code} {answer.text}"
        return answer.json()

    def new(self, word):
        """A text that nobody had before."""
        self.count += 1
        return f"{word}-{self.mark}-{self.count}"

    def key(self):
        return {"Idempotency-Key": self.new("key")}

    # --- people -------------------------------------------------------------------------------

    def register(self):
        email = self.new("somebody") + "@orrery.test"
        return self.made("users", "POST", "/api/v1/users/register", json={"email": email, "password": PASSWORD})

    def login(self, user):
        return self.made("users", "POST", "/api/v1/users/login",
                         json={"email": user["email"], "password": PASSWORD})

    def person(self, role):
        user = self.register()
        if role != "customer":
            user = self.made("users", "PUT", "/api/v1/users/" + user["id"], token=self.seeded_admin,
                             json={"version": user["version"], "role": role})
        self.tokens[role] = self.login(user)["access_token"]
        return user

    # --- things -------------------------------------------------------------------------------

    def order(self):
        return self.made("orders", "POST", "/api/v1/orders", token=self.tokens["customer"],
                         headers=self.key(), json={
            "items": [{"sku": self.skus[0], "quantity": 1}], "currency": "USD",
            "payment": {"method": "card", "card": CARD}})

    def payment(self):
        return self.made("payments", "POST", "/api/v1/payments", token=self.tokens["service"],
                         headers=self.key(), json={
            "order_id": str(uuid.uuid4()), "customer_id": self.people["customer"]["id"], "amount": MUCH,
            "currency": "USD", "method": "card", "card": CARD})

    def authorized(self, captured):
        key = self.new("authorization")
        self.made("acquirer", "POST", "/authorize", headers={"Idempotency-Key": key}, json={
            "amount": MUCH, "currency": "USD", "reference": key, "method": "card",
            "card": {**CARD, "brand": "visa"}})
        if captured:
            self.made("acquirer", "POST", "/capture", json={"key": key})
        return key

    def told(self):
        return self.made("notifications", "GET", "/api/v1/notifications", token=self.tokens["customer"])["items"]

    # --- what one replica gives and the other takes ---------------------------------------------

    def version(self, service, path, token):
        self.across["versions"] += 1
        answer = self.ask(service, "GET", path, token=token)
        return answer.json().get("version", 1)

    def same_again(self, plan):
        """With the entity tag that the other replica gives for what the plan asks for."""
        path = plan.operation.path.replace("{id}", str(plan.path.get("id")))
        service = plan.operation.contract.document["info"]["title"]
        answer = self.ask(service, "GET", path, token=self.tokens.get(plan.role))
        if "ETag" not in answer.headers:
            return {}
        self.across["tags"] += 1
        return {"headers": {"If-None-Match": answer.headers["ETag"]}, "wanted": {304}}

    def keep_cursor(self, operation, answer):
        if answer.status_code == 200 and answer.content.startswith(b"{"):
            self.cursors[operation, self.turn] = answer.json().get("next_cursor")

    def next_page(self, operation):
        """What follows in the other replica's list, if it said that there is more."""
        cursor = self.cursors.get((operation, 1 - self.turn))
        if not cursor:
            return {}
        self.across["cursors"] += 1
        return {"query": {"limit": 2, "cursor": cursor}, "wanted": {200}}


# What a property of this name is made of, wherever it stands in a body.
NAMED = {
    "sku": lambda world, random: random.choice(world.skus),
    "quantity": lambda world, random: random.randint(1, 2),
    "warehouse": lambda world, random: "east",
    "currency": lambda world, random: "USD",
    "country": lambda world, random: random.choice(["DE", "FR", "US"]),
    "number": lambda world, random: random.choice(CARDS),
    "cvc": lambda world, random: "123",
    "exp_year": lambda world, random: 2035,
    "iban": lambda world, random: random.choice(IBANS),
    "customer_id": lambda world, random: world.people["customer"]["id"],
    "user_id": lambda world, random: world.people["customer"]["id"],
    "order_id": lambda world, random: str(uuid.uuid4()),
    "delta": lambda world, random: random.randint(1, 5),
}


def real(value, world, random):
    """The value with real things in it."""
    if isinstance(value, list):
        return [real(item, world, random) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: NAMED[name](world, random) if name in NAMED and not isinstance(part, (dict, list))
            else real(part, world, random) for name, part in value.items()}


INSTRUMENTS = {
    "card": lambda random: {**CARD, "number": random.choice(CARDS)},
    "paypal": lambda random: {"email": "payer@orrery.test"},
    "bank_transfer": lambda random: {"iban": random.choice(IBANS)},
}


def paid(fields, random):
    """The fields with a method and the one member that belongs to it."""
    method = random.choice(list(INSTRUMENTS))
    rest = {name: part for name, part in fields.items() if name not in INSTRUMENTS}
    return {**rest, "method": method, method: INSTRUMENTS[method](random)}


def an_order(world, random, plan):
    body = {**plan.body, "payment": paid(plan.body["payment"], random)}
    lines = {line["sku"]: line for line in body["items"][:2]}  # each product once
    return {"body": {**body, "items": list(lines.values())}}


def an_authorization(world, random, plan):
    body = paid(plan.body, random)
    if body["method"] == "card":
        body["card"]["brand"] = "visa"
    return {"body": body, "headers": world.key()}


def change_order(world, random, plan):
    order, role = random.choice(world.orders), random.choice(["customer", "operator", "admin"])
    body = {"note": plan.body.get("note", "ring twice")}
    if role != "customer" and random.random() < 0.2:
        body = {"status": random.choice(["shipped", "delivered"])}
    path = "/api/v1/orders/" + order["id"]
    return {**seen(world, random, "orders", path, world.tokens["operator"], body),
            "path": {"id": order["id"]}, "role": role}


def seen(world, random, service, path, token, body):
    """The body with the version that the thing has now, which the header may say as well."""
    version = world.version(service, path, token)
    wanted = {"wanted": {200}} if service != "orders" or "status" not in body else {}  # it may not move on
    if random.random() < 0.5:
        return {"body": {**body, "version": version}, "headers": {}, **wanted}
    return {"body": {name: part for name, part in body.items() if name != "version"},
            "headers": {"If-Match": f'"{version}"'}, **wanted}


def change_user(world, random, plan):
    user = world.subject = getattr(world, "subject", None) or world.register()
    path = "/api/v1/users/" + user["id"]
    return {**seen(world, random, "users", path, world.tokens["admin"], plan.body),
            "path": {"id": user["id"]}, "role": "admin"}


def change_preferences(world, random, plan):
    role = random.choice(["customer", "operator", "admin"])
    path = "/api/v1/notifications/preferences"
    body = {**plan.body, "sms": False}
    return {**seen(world, random, "notifications", path, world.tokens[role], body), "role": role}


def a_message(world, random, plan):
    """To somebody new each time: how much one person gets is limited."""
    user, text = str(uuid.uuid4()), "Ring twice."
    said = {"channel": "email", "subject": "News", "recipient": "demo@orrery.test"}
    if random.random() < 0.4:
        said = {"channel": "sms", "recipient": "+15550100123"}
    return {"body": {"user_id": user, "body": text, **said}, "headers": world.key()}


def a_leaver(world):
    """A person whose sessions end, and who is not asked for otherwise."""
    world.leaver = getattr(world, "leaver", None) or world.register()
    return world.leaver


def a_session(world, random, plan):
    world.across["tokens"] += 1
    return {"token": world.login(a_leaver(world))["access_token"]}


def a_refresh(world, random, plan):
    """A refresh token is good for once: each gives the next one."""
    if not getattr(world, "refresh", None):
        world.refresh = world.login(world.register())["refresh_token"]
    token, world.refresh = world.refresh, None
    world.across["tokens"] += 1
    return {"body": {"refresh_token": token},
            "then": lambda answer: setattr(world, "refresh", answer.json().get("refresh_token"))}


def own(things):
    return lambda world, random, plan: {
        "path": {"id": random.choice(getattr(world, things))["id"]}}


def upgrade(world, random, plan):
    return {"headers": {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
            "role": random.choice(["customer", "operator", "admin"])}


def held(world, random, plan):
    return {"body": {**plan.body, "order_id": world.new("hold"),
                     "items": [{"sku": random.choice(world.skus), "quantity": 1}]}}


# What an operation is asked beside that: members replace those of the plan.
MADE = {
    "postOrders": an_order,
    "putOrdersById": change_order,
    "deleteOrdersById": lambda world, random, plan: {"path": {"id": random.choice(world.orders[:2])["id"]}},
    "getOrdersById": own("orders"),
    "getOrders": lambda world, random, plan: {"role": "admin"},
    "postPayments": lambda world, random, plan: {"body": paid(plan.body, random), "headers": world.key()},
    "getPaymentsById": own("payments"),
    "postPaymentsByIdRefund": lambda world, random, plan: {
        "path": {"id": random.choice(world.payments)["id"]}, "headers": world.key(),
        "body": {**plan.body, "amount": random.randint(1, 100)}},
    "postAuthorize": an_authorization,
    "postCapture": lambda world, random, plan: {"body": {"key": random.choice(world.keys[1:])}},
    "postVoid": lambda world, random, plan: {"body": {"key": world.new("void")}},
    "postRefund": lambda world, random, plan: {
        "headers": world.key(), "body": {"key": random.choice(world.keys[1:]), "amount": random.randint(1, 100)}},
    "getAuthorizationsByKey": lambda world, random, plan: {"path": {"key": random.choice(world.keys)}},
    "postUsersRegister": lambda world, random, plan: {
        "body": {**plan.body, "email": world.new("new") + "@orrery.test"}},
    "postUsersLogin": lambda world, random, plan: {
        "body": {"email": world.people["customer"]["email"], "password": PASSWORD}},
    "postUsersRefresh": a_refresh,
    "postUsersLogout": a_session,
    "getUsersMe": lambda world, random, plan: {"role": random.choice(list(world.people))},
    "getUsers": lambda world, random, plan: {"role": "admin"},
    "getUsersById": lambda world, random, plan: {
        "path": {"id": world.people["customer"]["id"]}, "role": random.choice(["customer", "admin"])},
    "putUsersById": change_user,
    "deleteUsersByIdSessions": lambda world, random, plan: {
        "path": {"id": a_leaver(world)["id"]}, "role": "admin"},
    "getNotificationsById": own("notifications"),
    "getNotifications": lambda world, random, plan: {"role": random.choice(["customer", "admin"])},
    "putNotificationsPreferences": change_preferences,
    "postNotificationsSend": a_message,
    "getWs": upgrade,
    "postInventoryReserve": held,
}
