// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_TRUSTED_PATH_H_
#define MSEG_DAEMON_TRUSTED_PATH_H_

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace mseg {

struct PathTrust {
  bool trusted = false;
  std::string reason;  // why not; empty when it is trusted
};

// May `exe` and `name` selectors match this file? Only if nobody but root could have put it there:
// the file and every directory from `root_fd` down to it belong to uid 0 and are writable by nobody
// else, on a local file system. `path` is the kernel's resolved path below `root_fd` (the root of
// the process, or "/"), `file_fd` the open file: what the path leads to must be that file.
// Whatever cannot be found out is not trusted.
PathTrust CheckTrustedPath(int root_fd, std::string_view path, int file_fd);

// Where a file `name` of a selector is looked for before anyone has executed it.
inline constexpr std::string_view kNameSearchPath[] = {
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};

// The existing regular files that a policy names: literal paths, globs (labels/glob.h), and file
// names looked up in `search_path`. Resolved (no symlinks), sorted, each once. What does not exist
// is left out, and so is what a very wide pattern (`/**`) finds after its first 200,000 directory
// entries: such a file is hashed when it is first executed.
std::vector<std::string> ResolveNamed(
    const std::set<std::string>& exe_patterns, const std::set<std::string>& names,
    absl::Span<const std::string_view> search_path = kNameSearchPath);

// Of the same literal paths and names those that are, or lie behind, a symbolic link which only
// root could have made: the path as written -> the file it leads to. (Debian's redis-server is a
// link to redis-check-rdb; the kernel knows the running file by its own name only.)
std::map<std::string, std::string> ResolveTrustedLinks(
    const std::set<std::string>& exe_patterns, const std::set<std::string>& names,
    absl::Span<const std::string_view> search_path = kNameSearchPath);

}  // namespace mseg

#endif  // MSEG_DAEMON_TRUSTED_PATH_H_
