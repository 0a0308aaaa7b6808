# SPDX-License-Identifier: MIT
# The services of the lab: the host is built, the schema is brought up to date, each service runs.
# shellcheck shell=bash

# Sets `binary`. ORRERY_BUILD names a binary, or a build folder that holds one, to use as it is.
host_build() {
	if [[ -n ${ORRERY_BUILD:-} ]]; then
		binary=$(realpath -m -- "$ORRERY_BUILD")
		[[ ! -d $binary ]] || binary=$binary/orrery
		[[ -x $binary ]] || die "ORRERY_BUILD: there is no program $binary"
		return
	fi
	build=$checkout/build/release
	if ! mkdir -p "$build" 2>/dev/null || [[ ! -w $build ]]; then
		build=$state/build
		mkdir -p "$build"
	fi
	binary=$build/orrery
	local log=$state/log/build.log
	: >"$log"
	(
		exec 8>"$build/.lock"
		flock 8
		host_configure "$log" && quietly "$log" ninja -C "$build" orrery
	) || die "the host could not be built (all of it: $log)"
}

# Sources are found when meson configures: a new or removed file means to configure again.
host_configure() {
	local log=$1 list
	list=$(cd "$checkout" && find core -name '*.c' | sort)
	if [[ ! -f $build/build.ninja ]]; then
		quietly "$log" meson setup --buildtype=release -Db_ndebug=false -Db_lto=true "$build" "$checkout"
	elif [[ $list != "$(cat "$build/sources.list" 2>/dev/null)" ]]; then
		quietly "$log" meson setup --reconfigure "$build" "$checkout"
	fi && place "$build/sources.list" 644 <<<"$list"
}

# Services of root's lab run as `orrery` too, when that user can read the checkout.
services_user() {
	services_as=
	((EUID == 0)) || return 0
	if as_user test -r "$checkout/lib/app.lua" -a -x "$binary"; then
		services_as=$(as_user_options)
	else
		warn "the user orrery cannot read $checkout: the services run as root"
	fi
}

services_define() {
	local name
	services_user
	for name in "${instances[@]}"; do
		service_environment "$name" | environment "$name"
		define "$name" <<-END
			#!/bin/sh
			exec 2>&1
			cd $checkout
			exec chpst -e $state/service/$name/env $services_as $binary serve oms/$(service_of "$name")
		END
	done
}

# service_environment INSTANCE
service_environment() {
	local name other
	name=$(service_of "$1")
	passed_on "$name"
	echo "HOME=/nonexistent"
	echo "ORRERY_ROOT=$checkout"
	echo "ORRERY_PORT=$(port "$1")"
	[[ $name != gateway ]] || echo "ORRERY_ADMIN_PORT=$(port gateway_admin)"
	[[ $name == acquirer || $name == gateway ]] || echo "ORRERY_JWT_SECRET=$(secret jwt)"
	! uses "$name" postgres || echo "ORRERY_POSTGRES_URL=$(postgres_url "oms_$name" oms)"
	! uses "$name" redis || echo "ORRERY_REDIS_URL=$(redis_url)"
	! uses "$name" amqp || echo "ORRERY_AMQP_URL=$(amqp_url)"
	for other in $(upstreams_of "$name"); do
		echo "ORRERY_UPSTREAM_${other^^}=$(upstream_of "$name" "$other")"
	done
}

# The variables of `lab up` that services are given: OTEL_* and every host setting ORRERY_*,
# except those that belong to the lab. The card network is somebody else's: no telemetry,
# and not the key of the lab's tokens either. What is about clients from elsewhere is the
# gateway's alone.
passed_on() {
	local key
	for key in $(compgen -e | sort); do
		case $key in
		ORRERY_STATE | ORRERY_PORT_BASE | ORRERY_BUILD | ORRERY_BINARY | ORRERY_WAIT_S) ;;
		ORRERY_PORT | ORRERY_ADMIN_PORT | ORRERY_SCALE | ORRERY_ROOT | ORRERY_JWT_SECRET) ;;
		ORRERY_*_URL | ORRERY_URL_* | ORRERY_UPSTREAM_* | ORRERY_POSTGRES_URL_*) ;;
		ORRERY_TLS_*) [[ $1 != gateway || -z ${!key} ]] || echo "$key=$(realpath -m -- "${!key}")" ;;
		ORRERY_TRUSTED_PROXIES) [[ $1 != gateway || -z ${!key} ]] || echo "$key=${!key}" ;;
		OTEL_*) [[ $1 == acquirer || -z ${!key} ]] || echo "$key=${!key}" ;;
		ORRERY_*) [[ -z ${!key} ]] || echo "$key=${!key}" ;;
		esac
	done
}

# Whom a service asks. The gateway looks at a file for each of them, again and again, so that it goes
# on as it is when instances come and go; a service is told once, and has to be restarted.
upstreams_of() {
	case $1 in
	gateway) echo orders inventory payments users notifications ;;
	orders) echo inventory payments users ;;
	payments) echo acquirer ;;
	esac
}

# upstream_of SERVICE OTHER: where it finds that one.
upstream_of() {
	local urls
	if [[ $1 == gateway ]]; then
		echo "file://$state/upstreams/$2"
	else
		mapfile -t urls < <(urls_of "$2")
		(IFS=, && echo "${urls[*]}")
	fi
}

urls_of() {
	local name
	for name in $(instances_of "$1"); do
		url "$name"
	done
}

migrate() {
	(
		cd "$checkout" || exit
		export ORRERY_POSTGRES_ADMIN_URL ORRERY_ROOT=$checkout
		ORRERY_POSTGRES_ADMIN_URL=$(postgres_url orrery oms)
		quietly "$state/log/migrate.log" "$binary" migrate oms
	) || die "the schema could not be brought up to date (all of it: $state/log/migrate.log)"
}

# What a service was started from: the program and its settings. Its scripts it loads anew by itself.
# Who comes is in the gateway's lists when it is ready; who goes stays in them until the others are as
# they are to be, so that somebody is there while one is restarted.
services_converge() {
	local name code work=() failed=0
	code=$(cd "$checkout" && sha256sum "$binary" conf/oms.lua)
	upstreams_keep
	for name in "${services[@]}"; do
		service_converge "$name" "$code" &
		work+=($!)
	done
	for name in "${work[@]}"; do
		wait "$name" || failed=1
	done
	return $failed
}

# service_converge NAME CODE: the instances that do not run start, and are asked as well; then the
# others, one after another, each ready before the next one is restarted.
service_converge() {
	local name running=() started=()
	for name in $(instances_of "$1"); do
		place "$state/service/$name/code" 644 <<<"$2"
		if is_running "$name"; then
			running+=("$name")
		else
			converge "$name" "$state/service/$name/code"
			started+=("$name")
		fi
	done
	if ((${#running[@]} && ${#started[@]})); then
		wait_all "${started[@]}" >/dev/null && upstream_write "$1" && gateway_await up "${started[@]}" || return
	fi
	for name in "${running[@]}"; do
		converge "$name" "$state/service/$name/code"
		[[ $converged != restarted || -z ${scale[$1]:-} ]] || settle "$name" || return
	done
}

# settle NAME: until it is ready, for the gateway as well.
settle() {
	wait_all "$1" >/dev/null && gateway_await up "$1"
}

service_ready() {
	local answer=$state/service/$1/ready.json
	rm -f "$answer"
	[[ $(curl -s -o "$answer" -w '%{http_code}' --max-time 2 "$(admin_url "$1")/ready" 2>/dev/null) == 200 ]]
}

# --- the gateway's lists ----------------------------------------------------------------

# Those that were there before and are wanted, or still run; all, where that would leave none.
upstreams_keep() {
	local name kept
	for name in $(upstreams_of gateway); do
		mapfile -t kept < <({ urls_of "$name" && urls_retired "$name"; } |
			grep -Fxf "$state/upstreams/$name" 2>/dev/null)
		((${#kept[@]})) || mapfile -t kept < <(urls_of "$name")
		printf '%s\n' "${kept[@]}" | place "$state/upstreams/$name" 644
	done
}

urls_retired() {
	local name
	for name in $(instances_retired); do
		[[ $(service_of "$name") != "$1" ]] || ! is_running "$name" || url "$name"
	done
}

# Those that are wanted.
upstream_write() {
	[[ " $(upstreams_of gateway) " != *" $1 "* ]] || urls_of "$1" | place "$state/upstreams/$1" 644
}

upstreams_write() {
	local name
	for name in $(upstreams_of gateway); do
		upstream_write "$name"
	done
	gateway_await up "${instances[@]}"
	# shellcheck disable=SC2046
	gateway_await gone $(instances_retired)
}

# gateway_await up|gone NAME...: until the gateway sees them so; it looks about once a second. Does not
# wait where there is no gateway, nor for what does not stand behind it.
gateway_await() {
	local how=$1 name addresses=()
	shift
	is_running gateway || return 0
	for name in "$@"; do
		[[ " $(upstreams_of gateway) " != *" $(service_of "$name") "* ]] ||
			addresses+=("127.0.0.1:$(port "$name")")
	done
	((${#addresses[@]} == 0)) || await 5 gateway_sees "$how" "${addresses[@]}" ||
		warn "the gateway does not see yet: ${addresses[*]} $how (look at $(admin_url gateway)/upstreams)"
}

gateway_sees() {
	local how=$1 address seen found
	shift
	seen=$(curl -sf --max-time 2 "$(admin_url gateway)/upstreams") || return
	for address in "$@"; do
		found=gone
		[[ $seen != *"\"$address\""* ]] || found=listed
		[[ $how != up ]] || found=$(tr '{' '\n' <<<"$seen" | grep -F "\"$address\"" | grep -q '"up":true' && echo up)
		[[ $found == "$how" ]] || return
	done
}
