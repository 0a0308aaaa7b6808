# SPDX-License-Identifier: MIT
"""Messages that a consumer refuses: an operator sees them, mends the handler, and replays them."""
import json
import re
import uuid

import pika
import pytest

from commands_test import orrery
from host_test import serve  # noqa: F401 (a fixture)
from lab import wait_until

SERVICE = """\
local app = require "app"
local fault = require "fault"
local log = require "log"
local s = app.service "sample"
s:consume("QUEUE", { bind = { "QUEUE.*" } }, function(message)
  if BAD then fault.raise("bad_input", "no such colour") end
  log.info("handled", { id = message.message_id, key = message.routing_key, colour = message.body.colour })
end)
return s
"""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Shop:
    """A service of one queue, and its operator's command."""

    def __init__(self, lab, start):
        self.queue = f"t{uuid.uuid4().hex[:8]}"
        self.url = lab.env["ORRERY_AMQP_URL"]
        self.host = start(self.source("true"), ORRERY_AMQP_URL=self.url)
        self.file = self.host.process.args[2]
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        wait_until(lambda: self.dead().returncode == 0, 20, "the queue")

    def close(self):
        self.host.end()
        for name in (self.queue, f"{self.queue}.dead"):
            self.channel.queue_delete(name)
        self.connection.close()

    def source(self, bad):
        return SERVICE.replace("QUEUE", self.queue).replace("BAD", bad)

    def dead(self, *words, target=None):
        return orrery("dead", target or self.queue, *words, ORRERY_AMQP_URL=self.url)

    def letters(self):
        done = self.dead("--json", "--limit", "1000")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def publish(self, ident, colour, **how):
        self.channel.basic_publish(
            "events", f"{self.queue}.made", json.dumps({"colour": colour}),
            pika.BasicProperties(message_id=ident, content_type="application/json", delivery_mode=2,
                                 headers={"traceparent": TRACE, "tenant": "north"}))

    def poison(self, *idents):
        before = len(self.letters())
        for ident in idents:
            self.publish(ident, "\x1b[31mred")
        wait_until(lambda: len(self.letters()) == before + len(idents), 20, "the letters")

    def mend(self, bad="message.body.colour == 'blue'"):
        with open(self.file, "w") as out:
            out.write(self.source(bad))
        done = orrery("reload", self.file)
        assert done.returncode == 0, done.stderr

    def handled(self):
        return [line for line in self.host.lines() if line["message"] == "handled"]


@pytest.fixture
def shop(lab, serve):  # noqa: F811
    made = Shop(lab, serve)
    yield made
    made.close()


def test_a_poisoned_message_is_seen_and_handled_once_when_its_handler_was_mended(shop):
    shop.poison("m-1")
    done = shop.dead()
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{shop.queue}: 1 dead"
    assert re.search(r"^  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  rejected$", done.stdout, re.M)
    assert re.search(rf"^    key     {shop.queue}\.made$", done.stdout, re.M)
    assert re.search(r"^    id      m-1$", done.stdout, re.M)
    assert re.search(r'^    body    \{"colour": ', done.stdout, re.M)
    shop.mend()
    replayed = shop.dead("--replay")
    assert (replayed.returncode, replayed.stdout) == (0, f"{shop.queue}: 1 replayed\n")
    wait_until(shop.handled, 10, "the message")
    assert shop.dead().stdout == f"{shop.queue}: 0 dead\n"
    shop.publish("last", "green")
    wait_until(lambda: shop.handled()[-1]["id"] == "last", 10, "a message behind it")
    first, last = shop.handled()
    assert (first["id"], first["key"], first["colour"]) == ("m-1", f"{shop.queue}.made", "\x1b[31mred")
    assert first["trace_id"] == TRACE.split("-")[1]


def test_a_service_is_asked_for_all_its_queues(shop):
    shop.poison("m-1")
    done = shop.dead(target=shop.file)
    assert done.returncode == 0 and done.stdout.startswith(f"{shop.queue}: 1 dead\n")
    done = shop.dead("--drop", "--id", "m-1", target=shop.file)
    assert (done.returncode, done.stdout) == (0, f"{shop.queue}: 1 dropped\n")
    done = shop.dead("--replay", "--id", "m-1", target=shop.file)
    assert done.returncode == 1 and "has the id 'm-1'" in done.stderr


def test_looking_changes_nothing_however_often(shop):
    idents = [f"m-{i}" for i in range(25)]
    shop.poison(*idents)
    for _ in range(5):
        assert [letter["message_id"] for letter in shop.letters()] == idents
        lines = shop.dead().stdout.splitlines()
        assert lines[0] == f"{shop.queue}: 25 dead, the oldest:"
        assert [line.split()[1] for line in lines if line.startswith("    id ")] == idents[:10]
    assert {letter["count"] for letter in shop.letters()} == {1}


def test_a_machine_gets_one_whole_object_a_line(shop):
    shop.poison("m-1")
    shop.channel.basic_publish("", f"{shop.queue}.dead", b"\xff\x00" + b"x" * 5000)
    wait_until(lambda: len(shop.letters()) == 2, 10, "the second")
    first, second = shop.letters()
    assert json.loads(first["body"]) == {"colour": "\x1b[31mred"}
    assert first["queue"] == shop.queue and first["reason"] == "rejected"
    assert first["exchange"] == "events" and first["routing_key"] == f"{shop.queue}.made"
    assert first["headers"]["tenant"] == "north" and first["headers"]["traceparent"].startswith("00-")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", first["time"])
    assert bytes.fromhex(second["body_hex"]) == b"\xff\x00" + b"x" * 5000
    assert second["message_id"] == "" and second["time"] is None


def test_what_a_terminal_would_obey_is_shown_and_not_sent(shop):
    body = "a\x1b[2J\r\x00\x7f\u009bé" + "x" * 1000
    shop.channel.basic_publish("", f"{shop.queue}.dead", body.encode(),
                               pika.BasicProperties(message_id="\x1b]0;title\x07"))
    done = wait_until(lambda: (d := shop.dead()).stdout.count("body") and d, 10, "the letter")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout)
    assert r"    id      \x1B]0;title\x07" in done.stdout
    assert r"    body    a\x1B[2J\x0D\x00\x7F\xC2\x9Béxxx" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 300 and "xxx..." in done.stdout


def test_one_is_replayed_and_one_dropped_by_its_id(shop):
    shop.poison("m-1", "m-2", "m-3")
    shop.mend()
    assert shop.dead("--replay", "--id", "m-2").returncode == 0
    wait_until(shop.handled, 10, "the message")
    assert shop.dead("--drop", "--id", "m-1").returncode == 0
    assert [letter["message_id"] for letter in shop.letters()] == ["m-3"]
    assert [line["id"] for line in shop.handled()] == ["m-2"]
    for action in ("--replay", "--drop"):
        done = shop.dead(action, "--id", "m-2")
        assert done.returncode == 1 and "no dead letter has the id 'm-2'" in done.stderr
    assert [letter["message_id"] for letter in shop.letters()] == ["m-3"]


def test_a_letter_that_cannot_go_back_is_not_said_to_be_missing(shop):
    shop.poison("m-1")
    shop.host.end()
    shop.channel.queue_delete(shop.queue)
    for target in (shop.queue, shop.file):
        done = shop.dead("--replay", "--id", "m-1", target=target)
        assert done.returncode == 1 and f"{shop.queue}: there is no such queue" in done.stderr
    assert [letter["message_id"] for letter in shop.letters()] == ["m-1"]


def test_what_dies_again_is_counted_and_the_replay_still_ends(shop):
    shop.poison("m-1", "m-2")
    assert shop.dead("--replay").stdout == f"{shop.queue}: 2 replayed\n"
    wait_until(lambda: [letter["count"] for letter in shop.letters()] == [2, 2], 10, "their second deaths")
    assert "rejected, 2 times" in shop.dead().stdout


def test_wrong_use_is_status_2_and_a_broker_that_is_not_there_status_1():
    url = "amqp://guest:guest@127.0.0.1:1/"
    for words in ([], ["q", "--drop"], ["q", "--id", "x"], ["q", "--replay", "--drop", "--id", "x"],
                  ["q", "--limit", "many"], ["q", "--fast"], ["q", "r"], ["q", "--id"]):
        done = orrery("dead", *words, ORRERY_AMQP_URL=url)
        assert done.returncode == 2, words
        assert "see orrery dead --help" in done.stderr and done.stdout == ""
    done = orrery("dead", "q")
    assert done.returncode == 2 and "ORRERY_AMQP_URL" in done.stderr
    done = orrery("dead", "q", ORRERY_AMQP_URL=url)
    assert done.returncode == 1 and done.stderr.startswith("orrery dead: ")
    assert orrery("dead", "q", ORRERY_AMQP_URL="http://x").returncode == 2


def test_a_queue_that_is_not_there_is_said_to_be_missing(shop):
    for words in ([], ["--replay"], ["--drop", "--id", "x"]):
        done = shop.dead(*words, target="nobody.consumes-this")
        assert done.returncode == 1 and "no queue 'nobody.consumes-this.dead'" in done.stderr


def test_the_lab_shows_the_dead_letters_of_a_service_by_its_name(lab):
    channel = pika.BlockingConnection(pika.URLParameters(lab.env["ORRERY_AMQP_URL"])).channel()
    queues = [line.split(":")[0] for line in lab.command("dead", "inventory").stdout.splitlines()
              if re.match(r"\S+: \d+ dead", line)]
    assert queues and all(queue.startswith("inventory.") for queue in queues)
    ident = str(uuid.uuid4())
    channel.basic_publish("", f"{queues[0]}.dead", b"{}", pika.BasicProperties(message_id=ident))
    wait_until(lambda: ident in lab.command("dead", "inventory", "--limit", "1000").stdout, 10, "the letter")
    assert "1 dropped" in lab.command("dead", "inventory", "--drop", "--id", ident).stdout
    assert ident not in lab.command("dead", "inventory", "--limit", "1000").stdout
    assert lab.command("dead", "redis", check=False).returncode != 0
    channel.connection.close()
