// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_PINS_H_
#define MSEG_LOADER_PINS_H_

#include <sys/types.h>

#include <istream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mseg {

// Where things are pinned below a pin directory: maps/NAME, programs/NAME, links/NAME.
inline constexpr char kMapPins[] = "maps";
inline constexpr char kProgramPins[] = "programs";
inline constexpr char kLinkPins[] = "links";
inline constexpr char kManifestMap[] = "mseg_manifest";

// Makes the directory and its folders on a bpffs. /sys/fs/bpf is mounted where a host has not done
// so; anything else that is no bpffs is FailedPrecondition. The root of a bpffs is not used itself:
// then `mseg` below it is. Returns the directory to use.
absl::StatusOr<std::string> PreparePinDir(const std::string& path);
// The same directory, without making anything.
std::string ResolvePinDir(const std::string& path);

// Removes every pin of mseg below the directory, links first, and the directories unless they are
// to stay or hold something else. Returns the names of the pins.
absl::StatusOr<std::vector<std::string>> RemovePins(const std::string& pin_dir,
                                                    bool keep_directories = false);
// Pins a descriptor at `path`, in place of what is pinned there: there is always one or the other.
absl::Status ReplacePin(int fd, const std::string& path);
// A pin is replaced by pinning NAME_new and renaming it. Whoever was killed in between left
// NAME_new: it takes its place if there is no NAME, and goes otherwise.
void FinishPins(const std::string& pin_dir);
bool HasPins(const std::string& pin_dir);
bool HasLinks(const std::string& pin_dir);
// Who holds the flock(2) on a file, from the text of /proc/locks; 0 for nobody.
int LockHolder(std::istream& locks, dev_t device, ino_t inode);

}  // namespace mseg

#endif  // MSEG_LOADER_PINS_H_
