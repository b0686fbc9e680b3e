# shellcheck shell=bash
# Sourced by the programs of this directory.

export PATH="$PATH:/usr/sbin:/sbin"

# usage_of FILE: the comment at the head of a program.
usage_of() { sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$1"; }

# need COMMAND:PACKAGE...: fails, naming the Debian packages, when a command is missing.
need() {
	local one missing=()
	for one in "$@"; do
		command -v "${one%%:*}" >/dev/null || missing+=("${one#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "${0##*/}: missing; install: apt-get install ${missing[*]}" >&2
	return 1
}

# built PACKAGE PROGRAM: builds a program in release and prints its path.
built() {
	local root
	root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../..
	(cd "$root" && cargo build -q --release -p "$1" --bin "$2") || return 1
	echo "${CARGO_TARGET_DIR:-$root/target}/release/$2"
}

# Prints the path of mdadm 4.1, Debian 11's, which is downloaded and unpacked, not installed. mdadm 4.2 and
# later let the kernel overwrite what is not in the backup file yet; 4.1 holds it back.
mdadm_41() {
	local root directory sources
	root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../..
	directory=${CARGO_TARGET_DIR:-$root/target}/oracle/mdadm-4.1
	if [ ! -x "$directory/sbin/mdadm" ]; then
		# shellcheck disable=SC2016 # a format of apt-get's
		sources=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
		rm -rf "$directory"
		(
			mkdir -p "$directory/lists/partial" "$directory/cache/archives/partial" &&
				cd "$directory" && echo "deb $sources bullseye main" >sources.list || exit
			options=(-o "Dir::Etc::SourceList=$PWD/sources.list" -o Dir::Etc::SourceParts=-
				-o "Dir::State::Lists=$PWD/lists" -o "Dir::Cache=$PWD/cache" -o APT::Sandbox::User=root)
			apt-get "${options[@]}" update && apt-get "${options[@]}" download mdadm/bullseye &&
				dpkg-deb -x mdadm_4.1*.deb . && rm -rf lists cache
		) >&2 || return 1
	fi
	readlink -e "$directory/sbin/mdadm"
}

# Prints the path of the library that uml-run loads before the kernel, built when it is missing.
shim() {
	local source library directory
	source=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/uml-shim.c
	directory=${CARGO_TARGET_DIR:-${source%/tests/oracle/*}/target}/oracle
	library=$directory/shim-$(sha256sum <"$source" | cut -c1-16).so
	if [ ! -s "$library" ]; then
		mkdir -p "$directory" &&
			cc -O2 -Wall -Wextra -shared -fPIC -o "$library.$$" "$source" &&
			mv "$library.$$" "$library" || return 1
	fi
	readlink -f "$library"
}
