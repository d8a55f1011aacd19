//go:build linux && (386 || arm || mips || mipsle)

package hotplug

import "golang.org/x/sys/unix"

// sysFstatat fills a unix.Stat_t.
const sysFstatat = unix.SYS_FSTATAT64
