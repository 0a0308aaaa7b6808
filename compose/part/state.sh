# SPDX-License-Identifier: MIT
# Where a lab lives and what it knows: folders, the user it runs as, ports, secrets.
# shellcheck shell=bash

# name, port offset from ORRERY_PORT_BASE, and which stores it uses. The gateway is the way in.
services_table='
gateway       0 redis
orders        1 postgres redis amqp
inventory     2 postgres redis amqp
payments      3 postgres redis
users         4 postgres redis
notifications 5 postgres redis amqp
acquirer      6 postgres
'
stores=(postgres redis epmd rabbitmq)
mapfile -t services < <(awk 'NF { print $1 }' <<<"$services_table")

# All below 100: the second instance of a service has its port a hundred above the first one's, the
# third two hundred, so that no two meet.
declare -A port_offset=([postgres]=32 [redis]=79 [rabbitmq]=72 [rabbitmq_nodes]=73 [epmd]=74
	[gateway_admin]=80)
declare -A service_stores
while read -r name offset uses; do
	[[ -z $name ]] || port_offset[$name]=$offset service_stores[$name]=$uses
done <<<"$services_table"

# uses SERVICE STORE
uses() { [[ " ${service_stores[$1]} " == *" $2 "* ]]; }

is_service() { [[ -n ${1:-} && " ${services[*]} " == *" $1 "* ]]; }

# --- instances: orders, orders-2, orders-3 ... ------------------------------------------

instances_max=9
declare -A scale=() # service -> how many, where it is not one
instances=()        # all of them

service_of() { echo "${1%-[2-9]}"; }

instances_of() {
	local number
	echo "$1"
	for ((number = 2; number <= ${scale[$1]:-1}; number++)); do
		echo "$1-$number"
	done
}

# scale_take NAME=N[,NAME=N]... : as --scale has it. One gateway: it is the address that clients know,
# and a second one would need something before both.
scale_take() {
	local word name number words
	IFS=, read -ra words <<<"$1"
	((${#words[@]})) || die "--scale NAME=N[,NAME=N]..."
	for word in "${words[@]}"; do
		name=${word%%=*} number=${word#*=}
		is_service "$name" || die "--scale $word: there is no service '$name'" \
			"there are: ${services[*]}"
		[[ $word == *=* && $number == [1-$instances_max] ]] ||
			die "--scale $word: how many? $name=1 to $name=$instances_max"
		[[ $name != gateway || $number == 1 ]] ||
			die "--scale $word: there is one gateway, at the address that clients know"
		scale[$name]=$number
	done
}

scale_words() {
	local name words=()
	for name in "${services[@]}"; do
		((${scale[$name]:-1} == 1)) || words+=("$name=${scale[$name]}")
	done
	(IFS=, && echo "${words[*]}")
}

# scale_choose [WORDS...]: as this lab was last brought up, then the words of this call.
scale_choose() {
	local words
	scale=()
	words=$(sed -n 's/^ORRERY_SCALE=//p' "$state/lab.env" 2>/dev/null)
	[[ -z $words ]] || scale_take "$words"
	for words in "$@"; do
		scale_take "$words"
	done
	instances=()
	for words in "${services[@]}"; do
		mapfile -t -O ${#instances[@]} instances < <(instances_of "$words")
	done
}

# Instances that have a folder and are not wanted any more.
instances_retired() {
	local folder name
	for folder in "$state"/service/*-[2-9]; do
		name=${folder##*/}
		is_service "$(service_of "$name")" && [[ " ${instances[*]} " != *" $name "* ]] && echo "$name"
	done
}

# --- where they are ---------------------------------------------------------------------

port() {
	local name=${1%-[2-9]} number=1
	[[ $name == "$1" ]] || number=${1##*-}
	echo $((port_base + 100 * (number - 1) + port_offset[$name]))
}
url() {
	local scheme=http
	[[ $1 != gateway || -z ${ORRERY_TLS_CERTIFICATE:-} ]] || scheme=https
	echo "$scheme://127.0.0.1:$(port "$1")"
}

# Where /ready and /metrics of an instance are: the gateway's own are not on the way in.
admin_url() {
	case $1 in
	gateway) url gateway_admin ;;
	*) url "$1" ;;
	esac
}

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
	[[ $port_base =~ ^[0-9]{1,5}$ ]] && ((port_base >= 1 && port_base <= 64600)) ||
		die "ORRERY_PORT_BASE must be a number from 1 to 64600, not '$port_base'"
}

state_folders() {
	mkdir -p "$state"/{log,service,upstreams} || die "cannot make the state folder $state"
	chmod 755 "$state" "$state"/{log,service,upstreams}
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
		echo "ORRERY_SCALE=$(scale_words)"
		local name variable
		for name in "${instances[@]}" gateway_admin; do
			variable=${name^^}
			echo "ORRERY_URL_${variable//-/_}=$(url "$name")"
		done
		echo "ORRERY_POSTGRES_ADMIN_URL=$(postgres_url orrery oms)"
		for name in "${services[@]}"; do
			! uses "$name" postgres ||
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
