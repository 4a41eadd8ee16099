#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# guests: none
# mseg-bench: a few slices of every quick suite give a report of the documented shape, bad usage and
# missing rights are refused, a comparison says worse when it is, and nothing is left behind, not
# even when it is interrupted or killed. No figure is judged.
# shellcheck source-path=SCRIPTDIR source=../support/e2e.sh
# shellcheck disable=SC2119,SC2317 # functions are called through others
source "$(dirname "${BASH_SOURCE[0]}")/../support/e2e.sh"

e2e_begin bench
e2e_need ip sysctl
BENCH=$MSEG_BIN/mseg-bench
[[ -x $BENCH ]] || bail "mseg-bench is built" "no $BENCH"

# left PID: what a run of that pid has left.
left() {
  local path
  for path in "$CGROUP_ROOT/mseg-bench-$1" "/tmp/mseg-bench-$1" /sys/fs/bpf/mseg-bench-"$1"-* \
    /run/netns/mseg-bench-"$1"-*; do
    [[ ! -e $path ]] || echo "$path"
  done
}
nothing_left() { [[ -z $(left "$1") ]]; }

status_of() {
  local status=0
  "$@" >"$WORK/out" 2>&1 || status=$?
  echo "$status"
}

same "an unknown suite is bad usage" 2 "$(status_of "$BENCH" conect)"
same "an unknown option is bad usage" 2 "$(status_of "$BENCH" --frob)"
same "a baseline that is no report is bad usage" 2 "$(status_of "$BENCH" --baseline /etc/passwd)"
same "help" 0 "$(status_of "$BENCH" --help)"
install -m 755 "$BENCH" "$WORK/mseg-bench"
same "without root it refuses" 4 \
  "$(status_of setpriv --reuid 65534 --clear-groups "$WORK/mseg-bench" connect)"
has "and says why" "$(cat "$WORK/out")" 'needs root'

SUITES=(connect rr hooks)
WANTED=(connect/mseg-both@10/ratio connect/mseg-client@10/ratio connect/nft-ct-set@10/ratio
  connect/none-aa/ratio connect/empty-client/ratio connect/empty-option/ratio rr/empty-both/ratio
  refused/mseg-both@10/cpu rr/mseg-both@10/ratio
  hooks/mseg_connect4/connect/run connect/mseg-both-without-mseg_ingress@10/ratio)
RECREATE=1
# Emulated, the rest takes many minutes and shows nothing that is not seen natively.
if [[ -z $GUEST ]]; then
  SUITES+=(stream udp exec decide apply)
  WANTED+=(stream/mseg-both@10/ratio udp-exchange/mseg-both@10/ratio exec/mseg-both@10/wall
    decide/identities-10@10/cold apply/mseg@10/one_rule_enforced apply/mseg@10/map_bytes_per_rule
    apply/mseg@10/map_bytes_per_socket)
  RECREATE=2
fi
note "a run of ${SUITES[*]}"
"$BENCH" "${SUITES[@]}" --compare empty,nftables --rules 10 --runs 4 --recreate "$RECREATE" --slice 5 \
  --without mseg_ingress -o "$WORK/report" >"$WORK/bench.log" 2>&1 &
RUN=$!
track "$RUN"
status=0
wait "$RUN" || status=$?
same "it ends well" 0 "$status"
((status == 0)) || tail -n 5 "$WORK/bench.log" | sed 's/^/# /'
check "nothing of it is left" nothing_left "$RUN"
check "the report has the documented shape and every suite" "$PYTHON" -SE "$SUPPORT/bench_json.py" \
  "$WORK/report/report.json" "${WANTED[@]}"
has "the page has plots" "$(cat "$WORK/report/report.html")" '<svg'

"$PYTHON" - "$WORK/report/report.json" "$WORK/better.json" <<'PYTHON'
import json
import sys
report = json.load(open(sys.argv[1], encoding="utf-8"))
for result in report["results"]:
    for field in ("median", "ci_low", "ci_high"):
        result[field] /= 1000
json.dump(report, open(sys.argv[2], "w", encoding="utf-8"))
PYTHON
same "worse than the baseline is status 1" 1 \
  "$(status_of "$BENCH" rr --compare none --rules 10 --runs 2 --recreate 1 --slice 5 \
    --baseline "$WORK/better.json")"
has "and says what" "$(cat "$WORK/out")" '^WORSE rr mseg-both@10 ratio'

for signal in INT TERM KILL; do
  "$BENCH" rr --compare none --rules 10 --runs 100000 >"$WORK/bench.log" 2>&1 &
  RUN=$!
  track "$RUN"
  wait_for 20 test -d "/sys/fs/bpf/mseg-bench-$RUN-mseg-both-r10_" || true
  kill "-$signal" "$RUN"
  { wait "$RUN"; } 2>/dev/null || true
  check "nothing is left after SIG$signal" wait_for 20 nothing_left "$RUN"
done

e2e_end
