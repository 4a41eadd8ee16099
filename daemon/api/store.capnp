# SPDX-License-Identifier: Apache-2.0
@0xd3b1c7a94e2f6805;

# What the store keeps on disk; see docs/store.md. Only daemon/store_codec.cc reads and writes it.
# Fields are only ever added. A change that an older msegd must not overlook raises the store's
# schema version (daemon/store_codec.h).

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("mseg::stored");

enum Op {
  upsert @0;
  delete @1;
}

struct Change {
  op @0 :Op;
  kind @1 :Text;
  name @2 :Text;
  text @3 :Text;
  file @4 :Text;
  line @5 :Int32;
}

# A revision's hash is BLAKE2b-256 over previousHash, then the bytes of this message.
struct Revision {
  number @0 :UInt64;
  timeUs @1 :Int64;
  author @2 :Text;
  message @3 :Text;
  changes @4 :List(Change);
  previousHash @5 :Data;
  stateHash @6 :Data;
  event @7 :Event;
  peer @8 :Peer;  # null: msegd itself, or written before there was this field
}

enum Event {
  change @0;
  panic @1;
  panicEnd @2;
  hosts @3;
}

# Who asked, as the kernel says it; Revision.author is what they say of themselves.
struct Peer {
  uid @0 :UInt32;
  user @1 :Text;
}

# The last revision is to be confirmed, else taken back.
struct Confirmation {
  revision @0 :UInt64;
  backTo @1 :UInt64;
  deadlineUs @2 :Int64;
}

# Nothing is blocked on this host for a while.
struct Panic {
  sinceUs @0 :Int64;
  untilUs @1 :Int64;
  author @2 :Text;
  reason @3 :Text;
}

struct Document {
  kind @0 :Text;
  name @1 :Text;
  text @2 :Text;
  file @3 :Text;
  line @4 :Int32;
  revision @5 :UInt64;
}

# The head of the log, and the last checkpoint.
struct Head {
  revision @0 :UInt64;
  hash @1 :Data;
}

struct Active {
  revision @0 :UInt64;
  generation @1 :UInt32;
}

struct Executable {
  ref @0 :UInt32;
  digest @1 :Data;
  path @2 :Text;
  trusted @3 :Bool;
  grade @4 :UInt8;
  exeId @5 :UInt64;
}

struct Boot {
  bootId @0 :Text;
  nextRef @1 :UInt32;
}

struct Host {
  id @0 :UInt32;
  name @1 :Text;
  salt @2 :Data;
  storeId @3 :UInt64;  # 0: written before there was this field
}

# Another host whose keys an operator trusts.
struct TrustedHost {
  record @0 :Data;  # daemon/host_record.h, signed
  limits @1 :List(Text);
  trustedAtUs @2 :Int64;
  author @3 :Text;
  peer @4 :Peer;
}

# The identity records of one host.
struct Bundle {
  records @0 :Data;  # daemon/identity_bundle.h, signed
  importedAtUs @1 :Int64;
  author @2 :Text;
  peer @3 :Peer;
}
