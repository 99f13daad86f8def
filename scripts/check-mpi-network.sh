#!/usr/bin/env bash
# Trains with two processes in two network namespaces, which TCP alone connects; then cuts the network in the middle.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
[ "$(uname -s)" = Linux ] || fail "network namespaces are for Linux, this is $(uname -s)"
[ "$(id -u)" = 0 ] || fail "network namespaces need root: run it as root"
require_debian ip "makes the network" iproute2
require_debian nsenter "enters the network of the second process" util-linux
require_mpi
cargo test "${tested[@]},candle-rnn/mpi" --no-run --test mpi
program=$PWD/${CARGO_TARGET_DIR:-target}/debug/candle-rnn

place=$(mktemp -d)
here=candle-rnn-$$-0
there=candle-rnn-$$-1
remove() {
    for space in "$here" "$there"; do
        ip netns pids "$space" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns del "$space" 2>/dev/null || true
    done
    rm -rf "$place"
}
trap remove EXIT
ip netns add "$here" 2>/dev/null ||
    fail "this machine permits no network namespace (ip netns add): a container needs --privileged"
ip netns add "$there"
ip link add cable0 netns "$here" type veth peer name cable1 netns "$there"
ip -n "$here" addr add 10.77.0.1/24 dev cable0
ip -n "$there" addr add 10.77.0.2/24 dev cable1
for space in "$here" "$there"; do ip -n "$space" link set lo up; done
ip -n "$here" link set cable0 up
ip -n "$there" link set cable1 up

# What mpirun calls in place of ssh, with a host and a command: another name makes it another machine for MPI.
cat >"$place/agent" <<EOF
#!/bin/sh
shift
exec nsenter --net=/run/netns/$there unshare --uts sh -c "hostname there; \$*"
EOF
chmod +x "$place/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 RAYON_NUM_THREADS=1
job="--data sample --hidden 12 --epochs 60 --batch-size 50 --device cpu --parts 2"
cd "$place"

# train ARGUMENT...: with a process in each namespace. mpirun takes a machine for lost that is silent for 15 s: less than
# the 60 s after which the processes would end, whose end it could not tell the other machine.
train() {
    timeout --kill-after 5 300 ip netns exec "$here" mpirun --host 10.77.0.1:1,10.77.0.2:1 --bind-to none \
        --mca plm_rsh_agent "$place/agent" --mca pml ob1 --mca btl tcp,self \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 5 \
        "$program" train "$@"
}

# Bytes that have left the second process.
sent() {
    ip netns exec "$there" cat /sys/class/net/cable1/statistics/tx_bytes
}

# The step of the newest checkpoint, 0 if there is none.
newest() {
    { echo 0; find . -path './run/checkpoints/step-*' -prune | sed 's/.*step-0*//'; } | sort -n | tail -1
}

echo "== one process"
"$program" train $job --out one >one.log
echo "== two processes over TCP"
before=$(sent)
start=$SECONDS
train $job --out two >two.log 2>&1 || fail "training over TCP failed: $(cat two.log)"
bytes=$(($(sent) - before))
cmp one/model.safetensors two/model.safetensors || fail "the weights are not those of one process"
# 60 epochs of 40 steps; in each a process sends about half of its gradients and half of the sum, 4 bytes a weight.
[ "$bytes" -gt 5000000 ] || fail "only $bytes bytes went over the network: the processes had another way"
echo "the weights have the bits of one process; $((SECONDS - start)) s, $bytes bytes sent by the second process"

# cut_network SECONDS ARGUMENT: trains, and cuts the network so long after a checkpoint.
cut_network() {
    echo "== the network is cut $1 s after a checkpoint"
    before=$(newest)
    train $job --save-every 1 --keep 3 --out run $2 >cut.log 2>&1 &
    local mpirun=$!
    until [ "$(newest)" -gt "$before" ]; do
        kill -0 $mpirun 2>/dev/null || fail "it ended before a checkpoint: $(cat cut.log)"
        sleep 0.05
    done
    sleep "$1"
    ip -n "$here" link set cable0 down
    start=$SECONDS
    if wait $mpirun; then fail "it did not notice that the network was cut: $(cat cut.log)"; fi
    local ended=$((SECONDS - start))
    [ $ended -le 60 ] || fail "it ended $ended s after the network was cut: $(cat cut.log)"
    grep -q "lost communication\|have not answered for" cut.log || fail "it does not say why it ended: $(cat cut.log)"
    # The other machine hears of it by itself.
    until [ -z "$(ip netns pids "$there")" ]; do
        [ $((SECONDS - start)) -le 60 ] || fail "60 s later the second process still runs"
        sleep 0.1
    done
    echo "both ended after $ended and $((SECONDS - start)) s: $(grep -m 1 -o "ORTE has lost.*\|error: rank.*" cut.log)"
    [ -z "$(ip netns pids "$here")" ] || fail "processes are left: $(ip netns pids "$here")"
    ip -n "$here" link set cable0 up
}

cut_network 0 ""
cut_network 0.73 --resume
echo "== the rest of the training, from the last checkpoint"
last=$(newest)
train $job --resume --out run >rest.log 2>&1 || fail "it does not resume: $(cat rest.log)"
grep -q "resuming after step $last\$" rest.log || fail "it does not resume after step $last: $(cat rest.log)"
if grep -q skipped rest.log; then fail "a checkpoint was damaged: $(cat rest.log)"; fi
cmp one/model.safetensors run/model.safetensors || fail "the weights are not those of one process"
echo "resumed after step $last; the weights have the bits of one process that nothing interrupted"
