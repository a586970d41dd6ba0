#!/bin/busybox sh
# The first process of a machine that `cargo xtask kernels` boots. What the tests print goes to the console, the
# first serial port; the second takes lines for xtask, which xtask/src/kernels/report.rs describes.

/bin/busybox mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/bin HOME=/ RUST_BACKTRACE=1
export NETPATH_BIN=/usr/bin/netpath NETPATH_EMULATED=1

# What no test prints.
ENDED=/init:ended

report() {
    echo "$*" >/dev/ttyS1
}

stop() {
    report "$*"
    dmesg -n 1
    sync
    reboot -f
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir /var
ln -s /run /var/run
mount -t tracefs trace /sys/kernel/tracing
/usr/sbin/ip link set lo up
report "booted $(uname -r)"

# Booted with ipv6.disable=1 it has no IPv6: some modules refuse to be loaded, and a lab may have no address of it.
if [ -e /proc/sys/net/ipv6 ]; then
    fails_to_load() { stop "broken: the module $1 cannot be loaded"; }
    lab() { netpath init --lab; }
else
    fails_to_load() { echo "no IPv6, and no module $1"; }
    lab() { netpath init --lab | sed '/^\[\[node.route/{N;N;/"fd00:/d}; s/, "fd00:[^"]*"//'; }
fi

while read -r module; do
    insmod "/modules/$module.ko" || fails_to_load "$module"
done </modules/order

lab | netpath up -f - || stop "broken: netpath up"
report "attached $(netpath show -j | grep -o '"attach_mode": *"[a-z]*"' | sort -u | cut -d '"' -f 4)"
netpath down || stop "broken: netpath down"

# A suite's output as it comes: on the console with the seconds since the boot, its lines of tests to xtask too. It
# ends with the line that tells the status, not with the pipe, which a process that a test left behind may hold open.
follow() {
    while IFS= read -r line; do
        case "$line" in
        "$ENDED "*)
            report "end $1 ${line#"$ENDED "}"
            return
            ;;
        "test "*) report "$line" ;;
        esac
        read -r seconds idle </proc/uptime
        echo "[$seconds] $line"
    done
}

while read -r suite limit command; do
    report "start $suite"
    # The command is words, without quotes: variables, the program, the names of its tests.
    {
        timeout -s KILL "$limit" env $command 2>&1
        printf '\n%s %s\n' "$ENDED" $?
    } | follow "$suite"
done </tests/plan
stop "complete"
