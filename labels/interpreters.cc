// SPDX-License-Identifier: Apache-2.0
#include "labels/interpreters.h"

#include "labels/glob.h"

namespace mseg {
namespace {

constexpr std::string_view kInterpreters[] = {
    "ash",
    "awk",
    "bash",
    "busybox",
    "dash",
    "expect",
    "fish",
    "gawk",
    "guile",
    "ksh",
    "lua",
    "luajit",
    "mawk",
    "mksh",
    "node",
    "nodejs",
    "original-awk",
    "perl",
    "php",
    "pypy3",
    "python",
    "python2",
    "python3",
    "Rscript",
    "ruby",
    "sh",
    "tclsh",
    "zsh",
    "/usr/bin/guile-?.?",
    "/usr/bin/lua?.?",
    "/usr/bin/perl?.*",
    "/usr/bin/php?.?",
    "/usr/bin/python?.*",
    "/usr/bin/ruby?.?",
    "/usr/bin/tclsh?.?",
    "/usr/lib/*/ld-linux*.so.*",
    "/usr/lib64/ld-linux*.so.*",
};

}  // namespace

std::vector<std::string> DefaultInterpreters() {
  return {std::begin(kInterpreters), std::end(kInterpreters)};
}

bool IsInterpreterPath(std::string_view path) {
  for (const std::string_view item : kInterpreters) {
    if (!item.starts_with('/')) {
      if (path.substr(path.rfind('/') + 1) == item) return true;
      continue;
    }
    // The list's own patterns are good ones.
    if (const auto pattern = PathPattern::Parse(item); pattern.ok() && pattern->Matches(path)) {
      return true;
    }
  }
  return false;
}

}  // namespace mseg
