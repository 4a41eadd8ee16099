// SPDX-License-Identifier: Apache-2.0
// The layout of every struct of abi.h as the BPF object has it against what C++ makes of it. Needs
// neither root nor BPF.
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "mseg/abi.h"
// After abi.h, whose types they use.
#include "abi_types.skel.h"
#include "mseg.skel.h"

namespace mseg {
namespace {

struct Field {
  const char* name;
  size_t offset;
  size_t size;
};
struct Layout {
  size_t size;
  std::vector<Field> fields;
};

#define MSEG_FIELD(type, field) \
  Field { #field, offsetof(type, field), sizeof(type::field) }

const std::map<std::string, Layout>& Layouts() {
#define F(field) MSEG_FIELD(T, field)
  static const std::map<std::string, Layout> layouts = [] {
    std::map<std::string, Layout> all;
    {
      using T = mseg_exe_key;
      all["mseg_exe_key"] = {sizeof(T),
                             {F(ino), F(size), F(ctime_sec), F(ctime_nsec), F(dev), F(generation),
                              F(flags), F(path_hash)}};
    }
    {
      using T = mseg_exe;
      all["mseg_exe"] = {sizeof(T), {F(exe_id), F(ref), F(grade), F(roles), F(pad)}};
    }
    {
      using T = mseg_identity;
      all["mseg_identity"] = {sizeof(T),
                              {F(cgroup_id), F(exe_id), F(exe_ref), F(uid), F(tgid), F(grade),
                               F(flags), F(roles), F(script), F(label_id), F(generation), F(cls)}};
    }
    {
      using T = mseg_task_key;
      all["mseg_task_key"] = {sizeof(T), {F(start_ns), F(tgid), F(pad)}};
    }
    {
      using T = mseg_task;
      all["mseg_task"] = {sizeof(T), {F(id), F(exe)}};
    }
    {
      using T = mseg_listener_key;
      all["mseg_listener_key"] = {sizeof(T),
                                  {F(netns_cookie), F(addr), F(port), F(protocol), F(pad)}};
    }
    {
      using T = mseg_listener;
      all["mseg_listener"] = {sizeof(T), {F(owner), F(holder), F(sockets), F(pair)}};
    }
    {
      using T = mseg_slot;
      all["mseg_slot"] = {sizeof(T),
                          {F(cookie), F(owner), F(mac), F(peer_host), F(wire), F(path), F(epoch),
                           F(pad), F(holder)}};
    }
    {
      using T = mseg_holder;
      all["mseg_holder"] = {sizeof(T), {F(start_ns), F(tgid), F(exec_id), F(generation), F(pad)}};
    }
    {
      using T = mseg_accepted;
      all["mseg_accepted"] = {sizeof(T), {F(cookie), F(holder), F(owner)}};
    }
    {
      using T = mseg_let_pass;
      all["mseg_let_pass"] = {sizeof(T),
                              {F(cookie), F(peer), F(peer_port), F(proof), F(wire), F(path), F(pad),
                               F(holder), F(owner)}};
    }
    {
      using T = mseg_peer_slot;
      all["mseg_peer_slot"] = {sizeof(T), {F(cookie), F(peer)}};
    }
    {
      using T = mseg_remote_key;
      all["mseg_remote_key"] = {sizeof(T), {F(label_id), F(exe_id), F(host_id), F(grade), F(pad)}};
    }
    {
      using T = mseg_flow_key;
      all["mseg_flow_key"] = {sizeof(T), {F(cookie), F(peer), F(peer_port), F(pad)}};
    }
    {
      using T = mseg_flow_state;
      all["mseg_flow_state"] = {
          sizeof(T), {F(last_ns), F(owner), F(peer), F(generation), F(direction), F(pad)}};
    }
    {
      using T = mseg_cgroup_key;
      all["mseg_cgroup_key"] = {sizeof(T), {F(id), F(side), F(pad)}};
    }
    {
      using T = mseg_cgroup;
      all["mseg_cgroup"] = {sizeof(T), {F(cls), F(watch), F(doors), F(loopback)}};
    }
    {
      using T = mseg_exe_class_key;
      all["mseg_exe_class_key"] = {sizeof(T), {F(ref), F(grade), F(side), F(pad)}};
    }
    {
      using T = mseg_user_key;
      all["mseg_user_key"] = {sizeof(T), {F(uid), F(side)}};
    }
    {
      using T = mseg_identity_key;
      all["mseg_identity_key"] = {sizeof(T), {F(cgroup), F(exe), F(user), F(side)}};
    }
    {
      using T = mseg_identity_value;
      all["mseg_identity_value"] = {sizeof(T), {F(label_id), F(cls), F(pad)}};
    }
    {
      using T = mseg_address_key;
      all["mseg_address_key"] = {sizeof(T), {F(prefixlen), F(side), F(addr), F(pad)}};
    }
    {
      using T = mseg_port_block;
      all["mseg_port_block"] = {sizeof(T), {F(cls)}};
    }
    {
      using T = mseg_class;
      all["mseg_class"] = {sizeof(T),
                           {F(group), F(end), F(tail), F(peers), F(ports), F(by_peer), F(far),
                            F(pad), F(bits), F(mask)}};
    }
    {
      using T = mseg_coarse;
      all["mseg_coarse"] = {sizeof(T), {F(bits)}};
    }
    {
      using T = mseg_peer_label_key;
      all["mseg_peer_label_key"] = {sizeof(T), {F(label_id), F(host_id), F(side)}};
    }
    {
      using T = mseg_peer_label;
      all["mseg_peer_label"] = {sizeof(T), {F(cls), F(permitted), F(pad)}};
    }
    {
      using T = mseg_peer_exe_key;
      all["mseg_peer_exe_key"] = {sizeof(T), {F(exe_id), F(grade), F(side), F(pad)}};
    }
    {
      using T = mseg_wire;
      all["mseg_wire"] = {sizeof(T),
                          {F(host_id), F(exid), F(kind), F(default_path), F(wall_offset_ns),
                           F(slot_ns), F(has_paths), F(udp)}};
    }
    {
      using T = mseg_host_address;
      all["mseg_host_address"] = {sizeof(T), {F(addr)}};
    }
    {
      using T = mseg_udp_note;
      all["mseg_udp_note"] = {sizeof(T),
                              {F(sequence), F(label_id), F(exe_id), F(host_id), F(source_port),
                               F(udp_len), F(grade), F(pad)}};
    }
    {
      using T = mseg_forms;
      all["mseg_forms"] = {sizeof(T), {F(strict), F(fast)}};
    }
    {
      using T = mseg_host_keys;
      all["mseg_host_keys"] = {sizeof(T), {F(key)}};
    }
    {
      using T = mseg_fingerprint_key;
      all["mseg_fingerprint_key"] = {sizeof(T), {F(fingerprint), F(host_id), F(pad)}};
    }
    {
      using T = mseg_fingerprint_value;
      all["mseg_fingerprint_value"] = {sizeof(T), {F(label_id), F(exe_id)}};
    }
    {
      using T = mseg_refused_key;
      all["mseg_refused_key"] = {sizeof(T),
                                 {F(remote), F(local), F(remote_port), F(local_port), F(pad)}};
    }
    {
      using T = mseg_quarantine_event;
      all["mseg_quarantine_event"] = {sizeof(T), {F(type), F(pad), F(cookie), F(netns_cookie)}};
    }
    {
      using T = mseg_row_key;
      all["mseg_row_key"] = {sizeof(T), {F(local), F(peer), F(port), F(direction), F(side)}};
    }
    {
      using T = mseg_row;
      all["mseg_row"] = {sizeof(T),
                         {F(rule), F(would_rule), F(verdict), F(would_be), F(reason),
                          F(would_reason), F(more), F(may), F(pad)}};
    }
    {
      using T = mseg_active;
      all["mseg_active"] = {sizeof(T), {F(generation), F(pad)}};
    }
    {
      using T = mseg_exe_event;
      all["mseg_exe_event"] = {sizeof(T), {F(type), F(tgid), F(exe), F(ima), F(script)}};
    }
    {
      using T = mseg_script_event;
      all["mseg_script_event"] = {sizeof(T), {F(type), F(tgid), F(script), F(path), F(name)}};
    }
    {
      using T = mseg_script_key;
      all["mseg_script_key"] = {sizeof(T), {F(interpreter), F(script)}};
    }
    {
      using T = mseg_cgroup_event;
      all["mseg_cgroup_event"] = {sizeof(T), {F(type), F(removed), F(id)}};
    }
    {
      using T = mseg_flow_event;
      all["mseg_flow_event"] = {
          sizeof(T),
          {F(type),       F(generation),   F(local),      F(peer),      F(peer_addr), F(rule),
           F(would_rule), F(port),         F(protocol),   F(direction), F(verdict),   F(would_be),
           F(reason),     F(would_reason), F(peer_known), F(hook),      F(family),    F(proof),
           F(pad),        F(time_ns),      F(count),      F(peer_port), F(pad2)}};
    }
    {
      using T = mseg_flows_wait_event;
      all["mseg_flows_wait_event"] = {sizeof(T), {F(type), F(pad)}};
    }
    {
      using T = mseg_flow_count;
      all["mseg_flow_count"] = {sizeof(T), {F(busy), F(tick), F(event), F(next)}};
    }
    {
      using T = mseg_collect;
      all["mseg_collect"] = {sizeof(T), {F(processors)}};
    }
    {
      using T = mseg_config;
      all["mseg_config"] = {sizeof(T),
                            {F(udp_flow_ns), F(report_allowed), F(guard), F(daemon), F(pins_dev),
                             F(mount_ns), F(root_mount), F(pad)}};
    }
    {
      using T = mseg_guarded_key;
      all["mseg_guarded_key"] = {sizeof(T), {F(number), F(dev), F(is_map)}};
    }
    {
      using T = mseg_tamper_event;
      all["mseg_tamper_event"] = {sizeof(T),
                                  {F(type), F(act), F(time_ns), F(subject), F(by), F(comm)}};
    }
    {
      using T = mseg_digest;
      all["mseg_digest"] = {sizeof(T), {F(sha256)}};
    }
    {
      using T = mseg_inode_key;
      all["mseg_inode_key"] = {sizeof(T), {F(ino), F(dev), F(generation)}};
    }
    {
      using T = mseg_manifest;
      all["mseg_manifest"] = {sizeof(T),
                              {F(abi_version), F(mode), F(object_digest), F(cgroup_root_id),
                               F(loaded_at), F(store_id), F(tags)}};
    }
    {
      using T = mseg_explain;
      all["mseg_explain"] = {
          sizeof(T), {F(local),    F(peer),       F(local_class),   F(peer_class),   F(port),
                      F(protocol), F(direction),  F(resolve_local), F(resolve_peer), F(failed),
                      F(pad0),     F(generation), F(rule),          F(would_rule),   F(verdict),
                      F(would_be), F(reason),     F(would_reason),  F(probe),        F(may),
                      F(pad)}};
    }
    {
      using T = mseg_file_record;
      all["mseg_file_record"] = {sizeof(T), {F(fd), F(pad), F(key)}};
    }
    {
      using T = mseg_socket_record;
      all["mseg_socket_record"] = {
          sizeof(T),
          {F(cookie), F(netns_cookie), F(holder_start_ns), F(holder), F(local), F(remote),
           F(local_port), F(remote_port), F(ifindex), F(fd), F(protocol), F(state), F(pad)}};
    }
    return all;
  }();
#undef F
  return layouts;
}

struct FreeObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, FreeObject>;

// Objects that are part of this binary, so that the test runs where no build tree is.
Object OpenObject(const void* bytes, size_t size) {
  libbpf_set_print(nullptr);
  Object object(bpf_object__open_mem(bytes, size, nullptr));
  REQUIRE(object);
  REQUIRE(bpf_object__btf(object.get()) != nullptr);
  return object;
}
// What the product loads.
Object OpenProduct() {
  size_t size = 0;
  const void* bytes = mseg_bpf__elf_bytes(&size);
  return OpenObject(bytes, size);
}
// Every type of abi.h, compiled for BPF.
Object OpenTypes() {
  size_t size = 0;
  const void* bytes = mseg_abi_types__elf_bytes(&size);
  return OpenObject(bytes, size);
}

const btf_type* StructOf(const btf* types, const std::string& name) {
  const int id = btf__find_by_name_kind(types, name.c_str(), BTF_KIND_STRUCT);
  return id < 0 ? nullptr : btf__type_by_id(types, static_cast<uint32_t>(id));
}

}  // namespace

// How many structs of the table the object has; each must be as C++ has it.
size_t CompareLayouts(const bpf_object* object) {
  const btf* types = bpf_object__btf(object);
  size_t compared = 0;
  for (const auto& [name, layout] : Layouts()) {
    INFO("struct " << name);
    const btf_type* type = StructOf(types, name);
    if (type == nullptr) continue;
    compared++;
    CHECK(type->size == layout.size);
    REQUIRE(btf_vlen(type) == layout.fields.size());
    const btf_member* member = btf_members(type);
    for (size_t i = 0; i < layout.fields.size(); i++, member++) {
      const Field& field = layout.fields[i];
      INFO("field " << field.name);
      CHECK(std::string(btf__name_by_offset(types, member->name_off)) == field.name);
      CHECK(btf_member_bitfield_size(type, static_cast<uint32_t>(i)) == 0);
      CHECK(btf_member_bit_offset(type, static_cast<uint32_t>(i)) == 8 * field.offset);
      CHECK(btf__resolve_size(types, member->type) == static_cast<int64_t>(field.size));
    }
  }
  return compared;
}

TEST_CASE("every struct compiled for BPF has the layout that C++ gives it") {
  CHECK(CompareLayouts(OpenTypes().get()) == Layouts().size());
}

TEST_CASE("every struct of the product's object has the layout that C++ gives it") {
  const Object product = OpenProduct();
  const size_t compared = CompareLayouts(product.get());
  // The object has those that a map, a context or a global names.
  CHECK(compared >= 20);
}

TEST_CASE("no field of a shared struct leaves a hole") {
  for (const auto& [name, layout] : Layouts()) {
    INFO("struct " << name);
    size_t end = 0;
    for (const Field& field : layout.fields) {
      INFO("field " << field.name);
      CHECK(field.offset == end);
      end = field.offset + field.size;
    }
    CHECK(end == layout.size);
  }
}

TEST_CASE("every struct of the object's maps and every struct of abi.h is in the table") {
  const Object object = OpenProduct();
  std::set<std::string> declared;
  std::ifstream header(MSEG_ABI_HEADER);
  if (!header.is_open()) {
    WARN("no " MSEG_ABI_HEADER " here; structs that only the header has are not looked for");
  }
  const std::regex definition("^struct (mseg_[a-z0-9_]+) \\{$");
  for (std::string line; std::getline(header, line);) {
    std::smatch match;
    if (std::regex_match(line, match, definition)) declared.insert(match[1]);
  }
  if (header.is_open()) CHECK(!declared.empty());
  bpf_map* map = nullptr;
  const btf* types = bpf_object__btf(object.get());
  bpf_object__for_each_map(map, object.get()) {
    for (const uint32_t id : {bpf_map__btf_key_type_id(map), bpf_map__btf_value_type_id(map)}) {
      const btf_type* type = btf__type_by_id(types, id);
      if (type != nullptr && btf_is_struct(type)) {
        declared.insert(btf__name_by_offset(types, type->name_off));
      }
    }
  }
  declared.erase("mseg_udp_window");  // BPF's alone: it has a lock of BPF's in it
  // BPF's alone: nobody else reads them.
  for (const char* memory : {"mseg_verdict_cache", "mseg_class_cache", "mseg_listening_cache"}) {
    declared.erase(memory);
  }
  for (const std::string& name : declared) {
    INFO("struct " << name << " has no line in the table of this test");
    CHECK(Layouts().count(name) == 1);
  }
}

TEST_CASE("the enum values of the object are those of the header") {
  const Object object = OpenTypes();
  const btf* types = bpf_object__btf(object.get());
  const std::map<std::string, int64_t> wanted = {
      {"MSEG_INGRESS", MSEG_INGRESS},
      {"MSEG_ALLOW", MSEG_ALLOW},
      {"MSEG_REASON_MAX", MSEG_REASON_MAX},
      {"MSEG_GRADE_MAX", MSEG_GRADE_MAX},
      {"MSEG_FILE_FINE_CTIME", MSEG_FILE_FINE_CTIME},
      {"MSEG_ID_NO_RECORD", MSEG_ID_NO_RECORD},
      {"MSEG_PORT_SPACES", MSEG_PORT_SPACES},
      {"MSEG_EVENT_FLOW", MSEG_EVENT_FLOW},
      {"MSEG_HOOK_MAX", MSEG_HOOK_MAX},
      {"MSEG_CNT_MAX", MSEG_CNT_MAX},
      {"MSEG_MODE_FULL", MSEG_MODE_FULL},
  };
  std::set<std::string> seen;
  for (uint32_t id = 1; id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    if (!btf_is_enum(type)) continue;
    const struct btf_enum* values = ::btf_enum(type);
    for (uint32_t i = 0; i < btf_vlen(type); i++) {
      const auto it = wanted.find(btf__name_by_offset(types, values[i].name_off));
      if (it == wanted.end()) continue;
      INFO(it->first);
      CHECK(values[i].val == it->second);
      seen.insert(it->first);
    }
  }
  CHECK(seen.size() == wanted.size());
}

}  // namespace mseg
