#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proof that the decision tests can fail: one line of the decision is changed at a time, in a copy,
# and the test that guards it must notice. Changes of decide.h must be seen by loader_decide_test,
# those of what is remembered by verdict_cache_test and place_cache_test, those of the kernel side by
# kernel_decide_test on the running kernel (root). The tree is not touched.
# Usage: tests/prove/mutations.sh [BUILD_DIR]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath "${1:-$root/build}")
readonly root build
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
bpftool=$(PATH=$PATH:/usr/sbin command -v bpftool)
failed=0 caught=0

[[ -e $build/build.ninja ]] || {
  echo "mutations.sh: no build in $build; run tools/test or cmake first" >&2
  exit 2
}

# fresh: a copy of what may be changed, as it is in the tree.
fresh() {
  rm -rf "$work/bpf"
  mkdir -p "$work/bpf"
  cp -r "$root"/bpf/include "$root"/bpf/*.h "$root"/bpf/*.bpf.c "$work/bpf/"
}

# mutate FILE OLD NEW: replaces exactly one line part; an OLD that is not there once is an error of
# this script, not a proof.
mutate() {
  python3 - "$work/bpf/$1" "$2" "$3" <<'PYTHON'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"{path}: `{old}` is there {text.count(old)} times, must be once")
open(path, "w").write(text.replace(old, new))
PYTHON
}

# command_of TARGET: how the build makes it.
command_of() { ninja -C "$build" -t commands "$1" | tail -n 1; }

declare -A program=([unit]=loader_decide_test [cache]=verdict_cache_test [places]=place_cache_test [kernel]=kernel_decide_test)
readonly program
catch_main=$build/tests/libmseg_catch_main.a
loader_object=loader/CMakeFiles/mseg_loader.dir/object.cc.o
loader_command=$(command_of "$loader_object")
kernel_link=$(command_of tests/kernel_decide_test)

# The tests themselves, unchanged, and all they link.
ninja -C "$build" "${program[@]}" >"$work/build.log" || {
  cat "$work/build.log"
  exit 1
}

# compile COMMAND OBJECT OUT INCLUDE: a command of the build with another output and an include
# directory in front.
compile() {
  local command=${1//$2/$3}
  command=${command/ -I/ -I$4 -I}
  # Optimizing costs more than it saves here.
  (cd "$build" && CCACHE_DISABLE=1 bash -c "${command/ -O2 / -O0 }")
}

# unit_program TEST: of the headers alone.
unit_program() {
  local name=${program[$1]}
  local object=tests/unit/CMakeFiles/$name.dir/$name.cc.o
  compile "$(command_of "$object")" "$object" "$work/$1.o" "$work/bpf/include" &&
    g++ -o "$work/$1" "$work/$1.o" "$catch_main"
}
build_unit() { unit_program unit; }
build_cache() { unit_program cache; }
build_places() { unit_program places; }

# The test run of the decision is one program of the object; its file alone is compiled anew. Its
# object is linked in front of the library, which then gives all but that file.
build_kernel() {
  local flags=(--target=bpf -mcpu=v3 -g -O2 -I"$work/bpf" -I"$work/bpf/include")
  # First: of a function that several objects have, the first is taken.
  local objects=("$work/explain.bpf.o")
  clang "${flags[@]}" -c "$work/bpf/explain.bpf.c" -o "$work/explain.bpf.o" &&
    llvm-strip -g "$work/explain.bpf.o" || return
  for object in "$build"/bpf/*.bpf.o; do
    case $(basename "$object") in
      mseg.bpf.o | explain.bpf.o) ;;
      *) objects+=("$object") ;;
    esac
  done
  mkdir -p "$work/skeleton"
  "$bpftool" gen object "$work/mseg.bpf.o" "${objects[@]}" &&
    "$bpftool" gen skeleton "$work/mseg.bpf.o" name mseg_bpf >"$work/skeleton/mseg.skel.h" &&
    compile "$loader_command" "$loader_object" "$work/object.o" "$work/skeleton" || return
  local link=${kernel_link/-o tests\/kernel_decide_test/-o $work/kernel $work/object.o}
  (cd "$build" && bash -c "$link")
}

# prove WHAT unit|cache|kernel FILE OLD NEW
prove() {
  local what=$1 test=$2
  fresh
  mutate "$3" "$4" "$5"
  if ! "build_$test" >"$work/log" 2>&1; then
    printf 'NOT BUILT: %s\n' "$what"
    tail -n 20 "$work/log"
    failed=$((failed + 1))
  elif MSEG_KERNEL_FLOWS=12000 MSEG_KERNEL_SEED=1 "$work/$test" >"$work/log" 2>&1; then
    printf 'NOT CAUGHT: %s (%s)\n' "$what" "$3"
    failed=$((failed + 1))
  else
    # A test that cannot run has caught nothing.
    grep -q 'FAILED:' "$work/log" || {
      printf 'NOT RUN: %s\n' "$what"
      tail -n 20 "$work/log"
      failed=$((failed + 1))
      return
    }
    printf 'caught: %s (%s, by %s)\n' "$what" "$3" "${program[$test]}"
    caught=$((caught + 1))
  fi
}

# control TEST: unchanged, the test passes; else the proofs below say nothing.
control() {
  fresh
  if ! "build_$1" >"$work/log" 2>&1 ||
    ! MSEG_KERNEL_FLOWS=12000 MSEG_KERNEL_SEED=1 "$work/$1" >"$work/log" 2>&1; then
    printf 'the %s test fails without a change:\n' "$1"
    tail -n 30 "$work/log"
    exit 1
  fi
  printf 'passes unchanged: %s\n' "$1"
}

readonly DECIDE=include/mseg/decide.h CACHE=include/mseg/verdict_cache.h
readonly SEQUENCE=include/mseg/sequence.h PLACES=include/mseg/place_cache.h

control unit
prove "look-up a is left out" unit "$DECIDE" "	} else if (q->port) {" "	} else if (0) {"
prove "row b is never asked" unit "$DECIDE" "	} else if (q->by_peer) {" "	} else if (0) {"
prove "rows of a peer are asked whatever the hint says" unit "$DECIDE" \
  "	if (!q->peer_hint) {" "	if (0) {"
prove "rows of a port are asked whatever the hint says" unit "$DECIDE" \
  "	if (q->port && q->port_hint) {" "	if (q->port) {"
prove "a hint may be no bit at all" unit "$DECIDE" "return 1u << (number * 0x9E3779B1u >> 27);" \
  "return 2u << (number * 0x9E3779B1u >> 27);"
prove "a row b that says no more is looked behind" unit "$DECIDE" \
  "if (row && row->more && q->port) {" "if (row && q->port) {"
prove "a row b that says more is taken at once" unit "$DECIDE" \
  "if (row && row->more && q->port) {" "if (0) {"
prove "a row c that says no more is looked behind" unit "$DECIDE" \
  "if (row && row->more && q->cell) {" "if (row && q->cell) {"
prove "a row c that says more is taken at once" unit "$DECIDE" \
  "if (row && row->more && q->cell) {" "if (0) {"
prove "row c is never asked" unit "$DECIDE" \
  $'	if (q->port && q->port_hint) {\n		key.port = q->port;\n		key.peer = MSEG_PEER_ALL;' \
  $'	if (0) {\n		key.port = q->port;\n		key.peer = MSEG_PEER_ALL;'
prove "the cell is never asked for every service" unit "$DECIDE" \
  $'	if (q->cell) {\n		key.peer' $'	if (0) {\n		key.peer'
prove "the port is kept when every service is asked for" unit "$DECIDE" "	key.port = 0;" "	;"
prove "rows of single peers are asked of no end" unit "$DECIDE" "	key.local = q->end;" "	;"
prove "rows of all peers are asked of the end" unit "$DECIDE" "	key.local = q->tail;" "	;"
prove "the wildcard row is never asked" unit "$DECIDE" "		return mseg_decision_of(row, 'f');" \
  "		return d;"
prove "no row allows" unit "$DECIDE" "	d.verdict = MSEG_DENY;" "	d.verdict = MSEG_ALLOW;"
prove "no row would allow" unit "$DECIDE" "	d.would_be = MSEG_DENY;" "	d.would_be = MSEG_ALLOW;"
prove "no row gives no reason" unit "$DECIDE" "	d.reason = MSEG_REASON_NO_ROW;" "	;"
prove "would_be is what is enforced" unit "$DECIDE" "d.would_be = row->would_be;" \
  "d.would_be = row->verdict;"
prove "the rule of would_be is that of the verdict" unit "$DECIDE" \
  "d.would_rule = row->would_rule;" "d.would_rule = row->rule;"
prove "direction is not asked for" unit "$DECIDE" "	key.direction = q->direction;" "	;"
prove "side is not asked for" unit "$DECIDE" "	key.side = q->side;" "	;"
prove "UDP ports are TCP's" unit "$DECIDE" "space = MSEG_PORTS_UDP;" "space = MSEG_PORTS_TCP;"
prove "a port class is off by one" unit "$DECIDE" "		number = port;" "		number = port + 1u;"
prove "both sides share port classes" unit "$DECIDE" "((side & 1u) * MSEG_PORT_SPACES" \
  "((side & 0u) * MSEG_PORT_SPACES"

control cache
prove "a verdict outlives its generation" cache "$CACHE" \
  "entry->generation != q->generation ||" ""
prove "a verdict is anybody's" cache "$CACHE" \
  "entry->key != mseg_question_key(q)" "0"
prove "the direction is no part of the question" cache "$CACHE" " | q->direction;" ";"
prove "what is being written is read" cache "$SEQUENCE" \
  $'const __u32 *)sequence;\n	MSEG_BARRIER();\n	return !(*was & 1);' \
  $'const __u32 *)sequence;\n	MSEG_BARRIER();\n	return 1;'
prove "two write at once" cache "$SEQUENCE" "return !(*was & 1) &&" "return"
prove "a class beyond all counts as another one" cache "$CACHE" \
  "return q->end < MSEG_CLASSES && q->peer < MSEG_CLASSES;" "return q->end < ~0u;"
prove "a writer does not say that it changed" cache "$SEQUENCE" "= was + 2;" "= was;"
prove "a reader does not look whether it changed" cache "$SEQUENCE" \
  "return *(volatile const __u32 *)sequence == was;" "return sequence != 0 || was != 1;"

control places
prove "the class of an address outlives its generation" places "$PLACES" \
  $'(&entry->sequence, &was) || entry->generation != generation ||\n	    entry->addr' \
  $'(&entry->sequence, &was) || generation == 0 ||\n	    entry->addr'
prove "two words of an address will do" places "$PLACES" "|| entry->addr[1] != addr[1] ||" "||"
prove "who listens outlives a change" places "$PLACES" "entry->changes != q->changes || " ""
prove "who listens outlives the generation" places "$PLACES" \
  "|| entry->generation != q->generation ||" "||"
prove "any namespace will do" places "$PLACES" "entry->word[0] != q->word[0] ||" ""
prove "any service will do" places "$PLACES" $'||\n	    entry->word[3] != q->word[3])' ")"

if [[ $EUID != 0 ]]; then
  echo "mutations.sh: the kernel side needs root" >&2
  exit 2
fi
control kernel
prove "rows of the other side" kernel judge.bpf.h "	query.side = side;" "	query.side = !side;"
prove "direction is always egress" kernel judge.bpf.h "	query.direction = q->direction;" "	;"
prove "the peer is the end itself" kernel judge.bpf.h "	query.peer = q->peer;" \
  "	query.peer = q->end;"
prove "every peer is in no cell" kernel judge.bpf.h "	return mseg_cell(bits, mask);" "	return 0;"
prove "the mask is forgotten" kernel "$DECIDE" "group->bits[i] & mask->bits[i]" "group->bits[i]"
prove "the mask of the class is forgotten" kernel "$DECIDE" "peer->bits & local->mask[direction & 1]" \
  "peer->bits"
prove "no cell is far" kernel "$DECIDE" "	return (local->far >> (direction & 1) & 1) &&" "	return 0 &&"
prove "a near cell has another number" kernel "$DECIDE" \
  "mseg_cell_number(MSEG_CELL_WORD_0(word))" "mseg_cell_number(MSEG_CELL_WORD_1(word))"
prove "the peer's group is the local end's" kernel judge.bpf.h \
  "	peer = bpf_map_lookup_elem(&mseg_classes, &peer_place);" \
  "	peer = bpf_map_lookup_elem(&mseg_classes, &local_place);"
prove "the tail is the other direction's" kernel "$DECIDE" "q->tail = cls->tail[direction];" \
  "q->tail = cls->tail[!direction];"
prove "no end has rows b" kernel "$DECIDE" "	q->by_peer = cls->by_peer[direction];" "	;"
prove "the hints are the other direction's" unit "$DECIDE" "(cls->peers[direction] &" \
  "(cls->peers[!direction] &"
prove "no end has a row of any port" kernel "$DECIDE" \
  "	q->port_hint = q->port && (cls->ports[direction] & mseg_hint(q->port));" "	;"
prove "the next port's class" kernel judge.bpf.h "block->cls[at.index &" "block->cls[(at.index + 1) &"
prove "port classes of side 0 always" kernel judge.bpf.h "mseg_port_place(side, protocol, port)" \
  "mseg_port_place(0, protocol, port)"
prove "the kernel denies nothing for want of a row" kernel "$DECIDE" "	d.verdict = MSEG_DENY;" \
  "	d.verdict = MSEG_ALLOW;"
prove "the user is forgotten" kernel identity.bpf.h "return cls ? *cls : MSEG_USER_OTHER;" \
  "return MSEG_USER_OTHER;"
prove "the fall-back to every other user is left out" kernel identity.bpf.h \
  "		if (user != MSEG_USER_OTHER) {" "		if (0) {"
prove "the fall-back to other executables is left out" kernel identity.bpf.h \
  "		if (value || exe == MSEG_EXE_OTHER)" "		if (1)"
prove "an unknown executable counts as another one" kernel identity.bpf.h \
  "return MSEG_EXE_UNKNOWN;" "return MSEG_EXE_OTHER;"
prove "the grade is not asked for" kernel identity.bpf.h ".grade = id->grade, .side" ".side"
prove "an unknown cgroup counts as one of none" kernel identity.bpf.h \
  "return cgroup ? cgroup->cls : MSEG_CGROUP_PENDING;" "return cgroup ? cgroup->cls : 0;"
prove "a shared listener counts as its first owner" kernel identity.bpf.h \
  "	if (id->flags & MSEG_ID_AMBIGUOUS) {" "	if (0) {"
prove "identities of the other side" kernel identity.bpf.h \
  ".cgroup = cgroup, .exe = exe, .user = user, .side = side," \
  ".cgroup = cgroup, .exe = exe, .user = user, .side = !side,"
prove "no answer is taken for class 0" kernel identity.bpf.h $'	if (!value)\n		return 0;' \
  $'	if (!value)\n		return 1;'
prove "an old resolution is kept" kernel explain.bpf.c "		args.local.generation = 0;" \
  "		;"

printf 'mutations.sh: %d caught, %d not\n' "$caught" "$failed"
[[ $failed == 0 ]]
