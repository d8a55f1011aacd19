package daemon

import (
	"slices"
	"testing"
)

func TestOnlyPagesThatAreStillTheFilesAreGivenBack(t *testing.T) {
	const program = "/usr/bin/kudev"
	const smaps = `00400000-00745000 r-xp 00001000 fe:00 10119826                           /usr/bin/kudev
Rss:                3108 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00745000-00aac000 r--p 00345000 fe:00 10119826                           /usr/bin/kudev
Anonymous:             0 kB
00aac000-00aad000 r--p 006ac000 fe:00 10119826                           /usr/bin/kudev
Anonymous:             4 kB
00aad000-00aae000 r--p 006ad000 fe:00 10119826                           /usr/bin/kudev
Anonymous:             0 kB
Swap:                  4 kB
00aae000-00ad4000 rw-p 006ae000 fe:00 10119826                           /usr/bin/kudev
Anonymous:             0 kB
00ad4000-02b11000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
7f08e2c00000-7f08e2c7f000 r--p 00000000 fe:00 78                         /lib/libc.so.6
Anonymous:             0 kB
7f08e2c7f000-7f08e2db4000 r--s 00000000 fe:00 77                         /lib/modules/6.1.0-56-amd64/modules.alias.bin
Anonymous:             0 kB
7ffd39fd4000-7ffd39fd8000 r--p 00000000 00:00 0                          [vvar]
`
	var got []uint64
	for _, m := range readOnly(smaps, program) {
		got = append(got, uint64(m.from))
	}
	if want := []uint64{0x400000, 0x745000, 0x7f08e2c7f000}; !slices.Equal(got, want) {
		t.Errorf("%#x, want %#x", got, want)
	}
	freeMemory()
	if n := residentBytes(); n <= 0 {
		t.Errorf("%d bytes are resident", n)
	}
}
