# SPDX-License-Identifier: MIT
# The datastores of a lab: private PostgreSQL, Redis and RabbitMQ, each described as a supervised
# process. Nothing of the machine's own instances is read, written or stopped.
# shellcheck shell=bash

stores_define() {
	postgres_define
	redis_define
	epmd_define
	rabbitmq_define
}

# The newest server on this machine.
postgres_bin() {
	local newest
	newest=$(find /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -t/ -k5,5n | tail -n 1)
	[[ -n $newest ]] || die "no PostgreSQL server under /usr/lib/postgresql"
	echo "${newest%/postgres}"
}

postgres_define() {
	local home=$state/postgres bin
	bin=$(postgres_bin) || exit
	owned "$home/lab.conf" < <(cat "$checkout/conf/postgresql.conf" && echo "port = $(port postgres)")
	[[ -f $home/data/PG_VERSION ]] || postgres_create "$bin"
	define postgres <<-END
		#!/bin/sh
		exec 2>&1
		exec chpst $(as_user_options) $bin/postgres -D $home/data
	END
	# To PostgreSQL, TERM means to wait until every client has left; INT is what is meant here.
	mkdir -p "$state/service/postgres/control"
	place "$state/service/postgres/control/t" 755 <<-'END'
		#!/bin/sh
		kill -INT "$(cat supervise/pid)"
	END
}

postgres_create() {
	local home=$state/postgres bin=$1
	say "  postgres: making a data folder"
	rm -rf "$home/new"
	secret postgres-orrery >/dev/null
	owned "$home/password" < <(secret postgres-orrery)
	quietly "$state/log/initdb.log" as_user "$bin/initdb" -D "$home/new" --username=orrery \
		--pwfile="$home/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
		--data-checksums || die "initdb failed"
	rm -f "$home/password"
	echo "include '../lab.conf'" >>"$home/new/postgresql.conf"
	mv "$home/new" "$home/data"
}

redis_define() {
	local home=$state/redis
	owned "$home/redis.conf" < <(cat "$checkout/conf/redis.conf" &&
		printf 'port %s\ndir %s\n' "$(port redis)" "$home")
	define redis <<-END
		#!/bin/sh
		exec 2>&1
		exec chpst $(as_user_options) redis-server $home/redis.conf
	END
}

# Erlang's port mapper: a private one, or the node would leave one behind for ever.
epmd_define() {
	define epmd <<-END
		#!/bin/sh
		exec 2>&1
		cd /
		exec chpst $(as_user_options) epmd -address 127.0.0.1 -port $(port epmd)
	END
}

# The node's name holds a number for an address, so that no name has to resolve anywhere.
rabbitmq_define() {
	local home=$state/rabbitmq
	owned "$home/rabbitmq.conf" < <(cat "$checkout/conf/rabbitmq.conf" &&
		printf '%s\n' "listeners.tcp.lab = 127.0.0.1:$(port rabbitmq)" \
			'default_user = oms' "default_pass = $(secret amqp)")
	owned "$home/advanced.config" <<<'[].'
	owned "$home/enabled_plugins" <<<'[].'
	owned "$home/env.conf" <<<'# The machine'\''s own settings are not read.'
	secret erlang-cookie >/dev/null
	[[ -s $home/.erlang.cookie ]] || owned "$home/.erlang.cookie" < <(secret erlang-cookie)
	chmod 400 "$home/.erlang.cookie"
	rabbitmq_environment | environment rabbitmq
	define rabbitmq <<-END
		#!/bin/sh
		exec 2>&1
		cd $home
		exec chpst -e $state/service/rabbitmq/env $(as_user_options) \\
			/usr/lib/rabbitmq/bin/rabbitmq-server
	END
}

rabbitmq_environment() {
	local home=$state/rabbitmq
	cat <<-END
		HOME=$home
		RABBITMQ_NODENAME=orrery@127.0.0.1
		RABBITMQ_USE_LONGNAME=true
		RABBITMQ_CONF_ENV_FILE=$home/env.conf
		RABBITMQ_CONFIG_FILE=$home/rabbitmq.conf
		RABBITMQ_ADVANCED_CONFIG_FILE=$home/advanced.config
		RABBITMQ_ENABLED_PLUGINS_FILE=$home/enabled_plugins
		RABBITMQ_MNESIA_BASE=$home
		RABBITMQ_MNESIA_DIR=$home/data
		RABBITMQ_PLUGINS_EXPAND_DIR=$home/plugins
		RABBITMQ_GENERATED_CONFIG_DIR=$home/generated
		RABBITMQ_PID_FILE=$home/pid
		RABBITMQ_LOG_BASE=$home
		RABBITMQ_LOGS=-
		RABBITMQ_DIST_PORT=$(port rabbitmq_nodes)
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}
		RUNNING_UNDER_SYSTEMD=true
		ERL_EPMD_ADDRESS=127.0.0.1
		ERL_EPMD_PORT=$(port epmd)
		ERL_CRASH_DUMP=/dev/null
	END
}

# owned FILE: standard input becomes a file that only the lab's user reads.
owned() {
	place "$1" 600
	((EUID)) || chown orrery:orrery "$1"
}

stores_converge() {
	converge postgres "$state/postgres/lab.conf" "$state/service/postgres/control/t"
	converge redis "$state/redis/redis.conf"
	converge epmd
	converge rabbitmq "$state/rabbitmq/rabbitmq.conf"
}

postgres_ready() { psql_admin postgres -c 'select 1' >/dev/null 2>&1; }
redis_ready() { [[ $(redis-cli -h 127.0.0.1 -p "$(port redis)" ping 2>/dev/null) == PONG ]]; }
epmd_ready() { (: <"/dev/tcp/127.0.0.1/$(port epmd)") 2>/dev/null; }
# The node listens at the end of its start. No header is sent: that would be a warning in its log.
rabbitmq_ready() { (: <"/dev/tcp/127.0.0.1/$(port rabbitmq)") 2>/dev/null; }

psql_admin() {
	local database=$1
	shift
	PGPASSWORD=$(secret postgres-orrery) PGCONNECT_TIMEOUT=3 psql -X -q -v ON_ERROR_STOP=1 \
		-h 127.0.0.1 -p "$(port postgres)" -U orrery -d "$database" "$@"
}

# Roles with their passwords, by standard input: arguments could be read by everybody.
postgres_roles() {
	local name
	{
		for name in "${services[@]}"; do
			! uses "$name" postgres || printf "\\\\set %s '%s'\n" "$name" "$(secret "postgres-oms_$name")"
		done
		cat "$checkout/conf/postgres/roles.sql"
	} >"$state/secret/roles.sql"
	quietly "$state/log/migrate.log" psql_admin postgres -f "$state/secret/roles.sql"
	local status=$?
	rm -f "$state/secret/roles.sql"
	return $status
}
