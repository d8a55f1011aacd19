package daemon

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
	"github.com/kudev/kudev/rules/builtin"
)

// Once is one event that is handled without a daemon: for real, or only decided.
type Once struct {
	Config    *modload.Config
	Roots     hotplug.Roots
	Log       *log.Logger
	RulesDirs []string // when given, all the rules there are, the highest first
	HWDB      string
	Names     string // when names of users and groups are looked up: see PolicyOptions
	Kernel    modload.Kernel
	Trace     *rules.Trace // may be nil
	Globals   []string     // KEY=value, as udevadm control --property sets
}

// Decided is what came of it.
type Decided struct {
	Event   *hotplug.Event
	Device  *hotplug.Device
	Result  hotplug.Result
	Effects []rules.Effect // that a dry run left out
	Entry   *Entry         // of a real one
	Policy  *Policy
}

// noSink has no listeners.
type noSink struct{}

func (noSink) Send([]hotplug.Pair) error { return nil }
func (noSink) Close() error              { return nil }

// Apply handles the event for real, RUN included.
func (o *Once) Apply(ctx context.Context, ev *hotplug.Event) (*Decided, error) {
	out := &Decided{Event: ev}
	var failed error
	err := o.ApplyAll(ctx, func(yield func(*hotplug.Event) bool) { yield(ev) }, func(e *Entry, err error) {
		out.Entry, failed = e, err
	})
	return out, errors.Join(err, failed)
}

// ApplyAll handles events for real, one after the other, and tells what came of each.
func (o *Once) ApplyAll(ctx context.Context, events iter.Seq[*hotplug.Event], each func(e *Entry, err error)) error {
	d, err := o.daemon()
	if err != nil {
		return err
	}
	defer d.loads.close()
	d.openStore()
	d.trace = o.Trace
	w := d.journal.Watch(0)
	defer w.Close()
	for ev := range events {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := d.journal.Len()
		_, err := d.handle(ctx, ev)
		var entry *Entry
		if list := d.journal.After(before); len(list) > 0 {
			entry = list[len(list)-1]
		}
		each(entry, err)
	}
	return nil
}

// Decide tells what would happen. Programs of PROGRAM and IMPORT are run, as udevadm test does; nothing is written.
func (o *Once) Decide(ctx context.Context, ev *hotplug.Event) (*Decided, error) {
	d, err := o.daemon()
	if err != nil {
		return nil, err
	}
	defer d.loads.close()
	policy := LoadPolicy(PolicyOptions{
		Config: o.Config, Roots: o.Roots, RulesDirs: o.RulesDirs, HWDB: o.HWDB, Users: d.machine.Users, Names: o.Names,
		Builtins: builtin.Options{DryRun: true, Network: network(o.Roots), Load: func(context.Context, string) error { return nil }},
	})
	d.machine.Load = func(context.Context, string, *Entry) error { return nil }
	dev := o.Roots.EventDevice(ev)
	h := &host{Machine: d.machine, policy: policy, event: ev, device: dev, entry: newEntry(ev), log: o.Log, said: true}
	dry := &rules.DryRun{Host: h}
	res, err := policy.Program.Evaluate(ctx, ev, dev, dry, o.Trace)
	return &Decided{Event: ev, Device: dev, Result: res, Effects: dry.Effects, Policy: policy}, err
}

// daemon makes what handles an event, with no sockets.
func (o *Once) daemon() (*Daemon, error) {
	d := &Daemon{
		opts: Options{Config: o.Config, Roots: o.Roots, Log: o.Log, RulesDirs: o.RulesDirs, HWDB: o.HWDB, Names: o.Names, Kernel: o.Kernel, Sink: noSink{}, Transient: true},
		log:  o.Log, journal: NewJournal(), ctx: context.Background(),
		shared: true,
	}
	if err := d.setUp(); err != nil {
		return nil, err
	}
	for _, g := range o.Globals {
		if err := d.setEnv(g); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Event makes the event of a device's present state, as a write of action to its uevent file would.
func (o *Once) Event(devpath, action string) (*hotplug.Event, error) {
	dev, err := o.Roots.Device(devpath)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", devpath, err)
	}
	return dev.MakeEvent(action)
}
