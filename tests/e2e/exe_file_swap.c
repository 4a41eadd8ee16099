// SPDX-License-Identifier: Apache-2.0
// Makes a process look like another program without executing it, as any user may:
//
//   e2e_exe_file_swap ALLOWED-PROGRAM HOST PORT
//
// 1. A user namespace of its own gives it CAP_SYS_RESOURCE and CAP_CHECKPOINT_RESTORE there.
// 2. Its own program's mappings are copied to anonymous memory in their place, because the kernel
//    refuses to change exe_file while the old file is still mapped.
// 3. PR_SET_MM_MAP points mm->exe_file at the allowed program.
// 4. It connects.
//
// Prints `exe PATH` (what /proc/self/exe says by then) and `connect ok|ERRNO-NAME`. Exit status:
// 0 connected, 1 refused, 3 the swap itself did not work.
// Linked statically: then the program is the only file that is mapped for execution.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { EXIT_SWAP_FAILED = 3, MAX_MAPPINGS = 64 };

struct mapping {
  unsigned long start, end;
  int prot;
};

static void die(const char* what) {
  fprintf(stderr, "e2e_exe_file_swap: %s: %s\n", what, strerror(errno));
  exit(EXIT_SWAP_FAILED);
}

static void write_file(const char* path, const char* text) {
  int fd = open(path, O_WRONLY);

  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) die(path);
  close(fd);
}

static void become_root_of_a_namespace(void) {
  char map[64];
  unsigned int uid = getuid(), gid = getgid();

  if (unshare(CLONE_NEWUSER)) die("unshare(CLONE_NEWUSER)");
  write_file("/proc/self/setgroups", "deny");
  snprintf(map, sizeof(map), "0 %u 1", uid);
  write_file("/proc/self/uid_map", map);
  snprintf(map, sizeof(map), "0 %u 1", gid);
  write_file("/proc/self/gid_map", map);
}

static int own_mappings(struct mapping* out) {
  char line[512], self[256], perms[8], path[256];
  ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  FILE* maps = fopen("/proc/self/maps", "r");
  int count = 0;

  if (length < 0 || !maps) die("/proc/self");
  self[length] = 0;
  while (fgets(line, sizeof(line), maps) && count < MAX_MAPPINGS) {
    struct mapping m = {0};

    path[0] = 0;
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &m.start, &m.end, perms, path) < 3 ||
        strcmp(path, self))
      continue;
    m.prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
             (perms[2] == 'x' ? PROT_EXEC : 0);
    out[count++] = m;
  }
  fclose(maps);
  return count;
}

// mremap() replaces the target in one step, so the code that runs here is never gone.
static void leave_own_file(const struct mapping* m) {
  size_t size = m->end - m->start;
  void* copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (copy == MAP_FAILED) die("mmap");
  if (m->prot & PROT_READ) memcpy(copy, (const void*)m->start, size);
  if (mprotect(copy, size, m->prot)) die("mprotect");
  if (mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void*)m->start) == MAP_FAILED)
    die("mremap");
}

// The numbers of /proc/self/stat that PR_SET_MM_MAP wants back.
static void read_layout(struct prctl_mm_map* map) {
  unsigned long long v[52] = {0};
  static char text[4096];
  FILE* stat = fopen("/proc/self/stat", "r");
  char* at;
  int n = 3;

  if (!stat || !fgets(text, sizeof(text), stat) || !(at = strrchr(text, ')')))
    die("/proc/self/stat");
  fclose(stat);
  for (at = strtok(at + 4, " "); at && n < 52; at = strtok(NULL, " "))
    v[n++] = strtoull(at, NULL, 10);
  map->start_code = v[25];
  map->end_code = v[26];
  map->start_stack = v[27];
  map->start_data = v[44];
  map->end_data = v[45];
  map->start_brk = v[46];
  map->arg_start = v[47];
  map->arg_end = v[48];
  map->env_start = v[49];
  map->env_end = v[50];
  map->brk = (unsigned long)sbrk(0);
}

static void swap_exe_file(const char* program) {
  struct mapping mappings[MAX_MAPPINGS];
  struct prctl_mm_map map = {0};
  int count, fd = open(program, O_RDONLY);

  if (fd < 0) die(program);
  count = own_mappings(mappings);
  read_layout(&map);
  map.exe_fd = (unsigned int)fd;
  for (int i = 0; i < count; i++) leave_own_file(&mappings[i]);
  if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0)) die("prctl(PR_SET_MM_MAP)");
  close(fd);
}

int main(int argc, char** argv) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  char exe[256] = "";
  int fd, refused;

  if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
    fprintf(stderr, "usage: e2e_exe_file_swap ALLOWED-PROGRAM IPV4-ADDRESS PORT\n");
    return 2;
  }
  to.sin_port = htons((unsigned short)atoi(argv[3]));
  become_root_of_a_namespace();
  swap_exe_file(argv[1]);
  if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0) die("/proc/self/exe");
  printf("exe %s\n", exe);
  fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  refused = connect(fd, (struct sockaddr*)&to, sizeof(to));
  printf("connect %s\n", refused ? strerrorname_np(errno) : "ok");
  return strcmp(exe, argv[1]) ? EXIT_SWAP_FAILED : refused ? 1 : 0;
}
