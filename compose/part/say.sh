# SPDX-License-Identifier: MIT
# Words to the user: what happens, what is wrong, and a quiet run that speaks when it fails.
# shellcheck shell=bash

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
warn() { printf 'note: %s\n' "$*" >&2; }

die() {
	printf '\nerror: %s\n' "$1" >&2
	shift
	(($#)) && printf '       %s\n' "$@" >&2
	exit 1
}

# quietly LOG COMMAND...: appends the output to LOG; the last lines of it are shown on failure.
quietly() {
	local log=$1
	shift
	if ! "$@" >>"$log" 2>&1 </dev/null; then
		printf '\n--- the last lines of %s\n' "$log" >&2
		tail -n 30 "$log" >&2
		return 1
	fi
}

# place FILE MODE: standard input becomes FILE, which is touched only when its content changes.
place() {
	local file=$1 mode=$2 text old
	# To the end of the input: a text holds no NUL.
	IFS= read -r -d '' text
	if [[ ! -f $file ]] || { IFS= read -r -d '' old <"$file"; [[ $old != "$text" ]]; }; then
		rm -f "$file.new"
		(umask 077 && printf '%s' "$text" >"$file.new")
		chmod "$mode" "$file.new"
		mv -f "$file.new" "$file"
	fi
}

# Seconds since the first call, with one decimal.
elapsed() {
	local now=${EPOCHREALTIME/[.,]/}
	: "${elapsed_start:=$now}"
	local tenths=$(((now - elapsed_start) / 100000))
	printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}
