# SPDX-License-Identifier: MIT
# Where a lab lives and what it knows: folders, the user it runs as, ports, secrets.
# shellcheck shell=bash

# name, port offset from ORRERY_PORT_BASE, and which stores it uses
services_table='
orders        1 postgres redis amqp
inventory     2 postgres redis amqp
payments      3 postgres redis
users         4 postgres redis
notifications 5 postgres redis amqp
acquirer      6 postgres
'
stores=(postgres redis epmd rabbitmq)
mapfile -t services < <(awk 'NF { print $1 }' <<<"$services_table")

declare -A port_offset=([postgres]=32 [redis]=79 [rabbitmq]=72 [rabbitmq_nodes]=73 [epmd]=74)
while read -r name offset _; do
	[[ -z $name ]] || port_offset[$name]=$offset
done <<<"$services_table"

port() { echo $((port_base + port_offset[$1])); }
url() { echo "http://127.0.0.1:$(port "$1")"; }

state_choose() {
	if [[ -n ${ORRERY_STATE:-} ]]; then
		state=$(realpath -m -- "$ORRERY_STATE")
	elif ((EUID == 0)); then
		state=/var/lib/orrery
	else
		state=${XDG_STATE_HOME:-$HOME/.local/state}/orrery
	fi
	[[ $state != *[[:space:]\'\"\\\$]* ]] ||
		die "the state folder's name may not hold spaces, quotes, \$ or backslashes: $state"
	state_port_base
}

# The setting, else what this lab was last brought up with, else 8000.
state_port_base() {
	port_base=${ORRERY_PORT_BASE:-$(sed -n 's/^ORRERY_PORT_BASE=//p' "$state/lab.env" 2>/dev/null)}
	port_base=${port_base:-8000}
	[[ $port_base =~ ^[0-9]{1,5}$ ]] && ((port_base >= 1 && port_base <= 65400)) ||
		die "ORRERY_PORT_BASE must be a number from 1 to 65400, not '$port_base'"
}

state_folders() {
	mkdir -p "$state"/{log,service} || die "cannot make the state folder $state"
	chmod 755 "$state" "$state"/{log,service}
	(umask 077 && mkdir -p "$state"/{secret,postgres,redis,rabbitmq})
}

# The stores refuse root or should: as root a system user `orrery` owns and runs them.
state_user() {
	run_user=$(id -un)
	((EUID == 0)) || return 0
	run_user=orrery
	id -u orrery >/dev/null 2>&1 || useradd --system --user-group --no-create-home \
		--home-dir /nonexistent --shell /usr/sbin/nologin orrery ||
		die "cannot make the system user orrery"
	as_user test -x "$state" ||
		die "the user orrery cannot enter the state folder $state" \
			"let others enter the folders above it, or set ORRERY_STATE to another place"
	chown orrery:orrery "$state"/{postgres,redis,rabbitmq}
}

as_user() {
	if ((EUID == 0)); then
		(cd / && exec chpst -u orrery:orrery "$@")
	else
		(cd / && exec "$@")
	fi
}

# secret NAME: made on first use, the same ever after.
secret() {
	local file=$state/secret/$1
	[[ -s $file ]] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' | place "$file" 600
	cat "$file"
}

postgres_url() { echo "postgresql://$1:$(secret "postgres-$1")@127.0.0.1:$(port postgres)/$2"; }
redis_url() { echo "redis://127.0.0.1:$(port redis)/0"; }
amqp_url() { echo "amqp://oms:$(secret amqp)@127.0.0.1:$(port rabbitmq)/oms"; }

# What a tool beside the lab needs to reach it; readable by its owner alone.
state_write_env() {
	{
		echo "ORRERY_STATE=$state"
		echo "ORRERY_PORT_BASE=$port_base"
		echo "ORRERY_BINARY=$binary"
		local name
		for name in "${services[@]}"; do
			echo "ORRERY_URL_${name^^}=$(url "$name")"
		done
		echo "ORRERY_POSTGRES_ADMIN_URL=$(postgres_url orrery oms)"
		for name in "${services[@]}"; do
			echo "ORRERY_POSTGRES_URL_${name^^}=$(postgres_url "oms_$name" oms)"
		done
		echo "ORRERY_REDIS_URL=$(redis_url)"
		echo "ORRERY_AMQP_URL=$(amqp_url)"
		echo "ORRERY_JWT_SECRET=$(secret jwt)"
		echo "RABBITMQ_NODENAME=orrery@127.0.0.1"
		echo "RABBITMQ_HOME=$state/rabbitmq"
		echo "ERL_EPMD_PORT=$(port epmd)"
	} | place "$state/lab.env" 600
}

# Prints the ports among its arguments on which somebody listens where the lab wants to.
ports_taken() {
	local listening number
	listening=" $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
		awk '$4 == "0A" && ($2 ~ /^0+:/ || $2 ~ /^(0+FFFF0000)?0100007F:/) {
			sub(/.*:/, "", $2); print $2 }' | tr '\n' ' ')"
	for number in "$@"; do
		[[ $listening != *" $(printf '%04X' "$number") "* ]] || echo "$number"
	done
}
