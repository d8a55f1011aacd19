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

// debianUdev returns what runs a program of Debian's udev package and returns its lines.
func debianUdev(t *testing.T) func(program string, args ...string) []string {
	t.Helper()
	udev, libs := os.Getenv("KUDEV_UDEV"), os.Getenv("LD_LIBRARY_PATH")
	if udev == "" {
		_, file, _, _ := runtime.Caller(0)
		script := filepath.Join(filepath.Dir(file), "../../testdata/debian/fetch")
		out, err := exec.Command("sh", script, "udev", "libsystemd-shared", "libkmod2", "libudev1").Output()
		if err != nil {
			t.Fatalf("sh testdata/debian/fetch udev libsystemd-shared libkmod2 libudev1: %v", err)
		}
		cache := strings.TrimSpace(string(out))
		udev = cache + "/udev"
		for _, pattern := range []string{"libsystemd-shared/usr/lib/*/systemd", "libsystemd-shared/lib/*/systemd", "libkmod2/usr/lib/*", "libkmod2/lib/*", "libudev1/usr/lib/*"} {
			found, _ := filepath.Glob(filepath.Join(cache, pattern))
			libs += ":" + strings.Join(found, ":")
		}
	}
	return func(program string, args ...string) []string {
		cmd := exec.Command(filepath.Join(udev, program), args...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Trim(libs, ":"))
		out, err := cmd.Output()
		if _, ran := err.(*exec.ExitError); err != nil && !ran {
			t.Errorf("%s: %v", program, err)
		}
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	}
}

// TestSameAsUdev runs the builtins that only look, and the helper programs, on every device of the machine, and compares
// what they say with what Debian's `udevadm test-builtin` and helper programs say. KUDEV_UDEV names the directory of an
// udev package to use as it is: so a guest runs the helper programs, too.
func TestSameAsUdev(t *testing.T) {
	peer := debianUdev(t)
	table := New(Options{HWDB: hwdb.NewFile(hwdb.Paths("/")...)})
	compared := 0
	compare := func(what string, want, got []string) {
		t.Helper()
		slices.Sort(want)
		slices.Sort(got)
		compared += len(want)
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Errorf("%s (-udev +kudev):\n%s", what, diff)
		}
	}
	_ = filepath.WalkDir("/sys/devices", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "uevent" {
			return nil
		}
		path = filepath.Dir(path)
		dev, err := hotplug.Roots{}.Device(strings.TrimPrefix(path, "/sys"))
		if err != nil || dev.Subsystem() == "" {
			return nil
		}
		guest := os.Getenv("KUDEV_UDEV") != "" // where the managers' states are compared, too, and udevadm takes long
		names := []string{"path_id", "usb_id"}
		switch dev.Subsystem() {
		case "block":
			names = append(names, "blkid")
		case "net":
			names = append(names, "net_id")
		case "input":
			names = append(names, "input_id")
		case "pci", "usb":
			names = append(names, "hwdb")
		case "cpu", "memory", "workqueue", "tty", "vc", "bdi", "clocksource", "machinecheck", "mem":
			return nil // many, and all alike
		}
		for _, name := range names {
			if guest {
				break
			}
			var got []string
			props := map[string]string{}
			_ = table.Run(context.Background(), name, &Call{Device: dev, Get: func(k string) (string, bool) { v, ok := props[k]; return v, ok },
				Set: func(k, v string) { props[k] = v; got = append(got, k+"="+v) }})
			compare(name+" "+dev.Devpath(), peer("bin/udevadm", "test-builtin", name, path), got)
		}
		var tools [][]string
		node := "/dev/" + dev.Devname()
		switch {
		case dev.Subsystem() == "block" && dev.Devtype() == "disk" && strings.HasPrefix(dev.Sysname(), "sd"):
			tools = [][]string{{"ata_id", "--export", node}, {"scsi_id", "--export", "--whitelisted", "-d", node}, {"scsi_id", "-gu", "-p", "0x80", node}}
		case strings.HasPrefix(dev.Sysname(), "sr"):
			tools = [][]string{{"cdrom_id", node}, {"ata_id", "--export", node}, {"scsi_id", "--export", "--whitelisted", "-d", node}}
		case dev.Devpath() == "/devices/virtual/dmi/id":
			tools = [][]string{{"dmi_memory_id"}}
		case dev.Subsystem() == "hidraw":
			tools = [][]string{{"fido_id", path}}
		case dev.Subsystem() == "video4linux":
			tools = [][]string{{"v4l_id", node}}
		case dev.Subsystem() == "mtd":
			tools = [][]string{{"mtd_probe", node}}
		case dev.Subsystem() == "scsi_generic":
			tools = [][]string{{"scsi_id", "--sg-version=3", "--export", "--whitelisted", "-d", node}, {"scsi_id", "-g", "-p", "0x83", node},
				{"scsi_id", "-g", "--page=pre-spc3-83", "-u", node}, {"scsi_id", "-g", "-b", "-x", node}, {"scsi_id", "-b", "-g", "-x", node}}
		}
		for _, line := range tools {
			run, _ := table.Tool(line[0])
			var out strings.Builder
			_ = run(context.Background(), &Call{Device: dev}, line[1:], &out)
			compare(strings.Join(line, " "), peer("lib/udev/"+line[0], line[1:]...),
				strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' }))
		}
		return nil
	})
	t.Logf("%d properties compared", compared)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
