//go:build system

package hwdb

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestSameAsSystemdHwdb builds Debian's database with its systemd-hwdb and with ours, and compares them byte by byte; then
// what both answer to keys of every kind.
func TestSameAsSystemdHwdb(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "../../../testdata/debian/fetch")
	out, err := exec.Command("sh", script, "libsystemd-shared", "udev").Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch libsystemd-shared udev: %v", err)
	}
	cache := strings.TrimSpace(string(out))
	root := t.TempDir()
	if err := os.MkdirAll(root+"/lib/udev", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(root+"/lib/udev/hwdb.d", os.DirFS(cache+"/udev/lib/udev/hwdb.d")); err != nil {
		t.Fatal(err)
	}
	libs, _ := filepath.Glob(cache + "/libsystemd-shared/usr/lib/*/systemd")
	if more, _ := filepath.Glob(cache + "/libsystemd-shared/lib/*/systemd"); more != nil {
		libs = append(libs, more...)
	}
	peer := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(cache+"/udev/bin/systemd-hwdb", append([]string{"--root", root}, args...)...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-hwdb %q: %v\n%s", args, err, out)
		}
		return out
	}
	peer("update")
	want, err := os.ReadFile(root + "/etc/udev/hwdb.bin")
	if err != nil {
		t.Fatal(err)
	}

	files, err := Files(SourceDirs(root))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	c := Compiler{Version: theirs.Version()}
	for _, f := range files {
		if err := c.AddFile(f); err != nil {
			t.Fatal(err)
		}
	}
	var got bytes.Buffer
	if _, err := c.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		at := 0
		for at < min(got.Len(), len(want)) && got.Bytes()[at] == want[at] {
			at++
		}
		t.Fatalf("%d bytes, systemd-hwdb's are %d; the first difference is at %d", got.Len(), len(want), at)
	}

	for _, modalias := range []string{
		"usb:v1D6Bp0002d0601dc09dsc00dp01ic09isc00ip00in00", "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00",
		"evdev:atkbd:dmi:bvnDell:bvrA:bdX:svnDellInc.:pnLatitudeE6530:pvr:", "OUI:001122334455", "acpi:PNP0303:", "bluetooth:v000A",
		"mouse:usb:v046dpc52b:name:Logitech M705:", "sdio:c00v0097d4076", "evdev:name:AT Translated Set 2 keyboard:dmi:*svnAcer*:pnAspire*:*",
		"vendor:intel", "touchpad:i8042:name:x:", "sensor:modalias:acpi:BOSC0200:dmi:svnAcer:pnx", "", "nothing at all", "usb:*",
		"libwacom:name:X:input:b0003v056Ap00B9*", "evdev:input:b0003v046DpC31Ae0110-e0,1,4,11,14,k71,72", "keyboard:usb:x"} {
		var ours []string
		if err := theirs.Lookup(modalias, func(k, v string) bool { ours = append(ours, k+"="+v); return true }); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimRight(string(peer("query", modalias)), "\n")
		var lines []string
		if text != "" {
			lines = strings.Split(text, "\n")
		}
		if !slices.Equal(ours, lines) {
			t.Errorf("%q: %q, systemd-hwdb says %q", modalias, ours, lines)
		}
	}
}

// BenchmarkDebian looks keys up in Debian's own database.
func BenchmarkDebian(b *testing.B) {
	_, file, _, _ := runtime.Caller(0)
	out, err := exec.Command("sh", filepath.Join(filepath.Dir(file), "../../../testdata/debian/fetch"), "udev").Output()
	if err != nil {
		b.Fatal(err)
	}
	files, err := Files([]string{strings.TrimSpace(string(out)) + "/udev/lib/udev/hwdb.d"})
	if err != nil {
		b.Fatal(err)
	}
	var c Compiler
	for _, f := range files {
		if err := c.AddFile(f); err != nil {
			b.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if _, err := c.WriteTo(&buf); err != nil {
		b.Fatal(err)
	}
	db, err := Parse(buf.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	for name, modalias := range map[string]string{"usb": "usb:v1D6Bp0002d0601dc09dsc00dp01ic09isc00ip00in00",
		"pci": "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00", "evdev": "evdev:atkbd:dmi:bvnDell:bvrA:bdX:svnDellInc.:pnLatitudeE6530:pvr:"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := db.Lookup(modalias, func(string, string) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
