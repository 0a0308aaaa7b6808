#!/bin/sh
# SPDX-License-Identifier: MIT
# The entry of the PostgreSQL image: makes the cluster on first use, with the owner's name and
# password from the environment, then is the command. Half a cluster is made again.
set -eu

create() {
	new=$PGDATA/new
	rm -rf "$new"
	umask 077
	mkdir -p "$new"
	printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
	# shellcheck disable=SC2086
	initdb -D "$new" --username="$POSTGRES_USER" --pwfile=/tmp/password ${POSTGRES_INITDB_ARGS:-} >&2
	rm -f /tmp/password
	echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
	# The file that says a cluster is there comes last.
	find "$new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
	mv "$new/PG_VERSION" "$PGDATA"
	rmdir "$new"
}

if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
	# What an interrupted start has left.
	find "$PGDATA" -mindepth 1 -delete
	create
fi
exec "$@"
