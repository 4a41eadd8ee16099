// SPDX-License-Identifier: Apache-2.0
#include "loader/refusals.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "loader/errno_status.h"
#include "loader/pins.h"
#include "loader/programs.h"

namespace mseg {
namespace {

namespace fs = std::filesystem;
constexpr char kProgram[] = "mseg_refuse_lookup";

std::string PinOf(const Dataplane& dataplane, uint64_t netns_cookie) {
  return absl::StrCat(dataplane.pin_dir(), "/", kLinkPins, "/", kProgram, "_", netns_cookie);
}

absl::StatusOr<bpf_link_info> LinkInfo(const std::string& pin) {
  const ScopedFd link(bpf_obj_get(pin.c_str()));
  if (!link.ok()) return ErrnoStatus(errno, "open link " + pin);
  bpf_link_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) return ErrnoStatus(errno, pin);
  return info;
}

}  // namespace

absl::Status Refusals::AttachIn(uint32_t pid, uint64_t netns_cookie) const {
  const int program = dataplane_.ProgramFd(kProgram);
  bpf_prog_info own{};
  uint32_t size = sizeof(own);
  if (bpf_obj_get_info_by_fd(program, &own, &size) != 0) return ErrnoStatus(errno, kProgram);
  const std::string pin = PinOf(dataplane_, netns_cookie);
  const auto there = LinkInfo(pin);
  if (there.ok() && there->prog_id == own.id && there->netns.netns_ino != 0) {
    return absl::OkStatus();
  }
  const ScopedFd netns(open(absl::StrCat("/proc/", pid, "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.ok()) return ErrnoStatus(errno, absl::StrCat("network namespace of process ", pid));
  const ScopedFd link(bpf_link_create(program, netns.get(), BPF_SK_LOOKUP, nullptr));
  if (!link.ok()) return ErrnoStatus(errno, "attach mseg_refuse_lookup to sk_lookup");
  return ReplacePin(link.get(), pin);
}

void Refusals::ForgetGone() const {
  std::error_code error;
  const std::string links = absl::StrCat(dataplane_.pin_dir(), "/", kLinkPins);
  for (const auto& entry : fs::directory_iterator(links, error)) {
    if (!absl::StartsWith(entry.path().filename().string(), kProgram)) continue;
    const auto info = LinkInfo(entry.path().string());
    if (info.ok() && info->netns.netns_ino == 0) unlink(entry.path().c_str());
  }
}

}  // namespace mseg
