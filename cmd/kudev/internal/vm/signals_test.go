//go:build system

package vm_test

import (
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// A signal ends many a wait in the kernel early, and the one who waited takes that for a failure. The Go runtime sends signals to its own
// threads all the time, and a daemon gets SIGCHLD. kudev loads the machine's modules while both rain on all of its threads.
func TestASignalStormBreaksNoProbe(t *testing.T) {
	modules, quiet := demoModules(t)
	set := strings.Join(modules, "\n")
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	root.File("/etc/set", set+"\n", 0o644)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Demo(), Root: root})
	r := g.Do("sh", "-c", "kudev load /etc/set & /init storm $!; wait $!; echo status $?")
	t.Logf("%d modules: %s%s", len(modules), r.Stdout, r.Stderr)
	if !strings.Contains(r.Stdout, "status 0") {
		t.Errorf("kudev load in the storm: %s%s", r.Stdout, r.Stderr)
	}
	if strings.Contains(r.Stdout, "inserting: 0,") || !strings.Contains(r.Stdout, "with a signal open: 0\n") {
		t.Errorf("not every signal is blocked while a module is inserted, or none was seen at it: %s", r.Stdout)
	}
	if got := g.Sh("cut -d' ' -f1 /proc/modules | sort"); got != set {
		t.Errorf("the modules are\n%s\nwant\n%s", got, set)
	}
	if stormy := g.Sh(bound); quiet != stormy {
		t.Errorf("drivers and the number of their devices: in quiet\n%s\nin the storm\n%s", quiet, stormy)
	}
}

// One signal, at the very moment at which it does harm. The init of libcrc32c asks the kernel for crc32c and waits for the program that is to
// load it, which does not before it is told to. xfs needs a symbol of libcrc32c meanwhile, for which the kernel waits (kernel/module/main.c,
// resolve_symbol_wait) until a signal comes: then it gives up. With kudev it does not.
func TestASignalDoesNotEndTheKernelsWait(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	debian := vmtest.Debian(t)
	file := func(name string) string { return path.Join("/lib/modules", debian.Release(), "kernel", name) }
	root.File("/bin/later", "#!/bin/sh\nuntil [ -e /tmp/now ]; do sleep 0.1; done\nexec /init insert "+file("crypto/crc32c_generic.ko")+"\n", 0o755)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Bare(), Root: root})
	g.Sh("echo /bin/later >/proc/sys/kernel/modprobe")
	first := g.Spawn(vm.Command{Args: []string{"/init", "insert", file("lib/libcrc32c.ko")}})
	g.Sh(`until [ "$(cat /sys/module/libcrc32c/initstate 2>/dev/null)" = coming ]; do sleep 0.1; done`)

	// insert begins to insert xfs, and returns what became of a signal to the thread that does it.
	insert := func(program ...string) (*vm.Process, string) {
		t.Helper()
		// What is started says its number, then becomes the program.
		p := g.Spawn(vm.Command{Args: []string{"sh", "-c", "echo $$ >/tmp/pid; exec " + strings.Join(program, " ") + " " + file("fs/xfs/xfs.ko")}})
		pid := g.Sh("until [ -s /tmp/pid ]; do sleep 0.1; done; cat /tmp/pid; rm /tmp/pid")
		if _, err := strconv.Atoi(pid); err != nil {
			t.Fatal(err)
		}
		return p, strings.TrimSpace(g.Must("/init", "disturb", pid).Stdout)
	}
	careless, became := insert("/init", "insert")
	if r, err := careless.Wait(t.Context()); err != nil || r.Code == 0 || became != "ended the wait" {
		t.Fatalf("a program that blocks no signal: the signal %s, exit status %d, %s %v; this test shows nothing then", became, r.Code, r.Stderr, err)
	}
	ours, became := insert("kudev", "insmod")
	if became != "left pending" {
		t.Errorf("the signal %s", became)
	}
	waiting := g.Spawn(vm.Command{Args: []string{"kudev", "modprobe", "libcrc32c"}}) // which somebody is loading already
	g.Sh("touch /tmp/now")
	if r, err := ours.Wait(t.Context()); err != nil || r.Code != 0 {
		t.Errorf("kudev insmod: exit status %d, %s %v", r.Code, r.Stderr, err)
	}
	if r, err := first.Wait(t.Context()); err != nil || r.Code != 0 {
		t.Errorf("the first module: exit status %d, %s %v", r.Code, r.Stderr, err)
	}
	if r, err := waiting.Wait(t.Context()); err != nil || r.Code != 0 {
		t.Errorf("kudev modprobe of a module that is coming: exit status %d, %s %v", r.Code, r.Stderr, err)
	}
}
