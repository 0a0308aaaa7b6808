# SPDX-License-Identifier: MIT
"""Sessions in a real Redis: what ends them, what they outlive, and how guessing is slowed."""
import concurrent.futures
import hashlib
import subprocess
import threading
import uuid

import requests

from lab import wait_until

PASSWORD = "a long password"


def post(lab, path, body=None, token=None):
    return requests.post(lab.url("users", "/api/v1/users" + path), json=body, timeout=20,
                         headers={"Authorization": "Bearer " + token} if token else {})


def register(lab):
    email = f"{uuid.uuid4()}@orrery.test"
    answer = post(lab, "/register", {"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return answer.json()


def login(lab, user, password=PASSWORD):
    return post(lab, "/login", {"email": user["email"], "password": password})


def tokens(lab, user):
    answer = login(lab, user)
    assert answer.status_code == 200, answer.text
    return answer.json()


def me(lab, got):
    return requests.get(lab.url("users", "/api/v1/users/me"), timeout=20,
                        headers={"Authorization": "Bearer " + got["access_token"]}).status_code


def refresh(lab, got):
    return post(lab, "/refresh", {"refresh_token": got["refresh_token"]})


def as_admin(lab):
    answer = post(lab, "/login", {"email": "admin@orrery.test", "password": "admin-password"})
    return {"Authorization": "Bearer " + answer.json()["access_token"]}


def redis(lab, *words):
    done = subprocess.run(["redis-cli", "-u", lab.env["ORRERY_REDIS_URL"], *words], text=True,
                          capture_output=True, timeout=20, check=True)
    return done.stdout.split()


def kept(lab, user):
    """The user's sessions: of his set, and of the set of all."""
    own = redis(lab, "zrange", "users:user-sessions:" + user["id"], "0", "-1")
    every = redis(lab, "zrange", "users:sessions", "0", "-1")
    return sorted(own), sorted(m.split("/")[1] for m in every if m.startswith(user["id"]))


def test_a_refresh_token_is_good_for_once_and_twice_ends_the_session(lab):
    user = register(lab)
    first, other = tokens(lab, user), tokens(lab, user)
    answer = refresh(lab, first)
    assert answer.status_code == 200, answer.text
    second = answer.json()
    assert me(lab, second) == 200 and second["refresh_token"] != first["refresh_token"]

    assert refresh(lab, first).status_code == 401, "it was used"
    assert refresh(lab, second).status_code == 401, "the session has ended"
    assert (me(lab, first), me(lab, second)) == (401, 401)
    assert me(lab, other) == 200, "another session of the same user is left alone"
    session = other["refresh_token"].split(".")[0]
    assert kept(lab, user) == ([session], [session])


def test_of_many_at_once_with_one_refresh_token_at_most_one_gets_through(lab):
    got = tokens(lab, register(lab))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(lab, got).status_code, range(8)))
    assert sorted(answers) == [200] + [401] * 7
    assert me(lab, got) == 401


def test_whoever_knows_only_the_id_of_a_session_ends_nothing(lab):
    got = tokens(lab, register(lab))
    session, family, secret = got["refresh_token"].split(".")
    for guess in (f"{session}.{'0' * 32}.{secret}", f"{session}.{'0' * 32}.{'0' * 64}",
                  f"{uuid.uuid4()}.{family}.{secret}"):
        assert refresh(lab, {"refresh_token": guess}).status_code == 401
    assert me(lab, got) == 200
    assert refresh(lab, got).status_code == 200


def test_logging_out_ends_one_session_and_delete_ends_all(lab):
    user = register(lab)
    first, second, third = (tokens(lab, user) for _ in range(3))
    assert post(lab, "/logout", token=first["access_token"]).status_code == 204
    assert [me(lab, got) for got in (first, second, third)] == [401, 200, 200]
    assert refresh(lab, first).status_code == 401
    assert len(kept(lab, user)[0]) == 2

    gone = requests.delete(lab.url("users", f"/api/v1/users/{user['id']}/sessions"), timeout=20,
                           headers={"Authorization": "Bearer " + second["access_token"]})
    assert gone.status_code == 204 and not gone.content
    assert [me(lab, got) for got in (second, third)] == [401, 401]
    assert refresh(lab, third).status_code == 401
    assert kept(lab, user) == ([], [])


def test_a_disabled_user_is_out_at_once_and_stays_out(lab):
    user = register(lab)
    got = tokens(lab, user)
    url = lab.url("users", f"/api/v1/users/{user['id']}")
    answer = requests.put(url, json={"version": 1, "status": "disabled"}, headers=as_admin(lab), timeout=20)
    assert answer.status_code == 200 and answer.json()["version"] == 2, answer.text
    assert (me(lab, got), refresh(lab, got).status_code, login(lab, user).status_code) == (401, 401, 401)
    late = requests.put(url, json={"version": 1, "status": "active"}, headers=as_admin(lab), timeout=20)
    assert late.status_code == 409
    again = requests.put(url, json={"status": "active"}, timeout=20,
                         headers={**as_admin(lab), "If-Match": '"2"'})
    assert again.status_code == 200
    assert login(lab, user).status_code == 200 and me(lab, got) == 401


def test_a_login_that_is_under_way_keeps_no_rights_that_are_taken_away(lab):
    user, done, got = register(lab), threading.Event(), []
    url = lab.url("users", "/api/v1/users/" + user["id"])
    lab.sql("update users.users set role = 'admin' where id = %s", user["id"])

    def enter():
        while not done.is_set():
            got.append(tokens(lab, user))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:  # one of them is always at its hash
        entering = [pool.submit(enter) for _ in range(3)]
        wait_until(lambda: len(got) > 3, 20, "logins")
        changed = requests.put(url, json={"version": 1, "role": "customer"}, headers=as_admin(lab), timeout=20)
        count = len(got)
        wait_until(lambda: len(got) > count + 3, 20, "logins after the change")
        done.set()
        [each.result() for each in entering]
    assert changed.status_code == 200, changed.text
    for each in got:
        if each["user"]["role"] == "admin":
            assert me(lab, each) == 401, "its session has ended"
    assert {each["user"]["role"] for each in got} == {"admin", "customer"}


def test_the_row_says_who_may_change_rights_even_while_an_older_token_holds(lab):
    user, other = register(lab), register(lab)
    lab.sql("update users.users set role = 'admin' where id = %s", user["id"])
    head = {"Authorization": "Bearer " + tokens(lab, user)["access_token"]}
    lab.sql("update users.users set role = 'customer' where id = %s", user["id"])  # Redis was away: no session ended
    for whom, change in ((user, {"role": "admin"}), (other, {"role": "operator"}), (other, {"status": "disabled"})):
        answer = requests.put(lab.url("users", "/api/v1/users/" + whom["id"]), json={"version": 1, **change},
                              headers=head, timeout=20)
        assert (answer.status_code, answer.json()["kind"]) == (403, "denied"), answer.text
    assert lab.sql("select role, status from users.users where id = any(%s::uuid[])", [user["id"], other["id"]]) \
        == [("customer", "active")] * 2


def test_the_last_administrator_stays_one_even_when_two_demote_each_other(lab):
    url, pair = lab.url("users", "/api/v1/users/"), [register(lab), register(lab)]
    ids = [user["id"] for user in pair]
    others = [row[0] for row in lab.sql("select id::text from users.users where role = 'admin'"
                                        " and status = 'active'")]

    def put(by, whom, **change):
        return requests.put(url + whom["id"], json={"version": 1, **change}, headers=by, timeout=20).status_code

    try:
        lab.sql("update users.users set role = 'admin' where id = any(%s::uuid[])", ids)
        lab.sql("update users.users set status = 'disabled' where id = any(%s::uuid[])", others)
        heads = [{"Authorization": "Bearer " + tokens(lab, user)["access_token"]} for user in pair]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda i: put(heads[i], pair[1 - i], status="disabled"), range(2)))
        assert answers.count(200) == 1, answers
        left = answers.index(200)
        assert lab.sql("select id::text from users.users where role = 'admin' and status = 'active'") \
            == [(ids[left],)]
        for change in ({"role": "customer"}, {"status": "disabled"}):
            assert put(heads[left], pair[left], **change) == 409
        assert put(heads[left], pair[left], name="Still here", role="admin") == 200
    finally:
        lab.sql("update users.users set status = 'active' where id = any(%s::uuid[])", others)
        lab.sql("update users.users set status = 'disabled' where id = any(%s::uuid[])", ids)


def test_sessions_outlive_a_kill_of_redis(lab):
    got = tokens(lab, register(lab))
    lab.command("kill", "redis")
    lab.command("start", "redis")
    wait_until(lambda: lab.ready("users"), 30, "Redis again")
    assert me(lab, got) == 200
    assert refresh(lab, got).status_code == 200


def test_without_redis_the_signature_counts_and_nothing_is_promised(lab):
    user = register(lab)
    got = tokens(lab, user)
    assert post(lab, "/logout", token=got["access_token"]).status_code == 204
    kept_one = tokens(lab, user)
    lab.command("stop", "redis")
    try:
        assert me(lab, got) == 200, "revoked, and nobody can tell"
        assert refresh(lab, kept_one).status_code == 503
        assert post(lab, "/logout", token=kept_one["access_token"]).status_code == 503
        outage = login(lab, user)
        assert outage.status_code == 200 and "refresh_token" not in outage.json()
        assert me(lab, outage.json()) == 200
        assert login(lab, user, "wrong").status_code == 401
        wait_until(lambda: "session not checked" in lab.log("users"), 10, "the log line")
    finally:
        lab.command("start", "redis")
    wait_until(lambda: lab.ready("users"), 30, "Redis again")
    wait_until(lambda: me(lab, got) == 401, 10, "the revoked session")
    assert me(lab, outage.json()) == 401 and me(lab, kept_one) == 200
    assert refresh(lab, kept_one).status_code == 200, "it was not spent"


def test_guesses_side_by_side_get_ten_answers_and_then_have_to_wait(lab):
    user, other = register(lab), register(lab)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: login(lab, user, f"guess {i}"), range(40)))
    told = [answer for answer in answers if answer.status_code == 401]
    waiting = [answer for answer in answers if answer.status_code == 429]
    assert (len(told), len(waiting)) == (10, 30)
    assert all(1 <= int(answer.headers["Retry-After"]) <= 30 for answer in waiting)
    assert login(lab, user).status_code == 429, "nor is the right one told from a wrong one"
    assert login(lab, {"email": user["email"].upper()}).status_code == 429
    assert login(lab, other).status_code == 200, "others are not concerned"


def test_each_further_failure_waits_longer_and_a_success_clears(lab):
    user = register(lab)
    for _ in range(10):
        assert login(lab, user, "wrong").status_code == 401
    key = "users:login:" + hashlib.sha256(user["email"].encode()).hexdigest()
    assert redis(lab, "hget", key, "failures") == ["10"]
    assert 320 < int(redis(lab, "ttl", key)[0]) <= 330

    def waited():  # the clock of Redis cannot be set: the wait is shortened instead
        redis(lab, "hset", key, "free_at", "0")

    for longest in (60, 120, 240, 300, 300):
        waited()
        assert login(lab, user, "wrong").status_code == 401
        wait = int(login(lab, user, "wrong").headers["Retry-After"])
        assert longest - 5 <= wait <= longest
    waited()
    assert login(lab, user).status_code == 200
    assert redis(lab, "exists", key) == ["0"]
    for _ in range(9):
        assert login(lab, user, "wrong").status_code == 401
    assert login(lab, user).status_code == 200, "it counts from the beginning"


def client_count(lab, failures):
    """Has this machine failed so often as a client, in a window that began now; gives the key."""
    key = "users:login-client:" + hashlib.sha256(b"127.0.0.1").hexdigest()
    redis(lab, "del", key)
    if failures:
        redis(lab, "hset", key, "failures", str(failures))
        redis(lab, "expire", key, "300")
    return key


def test_one_password_tried_on_many_addresses_makes_the_client_wait(lab):
    users = [register(lab) for _ in range(4)]
    try:
        key = client_count(lab, 990)  # of 1000
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: post(lab, "/login", {"email": f"{i}.{uuid.uuid4()}@orrery.test",
                                                                   "password": "123456"}), range(32)))
        assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 22
        assert all(250 < int(answer.headers["Retry-After"]) <= 300 for answer in answers if answer.status_code == 429)
        assert [login(lab, user).status_code for user in users] == [429] * 4, "whatever the account"
        assert redis(lab, "hget", key, "failures") == ["1000"]
        assert 250 < int(redis(lab, "ttl", key)[0]) <= 300, "waiting does not make it longer"
        assert redis(lab, "exists", "users:login:" + hashlib.sha256(users[0]["email"].encode()).hexdigest()) == ["0"]
    finally:
        client_count(lab, 0)
    assert login(lab, users[0]).status_code == 200


def test_a_success_does_not_clear_what_the_client_has_failed(lab):
    user = register(lab)
    try:
        key = client_count(lab, 0)
        assert login(lab, user, "wrong").status_code == 401
        assert 290 < int(redis(lab, "ttl", key)[0]) <= 300
        assert login(lab, user, "wrong").status_code == 401
        assert login(lab, user).status_code == 200
        assert redis(lab, "hget", key, "failures") == ["2"]
        assert redis(lab, "exists", "users:login:" + hashlib.sha256(user["email"].encode()).hexdigest()) == ["0"]
    finally:
        client_count(lab, 0)


def test_right_passwords_at_once_do_not_add_up(lab):
    user = register(lab)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: login(lab, user).status_code, range(32)))
    assert set(answers) == {200}


def test_what_has_ended_is_swept_out_of_the_sets(lab):
    user = register(lab)
    live, ended = tokens(lab, user), tokens(lab, user)
    session = ended["refresh_token"].split(".")[0]
    redis(lab, "zadd", "users:sessions", "1", f"{user['id']}/{session}")
    redis(lab, "zadd", "users:user-sessions:" + user["id"], "1", session)
    redis(lab, "del", "users:session:" + session)
    assert me(lab, ended) == 401
    left = [live["refresh_token"].split(".")[0]]
    lab.sql("update users.leases set next_at = now() where name = 'session_sweep'")
    lab.command("reload", "users")  # a new version runs its jobs at once
    wait_until(lambda: kept(lab, user) == (left, left), 90, "the sweep")


def test_a_session_ends_by_itself(lab):
    user = register(lab)
    got = tokens(lab, user)
    session = got["refresh_token"].split(".")[0]
    seconds = int(redis(lab, "ttl", "users:session:" + session)[0])
    assert 14 * 86400 - 60 < seconds <= 14 * 86400
    assert redis(lab, "ttl", "users:sessions") == ["-1"]
    assert redis(lab, "ttl", "users:user-sessions:" + user["id"]) == ["-1"]
    redis(lab, "expire", "users:session:" + session, "100")
    renewed = refresh(lab, got).json()
    assert int(redis(lab, "ttl", "users:session:" + session)[0]) > 14 * 86400 - 60
    redis(lab, "del", "users:session:" + session)
    assert (me(lab, renewed), refresh(lab, renewed).status_code) == (401, 401)


def test_what_redis_keeps_ends_by_itself_but_for_the_names_of_sessions(lab):
    """When memory is short only what ends is given up: the rest must not grow with the requests."""
    user = register(lab)
    head = {"Authorization": "Bearer " + tokens(lab, user)["access_token"]}
    assert login(lab, user, "wrong").status_code == 401
    order = lab.order(headers=head).json()
    requests.get(lab.url("orders", "/api/v1/orders/" + order["id"]), headers=head, timeout=20)
    requests.get(lab.url("inventory", "/api/v1/inventory/" + "no" * 9), headers=head, timeout=20)
    sent = requests.post(lab.url("notifications", "/api/v1/notifications/send"), timeout=20, headers={
        **as_admin(lab), "Idempotency-Key": str(uuid.uuid4())}, json={
            "user_id": user["id"], "channel": "email", "recipient": user["email"], "subject": "A", "body": "b"})
    assert sent.status_code == 202, sent.text
    cancelled = requests.delete(lab.url("orders", "/api/v1/orders/" + order["id"]), headers=head, timeout=20)
    assert cancelled.status_code == 200, cancelled.text
    keys = redis(lab, "--scan")
    assert {key.split(":")[0] for key in keys} >= {"users", "orders", "payments", "notifications"}
    assert [key for key in keys if redis(lab, "ttl", key) == ["-1"]
            and key != "users:sessions" and not key.startswith("users:user-sessions:")] == []


def test_the_list_of_users_goes_page_by_page_and_finds_by_part(lab):
    mark = uuid.uuid4().hex
    made = []
    for number in range(5):
        answer = post(lab, "/register", {"email": f"{number}.{mark}@orrery.test", "password": PASSWORD,
                                         "name": "100%_" + mark[:8]})
        made.insert(0, answer.json()["id"])
    url, head = lab.url("users", "/api/v1/users"), as_admin(lab)

    def page(**query):
        answer = requests.get(url, params=query, headers=head, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = page(q=mark.upper(), limit=2)
    post(lab, "/register", {"email": f"late.{mark}@orrery.test", "password": PASSWORD})
    second = page(q=mark, limit=2, cursor=first["next_cursor"])
    third = page(q=mark, limit=2, cursor=second["next_cursor"])
    assert [user["id"] for each in (first, second, third) for user in each["items"]] == made
    assert "next_cursor" not in third
    assert {user["id"] for user in page(q="0%_" + mark[:8])["items"]} == set(made)
    assert page(q=mark, role="operator")["items"] == page(q=mark, status="disabled")["items"] == []
    assert len(page(q=mark, role="customer", status="active")["items"]) == 6
    bad = requests.get(url, params={"cursor": "nonsense"}, headers=head, timeout=20)
    assert bad.status_code == 422 and bad.json()["errors"][0]["field"] == "cursor"
