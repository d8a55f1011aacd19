//go:build system

package builtin

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// TestSameAsUdevadmTestBuiltin runs the builtins that only look, on this machine's own devices, and compares what they
// set with what Debian's `udevadm test-builtin` sets.
func TestSameAsUdevadmTestBuiltin(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "../../testdata/debian/fetch")
	out, err := exec.Command("sh", script, "udev", "libsystemd-shared", "libkmod2", "libudev1").Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch udev libsystemd-shared libkmod2 libudev1: %v", err)
	}
	cache := strings.TrimSpace(string(out))
	var libs []string
	for _, pattern := range []string{"libsystemd-shared/usr/lib/*/systemd", "libsystemd-shared/lib/*/systemd", "libkmod2/usr/lib/*", "libkmod2/lib/*", "libudev1/usr/lib/*"} {
		found, _ := filepath.Glob(filepath.Join(cache, pattern))
		libs = append(libs, found...)
	}
	udevadm := cache + "/udev/bin/udevadm"
	table := New(Options{HWDB: hwdb.NewFile(hwdb.Paths("/")...)})
	compared := 0
	for _, class := range []string{"block", "net", "input", "tty", "misc", "sound", "mem"} {
		entries, err := os.ReadDir("/sys/class/" + class)
		if err != nil {
			continue
		}
		for i, e := range entries {
			if i == 12 {
				break
			}
			target, err := filepath.EvalSymlinks(filepath.Join("/sys/class", class, e.Name()))
			if err != nil {
				continue
			}
			devpath := strings.TrimPrefix(target, "/sys")
			names := []string{"path_id", "usb_id"}
			switch class {
			case "block":
				names = append(names, "blkid")
			case "net":
				names = append(names, "net_id")
			case "input":
				names = append(names, "input_id")
			}
			for _, name := range names {
				cmd := exec.Command(udevadm, "test-builtin", name, target)
				cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
				out, err := cmd.Output()
				if _, ran := err.(*exec.ExitError); err != nil && !ran {
					t.Fatalf("%s: %v", udevadm, err)
				}
				var want []string
				for line := range strings.Lines(string(out)) {
					want = append(want, strings.TrimRight(line, "\n"))
				}
				dev, err := hotplug.Roots{}.Device(devpath)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				props := map[string]string{}
				_ = table.Run(context.Background(), name, &Call{Device: dev, Get: func(k string) (string, bool) { v, ok := props[k]; return v, ok },
					Set: func(k, v string) { props[k] = v; got = append(got, k+"="+v) }})
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s %s (-udevadm +kudev):\n%s", name, devpath, diff)
				}
				compared += len(want)
			}
		}
	}
	t.Logf("%d properties compared", compared)
}
