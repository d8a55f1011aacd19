package modload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A job is one request on its way through its plan.
type job struct {
	loader  *Loader
	request Request
	plan    *plan
	steps   sync.Mutex // around request.Step
}

// parameters are what a planned module is loaded with.
func (j *job) parameters(m *planned) string {
	s := j.plan.index.policy.Options(m.entry.Name, m.alias)
	if m.main && j.request.Parameters != "" {
		if s != "" {
			s += " "
		}
		s += j.request.Parameters
	}
	return s
}

// command is the install command that stands in for a planned module.
func (j *job) command(m *planned) (Line, bool) {
	if m.main && j.request.IgnoreCommand {
		return Line{}, false
	}
	return j.plan.index.policy.InstallCommand(m.entry.Name)
}

// step tells the caller what comes next.
func (j *job) step(m *planned) {
	if j.request.Step == nil {
		return
	}
	s := Step{Module: m.entry.Name, Path: m.entry.Path, Parameters: j.parameters(m), BuiltIn: m.entry.BuiltIn}
	if c, ok := j.command(m); ok {
		s.Command, s.BuiltIn = c.Value, false
	}
	j.steps.Lock()
	defer j.steps.Unlock()
	j.request.Step(s)
}

// forbidden says whether a planned module may not be loaded. What was asked for has been looked at before.
func (j *job) forbidden(m *planned) error {
	if m.main {
		return nil
	}
	return j.plan.index.Refusal(m.entry.Name, "")
}

// there says whether nothing has to be done for a module.
func (j *job) there(m *planned) State {
	switch {
	case j.request.IgnoreLoaded:
	case m.entry.BuiltIn:
		return StateBuiltIn
	case j.loader.kernel.State(m.entry.Name) == ModuleLive:
		return StateLive
	}
	return 0
}

// show goes through the plan without doing anything.
func (j *job) show() []Outcome {
	outcomes := make([]Outcome, 0, len(j.plan.list))
	for i := range j.plan.list {
		m := &j.plan.list[i]
		o := Outcome{Module: m.entry.Name, Alias: m.alias, Required: m.required, State: j.there(m)}
		_, command := j.command(m)
		switch {
		case o.State != 0:
		case m.err != nil && !command:
			o.State, o.Err = StateMissing, m.err
		default:
			if o.Err = j.forbidden(m); o.Err != nil {
				o.State = StateForbidden
				break
			}
			o.State = StatePlanned
			j.step(m)
		}
		if !m.again {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes
}

// run loads what is planned, each module on a goroutine of its own that waits for those before it. It returns when all are done or
// have given up.
func (j *job) run(ctx context.Context) []Outcome {
	list := j.plan.list
	outcomes := make([]Outcome, len(list))
	places := make([]place, len(list))
	var wg sync.WaitGroup
	for i := range list {
		if !list[i].again {
			places[i] = place{live: make(chan struct{}), done: make(chan struct{})}
		}
	}
	var ahead []string
	for i := range list {
		m := &list[i]
		if m.again {
			continue
		}
		o := &outcomes[i]
		*o = Outcome{Module: m.entry.Name, Alias: m.alias, Required: m.required}
		_, command := j.command(m)
		if o.State = j.there(m); o.State == 0 {
			if o.Err = j.forbidden(m); o.Err != nil {
				o.State = StateForbidden
			} else if m.err != nil && !command {
				o.State, o.Err = StateMissing, m.err
			}
		}
		if o.State != 0 {
			places[i].end(o.Err)
			continue
		}
		if len(m.needs)+len(m.after) > 0 && !command {
			ahead = append(ahead, m.entry.Path)
		}
		wg.Go(func() {
			defer func() { places[i].end(o.Err) }()
			for _, p := range m.after {
				if o.Err = wait(ctx, places[p].done); o.Err != nil {
					o.State = StateFailed
					return
				}
			}
			for _, p := range m.needs {
				if o.Err = wait(ctx, places[p].live); o.Err == nil {
					o.Err = places[p].err
				}
				if o.Err != nil {
					o.State = StateFailed
					return
				}
			}
			*o = j.one(ctx, m, places[i].live)
		})
	}
	if len(ahead) > 0 {
		wg.Go(func() { readAhead(ahead) })
	}
	wg.Wait()
	kept := outcomes[:0]
	for i := range outcomes {
		if !list[i].again {
			kept = append(kept, outcomes[i])
		}
	}
	for _, o := range kept {
		if !o.Required && o.Err != nil && !errors.Is(o.Err, unix.ENODEV) {
			j.loader.options.Log.Info("softdep failed", "module", o.Module, "for", j.request.Name, "error", o.Err)
		}
	}
	return kept
}

// A place is where a planned module stands: for those that need it, once live is closed, and for those that come after it, once done is.
type place struct {
	live chan struct{}
	done chan struct{}
	err  error // set before live is closed, when there is nothing to need
}

// end says that the module is done with. It is called once, by whoever may have closed live.
func (p *place) end(err error) {
	select {
	case <-p.live:
	default:
		p.err = err
		close(p.live)
	}
	close(p.done)
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// one loads one module whose dependencies are there: it joins the flight that is under way for it, or begins one.
func (j *job) one(ctx context.Context, m *planned, live chan<- struct{}) Outcome {
	l := j.loader
	o := Outcome{Module: m.entry.Name, Alias: m.alias, Required: m.required}
	var f *flight
	for f == nil || f.givenUp && ctx.Err() == nil { // by another who asked first: that is nothing to us
		l.mu.Lock()
		if f = l.flights[m.entry.Name]; f == nil {
			f = &flight{live: make(chan struct{}), done: make(chan struct{})}
			l.flights[m.entry.Name] = f
			go l.fly(ctx, f, j, m)
		}
		l.mu.Unlock()
		select {
		case <-f.live:
			close(live)
		case <-f.done:
		case <-ctx.Done():
		}
		if err := wait(ctx, f.done); err != nil {
			o.State, o.Err = StateFailed, err
			return o
		}
	}
	o.State, o.Err, o.Took, o.Started = f.outcome.State, f.outcome.Err, f.outcome.Took, f.outcome.Started
	if o.State == StateLive && m.main && j.request.FirstTime {
		o.Err = fmt.Errorf("insert %s: %w", o.Module, ErrLoaded)
	}
	return o
}

// A flight is one module on its way into the kernel. It waits for no other: its dependencies were there when it began.
type flight struct {
	live    chan struct{} // closed when others may use the module, which may be long before done; never, when that was not seen
	done    chan struct{}
	outcome Outcome
	givenUp bool // the one who asked for it gave up before it began
}

// fly inserts a module and ends the flight. Once the kernel has the module it does not end early when the one who asked for it does: others
// may have joined.
func (l *Loader) fly(ctx context.Context, f *flight, j *job, m *planned) {
	o := Outcome{Module: m.entry.Name, Alias: m.alias, Required: m.required}
	touched := false
	defer func() {
		f.outcome = o
		if touched && l.options.Observe != nil {
			l.options.Observe(o)
		}
		l.mu.Lock()
		delete(l.flights, o.Module)
		close(f.done)
		l.rest()
		l.mu.Unlock()
	}()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		o.State, o.Err, f.givenUp = StateFailed, err, true
		return
	}
	// It may have come since the plan was made.
	if o.State = j.there(m); o.State != 0 {
		return
	}
	j.step(m)
	touched = true
	o.Started = time.Now()
	if c, ok := j.command(m); ok {
		o.Err = l.install(context.WithoutCancel(ctx), c, j.parameters(m))
	} else {
		go l.watch(f, o.Module)
		o.State, o.Err = l.insert(m.entry, j.parameters(m), j.request.Force&(IgnoreVermagic|IgnoreModversions)) // as in modprobe, dependencies are forced too
	}
	o.Took = time.Since(o.Started)
	switch {
	case o.Err != nil:
		o.State = StateFailed
	case o.State == 0:
		o.State = StateLoaded
	}
}

// watch closes f.live as soon as the kernel says that the module is live, and ends with the flight at the latest. Others may use what the
// module exports from then on, while the call that inserts it goes on waiting: for the asynchronous work of all drivers of the machine, such as
// the scan of a SCSI bus for which the driver before has asked. There is no file to wait on. Kernel: kernel/module/main.c, do_init_module.
func (l *Loader) watch(f *flight, module string) {
	const shortest, longest = 2 * time.Millisecond, 32 * time.Millisecond
	pause := time.NewTimer(shortest)
	defer pause.Stop()
	for d := shortest; ; d = min(2*d, longest) {
		select {
		case <-pause.C:
		case <-f.done:
			return
		}
		if l.kernel.State(module) == ModuleLive {
			close(f.live)
			return
		}
		pause.Reset(d)
	}
}
