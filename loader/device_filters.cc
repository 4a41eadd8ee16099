// SPDX-License-Identifier: Apache-2.0
#include "loader/device_filters.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "loader/errno_status.h"
#include "loader/programs.h"
#include "loader/scoped_fd.h"

namespace mseg {
namespace {

namespace fs = std::filesystem;

// Before what others give no priority of its own, so that a verdict of theirs does not end the
// chain first. The handle tells instances apart, and whether the qdisc is ours to remove.
constexpr uint32_t kPriority = 7;
constexpr uint32_t kHandle = 0x6d730000;
constexpr uint32_t kMadeQdisc = 1;
constexpr char kOwnNames[] = "mseg_tc_";  // of the programs

struct Point {
  bpf_tc_attach_point point;
  uint32_t parent;
  const char* program;
};
constexpr Point kPoints[] = {
    {BPF_TC_INGRESS, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), "mseg_tc_ingress"},
    {BPF_TC_EGRESS, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), "mseg_tc_egress"}};

uint32_t HandleOf(uint64_t cgroup_root_id) {
  return kHandle | static_cast<uint32_t>((cgroup_root_id ^ cgroup_root_id >> 15) & 0x7fff) << 1;
}

struct Device {
  int index = 0;
  std::string name;
  bool loopback = false;
};

struct Filter {
  uint32_t handle = 0;
  uint32_t priority = 0;
  uint32_t program = 0;
  std::string name{};  // of the program
};

// ---- rtnetlink, in the calling thread's namespace ----

using Attributes = std::map<int, const rtattr*>;

Attributes Parse(const rtattr* first, size_t size) {
  Attributes out;
  int left = static_cast<int>(size);
  for (const rtattr* at = first; RTA_OK(at, left); at = RTA_NEXT(at, left)) {
    out[at->rta_type & NLA_TYPE_MASK] = at;
  }
  return out;
}

std::string Text(const Attributes& attributes, int type) {
  const auto it = attributes.find(type);
  if (it == attributes.end()) return "";
  const char* text = static_cast<const char*>(RTA_DATA(it->second));
  return std::string(text, strnlen(text, RTA_PAYLOAD(it->second)));
}

uint32_t Number(const Attributes& attributes, int type) {
  uint32_t number = 0;
  const auto it = attributes.find(type);
  if (it != attributes.end() && RTA_PAYLOAD(it->second) >= sizeof(number)) {
    std::memcpy(&number, RTA_DATA(it->second), sizeof(number));
  }
  return number;
}

template <typename Body>
Attributes AttributesOf(const nlmsghdr* message, Body* body) {
  std::memcpy(body, NLMSG_DATA(message), sizeof(*body));
  const size_t head = NLMSG_SPACE(sizeof(*body));
  if (message->nlmsg_len < head) return {};
  return Parse(reinterpret_cast<const rtattr*>(reinterpret_cast<const char*>(message) + head),
               message->nlmsg_len - head);
}

// Each message of a dump. `body` is what is asked for.
template <typename Body>
absl::Status Dump(uint16_t type, const Body& body,
                  const std::function<void(const nlmsghdr*)>& visit) {
  const ScopedFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.ok()) return ErrnoStatus(errno, "a netlink socket");
  struct {
    nlmsghdr header;
    Body body;
  } request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(body));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body = body;
  if (send(fd.get(), &request, request.header.nlmsg_len, 0) < 0) {
    return ErrnoStatus(errno, "ask for devices");
  }
  std::vector<char> buffer(65536);
  for (;;) {
    const ssize_t size = recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return ErrnoStatus(size < 0 ? errno : EBADMSG, "list devices");
    size_t left = static_cast<size_t>(size);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
      if (message->nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        std::memcpy(&error, NLMSG_DATA(message), sizeof(error));
        return ErrnoStatus(error.error, "list devices");
      }
      if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(Body))) visit(message);
    }
  }
}

absl::StatusOr<std::vector<Device>> Devices() {
  std::vector<Device> out;
  ifinfomsg all{};
  all.ifi_family = AF_UNSPEC;
  const absl::Status status = Dump(RTM_GETLINK, all, [&](const nlmsghdr* message) {
    ifinfomsg link{};
    const Attributes attributes = AttributesOf(message, &link);
    out.push_back(
        {link.ifi_index, Text(attributes, IFLA_IFNAME), (link.ifi_flags & IFF_LOOPBACK) != 0});
  });
  if (!status.ok()) return status;
  return out;
}

// The kind of the qdisc that filters at ingress hang on, by device.
absl::StatusOr<std::map<int, std::string>> IngressQdiscs() {
  std::map<int, std::string> out;
  const absl::Status status = Dump(RTM_GETQDISC, tcmsg{}, [&](const nlmsghdr* message) {
    tcmsg qdisc{};
    const Attributes attributes = AttributesOf(message, &qdisc);
    if (qdisc.tcm_handle == TC_H_MAKE(TC_H_CLSACT, 0)) {
      out[qdisc.tcm_ifindex] = Text(attributes, TCA_KIND);
    }
  });
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<std::vector<Filter>> Filters(int device, const Point& point) {
  std::vector<Filter> out;
  tcmsg of{};
  of.tcm_family = AF_UNSPEC;
  of.tcm_ifindex = device;
  of.tcm_parent = point.parent;
  const absl::Status status = Dump(RTM_GETTFILTER, of, [&](const nlmsghdr* message) {
    tcmsg said{};
    const Attributes attributes = AttributesOf(message, &said);
    Filter filter{.handle = said.tcm_handle, .priority = TC_H_MAJ(said.tcm_info) >> 16};
    if (Text(attributes, TCA_KIND) == "bpf" && attributes.count(TCA_OPTIONS) != 0) {
      const rtattr* options = attributes.at(TCA_OPTIONS);
      const Attributes bpf =
          Parse(static_cast<const rtattr*>(RTA_DATA(options)), RTA_PAYLOAD(options));
      filter.program = Number(bpf, TCA_BPF_ID);
      filter.name = Text(bpf, TCA_BPF_NAME);
    }
    // A priority is told beside its filters.
    if (filter.handle != 0) out.push_back(std::move(filter));
  });
  if (!status.ok()) return status;
  return out;
}

bpf_tc_hook HookAt(int device, bpf_tc_attach_point point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = device;
  hook.attach_point = point;
  return hook;
}

// ---- one device ----

absl::Status AttachTo(int device, const Point& point, int program, uint32_t program_id,
                      uint32_t handle) {
  auto filters = Filters(device, point);
  if (!filters.ok()) return filters.status();
  LIBBPF_OPTS(bpf_tc_opts, options);
  options.prog_fd = program;
  options.priority = kPriority;
  options.handle = handle;
  for (const Filter& filter : *filters) {
    if (filter.priority != kPriority || (filter.handle | kMadeQdisc) != (handle | kMadeQdisc)) {
      continue;
    }
    if (filter.program == program_id) return absl::OkStatus();
    options.handle = filter.handle;
    options.flags = BPF_TC_F_REPLACE;
  }
  const bpf_tc_hook hook = HookAt(device, point.point);
  const int error = bpf_tc_attach(&hook, &options);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, absl::StrCat("attach ", point.program));
}

// `qdisc`: its kind where there is one.
absl::Status AttachBoth(const Dataplane& dataplane, int device, const std::string* qdisc) {
  uint32_t handle = HandleOf(dataplane.cgroup_root_id());
  if (qdisc == nullptr) {
    bpf_tc_hook hook = HookAt(device, BPF_TC_INGRESS);
    const int error = bpf_tc_hook_create(&hook);
    if (error == 0) handle |= kMadeQdisc;
    if (error != 0 && error != -EEXIST) return ErrnoStatus(error, "add a clsact qdisc");
  } else if (*qdisc != "clsact") {
    return absl::FailedPreconditionError(
        absl::StrCat("it has a qdisc `", *qdisc, "`, which has no egress; use clsact"));
  }
  for (const Point& point : kPoints) {
    const int program = dataplane.ProgramFd(point.program);
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) {
      return ErrnoStatus(errno, point.program);
    }
    MSEG_RETURN_IF_ERROR(AttachTo(device, point, program, info.id, handle));
  }
  return absl::OkStatus();
}

// Takes off what is `ours`; the qdisc too, if we made it and nobody else uses it.
absl::Status Clear(int device, const std::function<bool(const Filter&)>& ours) {
  bool made = false;
  size_t others = 0;
  for (const Point& point : kPoints) {
    auto filters = Filters(device, point);
    if (!filters.ok()) return filters.status();
    for (const Filter& filter : *filters) {
      if (!ours(filter)) {
        others++;
        continue;
      }
      const bpf_tc_hook hook = HookAt(device, point.point);
      LIBBPF_OPTS(bpf_tc_opts, options);
      options.handle = filter.handle;
      options.priority = filter.priority;
      const int error = bpf_tc_detach(&hook, &options);
      if (error != 0 && error != -ENOENT) {
        return ErrnoStatus(error, absl::StrCat("detach ", point.program));
      }
      made |= (filter.handle & kMadeQdisc) != 0;
    }
  }
  if (!made || others != 0) return absl::OkStatus();
  bpf_tc_hook hook =
      HookAt(device, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
  const int error = bpf_tc_hook_destroy(&hook);
  return error == 0 || error == -ENOENT ? absl::OkStatus()
                                        : ErrnoStatus(error, "remove the clsact qdisc");
}

absl::Status ClearHere(const std::function<bool(const Filter&)>& ours) {
  auto qdiscs = IngressQdiscs();
  if (!qdiscs.ok()) return qdiscs.status();
  for (const auto& [device, kind] : *qdiscs) {
    if (kind == "clsact") MSEG_RETURN_IF_ERROR(Clear(device, ours));
  }
  return absl::OkStatus();
}

// ---- namespaces ----

// Its inode number; 0 when it is gone.
ino_t NamespaceAt(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

std::string PathOf(pid_t process) { return absl::StrCat("/proc/", process, "/ns/net"); }

// Every namespace that a process is in or that is mounted somewhere: one path each.
std::map<ino_t, std::string> FindNamespaces() {
  std::map<ino_t, std::string> out;
  const auto add = [&out](const std::string& path) {
    if (const ino_t inode = NamespaceAt(path); inode != 0) out.emplace(inode, path);
  };
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (isdigit(static_cast<unsigned char>(name[0])) != 0) add(entry.path() / "ns/net");
  }
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() > 4 && absl::StartsWith(fields[3], "net:[")) add(fields[4]);
  }
  return out;
}

// Of the calling thread's namespace; 0: the kernel does not say.
uint64_t CookieHere() {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  const ScopedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.ok() || getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) return 0;
  return cookie;
}

// False: it is gone.
bool Enter(const std::string& path, ino_t inode) {
  const ScopedFd ns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  return ns.ok() && fstat(ns.get(), &info) == 0 && info.st_ino == inode &&
         setns(ns.get(), CLONE_NEWNET) == 0;
}

absl::Status ClearEverywhere(const std::function<bool(const Filter&)>& ours) {
  absl::Status status;
  // Namespaces are a thread's own: the others stay where they are.
  std::thread([&]() {
    for (const auto& [inode, path] : FindNamespaces()) {
      if (Enter(path, inode)) status.Update(ClearHere(ours));
    }
  }).join();
  return status;
}

}  // namespace

void DeviceFilters::LookHere(ino_t inode, bool thorough) {
  Namespace& here = namespaces_[inode];
  const uint64_t cookie = CookieHere();
  if (std::exchange(here.cookie, cookie) != cookie) thorough = true;
  here.devices.clear();
  here.problems.clear();
  const auto devices = Devices();
  const auto qdiscs = IngressQdiscs();
  for (const absl::Status& status : {devices.status(), qdiscs.status()}) {
    if (!status.ok()) return here.problems.emplace_back(status.message()), void();
  }
  for (const Device& device : *devices) {
    if (device.loopback) continue;
    absl::Status status;
    if (thorough || known_.count({inode, device.index}) == 0) {
      const auto there = qdiscs->find(device.index);
      status =
          AttachBoth(dataplane_, device.index, there == qdiscs->end() ? nullptr : &there->second);
    }
    if (status.ok()) {
      here.devices.push_back(device.name);
      known_.emplace(inode, device.index);
    } else {
      here.problems.push_back(absl::StrCat(device.name, ": ", std::string(status.message())));
    }
  }
}

void DeviceFilters::Look(absl::Span<const uint32_t> processes, bool thorough) {
  std::map<ino_t, pid_t> found;
  for (const uint32_t process : processes) {
    const auto pid = static_cast<pid_t>(process);
    if (const ino_t inode = NamespaceAt(PathOf(pid)); inode != 0) found.emplace(inode, pid);
  }
  for (const auto& [inode, seen] : namespaces_) {
    if (NamespaceAt(PathOf(seen.process)) == inode) found.emplace(inode, seen.process);
  }
  if (thorough) known_.clear();
  std::thread([&]() {
    for (const auto& [inode, pid] : found) {
      if (!Enter(PathOf(pid), inode)) continue;
      LookHere(inode, thorough);
      namespaces_[inode].process = pid;
    }
  }).join();
  // Where no managed process is any more the filters stay, and do nothing.
  if (thorough) std::erase_if(namespaces_, [&](const auto& ns) { return !found.count(ns.first); });
}

absl::Status DeviceFilters::Remove() {
  namespaces_.clear();
  known_.clear();
  return RemoveDeviceFilters({.cgroup_root_id = dataplane_.cgroup_root_id()});
}

absl::Status RemoveDeviceFilters(const FilterOwner& owner) {
  const uint32_t handle = HandleOf(owner.cgroup_root_id);
  return ClearEverywhere([&](const Filter& filter) {
    if (!absl::StartsWith(filter.name, kOwnNames)) return false;
    const bool of_instance =
        owner.cgroup_root_id != 0 && (filter.handle | kMadeQdisc) == (handle | kMadeQdisc);
    return owner.any || of_instance || owner.programs.count(filter.program) != 0;
  });
}

}  // namespace mseg
