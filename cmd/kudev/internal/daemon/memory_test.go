package daemon

import "testing"

func TestOnlyPagesOfFilesThatNobodyWritesAreGivenBack(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00745000 r-xp 00001000 fe:00 10119826                           /usr/bin/kudev\n":        true,
		"00745000-00aac000 r--p 00345000 fe:00 10119826                           /usr/bin/kudev\n":        true,
		"00aac000-00ad4000 rw-p 006ac000 fe:00 10119826                           /usr/bin/kudev\n":        false,
		"00ad4000-02b11000 rw-p 00000000 00:00 0 \n":                                                       false,
		"7f08e2c7f000-7f08e2db4000 r--s 00000000 fe:00 77 /lib/modules/6.1.0-56-amd64/modules.alias.bin\n": true,
		"7ffd39fd4000-7ffd39fd8000 r--p 00000000 00:00 0                          [vvar]\n":                false,
		"7f08e2c7f000-7f08e2db4000 ---p 00000000 fe:00 77 /lib/libnothing.so\n":                            false,
		"\n": false,
	} {
		if _, _, ok := readOnlyFile(line); ok != want {
			t.Errorf("%q: %v, want %v", line, ok, want)
		}
	}
	freeMemory()
	if n := residentBytes(); n <= 0 {
		t.Errorf("%d bytes are resident", n)
	}
}
