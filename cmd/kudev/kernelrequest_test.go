package main

import "testing"

func TestTheKernelsRequestsAreKnown(t *testing.T) {
	for _, test := range []struct {
		argv     []string
		byKernel bool
		want     string
	}{
		{[]string{"/run/kudev/modprobe", "-q", "--", "fs-ext4"}, false, "fs-ext4"},
		{[]string{"/usr/bin/kudev", "-q", "--", "fs-ext4"}, false, "fs-ext4"},
		{[]string{"/opt/renamed", "-q", "--", "-x"}, false, "-x"},
		{[]string{"/sbin/modprobe", "-q", "--", "fs-ext4"}, true, "fs-ext4"},
		{[]string{"/sbin/modprobe", "-q", "--", "fs-ext4"}, false, ""},
		{[]string{"insmod", "-q", "--", "fs-ext4"}, true, ""},
		{[]string{"kudev", "modprobe", "-q", "--", "fs-ext4"}, true, ""},
		{[]string{"kudev", "-q", "--", ""}, true, ""},
		{[]string{"kudev", "-q", "--", "a", "b"}, true, ""},
		{nil, true, ""},
	} {
		name, ok := kernelRequest(test.argv, func() bool { return test.byKernel })
		if !ok {
			name = ""
		}
		if name != test.want {
			t.Errorf("%q (by the kernel: %v) asks for %q, want %q", test.argv, test.byKernel, name, test.want)
		}
	}
}

func TestAThreadOfTheKernelIsKnown(t *testing.T) {
	for flags, want := range map[string]bool{"2129984": true, "69238880": true, "4194560": false, "": false} {
		if got := isKernelThread(flags); got != want {
			t.Errorf("flags %q: %v, want %v", flags, got, want)
		}
	}
	if newEnv().parentIsKernel() {
		t.Error("this test was started by a thread of the kernel's")
	}
}
