# SPDX-License-Identifier: MIT
"""Every service answers with the contract of its routes, and keeps it, two processes of it as one.

The document is asked of the running service. Then its schemas make requests, thousands of them:
with real ids, keys, versions and tokens of a fitting role mixed in (world.py), with values made of
the schema alone, and with one thing broken at a time. Nothing may be answered with 5xx, with a
status that is not documented, or with a body that is not the documented one; what the document
rejects is rejected with the status that it deserves. The same requests every time, but for ids.

There are two replicas of every service. Requests go to them by turns, and what a request is made
of, the other one gave: versions, entity tags, cursors, tokens, keys that were used before."""
import itertools
import json
import random
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import contract
from contract import Contract
from replicas import Replicas
from world import MADE, World, real

SERVICES = ["users", "orders", "payments", "inventory", "notifications", "acquirer"]
ROLES = ["customer", "operator", "admin", "service"]
REQUESTS = range(2000, 5000)  # to all services; their number bounds the time, whatever the machine

EXAMPLES = 80
FEW = 10  # for what the host answers, without looking at the request
DEAR = {  # they hash a password, or wait for the acquirer: each way of asking twice
    "postUsersRegister", "postUsersLogin", "postUsersLogout", "postOrders", "deleteOrdersById", "postPayments",
    "postPaymentsByIdRefund", "postPaymentsOrderByIdVoid", "postAuthorize", "postCapture", "postVoid", "postRefund",
    "getAuthorizationsByKey",
}
ALWAYS_REAL = {"postUsersLogout"}  # it would end the sessions that the others need
NEVER_4XX = {
    "getHealth": "it asks for nothing and looks at nothing",
    "getReady": "what may be wrong is the service's, not the caller's",
    "getMetrics": "it asks for nothing",
    "getActuatorPrometheus": "it asks for nothing",
    "getOpenapiJson": "it asks for nothing",
}


# --- the document ----------------------------------------------------------------------------

def document_of(lab, service):
    answer = requests.get(lab.url(service, "/openapi.json"), timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def refs(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from refs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from refs(inner)


def schemas(part):
    """Every schema of the document."""
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == "schema":
                yield inner
            elif name == "schemas":
                yield from inner.values()
            else:
                yield from schemas(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from schemas(inner)


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_is_valid(lab, service):
    document = document_of(lab, service)
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == service and document["info"]["version"]
    assert document["servers"] == [{"url": "/"}]
    found = Contract(document)
    for schema in schemas(document):
        contract.DIALECT.check_schema(schema)
    for ref in refs(document):
        found.resolver.resolve(ref)
    used = set(refs(document))
    unused = [f"{kind}/{name}" for kind in ("schemas", "responses")
              for name in document["components"][kind] if f"#/components/{kind}/{name}" not in used]
    assert unused == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_says_what_it_does_and_answers(lab, service):
    operations = Contract(document_of(lab, service)).operations
    ids = Counter(operation.id for operation in operations)
    broken = [f"operationId {name} stands {count} times" for name, count in ids.items() if count > 1]
    for operation in operations:
        said = operation.said
        if not re.fullmatch(r"\S.*[^.\s]", said.get("summary", "")) or "\n" in said["summary"]:
            broken.append(f"{operation.name}: needs a summary, one sentence without its full stop")
        if not any(re.fullmatch(r"[12]\d\d", status) for status in said["responses"]):
            broken.append(f"{operation.name}: no answer is declared")
        if {p["name"] for p in operation.parameters("path")} != set(re.findall(r"{(\w+)}", operation.path)):
            broken.append(f"{operation.name}: its parameters are not those of the path")
        if operation.secured and "401" not in said["responses"]:
            broken.append(f"{operation.name}: wants a token, and has no 401")
    assert broken == [], "\n" + "\n".join(broken)


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_has_every_route_of_the_service(lab, service):
    done = subprocess.run([lab.env["ORRERY_BINARY"], "routes", f"oms/{service}", "--json"], text=True,
                          stdout=subprocess.PIPE, check=True, timeout=30, cwd=lab.root)
    offered = json.loads(done.stdout)
    routes = {f"{route['method']} {route['path']}" for route in offered["routes"]}
    routes |= {f"GET {socket['path']}" for socket in offered["sockets"]}
    told = {re.sub(r"{(\w+)}", r":\1", operation.name)
            for operation in Contract(document_of(lab, service)).operations if not operation.by_host}
    assert told == routes


def test_who_has_the_document_already_is_told_so(lab):
    first = requests.get(lab.url("users", "/openapi.json"), timeout=10)
    again = requests.get(lab.url("users", "/openapi.json"), timeout=10,
                         headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


# --- the verdict -------------------------------------------------------------------------------

THING = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"], "additionalProperties": False}
SAMPLE = {
    "openapi": "3.1.0", "components": {"schemas": {"Thing": THING, "Problem": {"required": ["status"]}}},
    "paths": {"/things": {"post": {
        "operationId": "postThings", "security": [], "tags": ["sample"],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
        "responses": {
            "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
            "204": {"description": "done"}, "503": {"description": "away"},
            "404": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        }}}},
}


def answer_of(status, body, kind="application/json"):
    answer = requests.Response()
    answer.status_code, answer._content = status, body.encode()
    answer.headers["Content-Type"] = kind
    return answer


@pytest.mark.parametrize("answer, wrong", [
    (answer_of(201, '{"id":1}'), None),
    (answer_of(204, ""), None),
    (answer_of(404, '{"status":404}', "application/problem+json"), None),
    (answer_of(201, '{"id":"1"}'), "201: id: '1' is not of type"),
    (answer_of(201, '{"id":1,"more":2}'), "201: body: Additional properties"),
    (answer_of(201, '{"id":1}', "text/plain"), "201 is text/plain, documented: application/json"),
    (answer_of(204, "{}"), "204 has a body"),
    (answer_of(200, '{"id":1}'), "200 is not documented"),
    (answer_of(404, '{"status":409}', "application/problem+json"), "404 says that it is 409"),
    (answer_of(503, "{}"), "503: {}"),
])
def test_an_answer_beside_the_document_is_noticed(answer, wrong):
    verdict = Contract(SAMPLE).operations[0].verdict(answer)
    assert verdict == wrong or wrong and verdict.startswith(wrong)


def test_a_broken_body_is_one_that_the_schema_rejects():
    seen = set()
    for seed in range(100):
        found = contract.broken({"id": 1}, THING, random.Random(seed))
        if found:
            assert not contract.DIALECT(THING).is_valid(found[1])
            seen.add(found[0])
    assert {"id: another type", "id: not whole", "body: one member more", "body: without id"} <= seen


# --- requests ----------------------------------------------------------------------------------

@dataclass
class Plan:
    """A request to be sent. `wanted` are the statuses that it deserves; None: any documented one."""
    operation: contract.Operation
    seed: int = 0  # for all that is chosen beside what the schemas say
    path: dict = field(default_factory=dict)
    query: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    body: object = None
    raw: bytes = None
    kind: str = "application/json"
    role: str = None
    token: str = None
    what: str = "as the schema says"
    wanted: set = None
    then: object = None

    def take(self, members):
        """Other members; headers and path parameters are added to those there are."""
        for name, value in members.items():
            if name in ("path", "headers"):
                getattr(self, name).update(value)
            else:
                setattr(self, name, value)


HEADER = st.text("".join(map(chr, range(0x21, 0x7f))), min_size=1, max_size=40)


def header_values(parameter):
    schema = parameter["schema"]
    return HEADER if "maxLength" in schema or "pattern" not in schema else contract.values(schema)


def path_values(parameter, operation):
    """No slash, which would be another path, and no dots alone, which clients take away."""
    schema = operation.contract.whole(parameter["schema"])
    return contract.values(schema).filter(lambda value: "/" not in str(value) and str(value).strip(".") != "")


def query_values(operation):
    required, optional = {}, {}
    for parameter in operation.parameters("query"):
        (required if parameter["required"] else optional)[parameter["name"]] = contract.values(
            operation.contract.whole(parameter["schema"]))
    return st.fixed_dictionaries(required, optional=optional)


def ways(operation):
    """How its requests are made, in turn: most of them of real things, some of schemas alone, and
    each breakage as often as the others; a body has many places to break."""
    broken = [name for name, (applies, _) in BREAKAGES.items() if applies(operation)]
    broken += ["body"] * 3 if "body" in broken else []
    return ["real"] * (len(broken) + 3) + ["schema"] * 2 + broken


def plans(operation):
    """Requests as the schemas say."""
    parts = {
        "operation": st.just(operation), "seed": st.integers(0, 2**32),
        "path": st.fixed_dictionaries({p["name"]: path_values(p, operation) for p in operation.parameters("path")}),
        "query": query_values(operation),
        "headers": st.fixed_dictionaries(
            {p["name"]: header_values(p) for p in operation.parameters("header") if p["required"]},
            optional={p["name"]: header_values(p) for p in operation.parameters("header") if not p["required"]}),
        "role": st.sampled_from(operation.roles or ROLES) if operation.secured else st.none(),
        "body": contract.values(operation.body) if operation.body else st.none(),
    }
    return st.builds(Plan, **parts)


def make_real(plan, world, choice):
    plan.what = "with real things"
    plan.query = {name: value for name, value in plan.query.items() if not name.endswith("_id")}
    plan.headers = {name: world.new("key") if name == "Idempotency-Key" else value
                    for name, value in plan.headers.items() if name != "If-Match"}
    plan.body, plan.path = real(plan.body, world, choice), real(plan.path, world, choice)
    if plan.operation.id in MADE:
        plan.take(MADE[plan.operation.id](world, choice, plan))
    if plan.query.pop("cursor", None):  # there is no making one up
        plan.take({"query": {"limit": choice.randint(1, 3)}, **world.next_page(plan.operation.id)})
    if "If-None-Match" in plan.headers and choice.random() < 0.7:
        plan.take(world.same_again(plan) if choice.random() < 0.6 else {"headers": {"If-None-Match": "*"}})


# --- one thing broken at a time ------------------------------------------------------------------

def no_token(plan, choice):
    plan.role, plan.token = None, None
    return "without a token", {401}


def forged_token(plan, choice):
    plan.role = None
    plan.token = choice.choice(["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "e" * 5000])
    return "with a forged token", {401}


def other_role(plan, choice):
    plan.token, plan.role = None, choice.choice([role for role in ROLES if role not in plan.operation.roles])
    return f"as {plan.role}", {403}


def broken_body(plan, choice):
    found = None
    while not found:  # not every place can be broken; the body's own type always can
        found = contract.broken(plan.body, plan.operation.body, choice)
    plan.body = found[1]
    return found[0], {422}


def no_json(plan, choice):
    plan.raw = choice.choice([b"{", b"[1,]", b'{"a":1}}', b"nope", b'{"a":"\xff"}', b'{"a":01}'])
    return "with a body that is not JSON", {400}


def other_kind(plan, choice):
    plan.raw, plan.kind = b"a=b", choice.choice(["application/x-www-form-urlencoded", "text/plain", ""])
    return "with a body of another type", {415}


def no_header(plan, choice):
    name = required_headers(plan.operation)[0]
    plan.headers.pop(name)
    return f"without {name}", {422}


def bad_header(plan, choice):
    plan.headers[required_headers(plan.operation)[0]] = choice.choice(["two words", "x" * 201, ""])
    return "with a bad header", {422}


def bad_path(plan, choice):
    name = uuid_parameters(plan.operation)[0]
    plan.path[name] = choice.choice(["1", "none", plan.path[name][:-1], plan.path[name] + "0", "%00", "ü", "g" * 36])
    return f"{name} is no UUID", {422}


def bad_query(plan, choice):
    parameter = choice.choice(plan.operation.parameters("query"))
    schema = plan.operation.contract.whole(parameter["schema"])
    bad = ["none-of-them", "1e2", " 1", "0x1", "", "1.5", str(schema.get("maximum", 0) + 1), "x" * 3000, "a\0b"]
    bad = [text for text in bad if not is_value(text, schema)]
    plan.query[parameter["name"]] = choice.choice(bad)
    return f"query {parameter['name']}", {422}


def unknown_query(plan, choice):
    plan.query["nobody-knows"] = "1"
    return "with a parameter that nobody knows", {422}


def required_headers(operation):
    return [p["name"] for p in operation.parameters("header") if p["required"]]


def uuid_parameters(operation):
    return [p["name"] for p in operation.parameters("path") if p["schema"].get("format") == "uuid"]


def is_value(text, schema):
    """Whether a text of a query is a value of the schema: numbers and booleans come as text."""
    kind = schema.get("type")
    if kind in ("integer", "number"):
        value = float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
    else:
        value = {"true": True, "false": False}.get(text, text) if kind == "boolean" else text
    return contract.DIALECT(schema).is_valid(value)


BREAKAGES = {
    "no token": (lambda operation: operation.secured, no_token),
    "forged token": (lambda operation: operation.secured, forged_token),
    "other role": (lambda operation: operation.roles and set(ROLES) - set(operation.roles), other_role),
    "body": (lambda operation: operation.body, broken_body),
    "no JSON": (lambda operation: operation.body, no_json),
    "other kind": (lambda operation: operation.body, other_kind),
    "no header": (required_headers, no_header),
    "bad header": (required_headers, bad_header),
    "bad path": (uuid_parameters, bad_path),
    "bad query": (lambda operation: operation.parameters("query"), bad_query),
    "unknown query": (lambda operation: operation.parameters("query"), unknown_query),
}


# --- sending and judging ---------------------------------------------------------------------------

def as_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, float) else str(value)


def send(plan, world, service):
    path = plan.operation.path
    for name, value in plan.path.items():
        path = path.replace("{%s}" % name, quote(as_text(value), safe=""))
    if plan.query:
        path += "?" + "&".join(f"{quote(name)}={quote(as_text(value), safe='')}" for name, value in plan.query.items())
    headers, data = dict(plan.headers), plan.raw
    if plan.operation.body and data is None:
        data = json.dumps(plan.body).encode()
    if data is not None:
        headers["Content-Type"] = plan.kind
    token = plan.token or world.tokens.get(plan.role)
    return world.ask(service, plan.operation.method, path, token=token, headers=headers, data=data, at=world.turn,
                     stream="Upgrade" in headers)


def judge(plan, answer):
    """What is wrong with the answer to the plan, or None."""
    if plan.wanted and answer.status_code not in plan.wanted:
        return f"{answer.status_code} instead of {' or '.join(map(str, plan.wanted))}: {answer.text[:200]}"
    if plan.wanted == {422} and not answer.json().get("errors"):
        return f"422 names no field: {answer.text[:200]}"
    if answer.status_code == 101:
        answer.close()
        return None
    if answer.status_code == 401 and plan.operation.secured and "WWW-Authenticate" not in answer.headers:
        return "401 does not say how to authenticate"
    if answer.status_code == 304 and "ETag" not in answer.headers:
        return "304 without its ETag"
    return plan.operation.verdict(answer)


class Tally:
    """What came of the requests to one operation."""

    def __init__(self, operation):
        self.operation, self.statuses, self.broken = operation, Counter(), {}

    def add(self, plan, answer):
        self.statuses[answer.status_code] += 1
        wrong = judge(plan, answer)
        if wrong:
            self.note(plan, wrong)

    def note(self, plan, wrong):
        sent = {name: getattr(plan, name) for name in ("path", "query", "headers", "body", "role")}
        self.broken.setdefault((re.sub(r".*: ", "", plan.what), re.sub(r":.*", "", wrong, flags=re.S)),
                               f"{self.operation.name}, {plan.what}: {wrong}\n    sent {str(sent)[:400]}")

    def count(self, first="12345"):
        return sum(count for status, count in self.statuses.items() if str(status)[0] in first)

    def problems(self):
        found = list(self.broken.values())
        told = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        if self.count("12") * 4 < self.count():
            found.append(f"{self.operation.name}: fewer than 25 % were 2xx: {told}")
        if not self.count("4") and self.operation.id not in NEVER_4XX:
            found.append(f"{self.operation.name}: none was 4xx: {told}")
        return found

    def line(self, service):
        return (f"{service:14} {self.operation.name:45} {self.count():8} {self.count('12'):6} {self.count('3'):6}"
                f" {self.count('4'):6} {self.count('5'):6}")


def once_more(plan, first, world, service, tally):
    """The same request with the same key, to the other replica: what it did is done."""
    again = send(plan, world, service)
    tally.add(plan, again)
    one, other = first.json(), again.json()
    if (first.status_code, one.get("id", one)) != (again.status_code, other.get("id", other)):
        tally.note(plan, f"repeated at the other replica it is another: {first.text[:200]} {again.text[:200]}")
    world.across["keys"] += 1


def try_operation(operation, service, world):
    """Requests of every kind. What is wrong is collected, not raised: a service remembers, so that
    hypothesis could not find a smaller example by asking again."""
    tally = Tally(operation)
    turn, ways_of = itertools.count(), ways(operation)
    count = FEW if operation.by_host else max(24, 2 * len(ways_of)) if operation.id in DEAR else EXAMPLES

    @settings(max_examples=count, derandomize=True, database=None, deadline=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(plans(operation))
    def ask(plan):
        number = next(turn)
        rounds, way = divmod(number, len(ways_of))
        how, choice = ways_of[way], random.Random(plan.seed + number)
        world.turn = (rounds + way) % 2  # what is asked in one way goes to both
        if how != "schema" or operation.id in ALWAYS_REAL:
            make_real(plan, world, choice)
        if how in BREAKAGES:
            plan.what, plan.wanted = BREAKAGES[how][1](plan, choice)
            plan.then = None
        answer = send(plan, world, service)
        tally.add(plan, answer)
        if plan.then and answer.ok:
            plan.then(answer)
        if answer.ok:
            world.keep_cursor(operation.id, answer)
        world.turn = 1 - world.turn
        if how == "real" and answer.ok and "Idempotency-Key" in plan.headers and choice.random() < 0.3:
            once_more(plan, answer, world, service, tally)

    ask()
    return tally


class Asked:
    """What all tests here share: the world, made when it is first needed, and what was counted."""

    def __init__(self):
        self.world, self.replicas, self.tallies = None, None, {}

    def world_of(self, lab):
        if not self.world:
            self.replicas = Replicas(lab)
            self.world = World(lab, self.replicas)
        return self.world

    def table(self):
        lines = [f"{'service':14} {'operation':45} {'requests':>8} {'2xx':>6} {'3xx':>6} {'4xx':>6} {'5xx':>6}"]
        return "\n".join(lines + [tally.line(service) for (service, _), tally in self.tallies.items()])


@pytest.fixture(scope="module")
def asked():
    kept = Asked()
    yield kept
    if kept.replicas:
        kept.replicas.end()


@pytest.mark.parametrize("service", SERVICES)
def test_no_request_gets_an_answer_that_is_not_in_the_contract(lab, asked, service):
    world, broken = asked.world_of(lab), []
    assert world.made(service, "GET", "/openapi.json", at=1) == document_of(lab, service), "of the other replica"
    for operation in Contract(document_of(lab, service)).operations:
        tally = asked.tallies[service, operation.name] = try_operation(operation, service, world)
        broken += tally.problems()
    assert broken == [], "\n" + "\n".join(broken)


def test_these_were_thousands_of_requests_to_both_replicas(asked):
    if {service for service, _ in asked.tallies} != set(SERVICES):
        pytest.skip("not all services were asked")
    print(asked.table())
    count, world = sum(tally.count() for tally in asked.tallies.values()), asked.world
    print(f"{len(asked.tallies)} operations, {count} requests; given by one replica and taken by the other:"
          f" {dict(world.across)}")
    assert count in REQUESTS
    for service in SERVICES:
        first, second = (world.sent[service, at] for at in (0, 1))
        assert abs(first - second) < (first + second) / 4, f"{service}: {first} and {second}"
    assert min(world.across[what] for what in ("versions", "tags", "cursors", "keys", "tokens")) > 10
