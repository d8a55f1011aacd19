package daemon

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// forbidden is a source to which the kernel does not let markers.
type forbidden struct{ Source }

func (forbidden) Mark(string) error { return unix.EPERM }

func TestAMarkerThatIsNotPermittedGoesByAUeventFile(t *testing.T) {
	sys := t.TempDir()
	d := &Daemon{source: forbidden{}, opts: Options{Roots: hotplug.Roots{Sys: sys}}}
	if err := d.mark("uuid"); err == nil {
		t.Error("without either way it says nothing")
	}
	dir := sys + "/devices/virtual/mem/null"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/uevent", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.mark("uuid"); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(dir + "/uevent"); string(text) != "change uuid" {
		t.Errorf("wrote %q", text)
	}
}
