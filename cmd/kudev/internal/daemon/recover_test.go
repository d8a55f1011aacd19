package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// recoverer is a daemon that has no more than recovery needs. What it handles is in the list that it returns; busy is
// called when the first event is queued.
func recoverer(roots hotplug.Roots, busy func()) (*Daemon, func() []string) {
	var mu sync.Mutex
	var handled []string
	d := &Daemon{opts: Options{Roots: roots}, log: (*log.Logger)(nil), journal: NewJournal()}
	d.watch = newWitnesses(d)
	d.queue = hotplug.NewQueue(func(_ context.Context, ev *hotplug.Event) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, ev.String()+" "+ev.Devname())
		return false, nil
	}, hotplug.QueueOptions{Busy: func(yes bool) {
		if yes {
			busy()
		}
	}})
	return d, func() []string {
		d.queue.Close(context.Background())
		return handled
	}
}

const lostDisk = "/devices/virtual/block/sda"

func TestADeviceThatGoesWhileItIsRecoveredIsRemovedAfterIt(t *testing.T) {
	roots := hotplugtest.Tree(t, lostDisk+" subsystem=block dev=8:0\n\tuevent DEVNAME=sda\n")
	gone := false
	d, handled := recoverer(roots, func() {
		if !gone {
			gone = true
			hotplugtest.Remove(t, roots, lostDisk)
		}
	})
	d.recover(t.Context(), afterLoss)
	if got, want := handled(), []string{"add@" + lostDisk + " sda", "remove@" + lostDisk + " sda"}; !slices.Equal(got, want) {
		t.Errorf("handled %q, want %q", got, want)
	}
}

func TestADeviceThatComesAgainWhileItIsRemovedIsAnnounced(t *testing.T) {
	const disk = lostDisk + " subsystem=block dev=8:0\n\tuevent DEVNAME=sda\n"
	roots := hotplugtest.Tree(t, disk)
	came := false
	d, handled := recoverer(roots, func() {
		if !came {
			came = true
			hotplugtest.Add(t, roots, disk)
		}
	})
	d.known.note(roots, hotplugtest.Event(t, roots, "add", lostDisk))
	hotplugtest.Remove(t, roots, lostDisk)
	d.recover(t.Context(), afterLoss)
	if got, want := handled(), []string{"remove@" + lostDisk + " sda", "add@" + lostDisk + " sda"}; len(got) < 2 || !slices.Equal(got[:2], want) {
		t.Errorf("handled %q, want %q", got, want)
	}
}

func TestWhatAColdplugLostIsAnnouncedAsItWouldHaveBeen(t *testing.T) {
	roots := hotplugtest.Tree(t, "/devices/pci0000:00/0000:00:04.0 subsystem=pci\n\tuevent MODALIAS=pci:v1\n")
	const device = "/devices/pci0000:00/0000:00:04.0"
	for how, want := range map[recovery][]string{afterLoss: nil, afterLostReplay: {"add@" + device + " "}} {
		d, handled := recoverer(roots, func() {})
		d.known.note(roots, hotplugtest.Event(t, roots, "add", device))
		d.recover(t.Context(), how)
		got := slices.DeleteFunc(handled(), func(s string) bool { return !strings.Contains(s, device) })
		if !slices.Equal(got, want) {
			t.Errorf("%d: handled %q, want %q", how, got, want)
		}
	}
}

func TestNothingIsLeftOfDevicesThatWentWhileNoDaemonWasThere(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	base := filepath.Dir(roots.Sys)
	at := func(name string) string { return base + name }
	for name, text := range map[string]string{
		"/run/udev/data/b8:0": "S:disk/by-id/x\nG:systemd\nQ:systemd\nV:1\n", "/run/udev/tags/systemd/b8:0": "",
		"/run/udev/data/+drivers:pci:nvme": "E:A=1\nV:1\n", "/run/udev/data/n7": "E:A=1\nV:1\n", "/run/udev/data/+usb:1-1:1.0": "E:A=1\nV:1\n",
		"/run/udev/data/+usb:": "no device's", "/run/udev/data/+usb:..": "nor this",
	} {
		must(t, os.MkdirAll(filepath.Dir(at(name)), 0o755))
		must(t, os.WriteFile(at(name), []byte(text), 0o644))
	}
	for name, target := range map[string]string{
		"/dev/block/8:0": "../sda", "/dev/disk/by-id/x": "../../sda", `/run/udev/links/disk\x2fby-id\x2fx/b8:0`: "0:/dev/sda",
	} {
		must(t, os.MkdirAll(filepath.Dir(at(name)), 0o755))
		must(t, os.Symlink(target, at(name)))
	}
	d, _ := recoverer(roots, func() {})
	store, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	must(t, err)
	d.queue = hotplug.NewQueue(func(ctx context.Context, ev *hotplug.Event) (bool, error) {
		_, err := store.Apply(ctx, ev, roots.EventDevice(ev), &hotplug.Result{})
		return false, err
	}, hotplug.QueueOptions{Done: func(o hotplug.Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}})
	d.sweep(t.Context())
	must(t, d.queue.Close(t.Context()))
	var left []string
	must(t, filepath.WalkDir(base, func(name string, e os.DirEntry, err error) error {
		if !e.IsDir() {
			left = append(left, name[len(base):])
		}
		return err
	}))
	if want := []string{"/run/udev/data/+usb:", "/run/udev/data/+usb:.."}; !slices.Equal(left, want) {
		t.Errorf("left: %q", left)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What somebody asks the kernel to say again is no news of a device that is known: one that has taken its place unheard is told
// from it still.
func TestKnownIsWhatTheKernelSaidOfItself(t *testing.T) {
	const a = "/devices/virtual/mem/a"
	roots := hotplugtest.Tree(t, a+" subsystem=mem\n/devices/platform\n")
	var k known
	k.note(roots, hotplugtest.Event(t, roots, "add", a, "SYNTH_UUID=0"))
	first := k.get(a)
	if first == 0 {
		t.Fatal("not noted when first heard of")
	}
	must(t, os.Rename(roots.Sys+a, roots.Sys+a+".gone")) // its inode is not given to another
	must(t, os.MkdirAll(roots.Sys+a, 0o755))
	k.note(roots, hotplug.NewEvent("change", a, "mem", "SYNTH_UUID=0"))
	if got := k.get(a); got != first {
		t.Errorf("after a synthetic event: %d, not %d", got, first)
	}
	k.note(roots, hotplug.NewEvent("add", a, "mem"))
	if got := k.get(a); got == first || got == 0 {
		t.Errorf("after the kernel's own: %d", got)
	}
	for devpath, want := range map[string]bool{a: true, "/devices/platform": true, "/devices/virtual": false, "/devices/virtual/mem": false} {
		if _, ok := k.identity(roots, devpath); ok != want {
			t.Errorf("%s is known: %v", devpath, ok)
		}
	}
}
