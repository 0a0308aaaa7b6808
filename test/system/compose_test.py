# SPDX-License-Identifier: MIT
"""The container files say the same as the lab, refuse what is not safe, and are read by the tools
they are for. Nothing is started here: test/long/containers does that."""
import os
import re
import shutil
import subprocess

import pytest
import yaml

from lab import CHECKOUT

COMPOSE, CONF = CHECKOUT / "compose", CHECKOUT / "conf"
COMBINATIONS = [
    "compose.yaml",
    "compose.yaml compose.ports.yaml",
    "compose.yaml compose.tls.yaml",
    "compose.yaml compose.debian.yaml",
    "compose.yaml compose.watch.yaml",
    "compose.yaml compose.watch.yaml compose.grafana.yaml",
    "compose.yaml compose.ports.yaml compose.watch.yaml",
    "compose.yaml compose.ports.yaml compose.tls.yaml compose.watch.yaml compose.grafana.yaml compose.debian.yaml",
    "compose.grafana.yaml",
]
WHOLE = COMBINATIONS[-2]
ALIASES = {"orders": "order-service", "inventory": "inventory-service", "payments": "payment-service",
           "users": "user-service", "notifications": "notification-service", "gateway": "api-gateway"}
STORES = {"postgres", "redis", "rabbitmq"}
# They see the machine or its engine, so they run as root; without capabilities all the same.
ROOT = {"cadvisor", "alloy"}


def compose(folder, files, *words):
    names = [word for name in files.split() for word in ("-f", COMPOSE / name)]
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(["docker-compose", "--env-file", folder / ".env", *names, *words], cwd=folder, env=clean,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """A folder whose .env was made by the line that compose.yaml shows."""
    folder = tmp_path_factory.mktemp("compose")
    line = re.search(r"^#   (\(umask 077; .*\) ?)$", (COMPOSE / "compose.yaml").read_text(), re.M)[1]
    shutil.copy(COMPOSE / ".env.example", folder)
    subprocess.run(["sh", "-c", line], cwd=folder, check=True)
    with open(folder / ".env", "a", encoding="utf-8") as file:
        file.write("GATEWAY_TLS_FOLDER=/etc/orrery/tls\n")
    return folder


@pytest.fixture(scope="session")
def read(settings):
    """What docker-compose makes of a combination of files."""
    known = {}

    def read_files(files):
        if files not in known:
            done = compose(settings, files, "config")
            assert done.returncode == 0, done.stderr
            known[files] = yaml.safe_load(done.stdout)
        return known[files]
    return read_files


def secrets():
    return re.findall(r"^(\w+_(?:PASSWORD\w*|SECRET))=$", (COMPOSE / ".env.example").read_text(), re.M)


def lab_table():
    """{service: (offset of its port, stores it uses)}, as compose/lab has it."""
    script = '. compose/part/say.sh; . compose/part/state.sh; printf "%s" "$services_table"'
    done = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, text=True, check=True, stdout=subprocess.PIPE)
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    return {row[0]: (int(row[1]), set(row[2:])) for row in rows}


def lab_settings():
    """{service: (port, names of its upstreams)} of conf/oms.lua."""
    text = (CONF / "oms.lua").read_text()
    found = {}
    for name, body in re.findall(r"^    (\w+) = \{.*?\n(.*?)^    \},", text, re.M | re.S):
        upstreams = re.search(r"upstreams = \{(.*?)\}", body, re.S)
        found[name] = (int(re.search(r"^\s*port = (\d+)", body, re.M)[1]),
                       set(re.findall(r"(\w+) = \"", upstreams[1])) if upstreams else set())
    return found


def hosts(services):
    return {name for name, body in services.items() if str(body.get("image", "")).startswith("orrery:")
            and body["command"][0] == "serve"}


# --- the files -------------------------------------------------------------------------------


@pytest.mark.parametrize("files", COMBINATIONS)
def test_every_combination_is_read_by_docker_compose(files, read):
    assert read(files)["services"]


@pytest.mark.parametrize("files", [name for name in COMBINATIONS if " " in name or "grafana" in name])
def test_every_combination_stands_in_the_head_of_its_file(files):
    heads = "".join(file.read_text() for file in COMPOSE.glob("compose*.yaml"))
    for name in files.split():
        assert name in heads


@pytest.mark.parametrize("secret", secrets())
def test_a_secret_that_is_not_set_is_refused_by_its_name(secret, settings, tmp_path):
    text = (settings / ".env").read_text()
    (tmp_path / ".env").write_text(re.sub(rf"^{secret}=.*$", f"{secret}=", text, flags=re.M))
    refused = compose(tmp_path, WHOLE, "config")
    assert refused.returncode != 0
    assert f"${{{secret}:?" in refused.stderr and "compose/.env.example" in refused.stderr


def test_the_line_of_the_head_fills_in_every_secret_and_nothing_else(settings):
    made = dict(line.split("=", 1) for line in (settings / ".env").read_text().splitlines()
                if re.match(r"\w+=", line))
    example = dict(line.split("=", 1) for line in (COMPOSE / ".env.example").read_text().splitlines()
                   if re.match(r"\w+=", line))
    assert len(secrets()) == 12
    values = {made.pop(name) for name in secrets()}
    assert len(values) == 12 and all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values)
    made.pop("GATEWAY_TLS_FOLDER")
    assert made == {name: value for name, value in example.items() if name in made}
    assert (settings / ".env").stat().st_mode & 0o777 == 0o600


def test_every_variable_of_the_files_is_explained_in_the_example():
    example = (COMPOSE / ".env.example").read_text()
    known = set(re.findall(r"^#?(\w+)=", example, re.M))
    used = {name for file in COMPOSE.glob("compose*.yaml")
            for name in re.findall(r"(?<!\$)\$\{(\w+)", file.read_text())}
    assert used - known == set()
    assert known - used == {"COMPOSE_FILE"}


def test_images_are_pinned_by_version(read):
    for name, body in read("compose.yaml compose.watch.yaml compose.grafana.yaml")["services"].items():
        tag = body["image"].rpartition(":")[2]
        assert tag == "local" or re.match(r"v?\d+\.\d+", tag), name


def test_no_file_has_a_version_or_a_name_of_a_container():
    for file in COMPOSE.glob("compose*.yaml"):
        body = yaml.safe_load(file.read_text())
        assert "version" not in body
        assert not [name for name, service in body["services"].items() if "container_name" in service]


# --- the same as the lab -----------------------------------------------------------------------


def test_every_service_of_the_lab_has_a_container_and_no_other_has(read):
    assert hosts(read("compose.yaml")["services"]) == set(lab_table()) == set(lab_settings())


def test_containers_have_the_ports_the_settings_name(read):
    services = read("compose.yaml")["services"]
    for name, (port, _) in lab_settings().items():
        body = services[name]
        assert body["command"] == ["serve", f"oms/{name}"]
        assert body["healthcheck"]["test"] == ["CMD", "orrery", "health", f"oms/{name}"]
        # The gateway is at 80 inside of its container, and at its lab port outside.
        assert int(body["environment"]["ORRERY_PORT"]) == (80 if name == "gateway" else port)
        assert lab_table()[name][0] == port - 8000
    assert sorted(services["gateway"]["ports"]) == ["127.0.0.1:8000:80/tcp", "127.0.0.1:8080:8080/tcp"]


def test_containers_have_the_stores_and_the_upstreams_that_the_lab_gives(read):
    services = read("compose.yaml")["services"]
    urls = {"postgres": "ORRERY_POSTGRES_URL", "redis": "ORRERY_REDIS_URL", "amqp": "ORRERY_AMQP_URL"}
    for name, (_, stores) in lab_table().items():
        environment = services[name]["environment"]
        assert {store for store, url in urls.items() if url in environment} == stores, name
        if "postgres" in stores:
            assert environment["ORRERY_POSTGRES_URL"].startswith(f"postgresql://oms_{name}:")
        upstreams = {key[len("ORRERY_UPSTREAM_"):].lower(): value for key, value in environment.items()
                     if key.startswith("ORRERY_UPSTREAM_")}
        assert set(upstreams) == lab_settings()[name][1]
        for other, url in upstreams.items():
            assert url == f"http://{other}:{lab_settings()[other][0]}"
            assert set(services[name]["networks"]) & set(services[other]["networks"]), (name, other)


def test_a_store_shares_a_network_with_who_uses_it_and_with_nobody_else(read):
    services = read("compose.yaml")["services"]
    for store, word in (("postgres", "postgres"), ("redis", "redis"), ("rabbitmq", "amqp")):
        near = {name for name in hosts(services) if set(services[name]["networks"]) & set(services[store]["networks"])}
        users = {name for name, (_, stores) in lab_table().items() if word in stores}
        assert users <= near
        # The five services share the network of the stores; the gateway and the acquirer do not.
        assert near - users <= set(ALIASES) - {"gateway"}


def test_the_acquirer_meets_payments_and_its_store_only_and_knows_no_secret_of_the_shop(read):
    services = read(WHOLE)["services"]
    acquirer = services["acquirer"]
    near = {name for name, body in services.items() if set(body.get("networks") or {}) & set(acquirer["networks"])}
    assert near == {"acquirer", "payments", "postgres"}
    assert set(acquirer["environment"]) == {"ORRERY_HOST", "ORRERY_PORT", "ORRERY_POSTGRES_URL"}
    assert not acquirer.get("ports")


def test_containers_are_found_by_the_names_of_the_documents(read):
    services = read("compose.yaml")["services"]
    for name, alias in ALIASES.items():
        assert alias in services[name]["networks"]["webapp-network"]["aliases"]
    assert "traefik" in services["gateway"]["networks"]["webapp-network"]["aliases"]
    assert read("compose.yaml")["networks"]["webapp-network"]["name"] == "webapp-network"


def test_services_publish_nothing_so_that_they_scale_and_the_ports_file_publishes_each(read):
    services = read("compose.yaml")["services"]
    assert {name for name, body in services.items() if body.get("ports")} == {"gateway"}
    published = read("compose.yaml compose.ports.yaml")["services"]
    for name in set(ALIASES) - {"gateway"}:
        port = lab_settings()[name][0]
        assert published[name]["ports"] == [f"127.0.0.1:{port}:{port}/tcp"]


def test_nothing_is_published_beyond_this_machine_unless_somebody_asks(read):
    for name, body in read(WHOLE)["services"].items():
        for port in body.get("ports") or []:
            assert port.startswith("127.0.0.1:"), name
    ports = [port for body in read(WHOLE)["services"].values() for port in body.get("ports") or []]
    outside = [port.split(":")[1] for port in ports]
    assert len(outside) == len(set(outside))


# --- hardening ---------------------------------------------------------------------------------


def test_every_container_is_hardened(read):
    for name, body in read(WHOLE)["services"].items():
        assert body["read_only"] is True, name
        assert body["cap_drop"] == ["ALL"], name
        assert "cap_add" not in body and not body.get("privileged"), name
        assert body["security_opt"] == ["no-new-privileges:true"], name
        assert body["mem_limit"] and body["pids_limit"] > 0, name
        assert body["restart"] in ("unless-stopped", "no"), name
        assert body["logging"]["options"]["max-size"], name
        user = str(body["user"]).split(":")[0]
        assert (user in ("0", "root")) == (name in ROOT), name


def test_what_the_containers_of_the_shop_are_given_of_the_checkout_cannot_be_written(read):
    for name, body in read(WHOLE)["services"].items():
        for volume in body.get("volumes") or []:
            source, _, mode = volume.partition(":")[0], *volume.split(":", 2)[1:2], volume.split(":")[-1]
            if source.startswith("/"):
                assert mode.split(",")[0] == "ro", (name, volume)


def test_the_shop_may_write_nowhere_but_into_a_small_tmp(read):
    for name in hosts(read("compose.yaml")["services"]):
        body = read("compose.yaml")["services"][name]
        assert body["user"] == "10001:10001"
        assert body["tmpfs"] == ["/tmp:size=16m,mode=1777"]
        assert {volume.split(":")[1] for volume in body["volumes"]} == {
            f"/srv/orrery/{folder}" for folder in ("scripts", "lib", "conf")}


def test_services_believe_the_network_of_the_gateway_and_the_gateway_believes_nobody(read):
    services = read("compose.yaml")["services"]
    subnet = read("compose.yaml")["networks"]["webapp-network"]["ipam"]["config"][0]["subnet"]
    for name in set(ALIASES) - {"gateway"}:
        assert services[name]["environment"]["ORRERY_TRUSTED_PROXIES"] == subnet
    assert services["gateway"]["environment"]["ORRERY_TRUSTED_PROXIES"] == ""


def test_networks_of_stores_and_of_the_card_have_no_way_out(read):
    networks = read("compose.yaml")["networks"]
    assert {name for name, body in networks.items() if (body or {}).get("internal")} == set(networks) - {
        "webapp-network"}


def test_the_image_has_a_user_without_rights_no_compiler_and_no_secret():
    text = (COMPOSE / "Dockerfile").read_text()
    final = text[text.rindex("FROM "):]
    assert "USER 10001:10001" in final and "STOPSIGNAL SIGTERM" in final and "HEALTHCHECK" in final
    assert 'ENTRYPOINT ["orrery"]' in final and "ORRERY_ROOT=/srv/orrery" in final
    assert not re.search(r"\b(gcc|meson|curl|-dev)\b", final)
    ignored = (CHECKOUT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored and not [line for line in ignored if line.startswith("!.") or line == "!compose"]
    checked = subprocess.run(["git", "check-ignore", "compose/.env"], cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert checked.returncode == 0 or not (CHECKOUT / ".git").exists()


def test_the_image_builds_with_the_packages_that_the_lab_builds_with():
    script = '. compose/part/packages.sh; printf "%s\\n" "${packages_build[@]}"'
    done = subprocess.run(["bash", "-c", script], cwd=CHECKOUT, text=True, check=True, stdout=subprocess.PIPE)
    text = (COMPOSE / "Dockerfile").read_text()
    built = text[text.index("apt-get install"):text.index("WORKDIR")]
    assert set(done.stdout.split()) == set(re.findall(r"[a-z][\w.+-]*", built.split("recommends", 1)[1]))


# --- what watches -------------------------------------------------------------------------------


def test_services_push_to_the_collector_when_they_are_watched_and_the_acquirer_does_not(read):
    alone, watched = read("compose.yaml")["services"], read(WHOLE)["services"]
    for name in ALIASES:
        assert not [key for key in alone[name]["environment"] if key.startswith("OTEL_")]
        environment = watched[name]["environment"]
        assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector:4318"
        assert environment["OTEL_METRICS_EXPORTER"] == environment["OTEL_LOGS_EXPORTER"] == "none"
        assert set(watched["otel-collector"]["networks"]) & set(watched[name]["networks"])


def test_exporters_are_at_the_ports_of_the_documents(read):
    services = read(WHOLE)["services"]
    ports = {"postgres-exporter": 9187, "redis-exporter": 9121, "rabbitmq-exporter": 9419, "cadvisor": 8081,
             "prometheus": 9090, "alertmanager": 9093, "loki": 3100, "tempo": 3200, "grafana": 3000}
    for name, port in ports.items():
        assert services[name]["ports"][0].split(":")[1] == str(port)
    assert "--web.listen-address=172.17.0.1:9100" in services["node-exporter"]["command"]
    assert {port.split(":")[1] for port in services["otel-collector"]["ports"]} == {"4317", "4318", "8888", "8889"}


def scraped():
    """[(name, port)] of everything Prometheus looks for by name."""
    text = yaml.safe_load((CONF / "prometheus/prometheus.yml").read_text())
    found = [(name, one["port"]) for job in text["scrape_configs"] for one in job.get("dns_sd_configs", [])
             for name in one["names"]]
    for job in text["scrape_configs"]:
        for one in job.get("static_configs", []):
            found += [(target.split(":")[0], int(target.split(":")[1])) for target in one["targets"]]
    return found


def test_prometheus_takes_its_configuration():
    done = subprocess.run(["promtool", "check", "config", CONF / "prometheus/prometheus.yml"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout


def test_prometheus_looks_for_every_service_but_the_acquirer_and_reaches_what_it_looks_for(read):
    services = read(WHOLE)["services"]
    found = dict(scraped())
    for name, (port, _) in lab_settings().items():
        if name == "acquirer":
            assert name not in found
        else:
            assert found[name] == (8080 if name == "gateway" else port)
    for name in set(found) - {"localhost", "node-exporter"}:
        assert set(services[name]["networks"]) & set(services["prometheus"]["networks"]), name
    assert services["prometheus"]["extra_hosts"] == {"node-exporter": "host-gateway"}
    assert {"postgres-exporter", "redis-exporter", "rabbitmq-exporter", "cadvisor", "otel-collector"} <= set(found)


def test_targets_of_two_machines_are_an_example_and_name_the_ports_of_the_firewall_table():
    targets = yaml.safe_load((CONF / "prometheus/targets/two-machines.yml.example").read_text())
    ports = {int(target["targets"][0].split(":")[1]) for target in targets}
    assert ports == {8001, 8002, 8003, 8004, 8005, 9100, 8081, 9187, 9121, 9419}
    assert not list((CONF / "prometheus/targets").glob("*.yml"))


def test_alertmanager_takes_its_configuration():
    done = subprocess.run(["amtool", "check-config", CONF / "alertmanager/alertmanager.yml"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout


def sources():
    text = yaml.safe_load((CONF / "grafana/provisioning/datasources/orrery.yaml").read_text())
    return {one["uid"]: one for one in text["datasources"]}


def test_data_sources_of_grafana_refer_to_one_another(read):
    found = sources()
    assert set(found) == {"prom", "loki", "tempo"}

    def referred(value):
        if isinstance(value, dict):
            return [one for key, inner in value.items()
                    for one in ([inner] if key == "datasourceUid" else referred(inner))]
        return [one for inner in value for one in referred(inner)] if isinstance(value, list) else []
    assert set(referred(found["prom"])) == {"tempo"}  # exemplars
    assert set(referred(found["loki"])) == {"tempo"}  # trace ids of log lines
    assert set(referred(found["tempo"])) == {"loki", "prom"}  # logs and rates of a span, the service map
    assert found["tempo"]["jsonData"]["serviceMap"] == {"datasourceUid": "prom"}
    for uid, name in (("prom", "prometheus"), ("loki", "loki"), ("tempo", "tempo")):
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", found[uid]["url"]).groups()
        assert host == name and read(WHOLE)["services"][name]["ports"][0].split(":")[1:] == [port, f"{port}/tcp"]
    # Grafana expands variables: a dollar that is meant is written twice.
    text = (CONF / "grafana/provisioning/datasources/orrery.yaml").read_text()
    assert not re.search(r"(?<!\$)\$(?!\$)[\w{]", re.sub(r"`.*?`", "", text).replace("$$", ""))


def test_labels_of_logs_series_and_spans_meet():
    """What Tempo looks up in Loki and Prometheus is what Alloy and Prometheus write."""
    tempo = sources()["tempo"]["jsonData"]
    logs = {one["value"] for one in tempo["tracesToLogsV2"]["tags"]}
    series = {one["value"] for one in tempo["tracesToMetrics"]["tags"]}
    alloy = (CONF / "alloy/config.alloy").read_text()
    written = set(re.findall(r'target_label\s*=\s*"(\w+)"', alloy))
    jobs = yaml.safe_load((CONF / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    labels = {rule.get("target_label") for job in jobs for rule in job.get("relabel_configs", [])}
    assert logs == {"service_name"} <= written
    assert series == {"service"} <= labels
    assert [one["matcherRegex"] for one in sources()["loki"]["jsonData"]["derivedFields"]] == ["trace_id"]
    assert re.search(r"stage\.structured_metadata \{\s*values = \{[^}]*trace_id", alloy)


def test_alloy_has_closed_what_it_opens_and_names_only_components_that_are_there(read):
    text = re.sub(r"//.*$", "", (CONF / "alloy/config.alloy").read_text(), flags=re.M)
    bare = re.sub(r'"[^"]*"', '""', text)
    for opening, closing in ("{}", "[]", "()"):
        assert bare.count(opening) == bare.count(closing)
    there = {f"{kind}.{label}" for kind, label in re.findall(r'^([\w.]+) "(\w+)" \{', text, re.M)}
    used = {f"{kind}.{label}" for kind, label in re.findall(
        r"\b((?:discovery|loki)\.\w+(?:\.\w+)??)\.(\w+)\.(?:targets|output|receiver|rules)\b", text)}
    assert used and used <= there
    environment = read(WHOLE)["services"]["alloy"]["environment"]
    assert set(re.findall(r'sys\.env\("(\w+)"\)', text)) == set(environment)


def test_spans_go_from_the_collector_to_tempo_and_series_to_where_prometheus_looks(read):
    text = yaml.safe_load((CONF / "otelcol/config.yaml").read_text())
    for kind, pipeline in text["service"]["pipelines"].items():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(text[part]), kind
        assert pipeline["processors"][0] == "memory_limiter"
    assert text["exporters"]["otlp_grpc/tempo"]["endpoint"] == "${env:TEMPO_ENDPOINT}"
    host, port = read(WHOLE)["services"]["otel-collector"]["environment"]["TEMPO_ENDPOINT"].split(":")
    tempo = yaml.safe_load((CONF / "tempo/tempo.yaml").read_text())
    assert host == "tempo"
    assert tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == f"0.0.0.0:{port}"
    own = text["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]["port"]
    offered = int(text["exporters"]["prometheus"]["endpoint"].split(":")[1])
    assert {("otel-collector", own), ("otel-collector", offered)} <= set(scraped())


def test_tempo_writes_the_service_map_to_a_prometheus_that_takes_it(read):
    tempo = yaml.safe_load((CONF / "tempo/tempo.yaml").read_text())
    remote = tempo["metrics_generator"]["storage"]["remote_write"][0]
    assert remote == {"url": "http://prometheus:9090/api/v1/write", "send_exemplars": True}
    assert set(tempo["overrides"]["defaults"]["metrics_generator"]["processors"]) == {"service-graphs", "span-metrics"}
    command = read(WHOLE)["services"]["prometheus"]["command"]
    assert {"--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"} <= set(command)


def test_what_loki_and_tempo_keep_lies_on_their_volumes_and_ends(read):
    services = read(WHOLE)["services"]
    loki = yaml.safe_load((CONF / "loki/loki.yaml").read_text())
    tempo = yaml.safe_load((CONF / "tempo/tempo.yaml").read_text())
    mounted = {name: {volume.split(":")[1] for volume in services[name]["volumes"]} for name in ("loki", "tempo")}
    assert loki["common"]["path_prefix"] in mounted["loki"]
    assert all(path.startswith("/loki/") for path in loki["common"]["storage"]["filesystem"].values())
    assert loki["compactor"]["retention_enabled"] and loki["limits_config"]["retention_period"]
    assert loki["schema_config"]["configs"][0]["schema"] == "v13"  # structured metadata
    for path in (tempo["storage"]["trace"]["wal"]["path"], tempo["storage"]["trace"]["local"]["path"],
                 tempo["metrics_generator"]["storage"]["path"]):
        assert path.startswith("/var/tempo/") and "/var/tempo" in mounted["tempo"]
    assert tempo["overrides"]["defaults"]["compaction"]["block_retention"]
