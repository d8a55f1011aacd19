package hotplug_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

func TestCloseAfterWriteAsksForAChange(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	hotplugtest.Add(t, roots, "/devices/virtual/block/sda/sda1 subsystem=block dev=8:1\n\tuevent DEVNAME=sda1\n\tuevent DEVTYPE=partition\n")
	changed := make(chan string, 10)
	w, err := hotplug.NewWatch(roots, func(dev *hotplug.Device, err error) {
		if err != nil {
			t.Error(err)
		}
		changed <- dev.Sysname()
	})
	must(t, err)
	store(t, roots)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	must(t, w.Begin(device(t, roots, "/devices/virtual/block/sda")))
	must(t, w.Begin(device(t, roots, "/devices/virtual/block/sdb")))
	if got := target(t, roots.Run+"/udev/watch/b8:0"); target(t, roots.Run+"/udev/watch/"+got) != "b8:0" {
		t.Errorf("watch is kept as %s", got)
	}
	w.End("b8:16")
	for _, name := range []string{"sdb", "sda"} {
		f, err := os.OpenFile(roots.Dev+"/"+name, os.O_WRONLY, 0)
		must(t, err)
		must(t, f.Close())
	}
	if name := <-changed; name != "sda" {
		t.Errorf("%s changed", name)
	}
	for _, name := range []string{"sda", "sda/sda1"} { // no partition table can be read again: each is told of
		if text := read(t, roots.Sys+"/devices/virtual/block/"+name+"/uevent"); text != "change" {
			t.Errorf("%s: asked for %q", name, text)
		}
	}
	if text := read(t, roots.Sys+"/devices/virtual/block/sdb/uevent"); text == "change" {
		t.Error("a device that is not watched any more was changed")
	}
	cancel()
	must(t, <-ended)
}

func TestWatchesAreRestored(t *testing.T) {
	roots := disks(t, "sda", "sdb")
	store(t, roots)
	must(t, os.Symlink("7", roots.Run+"/udev/watch/b8:16"))
	must(t, os.Symlink("b8:16", roots.Run+"/udev/watch/7"))
	must(t, os.Symlink("8", roots.Run+"/udev/watch/b9:9"))
	w, err := hotplug.NewWatch(roots, nil)
	must(t, err)
	must(t, w.Restore())
	var got []string
	for _, name := range kept(t, roots) {
		if strings.Contains(name, "watch/") {
			got = append(got, name)
		}
	}
	if want := "run/udev/watch/1 -> b8:16 run/udev/watch/b8:16 -> 1"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, w.Run(ctx))
}
