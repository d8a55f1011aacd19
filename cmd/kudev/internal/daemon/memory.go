package daemon

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// freeMemory gives back what a burst of events took: the heap's free pages, and the pages of files that are mapped to be read, which are
// the program itself and the indexes. Of those the next event takes back the few that it needs, from the page cache.
func freeMemory() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		if from, to, ok := readOnlyFile(string(line)); ok {
			// It changes nothing that can be read there, so an error (memory that is locked, say) changes nothing either.
			unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// readOnlyFile returns the addresses of a line of /proc/PID/maps that is a file's, none of whose pages can be written: dropping a page
// that was written would lose it. Format: proc(5).
func readOnlyFile(line string) (from, to uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[4] == "0" || len(f[1]) != 4 || f[1][0] != 'r' || f[1][1] != '-' {
		return 0, 0, false
	}
	low, high, _ := strings.Cut(f[0], "-")
	a, noLow := strconv.ParseUint(low, 16, 8*int(unsafe.Sizeof(from)))
	b, noHigh := strconv.ParseUint(high, 16, 8*int(unsafe.Sizeof(to)))
	return uintptr(a), uintptr(b), noLow == nil && noHigh == nil && a < b
}

// residentBytes is the process's resident memory.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[1], 10, 64)
	return n * int64(os.Getpagesize())
}
