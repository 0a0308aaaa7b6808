# SPDX-License-Identifier: MIT
# Debian packages: installed only when something is missing, with every server's own start-up
# suppressed while apt runs and the machine's settings put back afterwards.
# shellcheck shell=bash

packages_build=(gcc libc6-dev meson ninja-build pkg-config
	libh2o-evloop-dev libwslay-dev libssl-dev zlib1g-dev libpq-dev libhiredis-dev
	librabbitmq-dev libluajit-5.1-dev lua-cjson-dev libsodium-dev)
packages_run=(postgresql redis-server rabbitmq-server runit curl ca-certificates)

policy_file=/usr/sbin/policy-rc.d
cluster_conf=/etc/postgresql-common/createcluster.conf
cluster_drop_in=/etc/postgresql-common/createcluster.d/orrery.conf

# Prints those of its arguments that are not installed.
packages_missing() {
	dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		awk 'BEGIN { for (i = 1; i < ARGC; i++) want[ARGV[i]] = i; ARGC = 1 }
		     $1 == "installed" { delete want[$2] }
		     END { for (name in want) print name }' "$@" | sort
}

# packages_ensure LOG NAME...
packages_ensure() {
	local log=$1 missing
	shift
	mapfile -t missing < <(packages_missing "$@")
	((${#missing[@]})) || return 0
	if ((EUID)); then
		die "these Debian packages are missing: ${missing[*]}" \
			"run as root: apt-get install --no-install-recommends ${missing[*]}"
	fi
	say "installing ${#missing[@]} packages: ${missing[*]}"
	# A subshell, so that its trap puts everything back however it ends.
	(packages_install "$log" "${missing[@]}") ||
		die "apt-get could not install the packages (all of it: $log)"
}

packages_install() {
	local log=$1
	shift
	exec 8>/run/orrery-packages.lock
	flock 8
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
	local apt=(apt-get -y -q -o DPkg::Lock::Timeout=300 -o APT::Install-Recommends=false)
	trap autostart_restore EXIT
	trap 'exit 130' INT TERM HUP
	autostart_suppress
	quietly "$log" "${apt[@]}" update && quietly "$log" "${apt[@]}" install "$@"
}

# Packages ask policy-rc.d before they start a server; 101 means no. An existing answer waits aside.
autostart_suppress() {
	if [[ -e $policy_file || -L $policy_file ]]; then
		mv -f "$policy_file" "$policy_file.orrery-aside"
	fi
	printf '#!/bin/sh\n# Temporary, while packages of an Orrery lab are installed.\nexit 101\n' >"$policy_file"
	chmod 755 "$policy_file"
	# Nor shall PostgreSQL make a cluster of the machine's own, unless somebody decided that already.
	if ! grep -Eqs '^[[:space:]]*create_main_cluster' "$cluster_conf"; then
		mkdir -p "${cluster_drop_in%/*}"
		printf 'create_main_cluster = false\n' >"$cluster_drop_in"
	fi
}

autostart_restore() {
	rm -f "$policy_file" "$cluster_drop_in"
	rmdir "${cluster_drop_in%/*}" 2>/dev/null
	if [[ -e $policy_file.orrery-aside || -L $policy_file.orrery-aside ]]; then
		mv -f "$policy_file.orrery-aside" "$policy_file"
	fi
}
