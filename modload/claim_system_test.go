//go:build system

package modload

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asChild runs the test again in a child that clones these namespaces, and reports whether this is the child.
func asChild(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	const mark = "KUDEV_TEST_CHILD"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if namespaces&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in namespaces of its own (this needs root: sudo make test): %v\n%s", err, out)
	}
	return false
}

// realProc makes a fake machine whose /proc is this machine's, but for the kernel's files.
func realProc(t *testing.T) *Config {
	t.Helper()
	o := machine(t, map[string]string{"proc/1/": "", "proc/sys/kernel/modprobe": "/sbin/modprobe\n"})
	for _, name := range []string{"proc/self", "proc/1/root"} {
		target := "/" + name
		if name == "proc/1/root" {
			target = "/"
		}
		if err := os.Symlink(target, filepath.Join(o.SystemRoot, name)); err != nil {
			t.Fatal(err)
		}
	}
	return resolve(t, o)
}

func TestAUserNamespaceIsNotTheInitialOne(t *testing.T) {
	if !asChild(t, syscall.CLONE_NEWUSER) {
		return
	}
	if err := realProc(t).initialNamespaces(); err == nil || !strings.HasPrefix(err.Error(), "in a user namespace of its own (user:[") {
		t.Error(err)
	}
}

func TestAPIDNamespaceIsNotTheInitialOne(t *testing.T) {
	if !asChild(t, syscall.CLONE_NEWPID|syscall.CLONE_NEWNS) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := realProc(t).initialNamespaces(); err == nil || !strings.HasPrefix(err.Error(), "in a pid namespace of its own (pid:[") {
		t.Error(err)
	}
}

func TestAReadOnlyRunIsAClearMessage(t *testing.T) {
	if !asChild(t, syscall.CLONE_NEWNS) {
		return
	}
	o := machine(t, map[string]string{"run/": ""})
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(o.SystemRoot, "run"), "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := resolve(t, o).Claim()
	if err == nil || !strings.HasSuffix(err.Error(), "read-only file system: mount a tmpfs on /run first") {
		t.Error(err)
	}
	unix.Unmount(filepath.Join(o.SystemRoot, "run"), 0)
}

// TestTheClaimEndsWithItsProcess kills a process that has the claim, while a child of it lives on.
func TestTheClaimEndsWithItsProcess(t *testing.T) {
	root := os.Getenv("KUDEV_TEST_ROOT")
	if root != "" {
		c := resolve(t, Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
		if _, err := c.Claim(); err != nil {
			t.Fatal(err)
		}
		exec.Command("sleep", "30").Start()
		os.WriteFile(filepath.Join(root, "claimed"), nil, 0o644)
		select {}
	}
	o := machine(t, nil)
	unix.Mkfifo(filepath.Join(o.SystemRoot, "claimed"), 0o600)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "KUDEV_TEST_ROOT="+o.SystemRoot)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(-cmd.Process.Pid, unix.SIGKILL)                                // the child's child too
	if _, err := os.ReadFile(filepath.Join(o.SystemRoot, "claimed")); err != nil { // waits for it
		t.Fatal(err)
	}
	c := resolve(t, o)
	if c.DaemonPid() != cmd.Process.Pid || c.Daemon() != cmd.Process.Pid {
		t.Errorf("the claim is of %d, the record of %d, want %d", c.DaemonPid(), c.Daemon(), cmd.Process.Pid)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if c := resolve(t, o); c.DaemonPid() != 0 || c.Daemon() != 0 {
		t.Errorf("the dead process still has the claim: %d, %d", c.DaemonPid(), c.Daemon())
	}
}
