# shellcheck shell=bash
# shellcheck disable=SC2154 # md, sysfs and devices are judge's
# Sourced by judge: steps in which mdadm and the driver end a reshape that somebody else began.
#
#   ends [WORD..]      `mdadm --assemble WORD..`, and waits until the driver has ended the reshape. mdadm 4.2
#                      crashes now and then where it has a backup file: where nothing moves any more, it is
#                      stopped and assembled again.
#   check_if_whole     as `check`, if no member is missing
#
# Facts: `position`, where it stood when the driver took over; `attempts`, how often it was assembled;
# `refused`, what mdadm said where it does not assemble it.

value() { value=; [ ! -r "$sysfs/$1" ] || read -r value <"$sysfs/$1" || true; }

has_ended() {
	[ -e "$sysfs/reshape_position" ] || return 0
	value reshape_position
	[ "$value" = none ] || return 1
	value sync_action
	[ "$value" != reshape ]
}

# Waits until the reshape has ended; fails when it has not moved for some seconds.
moves_to_end() {
	local before='' still=0 now
	while ! has_ended; do
		now=
		for one in sync_action reshape_position sync_completed; do
			value "$one"
			now="$now $value"
		done
		if [ "$now" = "$before" ]; then still=$((still + 1)); else still=0; fi
		before=$now
		[ $still -lt 150 ] || { echo "stands at$now"; return 1; }
		sleep 0.02
	done
}

ends() {
	local attempt _ said
	modprobe raid456 && modprobe raid10 || return 1
	echo 2000000 >/proc/sys/dev/raid/speed_limit_max
	echo 2000000 >/proc/sys/dev/raid/speed_limit_min
	for attempt in 1 2 3; do
		: >said
		{ mdadm --assemble "$md" --run "$@" "${devices[@]}" >said 2>&1 </dev/null || true; echo "mdadm: done" >>said; } &
		for _ in $(seq 1000); do
			is_up || grep -qx "mdadm: done" said && break
			sleep 0.02
		done
		sleep 0.05
		cat said
		said=$(grep '^mdadm: ' said | grep -v 'mdadm: done' | tail -n 2 | tr '\n' ' ')
		is_up || { fact refused "$said"; return 1; }
		[ "$attempt" -gt 1 ] || { value reshape_position; fact position "$value"; }
		writable || true
		if moves_to_end; then
			fact attempts "$attempt"
			pkill -KILL -x mdadm || true # in the guest only
			echo max >"$sysfs/sync_max"
			value sync_action
			[ "$value" != frozen ] || echo idle >"$sysfs/sync_action"
			return 0
		fi
		pkill -KILL -x mdadm || true
		timeout 20 mdadm --stop "$md" || return 1
	done
	return 1
}

check_if_whole() {
	[ -e "$sysfs/sync_action" ] || return 0
	settle || return 1
	value degraded
	[ "$value" = 0 ] || return 0
	check && grep -qx 'mismatches 0' facts
}
