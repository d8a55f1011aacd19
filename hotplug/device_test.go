package hotplug_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

const machine = `
/devices/pci0000:00/0000:00:04.0 subsystem=pci driver=virtio-pci
	vendor 0x1af4
	uevent MODALIAS=pci:v00001AF4d00001001
	label ends in blanks  \n\n
/devices/pci0000:00/0000:00:04.0/virtio1 subsystem=virtio driver=virtio_blk
/devices/pci0000:00/0000:00:04.0/virtio1/block/vda subsystem=block dev=254:0
	uevent DEVNAME=vda
	uevent DEVTYPE=disk
	size 2048
	queue/rotational 1
	device -> ../../../virtio1
	outside -> /etc
	above -> ../../../../../../../../../etc/passwd
/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1 subsystem=block dev=254:1
	uevent DEVNAME=vda1
	uevent DEVTYPE=partition
/devices/virtual/net/lo subsystem=net
	uevent INTERFACE=lo
	uevent IFINDEX=1
	ifindex 1
	address 00:00:00:00:00:00
/devices/virtual/block/cciss!c0d0 subsystem=block dev=104:0
	uevent DEVNAME=cciss/c0d0
/module/loop
	parameters/max_loop 8
/bus/pci/drivers/nvme
/devices/virtual/bare
`

const disk = "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda"

func device(t *testing.T, roots hotplug.Roots, devpath string) *hotplug.Device {
	t.Helper()
	dev, err := roots.Device(devpath)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func TestDeviceSaysWhatItIs(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	for devpath, want := range map[string]string{
		disk:                                "block vda  disk vda b254:0",
		"/devices/pci0000:00/0000:00:04.0":  "pci 0000:00:04.0 virtio-pci   +pci:0000:00:04.0",
		"/devices/virtual/net/lo":           "net lo    n1",
		"/devices/virtual/block/cciss!c0d0": "block cciss/c0d0   cciss/c0d0 b104:0",
		"/module/loop":                      "module loop    +module:loop",
		"/bus/pci/drivers/nvme":             "drivers nvme    +drivers:pci:nvme",
		"/bus/pci":                          "subsystem pci    +subsystem:pci",
		"/class/net":                        "subsystem net    +subsystem:net",
		"/devices/virtual/bare":             " bare    ",
	} {
		d := device(t, roots, devpath)
		if got := strings.Join([]string{d.Subsystem(), d.Sysname(), d.Driver(), d.Devtype(), d.Devname(), d.ID()}, " "); got != want {
			t.Errorf("%s: got %q, want %q", devpath, got, want)
		}
	}
}

func TestSysnumIsTheDigitsAtTheEnd(t *testing.T) {
	for name, want := range map[string]string{"sda1": "1", "sda": "", "0000:00:1f.2": "2", "42": "", "a10b07": "07"} {
		roots := hotplugtest.Tree(t, "/devices/"+name)
		if got := device(t, roots, "/devices/"+name).Sysnum(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestParentsAreTheDirectoriesWithAUevent(t *testing.T) {
	d := device(t, hotplugtest.Tree(t, machine), disk+"/vda1")
	var got []string
	for p := d; p != nil; p = p.Parent() {
		got = append(got, p.Sysname())
	}
	if want := []string{"vda1", "vda", "virtio1", "0000:00:04.0"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if p := d.ParentWith("block", "disk"); p == nil || p.Devpath() != disk {
		t.Errorf("the disk of vda1 is %v", p)
	}
	if p := d.ParentWith("scsi", ""); p != nil {
		t.Errorf("found a scsi parent: %s", p.Devpath())
	}
}

func TestChildrenAreTheNextDevicesBelow(t *testing.T) {
	d := device(t, hotplugtest.Tree(t, machine), "/devices/pci0000:00/0000:00:04.0/virtio1")
	children := d.Children()
	if len(children) != 1 || children[0].Devpath() != disk {
		t.Errorf("got %v", children)
	}
}

func TestAttributesAreReadAsUdevDoes(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	must(t, os.Chmod(roots.Sys+disk+"/size", 0o644))
	must(t, os.WriteFile(roots.Sys+disk+"/model", []byte("Board\x00rest\n"), 0o644)) // as texts of a device tree are
	for _, c := range []struct{ devpath, name, want string }{
		{disk, "size", "2048"},
		{disk, "model", "Board"},
		{disk, "queue/rotational", "1"},
		{disk, "subsystem", "block"},
		{disk, "../../vendor", "missing"},
		{disk, "../../../vendor", "0x1af4"},
		{"/devices/pci0000:00/0000:00:04.0", "driver", "virtio-pci"},
		{"/devices/pci0000:00/0000:00:04.0", "label", "ends in blanks  "},
		{disk, "queue", "error"},
		{disk, "device", "error"},
		{disk, "device/driver", "error"},
		{disk, "nothing", "missing"},
		{disk, "", "error"},
		{disk, "../../../../../../../../../../../../etc/passwd", "error"},
		{disk, "outside/passwd", "error"},
		{disk, "outside", "error"},
		{disk, "above", "error"},
	} {
		got, err := device(t, roots, c.devpath).Attr(c.name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && c.want != "error":
			got = "missing"
		case err != nil:
			got = "error"
		}
		if got != c.want {
			t.Errorf("%s of %s is %q (%v), want %q", c.name, c.devpath, got, err, c.want)
		}
	}
}

func TestWrittenAttributeIsWhatLaterReadersSee(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	d := device(t, roots, disk)
	must(t, d.SetAttr("queue/rotational", "0\n"))
	if got, _ := d.Attr("queue/rotational"); got != "0" {
		t.Errorf("reads %q", got)
	}
	if got, err := os.ReadFile(roots.Sys + disk + "/queue/rotational"); err != nil || string(got) != "0" {
		t.Errorf("holds %q, %v", got, err)
	}
	for _, name := range []string{"outside/kudev", "above", "nothing", "device", "queue", ""} {
		if err := d.SetAttr(name, "x"); err == nil {
			t.Errorf("%q could be written", name)
		}
	}
}

func TestLargeAttributeIsReadWhole(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	roots := hotplugtest.Tree(t, "/devices/x\n\tbig "+big)
	if got, err := device(t, roots, "/devices/x").Attr("big"); got != big {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestDeviceIsFoundByEveryName(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	for _, id := range []string{"b254:0", "n1", "+pci:0000:00:04.0", "+module:loop", "+drivers:pci:nvme", "+subsystem:net", "+block:cciss/c0d0", "c1:3", "b254:", "n9", "+x", "", "x", "b../..:0"} {
		d, err := roots.DeviceByID(id)
		known := strings.Contains("b254:0 n1 +pci:0000:00:04.0 +module:loop +drivers:pci:nvme +subsystem:net", id) && len(id) > 1 && id != "b254:"
		if known != (err == nil) {
			t.Errorf("%q: %v, %v", id, d, err)
		}
		if known && d.ID() != id {
			t.Errorf("%q is called %q", id, d.ID())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, name := range []string{"/class/net/lo", "/sys/class/net/lo", "/dev/block/254:0"} {
		if _, err := roots.Device(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/devices/../../etc", "/devices/virtual", "/nothing", "/devices", "", disk + "/outside", disk + "/above"} {
		if d, err := roots.Device(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, %v", name, d, err)
		}
	}
}

func TestAttributeOfAnotherDevice(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	d, attr, ok, err := roots.ResolveAttr("[net/lo]/address")
	if err != nil || !ok || attr != "address" || d.Devpath() != "/devices/virtual/net/lo" {
		t.Errorf("got %v %q %v %v", d, attr, ok, err)
	}
	if _, _, ok, err := roots.ResolveAttr("[net/nothing]address"); !ok || err == nil {
		t.Errorf("a device that is not there: %v, %v", ok, err)
	}
	if _, _, ok, _ := roots.ResolveAttr("address"); ok {
		t.Error("a plain name was taken for a device's")
	}
}

func TestDeviceOutlivesItsDirectory(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	ev := hotplugtest.Event(t, roots, "remove", disk, "SEQNUM=7")
	hotplugtest.Remove(t, roots, disk)
	d := roots.EventDevice(ev)
	if got := fmt.Sprint(d.ID(), " ", d.Subsystem(), " ", d.Devtype(), " ", d.Devname(), " ", d.Exists()); got != "b254:0 block disk vda false" {
		t.Errorf("got %s", got)
	}
	if p := d.Parent(); p == nil || p.Sysname() != "virtio1" {
		t.Errorf("parent is %v", p)
	}
	if _, err := d.Attr("size"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an attribute reads as %v", err)
	}
}

func TestEventOfADeviceIsTheKernels(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	ev := hotplugtest.Event(t, roots, "change", disk, "SYNTH_UUID=0")
	var got []string
	for key, value := range ev.All() {
		got = append(got, key+"="+value)
	}
	want := []string{"ACTION=change", "DEVPATH=" + disk, "SUBSYSTEM=block", "MAJOR=254", "MINOR=0", "DEVNAME=vda", "DEVTYPE=disk", "SYNTH_UUID=0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestShownPathsLeadIntoTheRoots(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	if text, err := roots.ReadFile("/sys" + disk + "/size"); err != nil || text != "2048\n" {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := roots.Stat("/dev/null"); err == nil {
		t.Error("the machine's own /dev/null was found")
	}
	if _, err := roots.ReadFile("/sys/../etc/passwd"); err != nil {
		t.Error("a path that is not below the roots is the machine's own:", err)
	}
	if _, err := roots.ReadFile("/sys" + disk + "/outside/passwd"); err == nil {
		t.Error("a link led out")
	}
	if names, err := roots.ReadDir("/sys/class/net"); err != nil || !slices.Equal(names, []string{"lo"}) {
		t.Errorf("names %v, %v", names, err)
	}
}

func TestRecordIsReadBack(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	d := device(t, roots, disk)
	if _, err := d.Record(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a record: %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(roots.Run, "udev/data"), 0o755))
	must(t, os.WriteFile(filepath.Join(roots.Run, "udev/data/b254:0"), []byte("S:disk/by-id/a b\nL:-10\nI:1234567\nE:ID_FS=a=b\nE:EMPTY=\nX\nG:old\nG:seat\nQ:seat\nV:1\n"), 0o644))
	if _, err := d.Record(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first answer is not kept: %v", err)
	}
	rec, err := device(t, roots, disk).Record()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(rec.Links, rec.Priority, rec.Initialized, rec.Properties, rec.Tags, rec.CurrentTags, rec.Version)
	if want := "[disk/by-id/a b] -10 1.234567s [{ID_FS a=b true} {EMPTY  true}] [old seat] [seat] 1"; compact(got) != compact(want) {
		t.Errorf("got %s", got)
	}
}

// What its owner knows of the devices above is not read from sysfs.
func TestParentsAsTheyAreKnown(t *testing.T) {
	roots := hotplugtest.Tree(t, machine)
	d := device(t, roots, disk)
	above := d.Parent().Devpath()
	d = device(t, roots, disk)
	d.Knowing(func(devpath string) (hotplug.Identity, bool) {
		return hotplug.Identity{Subsystem: "made", Devtype: "up", Numbered: true, Devnum: hotplug.Devnum{Major: 7, Minor: 9}}, devpath == above
	})
	p := d.Parent()
	if p.Devpath() != above || p.ID() != "c7:9" || p.Devtype() != "up" || p.Subsystem() != "made" {
		t.Errorf("%s is %s of %s, %s", p.Devpath(), p.ID(), p.Subsystem(), p.Devtype())
	}
	if want := device(t, roots, above).Parent(); p.Parent().Devpath() != want.Devpath() || p.Parent().ID() != want.ID() {
		t.Errorf("above it is %s, %s", p.Parent().Devpath(), p.Parent().ID())
	}
}

func compact(s string) string { return strings.ReplaceAll(s, " ", "") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAttr(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d, err := hotplug.Roots{}.Device("/class/net/lo")
		must(b, err)
		_, err = d.Attr("address")
		must(b, err)
	}
}

func TestOfErrorsJoinedEachMustMeanThatTheDeviceIsGone(t *testing.T) {
	gone, full := fmt.Errorf("read: %w", fs.ErrNotExist), fmt.Errorf("record: %w", unix.ENOSPC)
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {gone, true}, {full, false}, {errors.Join(gone, unix.ENODEV), true}, {errors.Join(gone, full), false},
		{fmt.Errorf("device: %w", errors.Join(gone, full)), false}, {fmt.Errorf("device: %w", errors.Join(gone)), true},
	} {
		if got := hotplug.IsGone(c.err); got != c.want {
			t.Errorf("%v: %t", c.err, got)
		}
	}
}

func TestANodeNameThatIsNoneIsNotTaken(t *testing.T) {
	for name, want := range map[string]string{
		"sda": "sda", "/dev/sda": "sda", "bus/usb/001/002": "bus/usb/001/002",
		"..": "", "../sda": "", "/dev/../etc/passwd": "", "/etc/passwd": "", "a/../../b": "", "a/../b": "", "//sda": "", "/dev//sda": "", "a/": "", "a\x1bb": "", "a\x7f": "",
	} {
		dev := hotplug.Roots{}.EventDevice(hotplug.NewEvent("add", "/devices/x", "block", "MAJOR=8", "MINOR=0", "DEVNAME="+name))
		if got := dev.Devname(); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
