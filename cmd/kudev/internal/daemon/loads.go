package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kudev/kudev/modload"
)

// loads is the daemon's one long-lived loader: modules that events ask for, and those of modules-load.d.
type loads struct {
	d       *Daemon
	library *modload.Library
	loader  *modload.Loader
	booted  chan struct{} // closed when the modules of modules-load.d are loaded, or nobody loads them here
	none    bool          // a kernel without module support, or no tree: nothing is ever loaded, and the check of the start says so
}

func newLoads(d *Daemon, cfg *modload.Config) *loads {
	l := &loads{d: d, booted: make(chan struct{})}
	if d.opts.Kernel == nil && !cfg.HasModules() {
		l.none = true
		return l
	}
	kernel := d.opts.Kernel
	if kernel == nil {
		kernel = modload.NewKernel(cfg)
	}
	l.library = modload.NewLibrary(cfg, d.log)
	l.loader = modload.NewLoader(l.library, kernel, modload.LoaderOptions{Width: cfg.LoadWorkers(), Log: d.log, Observe: l.observe})
	return l
}

// observe counts each module once, however many events asked for it.
func (l *loads) observe(o modload.Outcome) {
	if o.State != modload.StateLoaded {
		return
	}
	l.d.counters.ModulesLoaded.Add(1)
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for t := range l.d.tallies {
		t.mu.Lock()
		t.account.Modules++
		t.mu.Unlock()
	}
}

// load loads what an alias or a name asks for, and writes down in e what became of it. What matches nothing, what is not
// wanted, and a driver that finds nothing to drive are no errors.
func (l *loads) load(ctx context.Context, alias string, e *Entry) error {
	if l.none {
		return nil
	}
	outcomes, err := l.loader.Load(ctx, modload.Request{Name: alias, UseBlacklist: true, Asked: asked(e)})
	var index *modload.Index
	for _, o := range outcomes {
		m := Module{Name: o.Module, State: stateOf(o), For: alias, Took: Micros(o.Took / time.Microsecond)}
		if !o.Started.IsZero() {
			m.Started = now() - Micros(time.Since(o.Started)/time.Microsecond)
		}
		if o.Err != nil {
			m.Error = o.Err.Error()
		}
		if o.State == modload.StateBlacklisted {
			if index == nil {
				index, _ = l.library.Index()
			}
			if index != nil {
				if origin, yes := index.Policy().Blacklisted(o.Module); yes {
					m.Why = origin.Place()
				}
			}
		}
		e.Modules = append(e.Modules, m)
	}
	switch {
	case len(outcomes) == 0 && errors.Is(err, modload.ErrNotFound), modload.FailedOnly(outcomes, notThere):
		if strings.Contains(alias, ":") {
			e.NoModule = true
			err = nil
		}
	case errors.Is(err, modload.ErrNoTree), modload.FailedOnly(outcomes, unwanted):
		err = nil
	}
	return err
}

// notThere says whether the tree lacks a module that its index names.
func notThere(err error) bool { return errors.Is(err, modload.ErrNotFound) }

// unwanted says whether a module's failure is none of the event's: it is forbidden, or its driver has found nothing to drive.
func unwanted(err error) bool {
	var forbidden *modload.ForbiddenError
	return modload.NoDevice(err) || errors.As(err, &forbidden)
}

// asked is when the modules of an event were asked for. Of the events that somebody makes the kernel send for what is there, which
// come by the hundred, those of a tenth of a second count as one request.
func asked(e *Entry) time.Duration {
	at := e.Received.Duration()
	if e.Origin != "kernel" {
		at -= 100 * time.Millisecond
	}
	return max(at, 0)
}

// stateOf is an outcome's state in the journal's words.
func stateOf(o modload.Outcome) string {
	switch {
	case o.State == modload.StateFailed && modload.NoDevice(o.Err):
		return "no device"
	case o.State == modload.StateBuiltIn:
		return "builtin"
	}
	return o.State.String()
}

// inFlight is how many loads are under way.
func (l *loads) inFlight() int {
	if l.none {
		return 0
	}
	modules, _ := l.loader.Loading()
	return len(modules)
}

// Name, Pending and Wait make loads a witness for the queue's Settle.
func (l *loads) Name() string { return "modules being loaded" }

func (l *loads) Pending(context.Context) []string {
	if l.none {
		return nil
	}
	modules, busy := l.loader.Loading()
	if busy && len(modules) == 0 {
		return []string{"a request for modules"}
	}
	select {
	case <-l.booted:
		return modules
	default:
		return append(modules, "what modules-load.d asks for")
	}
}

func (l *loads) Wait(ctx context.Context) error {
	if l.none {
		return nil
	}
	select {
	case <-l.booted:
	case <-ctx.Done():
		return ctx.Err()
	}
	return l.loader.Wait(ctx)
}

// reload reads modprobe.d, forbid and allow again. A look-up would see a change by itself.
func (l *loads) reload() error {
	if l.none {
		return nil
	}
	_, err := l.library.Refresh()
	if errors.Is(err, modload.ErrNoTree) {
		return nil
	}
	return err
}

func (l *loads) close() {
	if l.library != nil {
		l.library.Close()
	}
}

// boot loads what modules-load.d, /etc/modules and the kernel command line ask for, side by side with what the first events do.
func (l *loads) boot(ctx context.Context, cfg *modload.Config) {
	defer close(l.booted)
	defer l.d.queue.Caused()
	list, problems := modload.BootModules(cfg)
	for _, p := range problems {
		l.d.log.Warn(p.Error())
	}
	l.loader.LoadBoot(ctx, list, modload.Request{}, func(o modload.BootOutcome) {
		if o.Err != nil && ctx.Err() == nil {
			l.d.log.Error(o.Err.Error(), "place", o.Place)
		}
	})
}
