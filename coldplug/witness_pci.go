package coldplug

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/kudev/kudev/hotplug"
)

// pciAdded are the PCI devices that were plugged in and have no driver yet, as the kernel's events tell: it announces a device,
// gives addresses to all that came with it, and only then has the drivers look at it. With a driver that is loaded already nothing
// else says that more will come.
type pciAdded struct {
	mu    sync.Mutex
	since map[string]time.Time // by devpath
}

// pciOffered is how long it takes at most until a driver begins with a device that was announced. A device without a driver is waited
// for so long.
const pciOffered = 500 * time.Millisecond

// Note takes in an event that came from the kernel: some begin what [Watch.Pending] looks for, and only they tell of it. It may be called
// while others look.
func (w *Watch) Note(ev *hotplug.Event) {
	if ev.Subsystem() != "pci" {
		return
	}
	w.pci.mu.Lock()
	defer w.pci.mu.Unlock()
	switch ev.Action() {
	case "add":
		if ev.UUID() != "" { // a trigger's: the kernel sends none with its own
			return
		}
		if w.pci.since == nil {
			w.pci.since = make(map[string]time.Time)
		}
		w.pci.since[ev.Devpath()] = w.now()
	case "bind", "remove":
		delete(w.pci.since, ev.Devpath())
	}
}

// Forget drops what Note has taken in: events were lost, and with them, perhaps, those that it waits for.
func (w *Watch) Forget() {
	w.pci.mu.Lock()
	defer w.pci.mu.Unlock()
	clear(w.pci.since)
}

func pciDevices(t *table) {
	t.pci.mu.Lock()
	defer t.pci.mu.Unlock()
	for devpath, since := range t.pci.since {
		dir := filepath.Join(t.sys, devpath)
		switch {
		case driver(dir) != "": // the link comes before the driver's probe, the event after it
			t.tell(dir, "its driver is at it")
		case t.now.Sub(since) < pciOffered && t.exists(dir):
			t.tell(dir, "it is about to be given to the drivers")
		default:
			delete(t.pci.since, devpath)
		}
	}
}
