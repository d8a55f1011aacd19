package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
	"github.com/kudev/kudev/modload"
)

// BenchmarkHandle takes one event after another through the whole house, as a second coldplug does: the rules that are embedded, node, links
// and record, listeners, the journal. Nothing of what it finds is new. The directories are no real ones, so that each
// look at one costs more calls than it does on a machine.
func BenchmarkHandle(b *testing.B) {
	roots := hotplugtest.Tree(b, `
/devices/pci0000:00/0000:00:04.0 subsystem=pci driver=virtio-pci
	uevent MODALIAS=pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00
/devices/pci0000:00/0000:00:04.0/virtio1 subsystem=virtio driver=virtio_blk
/devices/pci0000:00/0000:00:04.0/virtio1/block/vda subsystem=block
	uevent MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk
	serial A-DISK
/devices/pci0000:00/0000:00:04.0/virtio1/block/vda/vda1 subsystem=block
	uevent MAJOR=254\nMINOR=1\nDEVNAME=vda1\nDEVTYPE=partition
	partition 1
/devices/virtual/tty/tty1 subsystem=tty
	uevent MAJOR=4\nMINOR=1\nDEVNAME=tty1
/devices/virtual/mem/null subsystem=mem
	uevent MAJOR=1\nMINOR=3\nDEVNAME=null\nDEVMODE=0666
/devices/system/cpu/cpu0 subsystem=cpu driver=processor
	uevent MODALIAS=cpu:type:x86,ven0002fam0019mod0001
`)
	base := filepath.Dir(roots.Sys)
	if err := os.MkdirAll(base+"/proc", 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(base+"/proc/cmdline", nil, 0o644); err != nil {
		b.Fatal(err)
	}
	cfg, err := modload.Resolve(modload.Options{SystemRoot: base, Uname: func() (string, error) { return "6.1.0-test", nil }})
	if err != nil {
		b.Fatal(err)
	}
	o := &Once{Config: cfg, Roots: roots, Log: (*log.Logger)(nil)}
	d, err := o.daemon()
	if err != nil {
		b.Fatal(err)
	}
	defer d.loads.close()
	d.openStore()
	items, err := coldplug.Walk(b.Context(), roots, coldplug.Devices)
	if err != nil {
		b.Fatal(err)
	}
	var events []*hotplug.Event
	for _, item := range items {
		ev, err := o.Event(item.Devpath, "add")
		if err != nil {
			b.Fatal(err)
		}
		events = append(events, ev)
		d.known.note(roots, ev)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, ev := range events {
			if _, err := d.handle(context.Background(), ev); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(events)), "ns/event")
	b.ReportMetric(float64(len(events)), "events")
}
