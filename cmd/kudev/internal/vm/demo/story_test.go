package main

import (
	"strings"
	"testing"
)

const journal = `{"n":1,"type":"note","note":"coldplug began","finished_us":5000000}
{"n":2,"type":"event","action":"add","devpath":"/devices/pci0000:00/0000:00:05.0","subsystem":"pci","modalias":"pci:v1","received_us":5100000,"applied_us":5110000,"finished_us":5300000,"rules":[{"rule":"/lib/udev/rules.d/80-drivers.rules:5","did":"RUN{builtin}+=kmod load"}],"modules":[{"name":"nvme_core","state":"loaded","started_us":1,"took_us":40000},{"name":"t10_pi","state":"live","started_us":1,"took_us":0},{"name":"nvme","state":"loaded","started_us":1,"took_us":900}]}
{"n":3,"type":"event","action":"add","devpath":"/devices/virtual/tty/tty9","subsystem":"tty","devname":"tty9","finished_us":5400000,"node":{"path":"/dev/tty9","mode":"0620"}}
{"n":4,"type":"event","action":"add","devpath":"/devices/pci0000:00/0000:00:05.0/nvme/nvme0/nvme0n1","subsystem":"block","devtype":"disk","applied_us":5500000,"finished_us":5500100,"node":{"path":"/dev/nvme0n1"},"links":["block/259:0","disk/by-path/p","disk/by-id/i","disk/by-diskseq/9"]}
{"n":5,"type":"event","action":"add","devpath":"/devices/x","subsystem":"acpi","modalias":"acpi:PNP0C0F:","no_module":true,"finished_us":5600000}
{"n":6,"type":"event","action":"add","devpath":"/devices/y","subsystem":"acpi","modalias":"acpi:PNP0C0F:","no_module":true,"finished_us":5600000}
`

func TestEachDecisionIsALine(t *testing.T) {
	var out strings.Builder
	s := newStory(&out, false, 0)
	for _, part := range strings.SplitAfter(journal, "o") { // it comes in pieces
		s.Write([]byte(part))
	}
	want := `    5.000 coldplug began
    5.300 add    pci 0000:00:05.0         80-drivers.rules:5 → nvme_core 40ms → nvme
    5.500 add    block nvme0n1            /dev/nvme0n1 ← disk/by-id/i disk/by-path/p +2
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestALineFitsTheTerminalWithItsColours(t *testing.T) {
	if got := cut("\x1b[1mabcdef\x1b[0mgh", 5); got != "\x1b[1mabcd\x1b[0m…" {
		t.Errorf("got %q", got)
	}
	if got := cut("abc", 0); got != "abc" {
		t.Errorf("got %q", got)
	}
}

func TestSummaryNamesTheFirstDiskTheSlowestAndTheUnmatched(t *testing.T) {
	s := newStory(&strings.Builder{}, false, 0)
	s.Write([]byte(journal))
	var out strings.Builder
	summary(&out, false, s.all(), figures{began: 5e9, settled: 14e9, devices: 7})
	for _, want := range []string{"first disk       /dev/nvme0n1, 500ms after the coldplug began", "settled          9s after", "slowest modules  nvme_core              40ms", "matched nothing  1 modaliases", "acpi         x                    acpi:PNP0C0F:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
