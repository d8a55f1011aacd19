//go:build system

package vm_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// One boot, two managers: with Debian's rules, kudev leaves the machine as systemd-udevd leaves it, fact by fact. The first pass is
// thrown away: drivers are loaded and interfaces renamed in it, which cannot be undone.
func TestKudevLeavesTheMachineAsUdevdDoes(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	if err := vmtest.Debian(t).AddUdevd(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	machine := contents(t)
	machine.Devices = append(machine.Devices, vm.Device{Driver: "pcie-root-port", ID: "hp2", Props: "chassis=9,slot=9"})
	for _, manager := range []string{"udevd", "kudev"} { // a drive goes with the device that is pulled out
		seed := byte(10)
		for _, d := range plugged(manager) {
			seed++
			if id, ok := strings.CutPrefix(d.Props, "drive="); ok {
				id, _, _ = strings.Cut(id, ",")
				file := filepath.Join(t.TempDir(), id)
				writeGPT(t, file, seed)
				machine.Drives = append(machine.Drives, vm.Drive{ID: id, File: file})
			}
		}
	}
	g := vmtest.Boot(t, vm.Options{Machine: machine, Root: root})
	g.Sh(prepare + "systemd-udevd --daemon; " + pass + "; sleep 4; udevadm settle; udevadm control --exit; /init wipe")

	g.Sh("systemd-udevd --daemon; " + pass)
	theirs := history(t, g, "udevd")
	g.Sh("udevadm control --exit; /init wipe")

	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := g.Do("kudev", "coldplug"); r.Code != 0 {
		t.Errorf("kudev coldplug: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	ours := history(t, g, "kudev")
	for i, step := range theirs {
		t.Run(step.what, func(t *testing.T) {
			t.Logf("%d facts with systemd-udevd, %d with kudev", len(step.facts), len(ours[i].facts))
			if diff := difference(step.facts, ours[i].facts); diff != "" {
				t.Errorf("facts of one manager only (-systemd-udevd +kudev):\n%s", diff)
			}
		})
	}
}

// What is in /dev before a device manager comes, by systemd and its tmpfiles.
const prepare = `
	ln -s /proc/self/fd /dev/fd; ln -s /proc/self/fd/0 /dev/stdin; ln -s /proc/self/fd/1 /dev/stdout; ln -s /proc/self/fd/2 /dev/stderr; ln -s /proc/kcore /dev/core
	kmod static-nodes --format=devname | while read module name number; do
		type=${number%%[0-9]*}; number=${number#?}
		mkdir -p $(dirname /dev/$name); [ -e /dev/$name ] || mknod -m 600 /dev/$name $type ${number%:*} ${number#*:}
	done
`

// A full coldplug as Debian's machines do it; udevadm is Debian's own, with whichever daemon.
const pass = "udevadm trigger --type=subsystems --action=add; udevadm trigger --type=devices --action=add; udevadm settle"

// plugged is what is plugged in while the manager runs.
func plugged(manager string) []vm.Device {
	return []vm.Device{
		{Driver: "virtio-blk-pci", ID: "newdisk", Props: "drive=disk-" + manager + ",bus=hp0,serial=NEW-DISK"},
		{Driver: "usb-storage", ID: "newstick", Props: "drive=stick-" + manager + ",bus=xhci1.0,port=2,serial=NEW-STICK"},
		{Driver: "e1000e", ID: "newnic", Props: "bus=hp1,mac=52:54:00:12:34:99"},
		{Driver: "usb-kbd", ID: "newkeys", Props: "bus=xhci1.0,port=3"},
		{Driver: "virtio-mouse-pci", ID: "newmouse", Props: "bus=hp2"},
	}
}

type step struct {
	what  string
	facts []string
}

// history takes the machine through what happens to one, and returns the facts at each step: all of them after the
// coldplug, and then those that the step has added (+) and taken away (-).
func history(t *testing.T, g *vmtest.Guest, manager string) []step {
	before := strings.Split(g.Sh("/init facts"), "\n")
	all := slices.Clone(before)
	for i := range all {
		all[i] = interfaces.ReplaceAllString(all[i], "$1#")
	}
	slices.Sort(all)
	steps := []step{{"after the coldplug", all}}
	took := func(what string) {
		g.Sh("sleep 4; udevadm settle")
		now := strings.Split(g.Sh("/init facts"), "\n")
		steps = append(steps, step{what, changes(before, now)})
		before = now
	}
	devices := plugged(manager)
	for _, d := range devices {
		if err := g.QMP().Plug(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	took("after plugging five devices in")
	g.Sh("udevadm trigger --type=devices --action=change; udevadm settle")
	took("after change events for all")
	const nic = "/sys/bus/pci/drivers/8139cp"
	g.Sh("cd " + nic + " && d=$(basename $(ls -d 0000:*)) && echo $d >unbind && sleep 2 && echo $d >bind")
	took("after a driver was unbound and bound again")
	for _, d := range devices {
		if err := g.QMP().Unplug(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
	}
	took("after pulling the five out")
	return steps
}

// Numbers that the kernel gives out upwards, and never again: two managers cannot see the same device twice with the same.
var numbers = regexp.MustCompile(`(input|event|mouse|hidraw|host|target|by-diskseq/|DISKSEQ=|c13:|c189:|c24\d:|char/13:|char/189:|char/24\d:|bus/usb/\d+/|data n|net/n|IFINDEX=|BUSNUM=|DEVNUM=|tag \S+/n)\d+|\b\d+:0:0:0\b|( c \d+:)\d+`)

// The number of an interface is one of them that stays for as long as its driver: the first manager's history binds one anew.
var interfaces = regexp.MustCompile(`(data n|tag \S+/n)\d+`)

// changes returns what is in one list alone, without such numbers, sorted.
func changes(before, now []string) []string {
	var list []string
	add := func(sign string, from, other []string) {
		for _, f := range from {
			if _, ok := slices.BinarySearch(other, f); !ok {
				list = append(list, sign+numbers.ReplaceAllString(f, "$1$2#"))
			}
		}
	}
	add("-", before, now)
	add("+", now, before)
	slices.Sort(list)
	return list
}

// difference returns the lines that only one of two sorted lists has.
func difference(theirs, ours []string) string {
	var b strings.Builder
	for i, j := 0, 0; i < len(theirs) || j < len(ours); {
		switch {
		case j == len(ours) || i < len(theirs) && theirs[i] < ours[j]:
			b.WriteString("-" + theirs[i] + "\n")
			i++
		case i == len(theirs) || theirs[i] > ours[j]:
			b.WriteString("+" + ours[j] + "\n")
			j++
		default:
			i++
			j++
		}
	}
	return b.String()
}
