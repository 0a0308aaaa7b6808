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
	for name in "${services[@]}"; do
		service_environment "$name" | environment "$name"
		define "$name" <<-END
			#!/bin/sh
			exec 2>&1
			cd $checkout
			exec chpst -e $state/service/$name/env $services_as $binary serve oms/$name
		END
	done
}

service_environment() {
	local name=$1 uses other
	uses=" $(awk -v name="$name" '$1 == name { $1 = $2 = ""; print }' <<<"$services_table") "
	passed_on "$name"
	echo "HOME=/nonexistent"
	echo "ORRERY_ROOT=$checkout"
	echo "ORRERY_PORT=$(port "$name")"
	[[ $name == acquirer ]] || echo "ORRERY_JWT_SECRET=$(secret jwt)"
	[[ $uses != *' postgres '* ]] || echo "ORRERY_POSTGRES_URL=$(postgres_url "oms_$name" oms)"
	[[ $uses != *' redis '* ]] || echo "ORRERY_REDIS_URL=$(redis_url)"
	[[ $uses != *' amqp '* ]] || echo "ORRERY_AMQP_URL=$(amqp_url)"
	for other in $(upstreams_of "$name"); do
		echo "ORRERY_UPSTREAM_${other^^}=$(url "$other")"
	done
}

# The variables of `lab up` that services are given: OTEL_* and every host setting ORRERY_*,
# except those that belong to the lab. The card network is somebody else's: no telemetry,
# and not the key of the lab's tokens either.
passed_on() {
	local key
	for key in $(compgen -e | sort); do
		case $key in
		ORRERY_STATE | ORRERY_PORT_BASE | ORRERY_BUILD | ORRERY_BINARY | ORRERY_WAIT_S) ;;
		ORRERY_PORT | ORRERY_ROOT | ORRERY_JWT_SECRET) ;;
		ORRERY_*_URL | ORRERY_URL_* | ORRERY_UPSTREAM_* | ORRERY_POSTGRES_URL_*) ;;
		OTEL_*) [[ $1 == acquirer || -z ${!key} ]] || echo "$key=${!key}" ;;
		ORRERY_*) [[ -z ${!key} ]] || echo "$key=${!key}" ;;
		esac
	done
}

upstreams_of() {
	case $1 in
	orders) echo inventory payments users ;;
	payments) echo acquirer ;;
	esac
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
services_converge() {
	local name code
	code=$(sha256sum <"$binary")
	for name in "${services[@]}"; do
		{
			echo "$code"
			cd "$checkout" && find conf/oms.lua -type f \
				-exec sha256sum {} + 2>/dev/null | sort
		} | place "$state/service/$name/code" 644
		converge "$name" "$state/service/$name/code" &
	done
	wait
}

service_ready() {
	local answer=$state/service/$1/ready.json
	rm -f "$answer"
	[[ $(curl -s -o "$answer" -w '%{http_code}' --max-time 2 "$(url "$1")/ready" 2>/dev/null) == 200 ]]
}
