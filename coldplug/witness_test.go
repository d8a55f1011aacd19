package coldplug

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kudev/kudev/hotplug"
)

func whats(list []Witness) string {
	var b strings.Builder
	for _, w := range list {
		b.WriteString(w.Kind + " " + w.String() + "\n")
	}
	return b.String()
}

func TestAMachineWithNothingPendingHasNoWitness(t *testing.T) {
	roots := tree(t,
		"/devices/pci/0000:00:01.0/nvme/nvme0 class/nvme state=live",
		"/devices/pci/0000:00:01.0/nvme/nvme0/nvme0n1 class/block",
		"/devices/platform/i8042/serio0 bus/serio id/type=06",
	)
	if got := Witnesses(roots); len(got) != 0 {
		t.Error(whats(got))
	}
}

func TestWitnesses(t *testing.T) {
	for name, c := range map[string]struct {
		tree []string
		want string
	}{
		"an NVMe controller that is not live": {
			[]string{"/devices/pci/0000:00:01.0/nvme/nvme0 class/nvme state=connecting"},
			"nvme nvme0: controller is connecting\n"},
		"an NVMe controller whose namespaces are being scanned": {
			[]string{"/devices/pci/0000:00:01.0/nvme/nvme0 class/nvme state=live"},
			"nvme nvme0: controller is live and has no namespace yet\n"},
		"a usb-storage host before delay_use": {
			[]string{
				"/module/usb_storage - parameters/delay_use=8",
				"/devices/usb1/1-1/1-1:1.0 bus/usb", "/devices/usb1/1-1/1-1:1.0/host2 -",
				"link /bus/usb/drivers/usb-storage/1-1:1.0 /devices/usb1/1-1/1-1:1.0"},
			"usb-storage 1-1:1.0: its disk is not there yet (delay_use is 8 s)\n"},
		"a usb-storage host with its target": {
			[]string{
				"/devices/usb1/1-1/1-1:1.0 bus/usb", "/devices/usb1/1-1/1-1:1.0/host2/target2:0:0 -",
				"link /bus/usb/drivers/usb-storage/1-1:1.0 /devices/usb1/1-1/1-1:1.0"}, ""},
		"a SCSI disk that sd is probing": {
			[]string{
				"/bus/scsi/drivers/sd -", "/devices/h/0:0:0:0 bus/scsi type=0",
				"link /devices/h/0:0:0:0/driver /bus/scsi/drivers/sd"},
			"scsi-device 0:0:0:0: sd is probing it\n"},
		"a SCSI disk with its block device": {
			[]string{
				"/bus/scsi/drivers/sd -", "/devices/h/0:0:0:0 bus/scsi type=0", "/devices/h/0:0:0:0/block/sda class/block",
				"link /devices/h/0:0:0:0/driver /bus/scsi/drivers/sd"}, ""},
		"a SCSI enclosure": {
			[]string{"/bus/scsi/drivers/sd -", "/devices/h/0:0:0:0 bus/scsi type=13"}, ""},
		"an ATA disk without its SCSI device": {
			[]string{"/devices/pci/ata3/host2 -", "/devices/pci/ata3/link3/dev3.0/ata_device/dev3.0 class/ata_device class=ata"},
			"ata-device dev3.0: has been identified and has no SCSI device yet\n"},
		"an ATA disk with its SCSI device": {
			[]string{"/devices/pci/ata3/host2/target2:0:0 -", "/devices/pci/ata3/link3/dev3.0/ata_device/dev3.0 class/ata_device class=ata"}, ""},
		"a sound card whose codecs are being probed": {
			[]string{"/devices/pci/0000:00:1b.0 bus/pci", "link /bus/pci/drivers/snd_hda_intel/0000:00:1b.0 /devices/pci/0000:00:1b.0"},
			"sound-codec 0000:00:1b.0: sound codecs are being probed\n"},
		"a mouse port before psmouse has asked": {
			[]string{"/bus/serio/drivers/psmouse -", "/devices/platform/i8042/serio1 bus/serio id/type=01"},
			"serio serio1: psmouse is asking it what it is\n"},
		"a USB device between its announcement and its configuration": {
			[]string{"/devices/usb1/1-1 bus/usb power/connected_duration=120 bNumInterfaces="},
			"usb-device 1-1: has no configuration yet\n"},
		"a USB device with one of two interfaces": {
			[]string{"/bus/usb/drivers/usb -", "/devices/usb1/1-1 bus/usb power/connected_duration=120 bNumInterfaces=_2",
				"/devices/usb1/1-1/1-1:1.0 bus/usb", "link /devices/usb1/1-1/driver /bus/usb/drivers/usb"},
			"usb-device 1-1: has 1 of its 2 interfaces\n"},
		"a USB device that never got its interfaces": {
			[]string{"/devices/usb1/1-1 bus/usb power/connected_duration=999999 bNumInterfaces=_2"}, ""},
		"a hub that is being brought up": {
			[]string{"/devices/usb1 bus/usb maxchild=2 power/control=auto power/runtime_status=active power/connected_duration=60 bNumInterfaces=_1",
				"/bus/usb/drivers/usb -", "link /devices/usb1/driver /bus/usb/drivers/usb",
				"/devices/usb1/1-0:1.0 bus/usb", "link /bus/usb/drivers/hub/1-0:1.0 /devices/usb1/1-0:1.0"},
			"usb-hub usb1: its ports are being powered and debounced\n"},
		"a hub that sleeps": {
			[]string{"/devices/usb1 bus/usb maxchild=2 power/control=auto power/runtime_status=suspended power/connected_duration=60 bNumInterfaces=_1",
				"/bus/usb/drivers/usb -", "link /devices/usb1/driver /bus/usb/drivers/usb",
				"/devices/usb1/1-0:1.0 bus/usb", "link /bus/usb/drivers/hub/1-0:1.0 /devices/usb1/1-0:1.0"}, ""},
	} {
		if got := whats(Witnesses(tree(t, c.tree...))); got != c.want {
			t.Errorf("%s:\ngot  %swant %s", name, got, c.want)
		}
	}
}

func TestAWitnessIsGivenUpAfterTheKernelsOwnTimeAndOnce(t *testing.T) {
	roots := tree(t, "/devices/pci/0000:00:01.0/nvme/nvme0 class/nvme state=connecting")
	w := NewWatch(roots)
	now := time.Now()
	w.now = func() time.Time { return now }
	if p, g := w.Pending(); len(p) != 1 || len(g) != 0 {
		t.Fatalf("at first: %v %v", p, g)
	}
	now = now.Add(59 * time.Second)
	if p, g := w.Pending(); len(p) != 1 || len(g) != 0 {
		t.Fatalf("before the limit: %v %v", p, g)
	}
	now = now.Add(2 * time.Second)
	if p, g := w.Pending(); len(p) != 0 || len(g) != 1 {
		t.Fatalf("at the limit: %v %v", p, g)
	}
	if p, g := w.Pending(); len(p) != 0 || len(g) != 0 {
		t.Fatalf("after it: %v %v", p, g)
	}
	// It comes to life, and breaks again: that is a new sighting.
	os.WriteFile(roots.Sys+"/class/nvme/nvme0/state", []byte("dead\n"), 0o644)
	w.Pending()
	os.WriteFile(roots.Sys+"/class/nvme/nvme0/state", []byte("resetting\n"), 0o644)
	if p, _ := w.Pending(); len(p) != 1 {
		t.Error("a new sighting does not count")
	}
}

func TestAPluggedCardIsWaitedForUntilItsDriverIsBound(t *testing.T) {
	const card = "/devices/pci0000:00/0000:00:05.0"
	roots := tree(t, card+" bus/pci", "/bus/pci/drivers/e1000e -")
	w := NewWatch(roots)
	now := time.Now()
	w.now = func() time.Time { return now }
	event := func(action string, properties ...string) {
		w.Note(hotplug.NewEvent(action, card, "pci", properties...))
	}
	pending := func(want string) {
		t.Helper()
		p, _ := w.Pending()
		if got := whats(p); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	const offered, probed = "pci-device 0000:00:05.0: it is about to be given to the drivers\n", "pci-device 0000:00:05.0: its driver is at it\n"
	pending("")
	event("add", "SYNTH_UUID=0") // a trigger's
	pending("")
	event("add")
	pending(offered)
	grow(t, roots, "link "+card+"/driver /bus/pci/drivers/e1000e")
	now = now.Add(time.Second)
	pending(probed)
	event("bind")
	pending("")

	os.Remove(roots.Sys + card + "/driver")
	event("add") // and no driver takes it
	pending(offered)
	now = now.Add(time.Second)
	pending("")

	event("add")
	w.Forget() // the bind may be lost
	pending("")

	event("add")
	os.RemoveAll(roots.Sys + card)
	pending("")
}
