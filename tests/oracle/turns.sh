# shellcheck shell=bash
# shellcheck disable=SC2154 # md, sysfs and devices are judge's
# Sourced by judge: steps in which ours and the driver take turns on one reshape.
#
#   turns SEED KIB     comes first: the same chances for the same seed; a turn moves roughly so much
#                      of each member
#   slow MILLISECONDS  makes each write to a member take so long
#   breakable          makes every member one that can fail
#   breaks NUMBER HOW  the member of that number (from 0) fails from now on: everything (dead), or writes (writes)
#   ours_goes_without NUMBER  waits for what `ours_starts` began: it has to end well, to say who left, and
#                      that member is no device any more
#   ours_begins WORD..  `reshape WORD..` on the members, killed with SIGKILL a random moment after the
#                      first content has been moved
#   ours WORD..        `reshape WORD..` the same, killed at any moment
#   driver [WORD..]    `mdadm --assemble WORD..`, goes on for a random moment, `mdadm --stop`
#   driver_grows WORD..  `mdadm --grow WORD..` on the assembled array, for a random moment
#   driver_cut [WORD..]  as `driver`, but the power goes in the midst of it: the guest ends here
#   relay ROUNDS [SEED SECTORS]   so many times driver and ours; now and then the half-moved content is
#                      compared with the pattern, if one is given
#   ours_to_end WORD.. and driver_to_end [WORD..]   to the end of the reshape
#
# Facts: `hand_overs`, how often one took over from the other before the reshape was done; `position`,
# where it stood when the driver took over.
reshape=${RESHAPE_BINARY:-reshape}
kib=1024 hand_overs=0 last=

turns() {
	RANDOM=$1 kib=$2
	modprobe raid456 && modprobe raid10 || return 1
	echo 100 >/proc/sys/dev/raid/speed_limit_min
	echo "$kib" >/proc/sys/dev/raid/speed_limit_max
}

slow() {
	local one number=0 slowed=()
	modprobe dm-delay || return 1
	for one in "${devices[@]}"; do
		dmsetup create slow$number --table \
			"0 $(blockdev --getsz "$one") delay $one 0 0 $one 0 $1" || return 1
		slowed+=(/dev/mapper/slow$number)
		number=$((number + 1))
	done
	devices=("${slowed[@]}")
}

breakable() {
	local one number=0 made=()
	modprobe dm-flakey || return 1
	for one in "${devices[@]}"; do
		dmsetup create slow$number --table "0 $(blockdev --getsz "$one") linear $one 0" || return 1
		made+=(/dev/mapper/slow$number)
		number=$((number + 1))
	done
	backings=("${devices[@]}") devices=("${made[@]}")
}

breaks() {
	local size table
	size=$(blockdev --getsz "${devices[$1]}") || return 1
	case $2 in
	dead) table="0 $size error" ;;
	writes) table="0 $size flakey ${backings[$1]} 0 0 3600 1 error_writes" ;;
	*) return 1 ;;
	esac
	grep -v '^{' told || true
	[ -e /proc/$pid ] || { echo "it has ended already"; return 1; }
	dmsetup suspend --noflush --nolockfs slow"$1" && dmsetup load slow"$1" --table "$table" &&
		dmsetup resume slow"$1"
}

ours_goes_without() {
	local status=0
	wait $pid || status=$?
	grep -v '^{' told || true
	echo "ours: exit $status"
	[ $status -eq 0 ] && grep -q "left the array" told || return 1
	unset "devices[$1]"
	devices=("${devices[@]}")
}

# Up to so many milliseconds, rather short than long.
nap() {
	local all=$(($1 * (RANDOM % 100) * (RANDOM % 100) / 10000))
	sleep "$((all / 1000)).$(printf %03d $((all % 1000)))"
}

takes_over() {
	[ -z "$last" ] || [ "$last" = "$1" ] || hand_overs=$((hand_overs + 1))
	last=$1
}

ours_starts() {
	takes_over ours
	"$reshape" "$@" --yes --progress json --rate "$((kib * 2 * ${#devices[@]}))KiB" \
		--pool 8MiB "${devices[@]}" </dev/null 2>told &
	pid=$!
}

ours_dies() {
	local status=0
	nap "$1"
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || status=$?
	grep -v '^{' told || true
	echo "ours: exit $status"
	[ $status -eq 0 ] || [ $status -eq 137 ]
}

ours() {
	ours_starts "$@"
	ours_dies 2500
}

ours_begins() {
	ours_starts "$@"
	while [ -e /proc/$pid ] && ! grep -q '"bytes_done":[1-9]' told; do sleep 0.02; done
	ours_dies 500
}

# A member is busy as long as the kernel finishes what a killed program began.
starts() {
	local said _
	for _ in $(seq 50); do
		said=$(mdadm --assemble $md --readonly "$@" "${devices[@]}" 2>&1) || true
		echo "$said"
		if grep -q busy <<<"$said"; then
			stop
			sleep 0.1
			continue
		fi
		is_up
		return
	done
	return 1
}

is_moving() { ! grep -qx none $sysfs/reshape_position 2>/dev/null && [ -e $sysfs/reshape_position ]; }

begins() {
	starts "$@" || return 1
	is_moving || return 0
	takes_over driver
	fact position "$(cat $sysfs/reshape_position)"
	echo "driver: at $(cat $sysfs/reshape_position)"
}

# Compares what is half-moved with the pattern, now and then.
looks() {
	[ $# -eq 0 ] || [ $((RANDOM % 4)) -gt 0 ] || verify "$1" 0 "$2"
}

pauses() {
	pkill -KILL -x mdadm || true # in the guest only
	echo "driver: leaves it at $(cat $sysfs/reshape_position)"
	timeout 20 mdadm --stop $md
}

driver() {
	begins "$@" && writable || return 1
	nap 400
	pauses
}

driver_grows() {
	takes_over driver
	writable && mdadm --grow $md "$@" || return 1
	nap 400
	pauses
}

driver_cut() {
	begins "$@" || return 1
	writable || return 1
	fact hand_overs $hand_overs
	fact ended well
	sync log facts
	nap 300
	power-cut
}

relay() {
	local rounds=$1 _
	shift
	for _ in $(seq "$rounds"); do
		begins || return 1
		if ! is_moving; then
			echo "it is done already"
			stop
			break
		fi
		looks "$@" && writable || return 1
		nap 400
		pauses
		ours "continue" || return 1
	done
	fact hand_overs $hand_overs
}

ours_to_end() {
	takes_over ours
	fact hand_overs $hand_overs
	"$reshape" "$@" --yes --progress none "${devices[@]}" </dev/null
}

driver_to_end() {
	begins "$@" || return 1
	fact hand_overs $hand_overs
	writable && settle && stop
}
