// SPDX-License-Identifier: Apache-2.0
// A file system in user space with one file, for `selftest --bypass`: who serves it decides at each
// read what an executable consists of.
#include "ctl/selftest_fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mseg::ctl {
namespace {

constexpr uint64_t kFile = FUSE_ROOT_ID + 1;
constexpr uint32_t kMaxWrite = 4096;
// The kernel refuses to read a request into less than it may need.
constexpr size_t kRequestSize = FUSE_MIN_READ_BUFFER + kMaxWrite;

class Server {
 public:
  Server(int device, int content, uint64_t size)
      : device_(device), content_(content), size_(size) {}

  // Until the file system is unmounted or this process is ended.
  void Run() {
    std::vector<char> request(kRequestSize);
    while (true) {
      const ssize_t got = read(device_, request.data(), request.size());
      if (got < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return;
      fuse_in_header header;
      std::memcpy(&header, request.data(), sizeof(header));
      Answer(header, request.data() + sizeof(header));
    }
  }

 private:
  void Reply(const fuse_in_header& to, int error, const void* data = nullptr,
             size_t size = 0) const {
    fuse_out_header header{};
    header.len = static_cast<uint32_t>(sizeof(header) + size);
    header.error = -error;
    header.unique = to.unique;
    const iovec parts[] = {{&header, sizeof(header)}, {const_cast<void*>(data), size}};
    // A request that was given up meanwhile takes no answer.
    (void)!writev(device_, parts, size == 0 ? 1 : 2);
  }

  template <typename Body>
  void ReplyWith(const fuse_in_header& to, const Body& body) const {
    Reply(to, 0, &body, sizeof(body));
  }

  fuse_attr Attributes(uint64_t node) const {
    fuse_attr out{};
    out.ino = node;
    out.mode = node == kFile ? S_IFREG | 0755 : S_IFDIR | 0755;
    out.nlink = 1;
    out.size = node == kFile ? size_ : 0;
    out.blksize = 4096;
    return out;
  }

  void Read(const fuse_in_header& header, const char* body) const {
    fuse_read_in in;
    std::memcpy(&in, body, sizeof(in));
    std::vector<char> bytes(in.size);
    const ssize_t got = pread(content_, bytes.data(), bytes.size(), static_cast<off_t>(in.offset));
    if (got < 0) return Reply(header, errno);
    Reply(header, 0, bytes.data(), static_cast<size_t>(got));
  }

  void Answer(const fuse_in_header& header, const char* body) const {
    switch (header.opcode) {
      case FUSE_INIT: {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = FUSE_KERNEL_MINOR_VERSION;
        out.max_write = kMaxWrite;
        return ReplyWith(header, out);
      }
      case FUSE_LOOKUP: {
        fuse_entry_out out{};
        out.nodeid = kFile;
        out.attr = Attributes(kFile);
        return ReplyWith(header, out);
      }
      case FUSE_GETATTR: {
        fuse_attr_out out{};
        out.attr = Attributes(header.nodeid);
        return ReplyWith(header, out);
      }
      case FUSE_OPEN:
      case FUSE_OPENDIR:
        return ReplyWith(header, fuse_open_out{});
      case FUSE_READ:
        return Read(header, body);
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:
        return;  // not answered
      case FUSE_FLUSH:
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
        return Reply(header, 0);
      default:
        return Reply(header, ENOSYS);
    }
  }

  int device_;
  int content_;
  uint64_t size_;
};

}  // namespace

int ServeOneFile(const std::string& program, const std::string& at, pid_t* server) {
  const int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  const int content = open(program.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (device < 0) return errno == ENOENT || errno == ENXIO ? ENODEV : errno;
  if (content < 0 || fstat(content, &info) != 0) return EIO;
  const std::string options = absl::StrCat("fd=", device, ",rootmode=40000,user_id=0,group_id=0");
  if (mount("mseg-selftest", at.c_str(), "fuse", MS_NODEV, options.c_str()) != 0) return errno;
  *server = fork();
  if (*server == 0) {
    Server(device, content, static_cast<uint64_t>(info.st_size)).Run();
    _exit(0);
  }
  close(device);
  close(content);
  return *server < 0 ? errno : 0;
}

}  // namespace mseg::ctl
