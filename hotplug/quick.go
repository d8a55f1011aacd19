package hotplug

import (
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file are answered out of memory: names in sysfs and in a tmpfs, the clock. Go's scheduler is not told of
// them, as it is of calls that may sleep: to enter and leave it costs as much as the call, and whenever its monitor finds a thread in a call it
// hands that thread's work to another, which has to be woken. An attribute is read the other way, since a driver answers that.

// quickName is a path as the kernel takes it, on the caller's stack when it is no longer than usual.
type quickName [256]byte

// of returns dir and name in one, with a NUL at the end; nil when there is one within, which no path has.
func (q *quickName) of(dir, name string) *byte {
	if strings.IndexByte(name, 0) >= 0 || strings.IndexByte(dir, 0) >= 0 {
		return nil
	}
	b := append(append(append(q[:0], dir...), name...), 0)
	return &b[0]
}

func quickOpen(dir, name string, flags int) (int, error) {
	var q quickName
	p := q.of(dir, name)
	if p == nil {
		return -1, unix.EINVAL
	}
	for {
		fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, atCWD, uintptr(unsafe.Pointer(p)), uintptr(flags|unix.O_LARGEFILE), 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

func quickClose(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func quickLstat(dir, name string, st *unix.Stat_t) error {
	var q quickName
	p := q.of(dir, name)
	if p == nil {
		return unix.EINVAL
	}
	_, _, errno := unix.RawSyscall6(sysFstatat, atCWD, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func quickReadlink(dir, name string, buf []byte) (int, error) {
	var q quickName
	p := q.of(dir, name)
	if p == nil || len(buf) == 0 {
		return 0, unix.EINVAL
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_READLINKAT, atCWD, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// atCWD is AT_FDCWD, which is negative.
const atCWD = ^uintptr(-unix.AT_FDCWD - 1)

// monotonic is the monotonic clock, in whole microseconds. It is a call too: where the clock is none that a program can read by
// itself, as with HPET, time.Now is two.
func monotonic() time.Duration {
	var ts unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 1
	}
	return time.Duration(ts.Nano()).Truncate(time.Microsecond)
}
