// SPDX-License-Identifier: Apache-2.0
// e2e_enter CGROUP NETNS COMMAND [ARGUMENT...]: becomes the command, in this cgroup (its directory) and
// this network namespace (its file); `-` for either stays where it is. As a shell and nsenter would,
// but on an emulated processor these two are a fifth of a second.
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *what)
{
	perror(what);
	return 126;
}

int main(int argc, char **argv)
{
	char procs[PATH_MAX];
	int fd;

	if (argc < 4) {
		fprintf(stderr, "usage: e2e_enter CGROUP NETNS COMMAND [ARGUMENT...]\n");
		return 126;
	}
	if (strcmp(argv[1], "-")) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", argv[1]);
		fd = open(procs, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) != 1)
			return failed(procs);
		close(fd);
	}
	if (strcmp(argv[2], "-")) {
		fd = open(argv[2], O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, CLONE_NEWNET))
			return failed(argv[2]);
		close(fd);
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return 127;
}
