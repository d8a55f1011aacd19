//go:build system

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUdevadmAgreesWithUdevs runs each line of testdata/udevadm/*.txt twice, with Debian's udevadm and with ours, each in a mount namespace
// with the same records in /run/udev, over the machine's own /sys, and wants the same output and exit status. What goes to
// stderr is in our own words; but where one says something of a failure, so does the other.
//
// A line is a command for sh, without udevadm in front; $DISK is the name of a disk. Behind " # " stands how it is compared, when otherwise:
//
//	ordered     the order of lines matters, which udev's own sets do not keep
//	but REASON  the two differ, on purpose; that they still do is checked
func TestUdevadmAgreesWithUdevs(t *testing.T) {
	w := newUdevadmWorld(t)
	files, err := filepath.Glob("testdata/udevadm/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			count++
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				w.compare(t, line)
			})
		}
	}
	if count < 100 {
		t.Errorf("%d cases, want 100 at least", count)
	}
}

// udevadmWorld is two programs and the directories that are mounted over /run for each.
type udevadmWorld struct {
	dir  string
	env  []string
	udev string
	disk string
}

func newUdevadmWorld(t *testing.T) *udevadmWorld {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root for a mount namespace: run as root")
	}
	out, err := exec.Command("sh", "../../testdata/debian/fetch", "udev", "libsystemd-shared", "libkmod2", "libudev1").Output()
	if err != nil {
		t.Fatalf("sh testdata/debian/fetch udev libsystemd-shared libkmod2 libudev1: %v", err)
	}
	cache := strings.TrimSpace(string(out))
	w := &udevadmWorld{dir: t.TempDir(), udev: cache + "/udev/bin/udevadm"}
	var libs []string
	for _, pattern := range []string{"libsystemd-shared/usr/lib/*/systemd", "libkmod2/usr/lib/*", "libkmod2/lib/*", "libudev1/usr/lib/*"} {
		found, _ := filepath.Glob(filepath.Join(cache, pattern))
		libs = append(libs, found...)
	}
	w.env = append(os.Environ(), "LANG=C.UTF-8", "CGO_ENABLED=0", "LIBS="+strings.Join(libs, ":"))
	disks, _ := os.ReadDir("/sys/block")
	if len(disks) == 0 {
		t.Fatal("no disk in /sys/block: load a driver that has one: modprobe loop")
	}
	w.disk = disks[0].Name()
	w.env = append(w.env, "DISK="+w.disk)
	w.run(t, "make", "-s", "-C", "../..", "build", "PROGRAM="+w.dir+"/kudev")

	rules := w.dir + "/rules"
	text := `KERNEL=="null", SYMLINK+="nothing by-test/null", TAG+="a", TAG+="b", ENV{KEY}="a value", ENV{QUOTE}="it's"
KERNEL=="` + w.disk + `", SYMLINK+="disk/by-test/d", OPTIONS+="link_priority=7", TAG+="systemd", ENV{ID_FS_TYPE}="ext4"
KERNEL=="lo", ENV{ID_NET}="x", TAG+="systemd"
KERNEL=="zero", TAG+="kept", SYMLINK+="nothing", OPTIONS+="db_persist"
`
	err = errors.Join(os.Mkdir(rules, 0o755), os.Mkdir(w.dir+"/dev", 0o755), os.Mkdir(w.dir+"/run", 0o755), os.WriteFile(rules+"/10-a.rules", []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"/sys/class/mem/null", "/sys/class/mem/zero", "/sys/class/net/lo", "/sys/block/" + w.disk} {
		w.run(t, w.dir+"/kudev", "test", "--apply", "--run", w.dir+"/run", "--dev", w.dir+"/dev", "--rules-dir", rules, device)
	}
	return w
}

func (w *udevadmWorld) run(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = w.env
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// said is what came of one run.
type said struct {
	status int
	out    string
	err    string
}

// in runs a line of shell with udevadm as a function, in a namespace of its own, on a fresh copy of the records.
func (w *udevadmWorld) in(t *testing.T, udevadm, line string) said {
	t.Helper()
	run := filepath.Join(t.TempDir(), "run")
	w.run(t, "cp", "-a", w.dir+"/run", run)
	c := exec.Command("unshare", "-m", "-n", "sh", "-c", `mount --bind "$1" /run && cd / && `+udevadm+"\nudevadm "+line, "sh", run)
	var stdout, stderr bytes.Buffer
	c.Env, c.Stdout, c.Stderr = w.env, &stdout, &stderr
	err := c.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatalf("unshare: %v", err)
	}
	return said{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func (w *udevadmWorld) compare(t *testing.T, line string) {
	command, how, _ := strings.Cut(line, " # ")
	theirs := w.in(t, `udevadm() { LD_LIBRARY_PATH=$LIBS `+w.udev+` "$@"; }`, command)
	ours := w.in(t, `udevadm() { `+w.dir+`/kudev udevadm "$@"; }`, command)
	t.Logf("ours on stderr: %s", ours.err)
	if strings.Contains(ours.err, "goroutine ") || ours.status > 1 && !strings.Contains(command, "exit") {
		t.Errorf("exit status %d, stderr %s", ours.status, ours.err)
	}
	if ours.status != 0 && ours.err == "" && theirs.err != "" {
		t.Error("it fails and does not say why")
	}
	if how != "ordered" {
		theirs.out, ours.out = unordered(theirs.out), unordered(ours.out)
	}
	same := theirs.status == ours.status && theirs.out == ours.out
	switch {
	case strings.HasPrefix(how, "but ") && same:
		t.Error("they agree now")
	case !strings.HasPrefix(how, "but ") && !same:
		t.Errorf("udev's: exit status %d\n%s%s\nours: exit status %d\n%s", theirs.status, theirs.out, theirs.err, ours.status, ours.out)
	}
}

// unordered puts lines in order, and the members of those that list some.
func unordered(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.Contains(line, "TAGS=") || strings.Contains(line, "DEVLINKS=") || !strings.ContainsAny(line, "=:[") {
			words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(": ='", r) })
			slices.Sort(words)
			lines[i] = strings.Join(words, " ")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
