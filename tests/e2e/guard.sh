#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `self_protection`: what root tries against mseg itself is refused and reported; mseg's own
# executable may, and so might everybody before protection was on.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin guard
mkdir "$CG"/{db,web}
TAMPER=$WORK/tamper.py
install -m 644 "$SUPPORT/tamper.py" "$TAMPER"
tamper() { "$PYTHON" -SE "$TAMPER" "$@"; }
printf 'self_protection: {enabled: true, bpf_loaders: [%s]}\n' "$PYTHON" >"$WORK/on.yaml"

# A bpffs of its own, which may be unmounted.
mkdir "$WORK/bpf"
mount -t bpf bpf "$WORK/bpf"
umount "$WORK/bpf"
mount -t bpf bpf "$WORK/bpf"
PINS=$WORK/bpf/mseg
start_msegd
if [[ $(status mode) == cgroup ]]; then
  stop_msegd
  out=$("$MSEG_BIN/msegd" --config "$WORK/on.yaml" --state-dir "$STATE" --socket "$SOCK" \
    --cgroup-root "$CG" --bpffs "$PINS" 2>&1) && status=0 || status=$?
  same "without BPF LSM it is refused, not left out" 4 "$status"
  has "and it says why" "$out" 'self_protection.*needs full mode'
  e2e_end
fi

other=$TRUSTED/other-python
install -m 755 "$PYTHON" "$other"
echo >>"$other"
next=$TRUSTED/msegd
install -m 755 "$MSEG_BIN/msegd" "$next"
echo >>"$next"

# protected_msegd [PROGRAM]: in a cgroup of its own. Nobody here may signal it; `msegd --detach-all`
# of the clean-up stops it.
DAEMON_CG=$CGROUP_ROOT/$NAME-daemon
E2E_LEFT+=("$DAEMON_CG")
protected_msegd() {
  local MSEG_BIN=${1:-$MSEG_BIN}
  start_msegd --config "$WORK/on.yaml"
  unset "E2E_PIDS[$MSEGD_PID]"
  mkdir -p "$DAEMON_CG"
  echo "$MSEGD_PID" >"$DAEMON_CG/cgroup.procs"
}
remove_daemon() {
  "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" >/dev/null
  remove_cgroup "$DAEMON_CG"
}
E2E_AT_EXIT+=(remove_daemon)

order_db_policy '{exe: [/usr/bin/none]}' tcp/7000 >"$WORK/policy.yaml"
update=(bpftool map update pinned "$PINS/maps/mseg_config" key 0 0 0 0 value)
config() { bpftool -j map lookup pinned "$PINS/maps/mseg_config" key 0 0 0 0 |
  "$PYTHON" -c 'import json, sys; print(*(int(b, 16) for b in json.load(sys.stdin)["value"]))'; }

# ---- without protection, root may ----
has "status says that it is off" "$(status gaps)" 'self_protection: off'
apply "$WORK/policy.yaml"
serve db tcp 7000 "$PYTHON" -SE "$PROBE" serve tcp 127.0.0.1 7000
refused "policy is in force" direction=ingress rule=order-db -- probe web tcp 127.0.0.1 7000
read -ra bytes < <(config)
check "before: a map is written" "${update[@]}" "${bytes[@]}"
same "before: the daemon's memory can be opened" "done" "$(tamper memory "$MSEGD_PID")"
same "before: an extension of a program is looked at" EINVAL \
  "$(tamper extend "$PINS/programs/mseg_explain" | sed 's/^E[^P].*/EINVAL/')"
has "before: the loader obeys its environment" \
  "$(LD_DEBUG=libs "$MSEG_BIN/msegd" --version 2>&1)" 'calling init'
check "before: a link is detached" bpftool link detach pinned "$PINS/links/mseg_sendmsg6"
check "before: a pin is renamed" mv "$PINS/links/mseg_sendmsg6" "$WORK/bpf/sendmsg6"
check "before: and back" mv "$WORK/bpf/sendmsg6" "$PINS/links/mseg_sendmsg6"
check "before: a pin is removed" rm "$PINS/links/mseg_sendmsg6"
same "before: the state directory is written" "done" "$(tamper write "$STATE/store/CURRENT")"
check "before: a file is put beside it" touch "$STATE/store/x"
check "before: and truncated" truncate -s 0 "$STATE/store/x"
check "before: and linked" ln "$STATE/store/x" "$STATE/store/y"
check "before: and removed" rm "$STATE/store/x" "$STATE/store/y"
check "before: the daemon is stopped" kill "$MSEGD_PID"
kill_tracked "$MSEGD_PID"
check "before: anybody loads BPF programs" "$other" -SE "$TAMPER" load

# ---- with it ----
protected_msegd
same "nothing was tried yet" 0 "$(status counters.tampering)"
mark
same "a loader of the list, confined" EPERM "$(in_cgroup db "$PYTHON" -SE "$TAMPER" load)"
denied_by "that is in the flows" hook=lsm_bpf rule=order-db
same "the same, not confined" "done" "$(in_cgroup web "$PYTHON" -SE "$TAMPER" load)"
# tried ACT DESCRIPTION COMMAND...: refused; counted and named, as is seen below
declare -A TRIED=()
tried() {
  local act=$1 what=$2 out
  shift 2
  out=$("$@" 2>&1) || true
  has "$what: refused" "$out" 'Operation not permitted|must be superuser|EPERM|EACCES'
  TRIED[$act]=$((${TRIED[$act]:-0} + 1))
}
tried map "a map is written" "${update[@]}" "${bytes[@]}"
tried map "a map is read" bpftool map dump pinned "$PINS/maps/mseg_hosts"
tried link "a link is detached" bpftool link detach pinned "$PINS/links/mseg_connect4"
tried program "a program is extended" tamper extend "$PINS/programs/mseg_explain"
tried file "a pin is removed" rm "$PINS/links/mseg_connect4"
tried file "a pin is renamed" mv "$PINS/links/mseg_connect4" "$WORK/bpf/connect4"
tried file "the pins are renamed" mv "$PINS" "$WORK/bpf/elsewhere"
tried file "a folder of pins is removed" rmdir "$PINS/maps"
tried unmount "the pins are unmounted" umount "$WORK/bpf"
tried unmount "and lazily" umount -l "$WORK/bpf"
tried signal "the daemon is killed" /bin/kill -KILL "$MSEGD_PID"
tried signal "the daemon is stopped" /bin/kill -STOP "$MSEGD_PID"
check "signal 0 is none" kill -0 "$MSEGD_PID"
tried trace "the daemon is traced" tamper attach "$MSEGD_PID"
tried trace "its memory is opened" tamper memory "$MSEGD_PID"
tried file "its state is written" tamper write "$STATE/store/CURRENT"
tried file "its state is removed" rm "$STATE/store/CURRENT"
tried file "its state is truncated" truncate -s 0 "$STATE/store/CURRENT"
tried file "a file is put beside it" touch "$STATE/store/999999.log"
tried file "a file is linked there" ln "$WORK/policy.yaml" "$STATE/store/999999.log"
tried bpf_load "a BPF program is loaded" "$other" -SE "$TAMPER" load
same "one that the configuration names may" "done" "$(tamper load)"
check_not "mseg is executed as if it were setuid" grep -q 'calling init' \
  <<<"$(LD_DEBUG=libs "$MSEG_BIN/msegd" --version 2>&1)"
check_not "mseg under a tracer is not mseg" tamper traced "$MSEG_BIN/msegd" --detach-all \
  --bpffs "$PINS"
has "nor is it where libraries may be anybody's" \
  "$(unshare --mount "$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" 2>&1)" 'not permitted'
mkdir "$WORK/root"
mount --bind / "$WORK/root"
mount --bind /proc "$WORK/root/proc"
mount --bind "$WORK/bpf" "$WORK/root/mnt"
install -m 755 "$MSEG_BIN/msegd" "$TRUSTED/same"
has "nor behind chroot" \
  "$(chroot "$WORK/root" "$TRUSTED/same" --detach-all --bpffs /mnt/mseg 2>&1)" 'not permitted'
umount "$WORK/root/proc"
umount -l "$WORK/root"
check_not "nor is another build of it" "$next" --detach-all --bpffs "$PINS"
check "everything is still there" test -e "$PINS/links/mseg_connect4"
check "the daemon runs" kill -0 "$MSEGD_PID"
reported() {
  local act all=0
  for act in "${!TRIED[@]}"; do
    (($(grep -c "TAMPERING refused: $act " <(msegd_log)) >= TRIED[$act])) || return 1
    all=$((all + TRIED[$act]))
  done
  (($(status counters.tampering) >= all))
}
check "each attempt is counted and in the log" wait_for 2 reported
check_not "none of them is more than an attempt" test -e "$STATE/store/999999.log"
has "status names them" "$(status tampering)" '"act": ?"bpf_load".*"comm": ?"other-python"'
has "the table shows who tried" "$(msegctl status)" 'signal 9: /usr/bin/kill'
has "the log too" "$(msegd_log)" 'TAMPERING refused: signal 9'
check "mseg itself may: a policy is applied" msegctl policy apply "$WORK/policy.yaml"
refused "policy is in force" direction=ingress rule=order-db -- probe web tcp 127.0.0.1 7000

# ---- the daemon dies all the same: by its cgroup, which is no signal of a process ----
echo 1 >"$DAEMON_CG/cgroup.kill"
gone() { ! kill -0 "$MSEGD_PID"; }
check "its cgroup is killed" wait_for 5 gone
has "a map is still closed" "$("${update[@]}" "${bytes[@]}" 2>&1)" 'Operation not permitted'
check_not "nobody is let in" probe web tcp 127.0.0.1 7000
printf 'self_protection: {enabled: true, successors: ["%s"], bpf_loaders: [%s]}\n' \
  "$(digest_of "$next")" "$PYTHON" >"$WORK/on.yaml"
protected_msegd
has "mseg adopts what it left" "$(msegd_log)" 'adopted what was in force'
refused "policy is in force" direction=ingress rule=order-db -- probe web tcp 127.0.0.1 7000

# ---- the next version ----
echo 1 >"$DAEMON_CG/cgroup.kill"
wait_for 5 gone
protected_msegd "$TRUSTED"
has "a named successor adopts" "$(msegd_log)" 'adopted what was in force'
has "and protects, from its predecessor too" \
  "$("$MSEG_BIN/msegd" --detach-all --bpffs "$PINS" 2>&1)" 'Operation not permitted'
check "until it lets go itself" "$next" --detach-all --bpffs "$PINS"
check_not "nothing is left to protect" test -e "$PINS"
e2e_end
