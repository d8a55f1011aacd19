package daemon

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// freeMemory gives back what a burst of events took: the heap's free pages, and the pages of files that are mapped to be read, which are
// the program itself and the indexes. Of those the next event takes back the few that it needs, from the page cache.
func freeMemory() {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range readOnly(string(text), program) {
		// It changes nothing that can be read there, so an error (memory that is locked, say) changes nothing either.
		unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// readOnly returns, from the text of /proc/PID/smaps, the mappings of files that can be dropped and read again: the program's own, and
// shared ones, that nobody may write. One with a page that is no longer the file's is left alone, which read-only does
// not rule out: a linker writes relocations before it takes the right to write away. Format: proc(5).
func readOnly(text, program string) []mapping {
	var list []mapping
	open := false // the mapping that the lines are of is the last of list
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if key, isValue := strings.CutSuffix(f[0], ":"); isValue {
			if open && (key == "Anonymous" || key == "Swap") && (len(f) < 2 || f[1] != "0") {
				list, open = list[:len(list)-1], false
			}
			continue
		}
		open = false
		if len(f) != 6 || f[4] == "0" || f[1] != "r-xp" && f[1] != "r--p" && f[1] != "r--s" || f[1] != "r--s" && f[5] != program {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, noLow := strconv.ParseUint(low, 16, strconv.IntSize)
		to, noHigh := strconv.ParseUint(high, 16, strconv.IntSize)
		if noLow == nil && noHigh == nil && from < to {
			list, open = append(list, mapping{uintptr(from), uintptr(to)}), true
		}
	}
	return list
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
