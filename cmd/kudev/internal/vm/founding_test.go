//go:build system

package vm_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// The problem that kudev is there to end: a machine whose modules are not in /lib/modules but in a store path, and where every tool
// has to be told so, each in its own way. Here one line of configuration tells them all.
func TestModulesInAStorePath(t *testing.T) {
	release := vmtest.Debian(t).Release()
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	root.Symlink("/bin/modprobe", "kudev")
	root.File("/etc/kudev/store.conf", "module_root = /run/booted-system:/run/current-system\n", 0o644)
	root.File("/etc/udev/rules.d/90-rxrpc.rules", `ACTION=="add", KERNEL=="vda", RUN{builtin}+="kmod load rxrpc"`+"\n", 0o644)
	// The system that was switched to since the boot has modules too, of a kernel that does not run yet.
	root.File("/nix/store/b-system/lib/modules/6.99.0/modules.dep", "", 0o644)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Bare(), Root: root})
	g.Sh(`mkdir -p /nix/store/a-system/lib
		mv /lib/modules /nix/store/a-system/lib/modules
		ln -s /nix/store/a-system /run/booted-system
		ln -s /nix/store/b-system /run/current-system`)
	tree := "/run/booted-system/lib/modules/" + release

	t.Run("check says what is wrong before the line is written", func(t *testing.T) {
		r := g.With(t).Do("kudev", "check")
		if r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, release) || !strings.Contains(r.Stdout+r.Stderr, "module_root") {
			t.Errorf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	})

	g.Sh("cp /etc/kudev/store.conf /etc/kudev/kudev.conf")
	before := g.Sh("cat /proc/sys/kernel/modprobe")

	t.Run("a coldplug without a daemon is one for that while", func(t *testing.T) {
		g := g.With(t)
		r := g.Do("kudev", "coldplug")
		if r.Code != 0 {
			t.Fatalf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		t.Logf("%s%s", r.Stdout, r.Stderr)
		g.Sh("grep -q ^virtio_blk /proc/modules; [ -b /dev/vda ]; [ -e /dev/disk/by-id/virtio-BARE-DISK ]")
		if left := g.Sh("pidof kudev || true; cat /proc/sys/kernel/modprobe"); left != before {
			t.Errorf("it left behind: %s", left)
		}
	})
	t.Run("without USB nothing is waited for", func(t *testing.T) {
		r := g.With(t).Must("kudev", "coldplug")
		if !strings.Contains(r.Stdout+r.Stderr, "0 ms") {
			t.Errorf("its account is %q", r.Stdout+r.Stderr)
		}
	})

	// An environment that points elsewhere, as a wrapper or a login shell may have it.
	wrong := []string{"PATH=/bin", "MODULE_DIR=/nix/store/none", "MODPROBE_OPTIONS=-q"}
	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Env: wrong, Ready: true})
	beside := g.Spawn(vm.Command{Args: []string{"kudev", "coldplug"}, Env: wrong})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("a coldplug beside the daemon's start makes no second daemon", func(t *testing.T) {
		r, err := beside.Wait(t.Context())
		if err != nil || r.Code != 0 {
			t.Fatalf("exit status %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
		}
		g := g.With(t)
		if n := g.Sh("pidof kudev | wc -w"); n != "1" {
			t.Errorf("%s of them", n)
		}
		if r := g.Do("kudev", "daemon"); r.Code != 1 || !strings.Contains(r.Stderr, "already") {
			t.Errorf("a second daemon: exit status %d, %s", r.Code, r.Stderr)
		}
	})
	t.Run("a module whose init asks for another is loaded while the daemon loads it", func(t *testing.T) {
		// rxrpc's init allocates pcbc(fcrypt), and the kernel runs kernel.modprobe for it, which must not wait for the daemon.
		g.With(t).Sh("kudev settle; grep -q '^rxrpc .* Live' /proc/modules && grep -q ^pcbc /proc/modules && grep -q ^fcrypt /proc/modules")
	})
	t.Run("modprobe finds the tree whatever the environment says", func(t *testing.T) {
		g := g.With(t)
		for _, how := range []string{
			"MODULE_DIR=/nix/store/none kudev modprobe",
			"env -i /bin/kudev modprobe",
			"env -i SUDO_USER=someone SUDO_UID=1000 PATH=/usr/bin HOME=/root /bin/modprobe",
			"cd /mnt && /bin/modprobe", // by its path: busybox's shell has one of its own
		} {
			g.Sh(how + " -v dummy | grep -F " + tree + " && [ -d /sys/module/dummy ] && " + how + " -r dummy && [ ! -d /sys/module/dummy ]")
		}
		if r := g.Do("sh", "-c", "MODPROBE_OPTIONS='-d /nix/store/none' kudev modprobe dummy"); !strings.Contains(r.Stderr, "-d") {
			t.Errorf("-d in MODPROBE_OPTIONS was not refused by name: exit status %d, %q", r.Code, r.Stderr)
		}
	})
	t.Run("the kernel's own request finds it", func(t *testing.T) {
		g.With(t).Sh(`mkdir -p /tmp/o/a /tmp/o/b /tmp/o/m
			[ ! -d /sys/module/overlay ]
			mount -t overlay overlay -o lowerdir=/tmp/o/a:/tmp/o/b /tmp/o/m
			[ -d /sys/module/overlay ]
			umount /tmp/o/m`)
	})
	t.Run("check is content, and names a tree for another kernel", func(t *testing.T) {
		g := g.With(t)
		if r := g.Do("kudev", "check"); r.Code != 0 {
			t.Errorf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		r := g.Do("kudev", "check", "--module-root", "/run/current-system")
		said := r.Stdout + r.Stderr
		if r.Code != 1 || !strings.Contains(said, "6.99.0") || !strings.Contains(said, release) {
			t.Errorf("exit status %d\n%s", r.Code, said)
		}
		t.Log(said)
	})
	t.Run("a network and a mount namespace of its own gets a daemon that registers nothing", func(t *testing.T) {
		g := g.With(t)
		registered := g.Sh("cat /proc/sys/kernel/modprobe")
		if registered == before {
			t.Errorf("the first daemon did not register: %s", registered)
		}
		g.Sh(`unshare -n -m sh -c 'mount -t tmpfs tmpfs /run && ln -s /nix/store/a-system /run/booted-system && mkfifo /run/ready
			kudev daemon --ready-fd 3 3>/run/ready & read -r _ </run/ready; kill $!; wait' || true`)
		if now := g.Sh("cat /proc/sys/kernel/modprobe"); now != registered {
			t.Errorf("kernel.modprobe is %s", now)
		}
	})
	t.Run("a successor of a killed daemon gives back what was there before any", func(t *testing.T) {
		g := g.With(t)
		daemon.Signal(syscall.SIGKILL)
		if r, err := daemon.Wait(t.Context()); err != nil || r.Code != 128+9 {
			t.Fatalf("%+v, %v", r, err)
		}
		if now := g.Sh("cat /proc/sys/kernel/modprobe"); now == before {
			t.Errorf("kernel.modprobe is %s already", now)
		}
		g.Sh("/bin/modprobe -r overlay && [ ! -d /sys/module/overlay ] && mount -t overlay overlay -o lowerdir=/tmp/o/a:/tmp/o/b /tmp/o/m && umount /tmp/o/m") // by the dead one's record
		next := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
		if _, err := next.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		next.Signal(syscall.SIGTERM)
		if r, err := next.Wait(t.Context()); err != nil || r.Code != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		if now := g.Sh("cat /proc/sys/kernel/modprobe"); now != before {
			t.Errorf("kernel.modprobe is %s, and was %s before any kudev", now, before)
		}
	})
}
