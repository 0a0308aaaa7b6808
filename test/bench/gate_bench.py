# SPDX-License-Identifier: MIT
"""CPU time per forwarded request of a gateway against nginx proxy_pass and haproxy.

All contenders live at once before the same bare libh2o upstream: the proxy on one core, upstream
and wrk on the other; rounds alternate over them and the medians are compared (http_bench.py).
"""
import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

from http_bench import CHECKOUT, Contender, arguments, build_bare, free_port, nginx_folder, private_dirty_kb

HAPROXY = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"]
POLICY = """
local app, gate = require "app", require "gate"
local s = app.service "edge"
local edge = gate.on(s)
local up = edge:upstream("up", {{ address = "http://127.0.0.1:{port}" , health = false }})
local all = edge:limit("all", {{ requests = 10000000, per_s = 1 }})
edge:route("/", up, {{ {options} }})
return s
"""
NGINX = """
worker_processes 1; daemon off; pid {folder}/proxy.pid; error_log {folder}/proxy.log;
events {{ worker_connections 1024; }}
http {{
    access_log {log};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Request-Id $request_id;
            add_header X-Request-Id $request_id;
        }}
    }}
}}
"""
HAPROXY_CFG = """
global
    maxconn 4000
    nbthread 1
defaults
    mode http
    option http-keep-alive
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend edge
    bind 127.0.0.1:{port}
    unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt
    unique-id-header X-Request-Id
    option forwardfor
    default_backend up
backend up
    http-reuse always
    server one 127.0.0.1:{upstream} maxconn 1000
"""


def nginx(work, upstream, log, access):
    folder, port = nginx_folder(work), free_port()
    conf = folder / f"proxy-{'log' if access else 'quiet'}.conf"
    conf.write_text(NGINX.format(folder=folder, upstream=upstream, port=port,
                                 log=f"{folder}/access.log" if access else "off"))
    (folder / "logs").mkdir(exist_ok=True)
    name = "nginx, access log on" if access else "nginx, access log off"
    return Contender(name, [folder / "usr/sbin/nginx", "-p", folder, "-c", conf], port, log)


def haproxy(work, upstream, log):
    folder, port = work.resolve() / "haproxy", free_port()
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "download", *HAPROXY], cwd=folder, check=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
            package.unlink()
        (folder / "ready").touch()
    conf = folder / "haproxy.cfg"
    conf.write_text(HAPROXY_CFG.format(upstream=upstream, port=port))
    return Contender("haproxy, no log", [folder / "usr/sbin/haproxy", "-db", "-f", conf], port, log,
                     LD_LIBRARY_PATH=str(folder / "usr/lib/x86_64-linux-gnu"))


def orrery(name, binary, folder, upstream, log, options="", **env):
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.lua").write_text(POLICY.format(port=upstream, options=options))
    return Contender(name, [binary, "serve", folder / "service.lua", "--port", port], port, log,
                     ORRERY_ROOT=str(CHECKOUT), **env)


def main():
    words = arguments()
    bare = build_bare(words.work)
    with contextlib.ExitStack() as stack, tempfile.TemporaryFile() as log, open("/dev/null", "w") as null:
        def begin(contender):
            stack.callback(contender.stop)
            return contender

        port, sink_port = free_port(), free_port()
        upstream = begin(Contender("upstream", [bare, port], port, log, core=1))
        sink = begin(Contender("collector", [bare, sink_port], sink_port, log))
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = []
        for make in (lambda: nginx(words.work, port, log, False), lambda: nginx(words.work, port, log, True),
                     lambda: haproxy(words.work, port, log)):
            try:
                contenders.append(begin(make()))
            except (subprocess.CalledProcessError, OSError) as e:
                print(f"a contender is not measured, its packages could not be had ({e})")
        plain = begin(orrery("gateway, logs and metrics", words.binary, folder / "plain", port, null))
        contenders += [
            plain,
            begin(orrery("gateway, all telemetry on", words.binary, folder / "all", port, null,
                         OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{sink.port}")),
            begin(orrery("gateway, with a local limit", words.binary, folder / "limit", port, null,
                         "limits = { all }"))]
        assert all(c.body == upstream.body for c in contenders)
        for _ in range(words.rounds):
            for contender in contenders:
                contender.round(words.seconds)
        anchor = contenders[0]
        print(f"{'':28}{'CPU us/request':>15}{'/ first':>9}   samples")
        for c in contenders:
            samples = " ".join(f"{s:.2f}" for s in c.samples)
            print(f"{c.name:28}{c.median:15.2f}{c.median / anchor.median:9.2f}   {samples}")
        print(f"private dirty of the gateway after the run: {private_dirty_kb(plain.process.pid) / 1024:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
