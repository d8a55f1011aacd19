package daemon

import (
	"context"

	"github.com/kudev/kudev/hotplug"
)

// Source is where events come from: a *hotplug.Listener, or a test's list.
type Source interface {
	Receive(ctx context.Context, events []*hotplug.Event) (int, error)
	Drain(ctx context.Context, deliver func(*hotplug.Event) error) (dropped uint64, err error)
	Counts() hotplug.ListenCounts
	Mark(uuid string) error
	Close() error
}

// Sink tells libudev's listeners: a *hotplug.Broadcaster.
type Sink interface {
	Send(properties []hotplug.Pair) error
	Close() error
}

// Runner runs programs: a *hotplug.Runner.
type Runner interface {
	Run(ctx context.Context, p hotplug.Program) (hotplug.Output, error)
}
