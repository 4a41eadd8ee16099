// SPDX-License-Identifier: Apache-2.0
#include "daemon/mountinfo.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "labels/text.h"

namespace mseg {
namespace {

// Space, tab, newline and backslash are written as three octal digits.
std::string Unescape(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                        (text[i + 3] - '0')));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

bool HoldsPrograms(const Mount& mount) {
  static constexpr std::string_view kNone[] = {
      "autofs",     "binfmt_misc", "bpf",    "cgroup",  "cgroup2", "configfs", "debugfs",
      "devpts",     "efivarfs",    "mqueue", "nsfs",    "proc",    "pstore",   "rpc_pipefs",
      "securityfs", "selinuxfs",   "sysfs",  "tracefs", "9p",      "afs",      "ceph",
      "cifs",       "coda",        "gfs2",   "lustre",  "nfs",     "nfs4",     "ocfs2",
      "orangefs",   "smb3",        "vboxsf", "virtiofs"};
  if (std::find(std::begin(kNone), std::end(kNone), mount.type) != std::end(kNone)) return false;
  if (absl::StartsWith(mount.type, "fuse")) return false;
  const std::vector<absl::string_view> options = absl::StrSplit(mount.options, ',');
  return std::find(options.begin(), options.end(), "noexec") == options.end();
}

}  // namespace

std::vector<Mount> ParseMounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (const absl::string_view line : absl::StrSplit(ToAbsl(mountinfo), '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<absl::string_view> mount = absl::StrSplit(halves[0], ' ');
    const std::vector<absl::string_view> system = absl::StrSplit(halves[1], ' ');
    uint64_t id = 0;
    if (mount.size() < 6 || system.size() < 2 || !absl::SimpleAtoi(mount[0], &id)) continue;
    mounts.push_back({.id = id,
                      .device = std::string(mount[2]),
                      .root = Unescape(mount[3]),
                      .point = Unescape(mount[4]),
                      .options = std::string(mount[5]),
                      .type = std::string(system[0])});
  }
  return mounts;
}

std::vector<Mount> ReadMounts(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return ParseMounts(text.str());
}

std::vector<Mount> ExecutableMounts(const std::vector<Mount>& mounts) {
  std::vector<Mount> found;
  std::copy_if(mounts.begin(), mounts.end(), std::back_inserter(found), HoldsPrograms);
  return found;
}

}  // namespace mseg
