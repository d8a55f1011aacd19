package coldplug

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTriggerWritesActionUUIDAndArguments(t *testing.T) {
	roots := tree(t, "/devices/a bus/x")
	items, _ := Walk(context.Background(), roots, Devices)
	tr := Trigger{Action: "change", UUID: "00000000-0000-4000-8000-000000000000", Args: []string{"A=1", "B=2"}}
	rep, err := tr.Run(context.Background(), roots, items)
	if err != nil || rep.Triggered != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	got, _ := os.ReadFile(roots.Sys + "/devices/a/uevent")
	if string(got) != "change 00000000-0000-4000-8000-000000000000 A=1 B=2" {
		t.Errorf("wrote %q", got)
	}
}

func TestADeviceThatVanishedDoesNotStopTheTrigger(t *testing.T) {
	roots := tree(t, "/devices/a bus/x", "/devices/b bus/x", "/devices/c bus/x")
	items, _ := Walk(context.Background(), roots, Devices)
	os.RemoveAll(roots.Sys + "/devices/b")
	// A file that is no uevent file stands for a kernel that refuses: opening a directory for writing fails.
	os.Remove(roots.Sys + "/devices/a/uevent")
	os.Mkdir(roots.Sys+"/devices/a/uevent", 0o755)
	rep, err := (&Trigger{}).Run(context.Background(), roots, items)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Triggered != 1 || paths(rep.Vanished) != "/devices/b\n" || len(rep.Failed) != 1 || rep.Failed[0].Item.Devpath != "/devices/a" {
		t.Errorf("%+v", rep)
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	roots := tree(t, "/devices/a bus/x")
	items, _ := Walk(context.Background(), roots, Devices)
	var seen []Item
	tr := Trigger{DryRun: true, Each: func(i Item, err error) { seen = append(seen, i) }}
	if _, err := tr.Run(context.Background(), roots, items); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(roots.Sys, "devices/a/uevent")); len(got) != 0 {
		t.Errorf("wrote %q", got)
	}
	if diff := cmp.Diff(items, seen); diff != "" {
		t.Error(diff)
	}
}

func TestATriggerEndsWithItsContext(t *testing.T) {
	roots := tree(t, "/devices/a bus/x")
	items, _ := Walk(context.Background(), roots, Devices)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (&Trigger{}).Run(ctx, roots, items); err == nil {
		t.Error("no error")
	}
}
