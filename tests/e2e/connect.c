// SPDX-License-Identifier: Apache-2.0
// Connects in its first instructions: `e2e_connect IPV4-ADDRESS PORT`. Exit status 0 connected, 1
// EPERM, 2 usage, 3 anything else; says which. Static, so that nothing runs before it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char** argv) {
  struct sockaddr_in to = {.sin_family = AF_INET};
  int fd, error;

  if (argc != 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) return 2;
  to.sin_port = htons((unsigned short)atoi(argv[2]));
  fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr*)&to, sizeof(to)) == 0) return 0;
  error = errno;
  printf("%s\n", strerrorname_np(error));
  return error == EPERM ? 1 : 3;
}
