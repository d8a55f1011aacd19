package hotplug_test

import (
	"context"
	"fmt"

	"github.com/kudev/kudev/hotplug"
)

// A device manager in a few lines: it keeps a record and a link of each disk.
func Example() {
	var roots hotplug.Roots // the machine's own
	listener, err := hotplug.Listen(hotplug.ListenOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	store, err := hotplug.OpenStore(roots, hotplug.StoreOptions{})
	if err != nil {
		fmt.Println(err) // and go on: the store does what it can
	}
	queue := hotplug.NewQueue(func(ctx context.Context, ev *hotplug.Event) (caused bool, err error) {
		dev := roots.EventDevice(ev)
		if dev.Devtype() != "disk" {
			return false, nil
		}
		_, err = store.Apply(ctx, ev, dev, &hotplug.Result{Links: []string{"disk/by-name/" + dev.Sysname()}})
		return false, err
	}, hotplug.QueueOptions{Busy: store.SetBusy})

	ctx := context.Background()
	events := make([]*hotplug.Event, 64)
	for {
		n, err := listener.Receive(ctx, events)
		if err != nil { // ErrOverflow: Drain, and walk /sys for what was lost
			fmt.Println(err)
			return
		}
		for _, ev := range events[:n] {
			if err := queue.Add(ctx, ev); err != nil {
				return
			}
		}
	}
}
