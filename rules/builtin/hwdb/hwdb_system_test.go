//go:build system

package hwdb

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// peer returns what runs Debian's systemd-hwdb or udevadm on root, and returns what it says.
func peer(t *testing.T, root string) (run func(program string, args ...string) []byte, cache string) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "../../../testdata/debian/fetch")
	out, err := exec.Command("sh", script, "libsystemd-shared", "udev", "libkmod2", "libudev1").Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch libsystemd-shared udev libkmod2 libudev1: %v", err)
	}
	cache = strings.TrimSpace(string(out))
	var libs []string
	for _, pattern := range []string{"libsystemd-shared/usr/lib/*/systemd", "libsystemd-shared/lib/*/systemd", "libkmod2/usr/lib/*", "libkmod2/lib/*", "libudev1/usr/lib/*"} {
		found, _ := filepath.Glob(filepath.Join(cache, pattern))
		libs = append(libs, found...)
	}
	return func(program string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(cache+"/udev/bin/"+program, append(args, "--root", root)...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return out
	}, cache
}

// sources are hwdb.d files, most of which hold what does not count.
var sources = []string{
	"usb:*\n A=b\n\npci:*\n C=d\n",
	"usb:*\nusb:v1*\n A=b\n B=c\n",
	"usb:*\n A=1\n A=2\n",
	"usb:*\n A=\n",
	"usb:*\n A=b",
	"usb:*\r\n A=b\r\n\r\npci:*\r\n C=d\r\n",
	"# usb\nusb:* # all\n A=b # c\n#\n B=c\n",
	"\n\n\nusb:*\n A=b\n\n\n",
	"usb:*\n    A = b  \n \t B=c\n",
	" A=b\nusb:*\n A=b\n",
	"usb:*\n\npci:*\n A=b\n",
	"pci:*\n A=b\n\nusb:*\n",
	"usb:*\n A\n B=c\n",
	"usb:*\n =x\n  =y\n B=c\n",
	"usb:*\n A=b\npci:*\n C=d\n\nacpi:*\n E=f\n",
	"usb:*\n\tA=b\n",
	"usb:*\n A=b\x00 B=c\n",
	"usb:\xff*\n A=\xfe\n",
	"usb:*\n A=b\n \n B=c\n",
	"usb:v1?[2-4]*\n A=b=c\n",
	"\n A=b",
	"#",
}

// TestMalformedSources builds databases of them by systemd-hwdb, by `udevadm hwdb` and by ours: they are the same byte by
// byte, and the lines that do not count are the same.
func TestMalformedSources(t *testing.T) {
	root := t.TempDir()
	run, _ := peer(t, root)
	file := root + "/etc/udev/hwdb.d/10-x.hwdb"
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	warned := regexp.MustCompile(`10-x\.hwdb:(\d+): `)
	for _, text := range append(sources, "usb:*\n A="+strings.Repeat("x", 1<<20)+"\n B=c\n", "usb:*\n A="+strings.Repeat("x", 1<<16)+"\n") {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, compat := range []bool{false, true} {
			command := []string{"systemd-hwdb", "update"}
			if compat {
				command = []string{"udevadm", "hwdb", "--update"}
			}
			var theirLines, ourLines []string
			for _, m := range warned.FindAllSubmatch(run(command[0], command[1:]...), -1) {
				theirLines = append(theirLines, string(m[1]))
			}
			want, err := os.ReadFile(root + "/etc/udev/hwdb.bin")
			if err != nil {
				t.Fatal(err)
			}
			c := Compiler{Version: binary.LittleEndian.Uint64(want[8:]), Compat: compat, Warn: func(_ string, line int, _ string) { ourLines = append(ourLines, strconv.Itoa(line)) }}
			if err := c.AddFile(file); err != nil && len(text) < 1<<20 {
				t.Errorf("%.60q: %v", text, err)
			}
			var got bytes.Buffer
			if _, err := c.WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%.60q by %s: %q, want %q", text, command[0], got.Bytes(), want)
			}
			if !slices.Equal(ourLines, theirLines) {
				t.Errorf("%.60q: lines %v do not count, by %s lines %v", text, ourLines, command[0], theirLines)
			}
		}
	}
}

// TestSameAsSystemdHwdb builds Debian's database with its systemd-hwdb and with ours, and compares them byte by byte; then
// what both answer to keys of every kind.
func TestSameAsSystemdHwdb(t *testing.T) {
	root := t.TempDir()
	run, cache := peer(t, root)
	if err := os.MkdirAll(root+"/lib/udev", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(root+"/lib/udev/hwdb.d", os.DirFS(cache+"/udev/lib/udev/hwdb.d")); err != nil {
		t.Fatal(err)
	}
	run("systemd-hwdb", "update")
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
		text := strings.TrimRight(string(run("systemd-hwdb", "query", modalias)), "\n")
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
