package rules

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/kudev/kudev/hotplug"
)

// benchEvents are events as a machine's coldplug has them, on devices below a made-up /sys.
func benchEvents(tb testing.TB) (hotplug.Roots, []*hotplug.Event) {
	tb.Helper()
	dir := tb.TempDir()
	devices := []struct {
		path, subsystem string
		properties      []string
		attrs           map[string]string
	}{
		{"/devices/pci0000:00", "", nil, nil},
		{"/devices/pci0000:00/0000:00:1f.2", "pci", []string{"DRIVER=ahci", "PCI_CLASS=10601", "PCI_ID=8086:2922", "MODALIAS=pci:v00008086d00002922"}, map[string]string{"vendor": "0x8086", "device": "0x2922"}},
		{"/devices/pci0000:00/0000:00:1f.2/ata1/host0", "scsi", []string{"DEVTYPE=scsi_host"}, nil},
		{"/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0", "scsi", []string{"DEVTYPE=scsi_device", "MODALIAS=scsi:t-0x00"}, map[string]string{"vendor": "ATA", "type": "0", "scsi_level": "6"}},
		{"/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", "block", []string{"MAJOR=8", "MINOR=0", "DEVNAME=sda", "DEVTYPE=disk", "DISKSEQ=3"}, map[string]string{"removable": "0"}},
		{"/devices/pci0000:00/0000:00:02.0/virtio0/net/eth0", "net", []string{"INTERFACE=eth0", "IFINDEX=2"}, nil},
		{"/devices/virtual/tty/tty7", "tty", []string{"MAJOR=4", "MINOR=7", "DEVNAME=tty7"}, nil},
		{"/devices/platform/i8042/serio0/input/input1/event1", "input", []string{"MAJOR=13", "MINOR=65", "DEVNAME=input/event1"}, nil},
		{"/devices/system/cpu/cpu0", "cpu", []string{"DRIVER=processor", "MODALIAS=cpu:type:x86"}, nil},
	}
	roots := hotplug.Roots{Sys: dir + "/sys", Dev: dir + "/dev", Run: dir + "/run"}
	var events []*hotplug.Event
	for _, d := range devices {
		at := roots.Sys + d.path
		if err := os.MkdirAll(at, 0o755); err != nil {
			tb.Fatal(err)
		}
		text := ""
		for _, p := range d.properties {
			text += p + "\n"
		}
		d.attrs = map[string]string{"uevent": text, "x": ""}
		for name, value := range d.attrs {
			if err := os.WriteFile(filepath.Join(at, name), []byte(value+"\n"), 0o644); err != nil {
				tb.Fatal(err)
			}
		}
		if d.subsystem != "" {
			events = append(events, hotplug.NewEvent("add", d.path, d.subsystem, append(d.properties, "SEQNUM=1000", "SYNTH_UUID=0")...))
		}
	}
	return roots, events
}

// quiet is a host at which everything succeeds and nothing happens, so that what is measured is the rules.
type quiet struct{ *Recorder }

func (quiet) Attr(dev *hotplug.Device, name string) (string, error) { return dev.Attr(name) }

func benchmark(b *testing.B, sources []Source) {
	set, _ := Parse(sources)
	if len(set.Files) == 0 {
		b.Fatalf("no rules in %v", sources)
	}
	program, _ := Compile(set, Options{Users: ReadUsers("/etc/passwd", "/etc/group")})
	roots, events := benchEvents(b)
	devices := make([]*hotplug.Device, len(events))
	for i, ev := range events {
		devices[i] = roots.EventDevice(ev)
	}
	host := quiet{&Recorder{}}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		for i, ev := range events {
			if _, err := program.Evaluate(ctx, ev, devices[i], host, nil); err != nil {
				b.Fatal(err)
			}
			host.Ran = host.Ran[:0]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(events)), "ns/event")
}

func BenchmarkEvaluateEmbedded(b *testing.B) { benchmark(b, []Source{Embedded()}) }

func BenchmarkParseEmbedded(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		set, _ := Parse([]Source{Embedded()})
		Compile(set, Options{})
	}
}
