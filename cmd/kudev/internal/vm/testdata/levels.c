/* Reads files' names, a level of the dependency graph on each line, and inserts all of a line at once, each in a process of its own; then
 * the next. No insmod can be quicker: there is nothing in it but the two system calls. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	static char line[1 << 16];
	while (fgets(line, sizeof line, stdin)) {
		for (char *file = strtok(line, " \n"); file; file = strtok(NULL, " \n")) {
			if (fork() == 0) {
				int fd = open(file, O_RDONLY | O_CLOEXEC);
				_exit(fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0);
			}
		}
		while (wait(NULL) > 0)
			;
	}
	return 0;
}
