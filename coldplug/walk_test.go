package coldplug

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	soundCard = "modalias=pci:v00008086d00002668sv0sd0bc04sc03i00"
	sataHost  = "modalias=pci:v00008086d00002922sv0sd0bc01sc06i01"
	bridge    = "modalias=pci:v00001B36d0000000Csv0sd0bc06sc04i00"
	usbHost   = "modalias=pci:v00001B36d0000000Dsv0sd0bc0Csc03i30"
	display   = "modalias=pci:v00001234d00001111sv0sd0bc03sc00i00"
	netCard   = "modalias=pci:v00008086d000010D3sv0sd0bc02sc00i00"
)

func TestTheWayToADiskComesBeforeTheSoundCard(t *testing.T) {
	roots := tree(t,
		"/devices/pci0000:00/0000:00:01.0 bus/pci "+display,
		"/devices/pci0000:00/0000:00:02.0 bus/pci "+soundCard,
		"/devices/pci0000:00/0000:00:03.0 bus/pci "+netCard,
		"/devices/pci0000:00/0000:00:1e.0 bus/pci "+bridge,
		"/devices/pci0000:00/0000:00:1e.0/0000:05:01.0 bus/pci "+sataHost,
		"/devices/pci0000:00/0000:00:1f.0 bus/pci "+usbHost,
		"/devices/virtual/block/dm-0 class/block",
		"/devices/virtual/tty/tty0 class/tty",
		"/devices/virtual/mem/null class/mem",
	)
	items, err := Walk(context.Background(), roots, Devices)
	if err != nil {
		t.Fatal(err)
	}
	want := `/devices/pci0000:00/0000:00:1e.0
/devices/pci0000:00/0000:00:1e.0/0000:05:01.0
/devices/pci0000:00/0000:00:1f.0
/devices/pci0000:00/0000:00:03.0
/devices/virtual/tty/tty0
/devices/virtual/mem/null
/devices/pci0000:00/0000:00:01.0
/devices/pci0000:00/0000:00:02.0
/devices/virtual/block/dm-0
`
	if diff := cmp.Diff(want, paths(items)); diff != "" {
		t.Error(diff)
	}
}

func TestAParentComesBeforeItsChildren(t *testing.T) {
	roots := tree(t,
		"/devices/a/b/c/net/eth0 class/net",
		"/devices/a bus/platform",
		"/devices/a/b bus/platform",
		"/devices/a/b/c bus/usb",
		"/devices/a/b/c-1 bus/usb",
		"/devices/a/b/z/block/sda class/block",
		"/devices/a/b/z bus/scsi",
	)
	items, err := Walk(context.Background(), roots, All)
	if err != nil {
		t.Fatal(err)
	}
	want := `/devices/a
/devices/a/b
/devices/a/b/z
/devices/a/b/z/block/sda
/devices/a/b/c
/devices/a/b/c/net/eth0
/devices/a/b/c-1
`
	if diff := cmp.Diff(want, paths(items)); diff != "" {
		t.Error(diff)
	}
}

func TestModulesAndDriversAreListedWhenTheyHaveAUevent(t *testing.T) {
	roots := tree(t,
		"/module/loop - uevent=",
		"/module/printk - parameters/time=1",
		"/bus/pci - uevent=",
		"/bus/pci/drivers/nvme - uevent=",
		"/devices/x bus/pci",
	)
	items, err := Walk(context.Background(), roots, Subsystems)
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{
		{"/module/loop", "module", "loop", RankModule},
		{"/bus/pci", "subsystem", "pci", RankOther},
		{"/bus/pci/drivers/nvme", "drivers", "nvme", RankOther},
	}
	if diff := cmp.Diff(want, items); diff != "" {
		t.Error(diff)
	}
}

func TestWalkOfWhatIsNoSysfsIsAnError(t *testing.T) {
	roots := tree(t)
	roots.Sys += "/nothing"
	if _, err := Walk(context.Background(), roots, All); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLookupFollowsLinksAndNamesTheSubsystem(t *testing.T) {
	roots := tree(t, "/devices/virtual/block/cciss!c0d0 class/block")
	for _, name := range []string{"/devices/virtual/block/cciss!c0d0", "/sys/class/block/cciss!c0d0", roots.Sys + "/class/block/cciss!c0d0"} {
		item, err := Lookup(roots, name)
		if err != nil {
			t.Error(err)
			continue
		}
		want := Item{"/devices/virtual/block/cciss!c0d0", "block", "cciss/c0d0", RankStorage}
		if diff := cmp.Diff(want, item); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := Lookup(roots, "/sys/class/block/sdq"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is not there: %v", err)
	}
}

func TestRankOfModalias(t *testing.T) {
	for _, c := range []struct {
		subsystem, alias string
		want             Rank
	}{
		{"virtio", "virtio:d00000002v00001AF4", RankStorage},
		{"virtio", "virtio:d00000001v00001AF4", RankNet},
		{"virtio", "virtio:d00000010v00001AF4", RankLate},
		{"usb", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", RankStorage},
		{"usb", "usb:v0D8Cp0013d0100dc00dsc00dp00ic01isc01ip00in00", RankLate},
		{"usb", "usb:v0627p0001d0000dc00dsc00dp00ic03isc00ip00in00", RankInput},
		{"pci", "pci:v00001B36d00000010sv0sd0bc01sc08i02", RankStorage},
		{"pci", "pci:", RankOther},
		{"pci", "pci:bc", RankOther},
		{"usb", "usb:ic0", RankOther},
		{"platform", "", RankOther},
	} {
		if got := RankOf(c.subsystem, "x", c.alias); got != c.want {
			t.Errorf("RankOf(%s, %s) = %d, want %d", c.subsystem, c.alias, got, c.want)
		}
	}
}

func TestPrioritizedSubsystemsComeFirstWithTheirParents(t *testing.T) {
	items := []Item{{Devpath: "/devices/a", Subsystem: "x"}, {Devpath: "/devices/b", Subsystem: "x"}, {Devpath: "/devices/b/tty/t0", Subsystem: "tty"}, {Devpath: "/devices/c", Subsystem: "block"}}
	want := "/devices/c\n/devices/b\n/devices/b/tty/t0\n/devices/a\n"
	if diff := cmp.Diff(want, paths(Prioritize(items, []string{"block", "tty"}))); diff != "" {
		t.Error(diff)
	}
}
