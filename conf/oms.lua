-- The oms lab: which services, where, with which budgets. Later wins: the host's default, `defaults`
-- here, `services.<name>`, the environment (ORRERY_PORT, ORRERY_UPSTREAM_USERS ...), the command line.
-- Secrets and the addresses of the stores come from the environment alone.
return {
  defaults = {
    host = "127.0.0.1",
    workers = 1,
    postgres_connections = 8, -- per worker
    memory_max_mb = 64,       -- per Lua machine
    task_timeout_ms = 5000,
    trusted_proxies = "127.0.0.1, ::1", -- the gateway, which says whom it asks for
    unready_ms = 600, -- the gateway looks every 500 ms: when a service ends, nobody asks it any more
  },

  services = {
    orders = {
      port = 8001,
      task_timeout_ms = 10000, -- it waits for three others in a row
      options = { recover_after_s = 20 }, -- longer than a request may take
      upstreams = {
        inventory = "http://127.0.0.1:8002",
        payments = "http://127.0.0.1:8003",
        users = "http://127.0.0.1:8004",
      },
    },
    inventory = {
      port = 8002,
      options = { hold_ttl_s = 900 }, -- a hold that nobody sells or releases ends by itself
    },
    payments = {
      port = 8003,
      options = { reconcile_after_s = 10 }, -- when an open outcome is asked for again
      upstreams = { acquirer = "http://127.0.0.1:8006" },
    },
    users = {
      port = 8004,
      dialect = "micrometer", -- as a Spring service would
      options = {
        access_ttl_s = 900, session_ttl_s = 1209600,
        login_failures_max = 10, login_window_s = 300, -- then who guesses has to wait
        login_failures_per_client_max = 1000,
      },
    },
    notifications = {
      port = 8005,
      options = {
        mail_latency_ms_median = 20, mail_failure_percent = 0,
        sms_latency_ms_median = 20, sms_failure_percent = 0,
        rate_limit_per_minute = 30, -- per user
      },
    },
    gateway = { -- the one address of the shop; ORRERY_UPSTREAM_ORDERS and so on say otherwise
      port = 8000,
      admin_port = 8080, -- health, metrics and the page of what it forwards to
      trusted_proxies = "", -- whoever asks it is the client
      options = {
        requests_per_s = 2000, requests_burst = 4000, -- of one client
        registrations_per_minute = 60, logins_per_minute = 300, sockets_per_client = 100,
        cors_origins = { "http://localhost:3000", "http://127.0.0.1:3000" },
      },
      upstreams = {
        orders = "http://127.0.0.1:8001",
        inventory = "http://127.0.0.1:8002",
        payments = "http://127.0.0.1:8003",
        users = "http://127.0.0.1:8004",
        notifications = "http://127.0.0.1:8005",
      },
    },
    acquirer = { -- the card network: somebody else's machine, without telemetry
      port = 8006,
      options = { latency_ms_median = 40, failures_by_country = false },
    },
  },
}
