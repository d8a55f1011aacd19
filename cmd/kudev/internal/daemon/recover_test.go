package daemon

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// recoverer is a daemon that has no more than recovery needs. What it handles is in the list that it returns; busy is
// called when the first event is queued.
func recoverer(roots hotplug.Roots, busy func()) (*Daemon, func() []string) {
	var mu sync.Mutex
	var handled []string
	d := &Daemon{opts: Options{Roots: roots}, log: slog.New(slog.DiscardHandler), journal: NewJournal(), arrivals: make(map[*hotplug.Event]Micros)}
	d.queue = hotplug.NewQueue(func(_ context.Context, ev *hotplug.Event) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, ev.String()+" "+ev.Devname())
		return false, nil
	}, hotplug.QueueOptions{Busy: func(yes bool) {
		if yes {
			busy()
		}
	}})
	return d, func() []string {
		d.queue.Close(context.Background())
		return handled
	}
}

const lostDisk = "/devices/virtual/block/sda"

func TestADeviceThatGoesWhileItIsRecoveredIsRemovedAfterIt(t *testing.T) {
	roots := hotplugtest.Tree(t, lostDisk+" subsystem=block dev=8:0\n\tuevent DEVNAME=sda\n")
	gone := false
	d, handled := recoverer(roots, func() {
		if !gone {
			gone = true
			hotplugtest.Remove(t, roots, lostDisk)
		}
	})
	d.recover(t.Context(), false)
	if got, want := handled(), []string{"add@" + lostDisk + " sda", "remove@" + lostDisk + " sda"}; !slices.Equal(got, want) {
		t.Errorf("handled %q, want %q", got, want)
	}
}
