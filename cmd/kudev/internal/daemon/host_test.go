package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

// A rule that calls scsi_id by its name alone is answered in-process, with what is wrong with the device and not with the
// program, whether one is installed or not. The file is run when a rule names its path.
func TestHelperProgramsAreDoneInProcess(t *testing.T) {
	dir := t.TempDir()
	ev := hotplug.NewEvent("add", "/devices/d", "block")
	roots := hotplug.Roots{Sys: dir, Dev: dir, Run: dir}
	h := &host{
		Machine: &Machine{Roots: roots, Runner: &hotplug.Runner{Dirs: []string{dir}}},
		policy:  &Policy{Builtins: builtin.New(builtin.Options{})},
		log:     (*log.Logger)(nil), said: true, event: ev, device: roots.EventDevice(ev), entry: newEntry(ev),
	}
	const call = "scsi_id --export /dev/none"
	if _, err := h.Program(t.Context(), call, nil, "r:1"); err == nil || strings.Contains(err.Error(), "not in "+dir) {
		t.Errorf("not installed: %v", err)
	}
	if _, err := h.Program(t.Context(), "other_id --export", nil, "r:1"); err == nil || !strings.Contains(err.Error(), "not in "+dir) {
		t.Errorf("a program that kudev does not answer to: %v", err)
	}
	if out, err := h.Program(t.Context(), "/bin/echo it ran", nil, "r:1"); err != nil || out != "it ran\n" {
		t.Errorf("echo: %q, %v", out, err)
	}
	if err := os.WriteFile(dir+"/scsi_id", []byte("#!/bin/sh\necho it ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Program(t.Context(), call, nil, "r:1"); err == nil || out != "" {
		t.Errorf("installed: %q, %v", out, err)
	}
	if out, err := h.Program(t.Context(), dir+"/"+call, nil, "r:1"); err != nil || out != "it ran\n" {
		t.Errorf("with its path: %q, %v", out, err)
	}
}

// What a rule does to an interface of a made-up /sys must not reach the machine's interface of that number.
func TestInterfacesOfAnotherSysAreNoneOfTheMachines(t *testing.T) {
	if n := network(hotplug.Roots{}); n != nil {
		t.Errorf("the machine's own: %T", n)
	}
	n := network(hotplug.Roots{Sys: t.TempDir()})
	if _, err := n.State(1, "lo"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("state: %v", err)
	}
	if err := n.Change(1, builtin.LinkChange{Alias: "x"}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("change: %v", err)
	}
}
