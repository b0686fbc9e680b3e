# shellcheck shell=bash
# shellcheck disable=SC2154 # md, sysfs, devices and value are judge's and those of its other parts
# Sourced by judge: the driver takes its turns alone, for changes in place. mdadm 4.2 lets the driver run ahead
# of the backup that it has yet to write, and then crashes: its turns end what they hand over. So nothing of
# mdadm is in these: the members are given to the driver through sysfs, and it goes from one place where all is
# recorded to the next one, and stands there. The critical section, if there is one, is put back before.
#
#   alone FILE VERSION       comes first: which file has ours' backup, and the version of the superblocks
#   alone_moves              the driver takes over, goes on for a bit and leaves it
#   alone_cut                the same, but the power goes: the guest ends here
#   alone_to_end             the driver takes over and ends it
#   alone_relay ROUNDS [SEED SECTORS]   so many times driver and ours, as `relay`

# Sectors of a member between two places where the driver is let stand: a multiple of each chunk.
readonly stride=512

alone() { backup=(--backup-file "$1") version=$2; }

# Gives the members to the driver, for reading only; it moves nothing.
alone_starts() {
	local one
	takes_over driver
	"$reshape" restore "${backup[@]}" --yes --progress none "${devices[@]}" </dev/null || return 1
	[ -e $sysfs ] || echo "${md#/dev/}" >/sys/module/md_mod/parameters/new_array || return 1
	echo $version >$sysfs/metadata_version
	for one in "${devices[@]}"; do
		one=$(lsblk --noheadings --nodeps --output MAJ:MIN "$one")
		for _ in $(seq 50); do
			# Busy as long as the kernel finishes what a killed program began.
			echo "${one// /}" 2>/dev/null >$sysfs/new_dev && continue 2
			sleep 0.1
		done
		echo "$one is not taken"
		return 1
	done
	echo readonly >$sysfs/array_state
	echo 0 >$sysfs/sync_max || return 1
	value reshape_position
	fact position "$value"
	echo "driver: at $value, degraded $(cat $sysfs/degraded)"
}

# Lets it go as far as this sector of each member, and waits until that is recorded.
goes_to() {
	local still=0 before=
	echo "$1" >$sysfs/sync_max
	while ! has_ended; do
		value sync_completed
		value=${value%% *}
		[ "$value" = none ] || [ "$1" = max ] || [ "$value" -lt "$1" ] || return 0
		if [ "$value" = "$before" ]; then still=$((still + 1)); else still=0; fi
		before=$value
		[ $still -lt 500 ] || { echo "stands at $value, is to go to $1"; return 1; }
		sleep 0.02
	done
}

# Some strides on from where it stands.
goes_on() {
	local goal=0 strides=$((1 + RANDOM % 6)) from
	value reshape_position
	from=$value
	while ! has_ended; do
		goal=$((goal + stride))
		goes_to $goal || return 1
		value reshape_position
		[ "$value" = "$from" ] || strides=$((strides - 1)) from=$value
		[ $strides -gt 0 ] || break
	done
}

alone_leaves() {
	value reshape_position
	echo "driver: leaves it at $value"
	echo frozen >$sysfs/sync_action
	echo clear >$sysfs/array_state
}

alone_goes() {
	alone_starts && echo active >$sysfs/array_state && goes_on
}

alone_moves() { alone_goes && alone_leaves; }

# It says how far it has come a moment before that stands on the members.
# mdadm shows it in KiB, and in larger units behind that from 5,000 KiB on.
is_recorded() {
	local one
	value reshape_position
	for one in "${devices[@]}"; do
		mdadm --examine "$one" | grep -qE "Reshape pos'n : $((value / 2))( |$)" || return 1
	done
}

alone_cut() {
	local _
	alone_goes || return 1
	for _ in $(seq 500); do
		! has_ended && ! is_recorded || break
		sleep 0.02
	done
	has_ended || is_recorded || { echo "$value is not recorded"; return 1; }
	fact hand_overs $hand_overs
	fact ended well
	sync log facts
	power-cut
}

alone_to_end() {
	alone_starts || return 1
	fact hand_overs $hand_overs
	echo active >$sysfs/array_state
	goes_to max && settle && stop
}

alone_relay() {
	local rounds=$1 _
	shift
	for _ in $(seq "$rounds"); do
		alone_starts || return 1
		is_moving || { echo "it is done already"; stop; break; }
		looks "$@" || return 1
		echo active >$sysfs/array_state
		goes_on && alone_leaves || return 1
		ours "continue" "${backup[@]}" || return 1
	done
	fact hand_overs $hand_overs
}
