# SPDX-License-Identifier: MIT
"""What must not be kept is kept nowhere: no database, no cache, no queue, no log, no span has a card
number, a security code beside it, an account number, a password or a token."""
import base64
import hashlib
import json
import random
import subprocess
import uuid

import pytest
import requests

import ws_client
from lab import CARD, wait_until


def luhn(prefix, length, draw):
    """A card number nobody else uses."""
    digits = prefix + "".join(str(draw.randint(0, 9)) for _ in range(length - len(prefix) - 1))
    total = sum(d if i % 2 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(map(int, reversed(digits))))
    return digits + str(-total % 10)


def iban(draw):
    account = "".join(str(draw.randint(0, 9)) for _ in range(18))
    check = 98 - int(account + "131400") % 97  # DE is 13 14
    return f"DE{check:02d}{account}"


def database_dump(lab):
    return subprocess.run(["/usr/lib/postgresql/15/bin/pg_dump", "--data-only", lab.env["ORRERY_POSTGRES_ADMIN_URL"]],
                          check=True, stdout=subprocess.PIPE, timeout=120).stdout


def redis_dump(lab):
    """Every key with its value, whatever its type, and the append-only file."""
    url = (lab.state / "service/orders/env/ORRERY_REDIS_URL").read_text().strip()
    found = b""
    for key in subprocess.run(["redis-cli", "-u", url, "--scan"], check=True, stdout=subprocess.PIPE).stdout.split():
        found += key + subprocess.run(["redis-cli", "-u", url, "--no-raw", "DUMP", key], check=True,
                                      stdout=subprocess.PIPE).stdout
    return found + b"".join(file.read_bytes() for file in lab.state.rglob("*.aof"))


def logs(lab):
    return b"".join(file.read_bytes() for file in (lab.state / "log").rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def secrets(started_lab):
    """Uses one of each kind, well and badly; gives them by what they are."""
    lab, draw = started_lab, random.Random(uuid.uuid4().int)
    email, password = f"{uuid.uuid4().hex[:10]}@orrery.test", "pw-" + uuid.uuid4().hex
    wrong = "wrong-" + uuid.uuid4().hex
    cards = {name: luhn(prefix, length, draw) for name, prefix, length in (
        ("a visa card", "4", 16), ("a mastercard", "52", 16), ("an amex card", "37", 15), ("a card of 19 digits", "6", 19))}
    broken = luhn("4", 16, draw)
    broken = broken[:-1] + str((int(broken[-1]) + 1) % 10)
    account = iban(draw)

    assert requests.post(lab.url("users", "/api/v1/users/register"), timeout=10,
                         json={"email": email, "password": password}).status_code == 201
    requests.post(lab.url("users", "/api/v1/users/login"), timeout=10, json={"email": email, "password": wrong})
    requests.post(lab.url("users", "/api/v1/users/login"), timeout=10, json={"email": email, "password": [wrong]})
    login = requests.post(lab.url("users", "/api/v1/users/login"), timeout=10,
                          json={"email": email, "password": password}).json()
    headers = {"Authorization": "Bearer " + login["access_token"]}
    for number in cards.values():
        card = {"number": number, "cvc": "1234" if number.startswith("37") else "123"}
        placed = lab.order(card=card, headers=headers)
        assert placed.status_code == 201, placed.text
    for body in ({"card": {**CARD, "number": broken}}, {"card": {**CARD, "number": broken + "x"}},
                 {"card": {**CARD, "exp_year": 2001, "number": cards["a visa card"]}}, {"card": cards["a visa card"]}):
        refused = requests.post(lab.url("orders", "/api/v1/orders"), timeout=10,
                                headers={**headers, "Idempotency-Key": str(uuid.uuid4())}, json={
                                    "items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
                                    "payment": {"method": "card", **body}})
        assert refused.status_code == 422 and broken not in refused.text and cards["a visa card"] not in refused.text
    paid = requests.post(lab.url("orders", "/api/v1/orders"), timeout=20,
                         headers={**headers, "Idempotency-Key": str(uuid.uuid4())}, json={
                             "items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
                             "payment": {"method": "bank_transfer", "bank_transfer": {"iban": account}}})
    assert paid.status_code == 201, paid.text
    paypal = f"{uuid.uuid4().hex[:10]}@paypal.test"
    paid = requests.post(lab.url("orders", "/api/v1/orders"), timeout=20,
                         headers={**headers, "Idempotency-Key": str(uuid.uuid4())}, json={
                             "items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
                             "payment": {"method": "paypal", "paypal": {"email": paypal}}})
    assert paid.status_code == 201, paid.text
    misplaced = luhn("4", 16, draw)
    for body in ({misplaced: ""}, {"payment": {"method": "card", "card": {misplaced: "123"}}}):
        refused = requests.post(lab.url("orders", "/api/v1/orders"), timeout=10, json=body,
                                headers={**headers, "Idempotency-Key": str(uuid.uuid4())})
        assert refused.status_code == 422 and misplaced not in refused.text
    with ws_client.connect(lab.url("notifications", "/ws").replace("http", "ws", 1)
                           + "?access_token=" + login["access_token"]):
        pass
    wait_until(lab.settled, 30, "the events")
    return {**cards, "a number that is no card": broken, "an account number": account,
            "a PayPal account": paypal, "a card number as a field's name": misplaced,
            "a digest of the PayPal account that can be guessed": hashlib.sha256(json.dumps(
                ["USD", "paypal", paypal, "", "", ["SKU-0001", 1]], separators=(",", ":")).encode()).hexdigest(),
            "a password": password,
            "a wrong password": wrong, "an access token": login["access_token"].split(".")[2],
            "a refresh token": login["refresh_token"]}


def spellings(secret):
    raw = secret.encode()
    return {raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode(),
            b" ".join(raw[i:i + 4] for i in range(0, len(raw), 4))}


PLACES = {"the databases": database_dump, "the cache": redis_dump, "the logs": logs,
          "the captured telemetry": None,
          "the broker's files": lambda lab: b"".join(
              file.read_bytes() for file in (lab.state / "rabbitmq").rglob("*") if file.is_file())}


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_kept_in(lab, collector, secrets, place):
    if place == "the captured telemetry":
        with collector.lock:
            kept = b"".join(body for _, body in collector.bodies)
    else:
        kept = PLACES[place](lab)
    assert len(kept) > 0, "there is something to look at"
    assert [name for name, secret in secrets.items() for text in spellings(secret) if text in kept] == []


def test_the_search_would_find_a_secret(lab, secrets):
    """The last digits are kept, so the same look at the same places finds them."""
    kept = database_dump(lab)
    assert secrets["a visa card"][-4:].encode() in kept and secrets["an account number"][-4:].encode() in kept


def test_a_telephone_number_and_a_note_are_kept_in_the_databases_alone(lab, collector):
    """What customers say of themselves is kept where it is asked for; it is not told on the way."""
    draw = random.Random(uuid.uuid4().int)
    phone, note = "+1555" + "".join(str(draw.randint(0, 9)) for _ in range(9)), "note-" + uuid.uuid4().hex
    user = {"email": f"{uuid.uuid4().hex[:10]}@orrery.test", "password": "a long password"}
    assert requests.post(lab.url("users", "/api/v1/users/register"), timeout=10,
                         json={**user, "phone": phone, "name": note}).status_code == 201
    head = {"Authorization": "Bearer " + lab.token(user["email"], user["password"])}
    wanted = requests.put(lab.url("notifications", "/api/v1/notifications/preferences"), timeout=10, headers=head,
                          json={"version": 1, "email": True, "sms": True, "phone": phone})
    assert wanted.status_code == 200, wanted.text
    assert lab.order(headers=head, note=note).status_code == 201
    wait_until(lambda: lab.one("select count(*) from notifications.mock_deliveries where recipient = %s", phone) == 1, 30,
               "the text message")
    wait_until(lab.settled, 30, "the events")
    found = [place for place, look in PLACES.items() for text in (phone[1:], note)
             if look and place != "the databases" and text.encode() in look(lab)]
    with collector.lock:
        found += [path for path, body in collector.bodies for text in (phone[1:], note) if text.encode() in body]
    assert found == [] and note.encode() in database_dump(lab)


# --- injections ------------------------------------------------------------------------------

NASTY = ["'; drop table orders; --", "' or '1'='1", "1; select pg_sleep(5)", "\\'; delete from users; --", "%' or 1=1 --",
         "$1", "{{order_id}}", "%s%n", "\u202e\u0000x".replace("\u0000", ""), "</script><script>alert(1)</script>",
         "line one\nline two", "a\r\nSet-Cookie: x=1", '{"level":"ERROR","message":"forged"}', "\x1b[31mred", "x" * 4000]


def test_nasty_texts_change_nothing_but_what_they_name(lab):
    headers, admin = lab.headers(), {"Authorization": "Bearer " + lab.token("admin@orrery.test", "admin-password")}
    before = [lab.one(f"select count(*) from {table}") for table in ("orders.orders", "users.users", "inventory.products")]
    for text in NASTY:
        asked = [
            requests.get(lab.url("orders", "/api/v1/orders"), params={"q": text}, headers=headers, timeout=10),
            requests.get(lab.url("orders", "/api/v1/orders"), params={"cursor": text}, headers=headers, timeout=10),
            requests.get(lab.url("users", "/api/v1/users"), params={"q": text}, headers=admin, timeout=10),
            requests.get(lab.url("inventory", "/api/v1/inventory"), params={"q": text}, headers=headers, timeout=10),
            requests.get(lab.url("inventory", "/api/v1/inventory/" + requests.utils.quote(text, safe="")),
                         headers=headers, timeout=10),
            requests.post(lab.url("users", "/api/v1/users/login"), json={"email": text, "password": text}, timeout=10),
        ]
        for answer in asked:
            assert answer.status_code in (200, 401, 404, 414, 422, 429), (text, answer.request.url, answer.text)
            assert "Set-Cookie" not in answer.headers
    search = requests.get(lab.url("users", "/api/v1/users"), params={"q": "' or '1'='1"}, headers=admin, timeout=10)
    assert search.json()["items"] == [], "a condition of the caller's is text to look for"
    assert [lab.one(f"select count(*) from {table}") for table in
            ("orders.orders", "users.users", "inventory.products")] == before


def test_a_percent_sign_is_looked_for_as_it_is(lab):
    admin = {"Authorization": "Bearer " + lab.token("admin@orrery.test", "admin-password")}
    for text in ("%", "_", "\\"):
        found = requests.get(lab.url("users", "/api/v1/users"), params={"q": text}, headers=admin, timeout=10).json()
        assert all(text in user["email"] + user["name"] for user in found["items"]), text
        found = requests.get(lab.url("inventory", "/api/v1/inventory"), params={"q": text}, headers=admin, timeout=10).json()
        assert found["items"] == [], text


def test_a_log_line_cannot_be_forged(lab):
    marker = uuid.uuid4().hex
    forged = f'x\n{{"level":"ERROR","message":"{marker}-forged"}}'
    key = marker + "-key"
    requests.get(lab.url("orders", "/api/v1/orders"), timeout=10, params={"q": forged},
                 headers=lab.headers(**{"User-Agent": f'{marker}"}}{{"message":"{marker}-forged'}))
    requests.get(lab.url("orders", "/api/v1/orders/" + requests.utils.quote(forged, safe="")), timeout=10,
                 headers=lab.headers())
    assert lab.order(key=key, note=forged).status_code in (201, 422)
    wait_until(lab.settled, 30, "the events")
    for service in ("orders", "inventory", "payments", "notifications", "users"):
        for line in lab.log(service).splitlines():
            at = line.find("{")
            if at >= 0 and marker in line:
                entry = json.loads(line[at:])
                assert entry.get("message") != f"{marker}-forged", service


def test_a_header_cannot_be_smuggled_into_an_answer(lab):
    for path in ("/api/v1/orders/%0d%0aSet-Cookie:%20x=1", "/api/v1/inventory/a%0d%0aX-Evil:%201"):
        service = path.split("/")[3]
        answer = requests.get(lab.url(service, path), headers=lab.headers(), timeout=10)
        assert answer.status_code in (400, 404, 422)
        assert not {"set-cookie", "x-evil"} & {name.lower() for name in answer.headers}
    subject = "Hello\r\nBcc: everybody@orrery.test"
    sent = requests.post(lab.url("notifications", "/api/v1/notifications/send"), timeout=10, headers={
        "Authorization": "Bearer " + lab.token("operator@orrery.test", "operator-password"),
        "Idempotency-Key": str(uuid.uuid4())}, json={
            "user_id": "00000000-0000-4000-8000-000000000001", "channel": "email", "recipient": "demo@orrery.test",
            "subject": subject, "body": "text"})
    assert sent.status_code in (201, 202, 422)
    if sent.status_code != 422:
        assert "\n" not in sent.json()["subject"] and "\r" not in sent.json()["subject"]
