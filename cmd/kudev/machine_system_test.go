//go:build system

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// machine is the whole program on a machine of its own: a mount namespace with a fake /sys, an empty /dev and an empty /run, and a
// network namespace in which the kernel broadcasts what the test makes it send.
type machine struct {
	t     *testing.T
	dir   string
	kudev string // the program
	net   *hotplugtest.Net
	roots hotplug.Roots // Sys alone is what the daemon sees, too
	pid   int           // of the process that holds the mounts
}

// buildKudev builds the program.
func buildKudev(t *testing.T) string {
	t.Helper()
	name := t.TempDir() + "/kudev"
	if out, err := exec.Command("make", "-s", "-C", "../..", "build", "PROGRAM="+name).CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return name
}

func newMachine(t *testing.T, program, devices, rules string) *machine {
	t.Helper()
	m := &machine{t: t, kudev: program, net: hotplugtest.NewNet(t), roots: hotplugtest.Tree(t, devices)}
	m.dir = filepath.Dir(m.roots.Sys)
	if err := errors.Join(os.Mkdir(m.dir+"/rules", 0o755), os.WriteFile(m.dir+"/rules/10-a.rules", []byte(rules), 0o644), os.Mkdir(m.dir+"/none", 0o755)); err != nil {
		t.Fatal(err)
	}
	// What holds the namespace says when all is mounted.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := m.net.Run(os.Environ(), []*os.File{null, w, os.Stderr}, "/usr/bin/unshare", "-m", "sh", "-c",
		`mount --bind "$1" /sys && mount -t tmpfs -o mode=755 run /run && mount -t tmpfs -o mode=755 dev /dev && mknod -m 666 /dev/null c 1 3 && echo ready && exec sleep 10000`, "sh", m.roots.Sys)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var said [6]byte
	if _, err := r.Read(said[:]); err != nil || string(said[:]) != "ready\n" {
		t.Fatalf("mounts in a namespace: %q, %v: run the test as root", said, err)
	}
	m.pid = p.Pid
	return m
}

// command is one that runs on the machine.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", fmt.Sprint(m.pid), "-m", "-n", "--", name}, args...)...)
}

func (m *machine) sh(line string) said {
	m.t.Helper()
	c := m.command("sh", "-c", line)
	var stdout, stderr bytes.Buffer
	c.Env = append(os.Environ(), "KUDEV="+m.kudev)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		m.t.Fatalf("nsenter: %v", err)
	}
	return said{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a line that has to succeed, and returns what it prints.
func (m *machine) must(line string) string {
	m.t.Helper()
	s := m.sh(line)
	if s.status != 0 {
		m.t.Fatalf("%s: exit status %d, %s%s", line, s.status, s.out, s.err)
	}
	return s.out
}

// running is a daemon.
type running struct {
	m      *machine
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	ended  chan error
}

// start starts a daemon and returns when it is ready.
func (m *machine) start() *running {
	m.t.Helper()
	said := new(bytes.Buffer)
	d := m.startTo(said)
	d.stderr = said
	return d
}

// startTo starts a daemon that says what it has to say to somebody else.
func (m *machine) startTo(stderr io.Writer) *running {
	m.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Close()
	d := &running{m: m, stderr: new(bytes.Buffer), ended: make(chan error, 1)}
	d.cmd = m.command(m.kudev, "daemon", "--ready-fd", "3", "--rules-dir", m.dir+"/rules", "--module-root", m.dir+"/none")
	d.cmd.ExtraFiles, d.cmd.Stderr = []*os.File{w}, stderr
	if err := d.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	w.Close()
	go func() { d.ended <- d.cmd.Wait() }()
	m.t.Cleanup(func() { d.cmd.Process.Kill() })
	var one [1]byte
	if _, err := r.Read(one[:]); err != nil {
		m.t.Fatalf("the daemon is not ready: %v: %s", <-d.ended, d.stderr)
	}
	return d
}

// stop ends it by a signal and returns what it had said.
func (d *running) stop(sig syscall.Signal) string {
	d.m.t.Helper()
	d.cmd.Process.Signal(sig)
	select {
	case err := <-d.ended:
		if sig != syscall.SIGKILL && err != nil {
			d.m.t.Errorf("the daemon ended with %v: %s", err, d.stderr)
		}
	case <-time.After(time.Minute):
		d.cmd.Process.Signal(syscall.SIGQUIT)
		d.m.t.Fatalf("the daemon does not end: %v: %s", <-d.ended, d.stderr)
	}
	if strings.Contains(d.stderr.String(), "panic") {
		d.m.t.Errorf("it panicked: %s", d.stderr)
	}
	return d.stderr.String()
}

func (m *machine) status() (s daemon.Status) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.must("$KUDEV status --json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

const oneDisk = `
/devices/virtual/block/one subsystem=block dev=240:1
	uevent DEVNAME=one
	uevent DEVTYPE=disk
`

func TestADaemonToWhichNobodyListensGoesOn(t *testing.T) {
	m := newMachine(t, buildKudev(t), "", `ACTION=="add", PROGRAM=="/nonexistent"`)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := m.startTo(w)
	w.Close()
	r.Close()
	d.cmd.Process.Signal(syscall.SIGHUP)
	for m.status().Reloads == 0 { // which it says
		time.Sleep(time.Millisecond)
	}
	if err := m.net.Send("add", "/devices/virtual/test/a", "test"); err != nil {
		t.Fatal(err)
	}
	m.must("$KUDEV settle --timeout 60")
	if s := m.status(); s.Handled != 1 {
		t.Errorf("%+v", s)
	}
	d.stop(syscall.SIGTERM)
}

func TestWhatTheKernelDidNotSendIsRefusedAndCounted(t *testing.T) {
	m := newMachine(t, buildKudev(t), oneDisk, `SUBSYSTEM=="block", SYMLINK+="by/$kernel"`)
	d := m.start()
	ev := hotplug.AppendMessage(nil, "add", "/devices/forged", "block", "SEQNUM=1")
	if err := errors.Join(
		m.net.Forge(hotplug.KernelGroup, ev),
		m.net.Forge(hotplug.KernelGroup, append(ev, make([]byte, 64<<10)...)),
		m.net.SendRaw([]byte("no uevent at all\x00")),
		m.net.SendRaw(hotplug.AppendMessage(nil, "add", "/devices/long", "block", "LONG="+strings.Repeat("x", 64<<10))),
		m.net.Send("add", "/devices/virtual/block/one", "block", "DEVNAME=one", "MAJOR=240", "MINOR=1", "DEVTYPE=disk"),
	); err != nil {
		t.Log(err) // the kernel itself may refuse some
	}
	m.must("$KUDEV settle --timeout 60")
	if s := m.status(); s.Refused < 2 || s.Handled != 1 || s.Received != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	if got := m.must("readlink /dev/by/one"); got != "../one\n" {
		t.Errorf("the rest does not go on: %q", got)
	}
	d.stop(syscall.SIGTERM)
}

func TestExplainGoesByTheRulesOfTheDaemonThatRuns(t *testing.T) {
	m := newMachine(t, buildKudev(t), oneDisk, `SUBSYSTEM=="block", SYMLINK+="by/$kernel"`)
	d := m.start()
	rule := "rule     " + m.dir + "/rules/10-a.rules:1"
	if got := m.must("$KUDEV explain /devices/virtual/block/one"); !strings.Contains(got, rule) {
		t.Errorf("the daemon's rules are not those of\n%s", got)
	}
	if got := m.must("$KUDEV explain --rules-dir " + m.dir + "/none /devices/virtual/block/one"); strings.Contains(got, rule) {
		t.Errorf("another directory was asked for, and not taken:\n%s", got)
	}
	d.stop(syscall.SIGTERM)
}

func TestADeviceThatVanishesWhileItIsHandledIsNoFailure(t *testing.T) {
	m := newMachine(t, buildKudev(t), oneDisk, `SUBSYSTEM=="block", ACTION=="add", PROGRAM=="/bin/sh -c 'touch /run/began; while test -e /sys/devices/virtual/block/one; do sleep 0.01; done'"
SUBSYSTEM=="block", ATTR{size}=="?*", SYMLINK+="by/size"
SUBSYSTEM=="block", SYMLINK+="by/$kernel", OPTIONS+="watch"
`)
	d := m.start()
	send := func(action string) {
		if err := m.net.Send(action, "/devices/virtual/block/one", "block", "DEVNAME=one", "MAJOR=240", "MINOR=1", "DEVTYPE=disk"); err != nil {
			t.Fatal(err)
		}
	}
	send("add")
	m.must("until test -e /run/began; do sleep 0.01; done")
	hotplugtest.Remove(t, m.roots, "/devices/virtual/block/one")
	send("remove")
	m.must("$KUDEV settle --timeout 60")
	if s := m.status(); s.Handled != 2 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	if left := m.must("find /dev/by /dev/block /run/udev/data /run/udev/links -type l -o -type f 2>/dev/null || true"); left != "" {
		t.Errorf("it left %s", left)
	}
	d.stop(syscall.SIGTERM)
}

// TestADaemonOnAPoorMachineSaysSo wants each lack said in a line, and no panic.
func TestADaemonOnAPoorMachineSaysSo(t *testing.T) {
	program := buildKudev(t)
	for _, c := range []struct{ name, prepare, want string }{
		{"run is read-only", "mount -o remount,ro /run", "read-only file system"},
		{"run is full", "mount -t tmpfs -o size=4k,nr_inodes=3 tiny /run", "no space left on device"},
		{"sys is empty", "mount -t tmpfs empty /sys", "/sys"},
		{"no rights", "NOBODY=1", "permission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, program, oneDisk, "")
			run := "timeout 20 $KUDEV coldplug --module-root " + m.dir + "/none"
			if c.prepare == "NOBODY=1" {
				for _, dir := range []string{m.dir, filepath.Dir(m.dir), filepath.Dir(program), filepath.Dir(filepath.Dir(program))} {
					os.Chmod(dir, 0o755)
				}
				run = "setpriv --reuid=65534 --regid=65534 --clear-groups " + run
			} else {
				run = c.prepare + " && " + run
			}
			s := m.sh(run)
			t.Logf("%d %s%s", s.status, s.out, s.err)
			if s.status != 1 || !strings.Contains(strings.ToLower(s.err), c.want) || strings.Contains(s.err, "goroutine ") {
				t.Errorf("exit status %d, %s", s.status, s.err)
			}
			for line := range strings.Lines(s.err) {
				if strings.Contains(line, c.want) && !strings.HasPrefix(line, "kudev coldplug: ") {
					t.Errorf("it does not say who speaks: %q", line)
				}
			}
		})
	}
}
