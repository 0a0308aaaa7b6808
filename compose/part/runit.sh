# SPDX-License-Identifier: MIT
# Supervision by runit: one runsvdir per state folder, one folder per process in state/service,
# linked from state/supervised, which is what runsvdir reads.
#
# Every folder holds a file `down`: runsvdir alone starts nothing, `up` says what runs. A folder's
# `fingerprint` names what its process was started with, so that `up` restarts only what changed.
# shellcheck shell=bash

# runsvdir's id, if it lives and serves this state folder.
runit_pid() {
	local pid
	pid=$(cat "$state/runsvdir.pid" 2>/dev/null) &&
		tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "runsvdir -P $state/supervised " &&
		echo "$pid"
}

runit_start() {
	local folder
	runit_pid >/dev/null || rm -rf "$state/supervised"
	mkdir -p "$state/supervised"
	for folder in "$state"/service/*; do
		ln -sfn "$folder" "$state/supervised/${folder##*/}"
	done
	runit_pid >/dev/null && return 0
	# Nobody's child, with a clean environment and no open files of ours: it outlives this command.
	(
		cd / || exit
		exec </dev/null >"$state/log/runsvdir.log" 2>&1 8>&- 9>&-
		# shellcheck disable=SC2016
		env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
			setsid sh -c 'echo $$ >"$1/runsvdir.pid"; exec runsvdir -P "$1/supervised"' sh "$state" &
	)
	await 10 runit_pid >/dev/null || die "runsvdir did not start (see $state/log/runsvdir.log)"
}

# await SECONDS COMMAND...: until it succeeds; no output is lost.
await() {
	local limit=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < limit)) || return 1
		sleep 0.1
	done
}

# define NAME: folder, log and `run` (standard input) of one supervised process.
define() {
	local name=$1 folder=$state/service/$1 log=$state/log/$1
	mkdir -p "$folder/log" "$log"
	((EUID)) || chown orrery:orrery "$log"
	[[ -e $folder/down ]] || : >"$folder/down"
	place "$folder/run" 755
	place "$log/config" 644 <<<$'s4000000\nn5'
	place "$folder/log/run" 755 <<-END
		#!/bin/sh
		exec chpst $(as_user_options) svlogd -b 131072 -l 65536 $log
	END
}

as_user_options() { ((EUID)) || echo "-u orrery:orrery"; }

# environment NAME: lines of NAME=value become the folder's env, one file each, for chpst -e.
environment() {
	local folder=$state/service/$1/env line key old
	(umask 077 && mkdir -p "$folder")
	local -A keep=()
	while IFS= read -r line; do
		key=${line%%=*}
		keep[$key]=1
		place "$folder/$key" 600 <<<"${line#*=}"
	done
	for old in "$folder"/*; do
		[[ ! -e $old || -n ${keep[${old##*/}]:-} ]] || rm -f "$old"
	done
}

process_pid() { grep -s '[0-9]' "$state/service/$1/supervise/pid"; }
process_state() { cat "$state/service/$1/supervise/stat" 2>/dev/null || echo down; }
is_running() { runit_pid >/dev/null && [[ -n $(process_pid "$1") ]]; }

# The supervisor answers a moment after the folder appeared (runsvdir looks every five seconds).
supervised() { [[ -p $state/service/$1/supervise/ok ]] && sv status "$state/service/$1" >/dev/null 2>&1; }
supervise() { await 10 supervised "$1" || die "runit does not supervise $1 (see $state/log/runsvdir.log)"; }
control() { sv -w "${3:-30}" "$1" "$state/service/$2" >/dev/null; }

# fingerprint NAME FILE...: of the folder's own files and of those named.
fingerprint() {
	local folder=$state/service/$1
	shift
	{
		cat "$folder/run" "$@" 2>/dev/null
		grep -rs '' "$folder/env" | sort
	} | sha256sum | cut -d' ' -f1
}

# converge NAME FILE...: running, and with what is described now. Sets `converged`: kept, started or
# restarted.
converge() {
	local name=$1 mark=$state/service/$1/fingerprint now
	shift
	converged=kept
	now=$(fingerprint "$name" "$@")
	if is_running "$name" && [[ $(process_state "$name") == run* ]]; then
		[[ $(cat "$mark" 2>/dev/null) != "$now" ]] || return 0
		say "  $name: changed, restarting"
		stop_process "$name"
		converged=restarted
	else
		converged=started
	fi
	supervise "$name"
	printf '%s\n' "$now" >"$mark"
	sv up "$state/service/$name" >/dev/null || true
}

stop_process() { control force-stop "$1" 20; }

# retire NAME: ends a process for good, and its supervisor. What it wrote stays in its log.
retire() {
	local folder=$state/service/$1
	rm -f "$state/supervised/$1"
	if supervised "$1"; then
		stop_process "$1" || true
		sv exit "$folder" >/dev/null 2>&1
		await 10 is_unsupervised "$1" || die "the supervisor of $1 does not end"
	fi
	rm -rf "$folder"
}

is_unsupervised() { ! supervised "$1"; }

# Ends a process and everything below it as a power cut would, and leaves it down.
kill_process() {
	local pid
	pid=$(process_pid "$1") || return 0
	# The supervisor must know first, or it starts the next one at once.
	sv once "$state/service/$1" >/dev/null
	await 5 grep -qs 'want down' "$state/service/$1/supervise/stat"
	# shellcheck disable=SC2046
	kill -KILL "$pid" $(descendants "$pid") 2>/dev/null
	await 10 is_stopped "$1"
}

is_stopped() { [[ -z $(process_pid "$1") ]]; }

# The ids of all processes below those given.
descendants() {
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v roots="$*" '
		{ id = $1; sub(/^.*\) /, ""); parent[id] = $2 }
		END {
			split(roots, root, " "); for (i in root) below[root[i]] = 1
			do { grown = 0; for (id in parent) if (!(id in below) && parent[id] in below) {
				below[id] = grown = 1; print id } } while (grown)
		}'
}

# runit_stop "NAME NAME..." ...: each group politely and at once, one group after the other. Then the
# supervisors, then runsvdir: it waits for what it started, and must not find it in its folder any
# more. Whatever is left is killed.
runit_stop() {
	local pid left group name
	pid=$(runit_pid) || return 0
	left=$(descendants "$pid")
	for group in "$@"; do
		for name in $group; do
			[[ ! -d $state/service/$name/supervise ]] || stop_process "$name" || true &
		done
		wait
	done
	rm -rf "$state/supervised"
	mkdir "$state/supervised"
	for name in "$state"/service/*; do
		sv exit "$name" >/dev/null 2>&1
	done
	await 10 childless "$pid"
	kill -TERM "$pid" 2>/dev/null
	# shellcheck disable=SC2086
	await 5 none_alive "$pid" $left || {
		warn "some processes had to be killed"
		kill -KILL "$pid" $left 2>/dev/null
		await 5 none_alive "$pid" $left
	}
	rm -f "$state/runsvdir.pid"
}

childless() { [[ -z $(descendants "$1") ]]; }

none_alive() {
	local id
	for id in "$@"; do
		# A zombie is nobody; its parent is not ours to hurry.
		[[ ! -e /proc/$id/stat ]] || grep -qs ') Z ' "/proc/$id/stat" || return 1
	done
}
