//go:build system

package vm_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// What systemd-udevd with Debian's rules loads on the demonstration's machine and kudev with its own rules does not, and why.
var leftOut = map[string]string{}

// What a guest's state is in the tests of the barrier: the modules, the nodes and links, the USB devices, and the records.
const snapshot = `{ cut -d' ' -f1 /proc/modules | sort
	find /dev \( -type b -o -type c -o -type l \) | sort
	ls /sys/bus/usb/devices /sys/class/net
	find /run/udev/data /run/udev/links /run/udev/tags 2>/dev/null | sort; }`

// The disks of the demonstration's machine, by the links that udev would give them.
var disks = []string{
	"ata-QEMU_HARDDISK_SATA-DISK", "mmc-QEMU__0xdeadbeef", "nvme-QEMU_NVMe_Ctrl_NVME-DISK", "scsi-0QEMU_QEMU_HARDDISK_LSI-DISK",
	"scsi-0QEMU_QEMU_HARDDISK_PV-DISK", "scsi-0QEMU_QEMU_HARDDISK_SAS-DISK", "scsi-0QEMU_QEMU_HARDDISK_SCSI-DISK",
	"usb-QEMU_QEMU_HARDDISK_EHCI-DISK-0:0", "usb-QEMU_QEMU_HARDDISK_HUB-DISK-0:0", "usb-QEMU_QEMU_HARDDISK_USB-DISK-0:0", "virtio-VIRTIO-DISK",
}

// TestColdplug boots the demonstration's machine with systemd-udevd and then with kudev, once, or KUDEV_BOOTS times.
func TestColdplug(t *testing.T) {
	boots := 1
	if s := os.Getenv("KUDEV_BOOTS"); s != "" {
		var err error
		if boots, err = strconv.Atoi(s); err != nil {
			t.Fatalf("KUDEV_BOOTS: %v", err)
		}
	}
	peer := coldplugOfUdevd(t)
	for range boots {
		t.Run("", func(t *testing.T) { coldplug(t, peer) })
	}
}

// outcome is what a device manager has made of a fresh boot.
type outcome struct {
	modules    []string
	interfaces string // the network interfaces' directories in sysfs, with their names
}

// resident is the memory of the daemon that is resident. It gives some back once a coldplug is over.
const resident = "awk '/VmRSS/ {print $2}' /proc/$(pidof kudev | tr ' ' '\n' | sort -n | head -1)/status"

const interfaceNames = "for i in /sys/class/net/*; do readlink -f $i; done | sort"

// coldplugOfUdevd returns what systemd-udevd makes of it.
func coldplugOfUdevd(t *testing.T) outcome {
	root := vm.NewTree()
	if err := vmtest.Debian(t).AddUdevd(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	g := vmtest.Boot(t, vm.Options{Machine: vm.Demo(), Root: root})
	defer g.Guest.Close()
	g.Sh("systemd-udevd --daemon")
	busy := processorTime(g)
	r := g.Must("sh", "-c", "udevadm trigger --type=subsystems --action=add; udevadm trigger --type=devices --action=add; udevadm settle")
	t.Logf("systemd-udevd: coldplug %v, %v of processor time", r.Took(), processorTime(g)-busy)
	// It settles when its queue is empty: USB may still be scanned.
	g.Sh(strings.Join(waitForDisks(), "\n"))
	return outcome{strings.Fields(g.Sh("udevadm settle; cut -d' ' -f1 /proc/modules | sort")), g.Sh(interfaceNames)}
}

func waitForDisks() (script []string) {
	for _, d := range disks {
		script = append(script, "for i in $(seq 200); do [ -e /dev/disk/by-id/"+d+" ] && break; sleep 0.1; done; [ -e /dev/disk/by-id/"+d+" ] || { echo "+d+" is not there; exit 1; }")
	}
	return script
}

// processorTime is what all of the guest's processors have done so far.
func processorTime(g *vmtest.Guest) time.Duration {
	var ticks int64
	for i, field := range strings.Fields(g.Sh("head -1 /proc/stat"))[1:] {
		n, _ := strconv.ParseInt(field, 10, 64)
		if i != 3 && i != 4 { // idle, and waiting for disks
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// coldplug is one boot with kudev.
func coldplug(t *testing.T, peer outcome) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	root.File("/bin/snapshot", "#!/bin/sh\n"+snapshot, 0o755)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Demo(), Root: root})
	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy := processorTime(g)
	r := g.Do("sh", "-c", "kudev coldplug >/tmp/said 2>&1; status=$?; snapshot >/tmp/then; exit $status")
	used := processorTime(g) - busy
	said := g.Sh("cat /tmp/said")
	if r.Code != 0 {
		t.Errorf("kudev coldplug: exit status %d\n%s", r.Code, said)
	}
	t.Logf("kudev: coldplug %v, %v of processor time, resident %s kB\n%s", r.Took(), used, g.Sh(resident), said)

	t.Run("all is there when it returns", func(t *testing.T) {
		g := g.With(t)
		g.Sh("sleep 5; snapshot >/tmp/later")
		t.Logf("resident 5 s later %s kB", g.Sh(resident))
		then, later := g.Sh("cat /tmp/then"), g.Sh("cat /tmp/later")
		if diff := cmp.Diff(strings.Split(then, "\n"), strings.Split(later, "\n")); diff != "" {
			t.Errorf("then and 5 s later (-then +later):\n%s", diff)
		}
		for _, d := range disks {
			if !strings.Contains(then, "/dev/disk/by-id/"+d+"\n") {
				t.Errorf("no link %s", d)
			}
		}
	})
	t.Run("the modules are those that systemd-udevd loads", func(t *testing.T) {
		modules := strings.Fields(g.With(t).Sh("cut -d' ' -f1 /proc/modules | sort"))
		for _, m := range peer.modules {
			if !slices.Contains(modules, m) && leftOut[m] == "" {
				t.Errorf("%s is missing", m)
			}
		}
		for _, m := range modules {
			if !slices.Contains(peer.modules, m) {
				t.Errorf("%s is loaded, and systemd-udevd does not load it", m)
			}
		}
		t.Logf("%d modules, %d with systemd-udevd", len(modules), len(peer.modules))
	})
	t.Run("the interfaces have the names that systemd-udevd gives them", func(t *testing.T) {
		if diff := cmp.Diff(strings.Split(peer.interfaces, "\n"), strings.Split(g.With(t).Sh(interfaceNames), "\n")); diff != "" {
			t.Errorf("-systemd-udevd +kudev:\n%s", diff)
		}
	})
	g.Spawn(vm.Command{Args: []string{"sh", "-c", "kudev monitor --kernel >/tmp/monitor"}})
	g.Sh("until grep -q KERNEL /tmp/monitor; do usleep 20000; done")
	t.Run("a plugged disk is there when settle returns, and then nothing of it", func(t *testing.T) {
		hotplug(t, g.With(t), vm.Device{Driver: "virtio-blk-pci", ID: "newdisk", Props: "bus=hp0,drive=spare,serial=NEW-DISK"}, "(pci)",
			"[ -b $(readlink -f /dev/disk/by-id/virtio-NEW-DISK) ] && [ -e /sys/class/block/$(basename $(readlink /dev/disk/by-id/virtio-NEW-DISK))/device/driver ]")
	})
	t.Run("a plugged USB stick too", func(t *testing.T) {
		hotplug(t, g.With(t), vm.Device{Driver: "usb-storage", ID: "newstick", Props: "bus=xhci1.0,port=2,drive=stick,serial=NEW-STICK"}, "(usb)",
			"[ -b $(readlink -f /dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_NEW-STICK-0:0) ]")
	})
	t.Run("a plugged network card too", func(t *testing.T) {
		hotplug(t, g.With(t), vm.Device{Driver: "e1000e", ID: "newnic", Props: "bus=hp1,mac=52:54:00:12:34:99"}, "(pci)",
			"grep -q 52:54:00:12:34:99 /sys/class/net/*/address")
	})
}

// hotplug plugs a device in and looks for it when settle has returned; then it pulls it out, and everything has to be as it was before.
// The first event of the device is one that ends in the given words.
func hotplug(t *testing.T, g *vmtest.Guest, d vm.Device, event, there string) {
	const state = "snapshot | sed '/^[a-z0-9_]*$/d'" // without the modules, which stay
	g.Sh(state + " >/tmp/before")
	seen := func(action string) string {
		return "n=0; until tail -n +$(cat /tmp/mark) /tmp/monitor | grep ' " + action + " ' | grep -qF '" + event + "'; do usleep 20000; n=$((n+1)); [ $n -lt 1500 ] || { echo no event came; exit 1; }; done; kudev settle"
	}
	const mark = "expr 1 + $(wc -l </tmp/monitor) >/tmp/mark"
	g.Sh(mark)
	if err := g.QMP().Plug(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	g.Sh(seen("add") + "; " + there + " || { echo it is not there; snapshot | diff /tmp/before - ; exit 1; }")
	g.Sh(mark)
	if err := g.QMP().Unplug(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	g.Sh(seen("remove") + "; " + state + " >/tmp/after; diff /tmp/before /tmp/after")
}

// On a small machine the kernel's delay is nearly all of the time, and the account says so.
func TestColdplugSaysHowLongItWaitedForTheKernel(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	machine := vm.Bare()
	machine.Devices = append(machine.Devices, vm.Device{Driver: "qemu-xhci", ID: "xhci"}, vm.Device{Driver: "usb-hub", Props: "bus=xhci.0,port=1"},
		vm.Device{Driver: "usb-storage", Props: "drive=usb,serial=HUB-DISK,bus=xhci.0,port=1.2"})
	machine.Drives = append(machine.Drives, vm.Drive{ID: "usb"})
	g := vmtest.Boot(t, vm.Options{Machine: machine, Root: root, Append: "usb_storage.delay_use=30"})
	r := g.Must("sh", "-c", "kudev coldplug 2>&1; ls /dev/disk/by-id")
	t.Logf("%v\n%s", r.Took(), r.Stdout)
	if !strings.Contains(r.Stdout, "usb-QEMU_QEMU_HARDDISK_HUB-DISK-0:0\n") {
		t.Error("the disk is not there")
	}
	if strings.Contains(r.Stdout, "waited 0 ms") || !strings.Contains(r.Stdout, "delay_use is 30 s") {
		t.Error("it does not say that it waited for the disk")
	}
}

// With usb_storage.delay_use the disk comes long after its driver's load has returned; and who waits for another disk alone does not
// wait for it, nor for sound and graphics.
func TestColdplugWithSlowDisks(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Demo(), Root: root, Append: "usb_storage.delay_use=8"})
	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Devices that come and go in another network namespace count in the kernel's sequence numbers, and are not this daemon's business.
	g.Spawn(vm.Command{Args: []string{"sh", "-c", "while :; do unshare -n true; usleep 20000; done"}})
	t.Run("wait-for returns before sound and graphics begin", func(t *testing.T) {
		g := g.With(t)
		out := g.Sh("kudev coldplug --wait-for /dev/disk/by-id/virtio-VIRTIO-DISK; s=$?; cut -d' ' -f1 /proc/modules; ls -l /dev/disk/by-id; exit $s")
		if !strings.Contains(out, "virtio-VIRTIO-DISK") {
			t.Errorf("the link is not there:\n%s", out)
		}
		for line := range strings.Lines(out) {
			if m := strings.TrimSpace(line); m == "soundcore" || m == "drm" || strings.HasPrefix(m, "snd") || m == "virtio_gpu" || m == "bochs" {
				t.Errorf("%s has begun to load already", m)
			}
		}
	})
	t.Run("coldplug returns after the disks", func(t *testing.T) {
		g := g.With(t)
		r := g.Do("sh", "-c", "kudev coldplug; s=$?; ls /dev/disk/by-id; exit $s")
		t.Logf("%v\n%s%s", r.Took(), r.Stdout, r.Stderr)
		if r.Code != 0 {
			t.Errorf("exit status %d", r.Code)
		}
		for _, d := range disks {
			if !strings.Contains(r.Stdout, d+"\n") {
				t.Errorf("no link %s", d)
			}
		}
	})
}
