package daemon

import (
	"strings"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

// A minimal system has no scsi_id: a rule that calls it is answered in-process, with what is wrong with the device and not with
// the program. What is installed is run.
func TestAHelperProgramThatIsNotInstalledIsDoneInProcess(t *testing.T) {
	dir := t.TempDir()
	ev := hotplug.NewEvent("add", "/devices/d", "block")
	roots := hotplug.Roots{Sys: dir, Dev: dir, Run: dir}
	h := &host{
		Machine: &Machine{Roots: roots, Runner: &hotplug.Runner{Dirs: []string{dir}}},
		policy:  &Policy{Builtins: builtin.New(builtin.Options{})},
		log:     (*log.Logger)(nil), said: true, event: ev, device: roots.EventDevice(ev), entry: newEntry(ev),
	}
	if _, err := h.Program(t.Context(), "scsi_id --export /dev/none", nil, "r:1"); err == nil || strings.Contains(err.Error(), "not in "+dir) {
		t.Errorf("scsi_id: %v", err)
	}
	if _, err := h.Program(t.Context(), "other_id --export", nil, "r:1"); err == nil || !strings.Contains(err.Error(), "not in "+dir) {
		t.Errorf("a program that kudev does not answer to: %v", err)
	}
	if out, err := h.Program(t.Context(), "/bin/echo it ran", nil, "r:1"); err != nil || out != "it ran\n" {
		t.Errorf("echo: %q, %v", out, err)
	}
}
