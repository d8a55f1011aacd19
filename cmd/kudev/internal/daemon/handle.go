package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
	"github.com/kudev/kudev/rules/builtin"
)

// handle is one event's way through the house: rules; node, links, record; RUN; listeners. It is the queue's handler.
func (d *Daemon) handle(ctx context.Context, ev *hotplug.Event) (caused bool, err error) {
	e := newEntry(ev)
	e.Started = now()
	d.origin(e, ev)
	dev := d.opts.Roots.EventDevice(ev)
	dev.Knowing(func(devpath string) (hotplug.Identity, bool) { return d.known.identity(d.opts.Roots, devpath) })
	unlock, err := lockDisk(d.opts.Roots, ev, dev)
	if err != nil {
		return false, err
	}
	defer func() { unlock() }()
	// What the rules themselves do to the node is no change. When they do not get to say whether it is watched it is as before.
	watched := d.nodes != nil && d.nodes.End(dev.ID()) && ev.Action() != "remove"
	defer func() {
		if watched {
			_ = d.nodes.Begin(dev)
		}
	}()
	h := &host{Machine: d.machine, policy: d.policy.Load(), event: ev, device: dev, entry: e, log: d.log}

	trace := d.trace
	if trace == nil && d.journal.Watched() {
		trace = new(rules.Trace)
	}
	res, err := h.policy.Program.Evaluate(ctx, ev, dev, h, trace)
	if trace != nil {
		e.Rules = ruleLines(trace)
	}
	errs := []error{err}
	if ctx.Err() != nil && ev.Action() != "remove" {
		// The rules have not had their say: what they would have decided is unknown, and nothing of what is there is given up.
		errs = []error{fmt.Errorf("the rules were not done: %w", context.Cause(ctx))}
		return h.caused, d.finish(h, ev, dev, notHandled(ev, unix.ETIMEDOUT), errs, true)
	}
	watched = d.nodes != nil && res.Watch && ev.Action() != "remove"
	applied, err := d.store.Apply(ctx, ev, dev, &res)
	errs = append(errs, err)
	noteApplied(e, dev, &res, applied)
	if applied.Kept != nil {
		h.Log().Warn("the interface keeps its name", "error", applied.Kept)
	}
	if applied.Others != nil {
		h.Log().Warn(applied.Others.Error())
	}
	for _, name := range applied.Taken {
		h.Log().Warn("link not made: something that is no link has the name", "link", name)
	}
	if h.done = len(res.Run) == 0; !h.done {
		e.Applied = now()
	}
	unlock() // RUN may have to open the disk for itself
	unlock = func() {}
	if d.later.now() && late(ev) && loadsModules(res.Run) {
		caused, err := h.caused, d.finish(h, ev, dev, applied, errs, false)
		rest := func() { d.handleLater(h, ev, dev, res, applied, err != nil) }
		if !d.later.putOff(ev.Devpath(), rest) {
			rest()
			caused = h.caused
		}
		return caused, err
	}
	errs = append(errs, d.runAll(ctx, h, ev, dev, &res, applied))
	if watched { // whatever RUN did to the node, or how it ended
		watched = false
		if err := d.nodes.Begin(dev); err != nil {
			errs = append(errs, err)
		}
	}
	return h.caused || res.Name != "", d.finish(h, ev, dev, applied, errs, true)
}

// notHandled is what listeners are told of an event that could not be handled: what the kernel says, and that it failed.
// systemd looks for that.
func notHandled(ev *hotplug.Event, why unix.Errno) *hotplug.Applied {
	applied := &hotplug.Applied{Properties: []hotplug.Pair{{Key: "UDEV_DATABASE_VERSION", Value: hotplug.DatabaseVersion}}}
	for key, value := range ev.All() {
		if key == "DEVNAME" {
			value = "/dev/" + ev.Devname()
		}
		applied.Properties = append(applied.Properties, hotplug.Pair{Key: key, Value: value})
	}
	applied.Properties = append(applied.Properties, hotplug.Pair{Key: "UDEV_WORKER_FAILED", Value: "1"},
		hotplug.Pair{Key: "UDEV_WORKER_ERRNO", Value: strconv.Itoa(int(why))},
		hotplug.Pair{Key: "UDEV_WORKER_ERRNO_NAME", Value: unix.ErrnoName(why)})
	return applied
}

// handleLater is the rest of an event whose loads were put off: RUN. It has the queue's care, a panic becomes an error, and
// what fails counts, once for each event.
func (d *Daemon) handleLater(h *host, ev *hotplug.Event, dev *hotplug.Device, res hotplug.Result, applied *hotplug.Applied, failed bool) {
	ctx, cancel := d.eventContext()
	defer cancel()
	h.caused = false
	e := h.entry
	e.Note = "its modules were put off until the disks were there"
	err := guarded(func() error { return d.runAll(ctx, h, ev, dev, &res, applied) })
	if err != nil {
		if !failed && !onlyRun(err) {
			d.counters.FailedLater.Add(1)
		}
		d.say(h.Log(), e, err)
	}
	e.Finished = now()
	d.journal.Add(e)
	d.found(e)
	if h.caused {
		d.queue.Caused()
	}
}

// guarded is f's error. A panic is one too.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &hotplug.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// say logs what went wrong with an event, and writes it down in its entry.
func (d *Daemon) say(log modload.Logger, e *Entry, err error) {
	e.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	var record *hotplug.RecordError
	if errors.As(err, &record) {
		e.NotKept = record.Error()
	}
	var panicked *hotplug.PanicError
	if errors.As(err, &panicked) {
		log.Error(e.Error, "stack", string(panicked.Stack))
		return
	}
	log.Warn(e.Error)
}

// finish tells listeners, and writes the event down when it is over. The error is why the event has failed. What went wrong in RUN
// is said and written down, and is none: as with udev, the event is handled.
func (d *Daemon) finish(h *host, ev *hotplug.Event, dev *hotplug.Device, applied *hotplug.Applied, errs []error, over bool) error {
	e := h.entry
	if applied != nil {
		if err := d.sink.Send(applied.Properties); err != nil {
			errs = append(errs, err)
		}
	}

	err := errors.Join(errs...)
	if err != nil && hotplug.IsGone(err) && !dev.Exists() {
		err = nil // it vanished half-way: its remove event is on its way
	}
	if err != nil {
		d.say(h.Log(), e, err)
	}
	e.Finished = now()
	if h.done {
		e.Applied = e.Finished
	}
	if over {
		d.journal.Add(e)
		d.found(e)
	}
	if onlyRun(err) {
		return nil
	}
	return err
}

// done is told of each event that is over. The handler itself has said what went wrong, unless it panicked or could not
// begin, since somebody held the disk for too long.
func (d *Daemon) done(o hotplug.Outcome) {
	var panicked *hotplug.PanicError
	why := unix.EIO
	switch {
	case o.Err == nil:
		return
	case errors.Is(o.Err, hotplug.ErrBusy):
		o.Err = fmt.Errorf("the event is not handled: %w", o.Err)
		why = unix.ETIMEDOUT
	case !errors.As(o.Err, &panicked):
		return
	}
	if err := d.sink.Send(notHandled(o.Event, why).Properties); err != nil {
		o.Err = errors.Join(o.Err, err)
	}
	e := newEntry(o.Event)
	d.origin(e, o.Event)
	e.Finished = now()
	e.Started = e.Finished - Micros(o.Took/time.Microsecond)
	d.say(d.log.With("device", e.Devpath, "action", e.Action, "seqnum", e.Seqnum), e, o.Err)
	d.journal.Add(e)
	d.found(e)
}

func newEntry(ev *hotplug.Event) *Entry {
	return &Entry{
		Type: "event", Seqnum: ev.Seqnum(), Action: ev.Action(), Devpath: ev.Devpath(), Subsystem: ev.Subsystem(),
		Devtype: ev.Devtype(), Devname: ev.Devname(), Driver: ev.Value("DRIVER"), Modalias: ev.Value("MODALIAS"),
		Origin: "kernel", Received: Micros(ev.Received() / time.Microsecond),
	}
}

// origin says where the event comes from.
func (d *Daemon) origin(e *Entry, ev *hotplug.Event) {
	switch uuid := ev.UUID(); {
	case ev.Value("SYNTH_ARG_KUDEVCOLDPLUG") != "":
		e.Origin = "coldplug"
	case ev.Value("KUDEV_RECOVERED") != "":
		e.Origin = "recovered"
	case uuid != "":
		e.Origin = "trigger"
	}
}

// runAll runs RUN in its order, builtins and programs, and then keeps the record. What RUN failed with is a runError.
func (d *Daemon) runAll(ctx context.Context, h *host, ev *hotplug.Event, dev *hotplug.Device, res *hotplug.Result, applied *hotplug.Applied) error {
	var errs []error
	for _, cmd := range res.Run {
		var err error
		name, _, _ := strings.Cut(cmd.Line, " ")
		told := !cmd.Builtin || name != "kmod" // whose modules are told one by one
		var began Micros
		if told {
			began = now()
		}
		if cmd.Builtin {
			args := hotplug.SplitCommand(cmd.Line)
			err = h.Builtin(ctx, args[0], h.call(ev, dev, res, applied, args[1:]))
			if errors.Is(err, builtin.ErrNothing) {
				err = nil
			}
		} else {
			h.caused = true
			_, err = h.Runner.Run(ctx, hotplug.Program{Line: cmd.Line, Env: environment(applied), Rule: cmd.Rule})
		}
		if told {
			ran := Ran{Line: cmd.Line, Rule: cmd.Rule, Took: now() - began}
			if err != nil {
				ran.Error = err.Error()
			}
			h.entry.Run = append(h.entry.Run, ran)
		}
		switch {
		case err == nil:
		case cmd.Builtin:
			errs = append(errs, fmt.Errorf("builtin %q of %s: %w", cmd.Line, cmd.Rule, err))
		default:
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	var kept error
	if ev.Action() != "remove" {
		kept = d.store.Finish(dev, applied)
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(runError{err}, kept)
	}
	return kept
}

// runError is what programs and builtins of RUN failed with.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// onlyRun says whether an event's error is of its RUN alone.
func onlyRun(err error) bool {
	switch err := err.(type) {
	case runError:
		return true
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(err error) bool { return !onlyRun(err) })
	case interface{ Unwrap() error }:
		return onlyRun(err.Unwrap())
	}
	return false
}

// call makes a builtin's call of RUN: the event's properties are the result's, and what it finds is kept and told.
func (h *host) call(ev *hotplug.Event, dev *hotplug.Device, res *hotplug.Result, applied *hotplug.Applied, args []string) *builtin.Call {
	return &builtin.Call{
		Event: ev, Device: dev, Args: args, Log: h.Log(),
		Get: func(key string) (string, bool) {
			for _, p := range res.Properties {
				if p.Key == key {
					return p.Value, true
				}
			}
			return "", false
		},
		Set: func(key, value string) {
			res.Properties = append(slices.DeleteFunc(res.Properties, func(p hotplug.Property) bool { return p.Key == key }),
				hotplug.Property{Key: key, Value: value, Stored: true})
			if ev.Action() != "remove" {
				applied.Set(key, value)
			}
		},
		All: func(yield func(string, string) bool) {
			for _, p := range res.Properties {
				if !yield(p.Key, p.Value) {
					return
				}
			}
		},
	}
}

// environment is what a program of RUN gets: the event's properties as listeners see them.
func environment(applied *hotplug.Applied) []string {
	env := make([]string, 0, len(applied.Properties))
	for _, p := range applied.Properties {
		env = append(env, p.Key+"="+p.Value)
	}
	return env
}

// noteApplied writes down what became of the node, the links and the name.
func noteApplied(e *Entry, dev *hotplug.Device, res *hotplug.Result, applied *hotplug.Applied) {
	if applied == nil {
		return
	}
	e.Links, e.Unlinked = applied.Links, applied.Dropped
	if applied.Renamed != "" {
		e.Name = res.Name
	}
	if name := dev.Devname(); name != "" && e.Action != "remove" && applied.Others == nil {
		e.Node = &Node{Path: "/dev/" + name, UID: res.Node.UID, GID: res.Node.GID}
		if res.Node.Mode != nil {
			e.Node.Mode = fmt.Sprintf("%04o", res.Node.Mode.Perm())
		}
	}
}

// ruleLines turns a trace into what the journal keeps.
func ruleLines(t *rules.Trace) []RuleLine {
	list := make([]RuleLine, 0, len(t.Steps))
	for _, s := range t.Steps {
		if s.Matched {
			list = append(list, RuleLine{Rule: s.Rule.String(), Did: strings.Join(s.Did, ", ")})
		}
	}
	return list
}

// loadsModules tells whether RUN asks for modules.
func loadsModules(run []hotplug.Command) bool {
	for _, cmd := range run {
		if cmd.Builtin && strings.HasPrefix(cmd.Line, "kmod") {
			return true
		}
	}
	return false
}

// late tells whether an event's device is sound or graphics, whose driver is not loaded while the disks are.
func late(ev *hotplug.Event) bool {
	alias := ev.Value("MODALIAS")
	return alias != "" && ev.Action() != "remove" && coldplug.Late(alias)
}
