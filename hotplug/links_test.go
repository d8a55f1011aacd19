package hotplug

import "testing"

func TestALinkSaysTheShortestWayToItsNode(t *testing.T) {
	for _, c := range [][3]string{
		{"cdrom", "sr0", "sr0"},
		{"disk/by-id/x", "sda", "../../sda"},
		{"input/by-path/pci-1-event", "input/event3", "../event3"},
		{"snd/by-id/usb-1/x", "snd/controlC0", "../../controlC0"},
		{"char/13:64", "input/event0", "../input/event0"},
		{"input/mouse", "inputs/mouse0", "../inputs/mouse0"},
	} {
		if got := relative(c[0], c[1]); got != c[2] {
			t.Errorf("%s to %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// udev's record of a device of which there is nothing to say is an empty file.
func TestARecordWithNothingToSayIsEmpty(t *testing.T) {
	rec := Record{Initialized: 5}
	if got := string(rec.append(nil)); got != "" {
		t.Errorf("got %q", got)
	}
	rec.Tags = []string{"seat"}
	if got := string(rec.append(nil)); got != "I:0\nG:seat\nV:1\n" {
		t.Errorf("got %q", got)
	}
}
