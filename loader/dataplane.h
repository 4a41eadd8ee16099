// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_LOADER_DATAPLANE_H_
#define MSEG_LOADER_DATAPLANE_H_

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "loader/feature_probe.h"
#include "loader/map_view.h"
#include "loader/programs.h"
#include "loader/scoped_fd.h"
#include "mseg/abi.h"

namespace mseg {

struct DataplaneOptions {
  std::string cgroup_root;          // a directory of a cgroup v2 hierarchy
  std::string pin_dir;              // a directory of a bpffs, made if missing
  uint64_t store_id = 0;            // whose numbers the maps hold; another store's are refused
  uint32_t max_rows = 131072;       // of one side
  uint32_t max_identities = 32768;  // of one side
  uint32_t max_tasks = 65536;
  uint32_t max_listeners = 16384;
  // Programs that are not to be loaded. For tests of what does not depend on them: on an emulated
  // processor the verifier takes seconds for a few of them.
  std::vector<absl::string_view> without = {};
};

// One attached program, as `msegctl status` shows it.
struct AttachedProgram {
  std::string name;
  std::string hook;
  std::string cgroup;     // empty for tracing and LSM programs
  int64_t loaded_at = 0;  // seconds since 1970
};

// mseg's programs and maps in the kernel, and the only owner of their pins. Whoever holds one holds
// the locks on pin directory and cgroup root, too. Destruction leaves everything in force: links
// are pinned.
class Dataplane {
 public:
  // Takes the locks; adopts what is pinned if it is what this binary would load, replaces it
  // without a gap if it is of another build with the same ABI, loads anew if there is nothing.
  // FailedPrecondition: held by another daemon, pinned state of another ABI or of somebody else,
  // foreign mseg programs on this cgroup.
  static absl::StatusOr<std::unique_ptr<Dataplane>> Open(const DataplaneOptions& options,
                                                         const Features& features);
  ~Dataplane();
  Dataplane(const Dataplane&) = delete;
  Dataplane& operator=(const Dataplane&) = delete;

  // True: found in force, nothing was attached anew.
  bool adopted() const { return adopted_; }
  uint64_t cgroup_root_id() const { return cgroup_root_id_; }

  // Attaches, pins and verifies what is not attached yet.
  absl::Status Attach(Stage stage);
  absl::Status Detach(Stage stage);
  bool IsAttached(Stage stage) const;
  // Everything is attached: from now on a restart adopts. (Manifest.)
  absl::Status MarkComplete();
  absl::StatusOr<std::vector<AttachedProgram>> Attached() const;

  // Walks over what is older than mseg.
  absl::Status AdoptTasks() const;
  absl::Status AdoptListeners() const;
  // The keys of this process' own open regular files and directories, by descriptor.
  absl::StatusOr<std::map<int, mseg_exe_key>> FileKeys() const;
  // Every descriptor of an open connection or a TCP listener, if socket or holder is managed.
  absl::StatusOr<std::vector<mseg_socket_record>> OpenSockets() const;
  // How many sockets have an owner on record: a power of two, by the number of processors (abi.h).
  static absl::StatusOr<uint32_t> OwnedSockets();
  // Who connected a socket or sent on it; nothing if nobody did or newer sockets took its place.
  absl::StatusOr<std::optional<mseg_identity>> SocketOwner(uint64_t cookie) const;
  // Runs mseg_explain in the kernel.
  absl::Status Explain(mseg_explain* args) const;
  // Sends what the kernel counted of equal flows to the ring `flows`; what finds no room stays.
  absl::Status CollectFlows() const;
  absl::StatusOr<std::array<uint64_t, MSEG_CNT_MAX>> Counters() const;
  // Tells the kernel how many sockets have left the quarantine.
  absl::Status CountQuarantine() const;
  absl::StatusOr<std::vector<uint32_t>> MapIds() const;
  // Bytes that the kernel says its maps take.
  absl::StatusOr<uint64_t> MapMemory() const;

  MapView<uint32_t, mseg_active> active() const {
    return View<uint32_t, mseg_active>("mseg_active");
  }
  MapView<uint32_t, mseg_config> config() const {
    return View<uint32_t, mseg_config>("mseg_config");
  }
  MapView<mseg_exe_key, mseg_exe> exes() const { return View<mseg_exe_key, mseg_exe>("mseg_exes"); }
  // Digests that the kernel recognises at exec.
  MapView<mseg_digest, mseg_exe> digests() const {
    return View<mseg_digest, mseg_exe>("mseg_digests");
  }
  // Pairs of an interpreter and a script, each an executable of its own.
  MapView<mseg_script_key, mseg_exe> scripts() const {
    return View<mseg_script_key, mseg_exe>("mseg_scripts");
  }
  // Files whose content is known, and when they were written to since they were hashed; 0: never.
  MapView<mseg_inode_key, uint64_t> written() const {
    return View<mseg_inode_key, uint64_t>("mseg_written");
  }
  MapView<mseg_task_key, mseg_task> tasks() const {
    return View<mseg_task_key, mseg_task>("mseg_tasks");
  }
  // Who is at the other end of a connection that was proven, by its socket's cookie.
  absl::StatusOr<std::optional<mseg_identity>> Peer(uint64_t cookie) const;
  // The cookies of all such connections, and to forget one whose socket is gone.
  absl::StatusOr<std::vector<uint64_t>> PeerCookies() const;
  absl::Status ForgetPeer(uint64_t cookie) const;
  MapView<mseg_listener_key, mseg_listener> listeners() const {
    return View<mseg_listener_key, mseg_listener>("mseg_listeners");
  }
  // For PolicyTables and RingReader.
  template <typename Key, typename Value>
  MapView<Key, Value> View(absl::string_view name) const {
    return MapView<Key, Value>(MapFd(name), name);
  }
  int MapFd(absl::string_view name) const;
  int ProgramFd(absl::string_view name) const;
  const std::string& pin_dir() const { return options_.pin_dir; }

 private:
  Dataplane() = default;
  absl::Status LockPins();
  absl::Status LockAndLoad(const Features& features);
  absl::Status CheckForeignPrograms() const;
  absl::Status WaitForOwnCgroup() const;
  absl::Status AdoptOrLoad(const Features& features);
  bool Wants(const ProgramSpec& spec) const;
  bool GuardIsPinned() const;
  std::string ProgramPin(absl::string_view name) const;
  absl::Status Adopt(const mseg_manifest& manifest);
  absl::Status Load(const Features& features, bool reuse_maps);
  absl::Status TouchTables() const;
  absl::Status WriteManifest(mseg_mode mode);
  absl::Status AttachQuarantine() const;
  absl::Status AttachOne(size_t program);
  absl::Status VerifyCgroupProgram(size_t program) const;
  absl::StatusOr<uint32_t> PinnedLinkProgram(size_t program) const;
  std::string LinkPin(size_t program) const;
  absl::Status RunTool(const char* program, void* args, uint32_t size) const;

  DataplaneOptions options_;
  ScopedFd pin_lock_;
  ScopedFd cgroup_fd_;
  uint64_t cgroup_root_id_ = 0;
  uint32_t cgroup_root_level_ = 0;
  mseg_mode mode_ = MSEG_MODE_CGROUP;
  bool adopted_ = false;
  std::array<ScopedFd, kPrograms.size()> programs_;
  std::map<std::string, ScopedFd, std::less<>> maps_;
};

// Removes every program, pin and map of mseg below `pin_dir`; with an empty `pin_dir`, below every
// bpffs that is mounted; then it is an error if the kernel still has a program of mseg. Waits for
// nobody: the caller has stopped the daemon. Returns what was removed, a line each.
absl::StatusOr<std::vector<std::string>> DetachAll(const std::string& pin_dir);
// The process that holds the lock on a pin directory, 0 for nobody.
absl::StatusOr<int> PinDirHolder(const std::string& pin_dir);
// Pin directories of mseg on this host.
absl::StatusOr<std::vector<std::string>> FindPinDirs();

}  // namespace mseg

#endif  // MSEG_LOADER_DATAPLANE_H_
