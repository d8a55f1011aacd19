package modload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Loader puts modules into the kernel: dependencies first, independent modules side by side, each module once however many ask for it. What
// needs a module begins when that is live, which may be long before its insertion returns.
// Any number of goroutines may use it. [Loader.Loading] and [Loader.Wait] are for those who want to know that nothing is under way.
//
// Another process's loads it neither knows nor waits for: the kernel itself settles who comes first.
type Loader struct {
	source  Indexer
	kernel  Kernel
	options LoaderOptions
	slots   chan struct{}

	mu      sync.Mutex
	flights map[string]*flight
	calls   int           // of Load that have not returned
	idle    chan struct{} // closed when the last is done; nil while nobody waits
}

// An Indexer gives the current generation of a tree: an [Index] is one for ever, a [Library] follows the files.
type Indexer interface {
	Index() (*Index, error)
}

// A refresher compares a generation with the files, however sure it is that they are the same.
type refresher interface {
	Refresh() (*Index, error)
	refreshSince(asked time.Duration) (x *Index, compared bool, err error)
}

// Index returns the index itself: it is an [Indexer] whose generation never changes.
func (x *Index) Index() (*Index, error) { return x, nil }

// LoaderOptions are how a [Loader] goes about it. The zero value is good.
type LoaderOptions struct {
	// Width is how many modules are inserted at a time; 0 is 64. Drivers wait for their devices rather than for a processor, and the call
	// that inserts one returns only when all drivers' asynchronous work is done: with few places they are all taken by modules that wait for
	// the scan of one SCSI bus.
	Width int

	// Shell runs the command of an install or remove line, with env added to the environment. Nil is [Shell].
	Shell func(ctx context.Context, command string, env []string) error

	// Observe is called after each module that was handed to the kernel, or whose command was run, with what became of it: once,
	// however many asked for it. Calls come from several goroutines.
	Observe func(Outcome)

	// Log takes what is worth saying beside errors: loops in softdeps, softdeps that failed. Nil is nobody.
	Log Logger
}

// A Request is what a [Loader] is asked for. Only Name is needed.
type Request struct {
	Name       string // an alias, or the name of a module; - and _ are the same
	Parameters string // for the module itself, "a=1 b=2"; they come behind those of modprobe.d

	// Asked is when it was asked for, of CLOCK_MONOTONIC; 0 is now. Before what matches nothing is given up a [Library] compares the
	// files, unless it has done so since: so a burst of requests costs one comparison.
	Asked time.Duration

	UseBlacklist  bool // a blacklist line stops a module asked for by its name too, not only by an alias
	IgnoreCommand bool // the install line of what was asked for does not count; those of its dependencies do
	IgnoreLoaded  bool // plan as if nothing were loaded
	FirstTime     bool // a module that is there already is an error
	Force         InsertFlags

	// DryRun does everything but run commands and touch the kernel.
	DryRun bool

	// Step is called before each thing that is done or, in a dry run, would be: one at a time, in order of loading; what goes on side
	// by side may then overlap.
	Step func(Step)
}

// A Step is one thing that loading or removing does.
type Step struct {
	Module     string
	Path       string // of the file; "" for a built-in module
	Parameters string
	Command    string // run in place of the rest, where there is one
	BuiltIn    bool   // there is nothing to do
	Remove     bool
}

// An Outcome is what became of one module of a request.
type Outcome struct {
	Module   string
	Alias    string // by which it was asked for, "" for its name or as a dependency
	State    State
	Required bool  // asked for, or a dependency of what was: its failure is the request's
	Err      error // with StateFailed, StateForbidden and StateMissing
	Took     time.Duration
	Started  time.Time
}

// State is what became of a module.
type State uint8

const (
	StateLoaded      State = iota + 1 // it is in the kernel, and we or somebody at the same time put it there
	StateLive                         // it was there before
	StateBuiltIn                      // it is part of the kernel
	StateBlacklisted                  // a blacklist line stopped it: no error
	StateForbidden                    // a forbid or allow line stopped it
	StateMissing                      // there is no such module
	StateFailed                       // the kernel refused it, its command failed, or a dependency did
	StatePlanned                      // a dry run would load it
)

func (s State) String() string {
	return [...]string{"", "loaded", "live", "built in", "blacklisted", "forbidden", "missing", "failed", "planned"}[s]
}

// A NotFoundError says that a name or alias stands for no module.
type NotFoundError struct {
	Name string
	Dir  string // the tree, "" when there is none
}

func (e *NotFoundError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("%s not found: %v", e.Name, ErrNoTree)
	}
	return fmt.Sprintf("%s not found in directory %s", e.Name, e.Dir)
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// ErrNotFound is what every [NotFoundError] is.
var ErrNotFound = errors.New("module not found")

// ErrLoaded is the error where a request with FirstTime finds its module in the kernel.
var ErrLoaded = errors.New("Module already in kernel")

// NewLoader returns a loader of the modules of source.
func NewLoader(source Indexer, kernel Kernel, options LoaderOptions) *Loader {
	if options.Width <= 0 {
		options.Width = 64
	}
	if options.Shell == nil {
		options.Shell = Shell
	}
	if options.Log == nil {
		options.Log = silent{}
	}
	return &Loader{
		source:  source,
		kernel:  kernel,
		options: options,
		slots:   make(chan struct{}, options.Width),
		flights: map[string]*flight{},
	}
}

// Load loads what a name or an alias stands for, with all that it needs. It returns what became of each module in the order of the plan;
// the error is that of the modules that were asked for and of their dependencies. A softdep's failure is no error.
//
// What matches nothing is a [NotFoundError]; what a line of kudev.conf stops a [ForbiddenError]; what the kernel refuses an [InsertError].
// When ctx ends, nothing more is begun and Load returns; what the kernel is at goes on, and is counted until it is done.
func (l *Loader) Load(ctx context.Context, r Request) ([]Outcome, error) {
	l.enter()
	defer l.leave()
	index, err := l.source.Index()
	library, refreshes := l.source.(refresher)
	if err != nil && refreshes { // a tree that was not there may have been mounted, of which no watch tells
		index, err = library.Refresh()
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", r.Name, err)
	}
	alias, ok := normalizeAlias(r.Name)
	if !ok {
		return nil, fmt.Errorf("load %s: bracket without its partner", r.Name)
	}
	found := slices.Collect(index.Match(alias))
	if refreshes && !complete(index, found) { // perhaps what is missing came a moment ago
		var compared bool
		if index, compared, err = library.refreshSince(r.Asked); err != nil {
			return nil, fmt.Errorf("load %s: %w", r.Name, err)
		}
		if compared {
			found = slices.Collect(index.Match(alias))
		}
	}
	if len(found) == 0 {
		return nil, &NotFoundError{Name: r.Name, Dir: index.Dir()}
	}
	var outcomes []Outcome
	found = slices.DeleteFunc(found, func(m Match) bool {
		o, stop := l.stopped(index, m, aliasOf(m, alias), r)
		if stop {
			outcomes = append(outcomes, o)
		}
		return stop
	})
	job := &job{loader: l, request: r, plan: newPlan(index, found, alias)}
	for _, loop := range job.plan.loops {
		l.options.Log.Warn("a loop is not followed", "module", r.Name, "loop", loop)
	}
	if r.DryRun {
		outcomes = append(outcomes, job.show()...)
	} else {
		outcomes = append(outcomes, job.run(ctx)...)
	}
	var errs []error
	for _, o := range outcomes {
		if o.Required && o.Err != nil && !slices.ContainsFunc(errs, func(e error) bool { return errors.Is(e, o.Err) || e.Error() == o.Err.Error() }) {
			errs = append(errs, o.Err)
		}
	}
	if len(errs) == 0 {
		return outcomes, ctx.Err()
	}
	return outcomes, fmt.Errorf("load %s: %w", r.Name, joined(errs))
}

// complete says whether a look-up has found something, and all of it is there.
func complete(x *Index, found []Match) bool {
	for _, m := range found {
		if m.Via == ViaAlias || m.Via == ViaSymbol {
			if _, ok := x.Lookup(m.Module); !ok {
				return false
			}
		}
	}
	return len(found) > 0
}

// joined is several errors in one sentence.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return multiError(errs)
}

type multiError []error

func (m multiError) Error() string {
	var b strings.Builder
	for i, err := range m {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

func (m multiError) Unwrap() []error { return m }

// stopped says whether a module that was asked for is not to be loaded at all: it is there already, or somebody does not want it.
func (l *Loader) stopped(x *Index, m Match, alias string, r Request) (Outcome, bool) {
	o := Outcome{Module: m.Module, Alias: alias, Required: true}
	if !r.IgnoreLoaded {
		if x.BuiltIn(m.Module) || m.Via == ViaBuiltInAlias {
			o.State = StateBuiltIn
		} else if l.kernel.State(m.Module) == ModuleLive {
			o.State = StateLive
		}
		if o.State != 0 {
			if r.FirstTime {
				o.Err = fmt.Errorf("insert %s: %w", m.Module, ErrLoaded)
			}
			return o, true
		}
	}
	if _, yes := x.policy.Blacklisted(m.Module); yes && (alias != "" || r.UseBlacklist) {
		o.State = StateBlacklisted
		return o, true
	}
	if err := x.Refusal(m.Module, alias); err != nil {
		o.State, o.Err = StateForbidden, err
		return o, true
	}
	return o, false
}

// enter and leave count the calls under way.
func (l *Loader) enter() {
	l.mu.Lock()
	l.calls++
	l.mu.Unlock()
}

func (l *Loader) leave() {
	l.mu.Lock()
	l.calls--
	l.rest()
	l.mu.Unlock()
}

// rest tells those who wait that nothing is under way, when that is so.
func (l *Loader) rest() {
	if l.calls == 0 && len(l.flights) == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// Loading returns the modules that are being inserted now, by name, and whether anything at all is under way: a request between two
// modules is.
func (l *Loader) Loading() (modules []string, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.flights {
		modules = append(modules, name)
	}
	slices.Sort(modules)
	return modules, l.calls > 0 || len(l.flights) > 0
}

// Idle returns a channel that is closed as soon as nothing is under way.
func (l *Loader) Idle() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	idle := l.idle
	l.rest()
	return idle
}

// Wait returns when nothing is under way, or when ctx ends.
func (l *Loader) Wait(ctx context.Context) error {
	select {
	case <-l.Idle():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
