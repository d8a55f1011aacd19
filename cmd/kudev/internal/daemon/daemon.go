package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/modload/inotify"
	"github.com/kudev/kudev/rules"
	"github.com/kudev/kudev/rules/builtin"
)

// Options are what a daemon is started with.
type Options struct {
	Config  *modload.Config
	Roots   hotplug.Roots
	Log     *log.Logger
	Version string
	Ready   Readiness
	// Coldplug replays what is there, after readiness.
	Coldplug bool
	// Transient is a daemon that is there for one coldplug alone: it does not register for the kernel's requests, and
	// finds no fault with the machine that the coldplug itself does not meet.
	Transient bool
	// Resolve reads the configuration again for a reload; nil keeps the one there is.
	Resolve func() (*modload.Config, error)

	// Source, Sink and Runner stand in for the kernel's socket, for libudev's listeners and for programs; nil for the real.
	Source    Source
	Sink      Sink
	Runner    Runner
	NetNS     int            // a descriptor of the network namespace to listen in, 0 for the process's
	Kernel    modload.Kernel // nil: the machine's
	RulesDirs []string       // when given, all the rules there are
	HWDB      string
	Names     string // when names of users and groups are looked up: see PolicyOptions
	// Announce asks the kernel to announce a device again; nil writes to its uevent file.
	Announce func(item coldplug.Item, message string) error

	patience time.Duration // with clients that ask for nothing; 0 means a minute
}

// Daemon is the running device manager. It is made by Start, works until its context ends or Exit is called, and ends
// with Wait.
type Daemon struct {
	opts     Options
	log      *log.Logger
	began    Micros
	claim    *modload.Claim
	source   Source
	queue    *hotplug.Queue
	sink     Sink
	store    *hotplug.Store
	nodes    *hotplug.Watch // nil for a transient daemon: who would hear of a close later?
	machine  *Machine
	cgroup   *hotplug.Cgroup // nil where there is none for use
	loads    *loads
	policy   atomic.Pointer[Policy]
	journal  *Journal
	counters Counters
	watch    *witnesses
	later    later
	replay   func()       // takes back the claim of the start's coldplug
	trace    *rules.Trace // of the one event of Once
	shared   bool         // others keep links below the same directories: no lock says that there is one daemon
	known    known

	ctx        context.Context
	cancel     context.CancelCauseFunc
	workers    sync.WaitGroup // clients and background work
	ready      atomic.Int64   // Micros from the start
	reloads    atomic.Uint64
	stopped    atomic.Bool
	stale      atomic.Bool // a file of the policy has changed since it was read
	files      atomic.Pointer[inotify.Watcher]
	freshening sync.Mutex
	reloading  sync.Mutex
	recovering sync.Mutex
	coldplugs  atomic.Int32 // under way

	mu          sync.Mutex
	reloadError string
	registered  bool
	problems    []string
	waitFors    map[*waitFor]struct{}
	tallies     map[*tally]struct{}
	losses      []loss
	looked      Micros // at the directories of the rules
	tried       string // their state when they were read for being others
	lastSeqnum  atomic.Uint64
}

// errExit is why the context of a daemon that was told to exit has ended.
var errExit = errors.New("told to exit")

// Start makes this process the daemon: it takes the claim, opens its sockets, reads the rules and begins to handle
// events. When it returns without an error the daemon listens, and has said so by its Readiness. A *modload.HeldError
// means that another one runs.
func Start(ctx context.Context, opts Options) (_ *Daemon, err error) {
	d := &Daemon{opts: opts, log: opts.Log, began: now(), journal: NewJournal(),
		waitFors: make(map[*waitFor]struct{}), tallies: make(map[*tally]struct{})}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	var undo []func()
	defer func() {
		if err != nil {
			d.cancel(err)
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()
	before := d.predecessor()
	sweepPassing(d.run())
	if opts.Transient {
		name := passingName(d.run(), os.Getpid())
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name, nil, 0o644)
		}
		if err != nil {
			if errors.Is(err, unix.EROFS) {
				err = fmt.Errorf("%w: mount a tmpfs on /run first", err)
			}
			return nil, fmt.Errorf("be the daemon for this while: %w", err)
		}
		undo = append(undo, func() { os.Remove(name) })
	}
	if d.claim, err = opts.Config.Claim(); err != nil {
		return nil, err
	}
	undo = append(undo, func() { d.claim.Release() })
	own, err := listenControl(d.run())
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { own.Close() })
	udev, err := listenUdevControl(d.run())
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { udev.Close() })

	// From here on the kernel keeps what it sends for us.
	if d.source = opts.Source; d.source == nil {
		listener, err := hotplug.Listen(hotplug.ListenOptions{
			Buffer: opts.Config.ReceiveBuffer(), NetNS: opts.NetNS,
			Refused: func(r hotplug.Refusal) { d.log.Debug("refused: " + r.Error()) },
		})
		if err != nil {
			return nil, err
		}
		d.source = listener
	}
	undo = append(undo, func() { d.source.Close() })
	if err := d.setUp(); err != nil {
		return nil, err
	}
	d.openStore()
	d.store.SetBusy(false) // one that was killed may have left its word
	if opts.Coldplug {     // before anybody can ask whether all is done
		d.replay = d.queue.Hold(coldplugging)
	}
	d.workers.Go(func() { d.receive(d.ctx) })
	d.workers.Go(func() { d.serveControl(d.ctx, own) })
	d.workers.Go(func() { d.serveUdevControl(d.ctx, udev) })
	d.afterStart(before)
	d.ready.Store(int64(now() - d.began))
	if err := opts.Ready.Ready(); err != nil {
		d.log.Warn(err.Error())
	}
	return d, nil
}

// setUp makes what handles events.
func (d *Daemon) setUp() error {
	cfg, roots := d.opts.Config, d.opts.Roots
	d.watch = newWitnesses(d)
	d.machine = &Machine{
		Roots: roots, Path: cfg.Path,
		Runner: d.opts.Runner,
		Users:  newUserFiles(cfg.Path("/etc/passwd"), cfg.Path("/etc/group")),
		Const:  newConstants(cfg.Path),
		Line:   cfg.CommandLine(),
	}
	d.loads = newLoads(d, cfg)
	d.machine.Load = d.loads.load
	d.policy.Store(d.loadPolicy(cfg))
	var err error
	if d.sink = d.opts.Sink; d.sink == nil {
		if d.sink, err = hotplug.NewBroadcaster(d.opts.NetNS); err != nil {
			return err
		}
	}
	if d.machine.Runner == nil {
		if d.cgroup, err = hotplug.OwnCgroup(); err != nil && !d.opts.Transient {
			d.log.Info("programs that leave their process group are not killed: " + err.Error())
		}
		d.machine.Runner = &hotplug.Runner{Dirs: []string{cfg.Path("/usr/lib/udev"), cfg.Path("/lib/udev")}, Timeout: cfg.EventTimeout(), Cgroup: d.cgroup}
	}
	if !d.opts.Transient {
		d.nodes, err = hotplug.NewWatch(roots, func(dev *hotplug.Device, err error) {
			if err != nil {
				d.log.Warn(err.Error())
			}
		})
		if err != nil {
			d.log.Warn(err.Error())
		}
	}
	d.queue = hotplug.NewQueue(d.handle, hotplug.QueueOptions{
		Workers: cfg.Workers(),
		Timeout: cfg.EventTimeout(),
		Done:    d.done,
		Slow: func(ev *hotplug.Event, took time.Duration, overdue bool) {
			text := "an event takes long"
			if overdue {
				text = "an event takes too long and is ended"
			}
			d.log.Warn(text, "event", ev, "seqnum", ev.Seqnum(), "took", took.Round(time.Millisecond))
		},
		Busy: func(busy bool) { d.store.SetBusy(busy) },
	})
	return nil
}

// openStore opens what keeps nodes, links and records. It works as far as it can.
func (d *Daemon) openStore() {
	roots := d.opts.Roots
	makeNodes, err := roots.NeedsNodes()
	if err != nil {
		d.log.Warn(err.Error())
	}
	opts := hotplug.StoreOptions{MakeNodes: makeNodes, Shared: d.shared}
	if roots.SysDir() == "/sys" { // another /sys speaks of another machine's interfaces
		opts.Rename = (&hotplug.Renamer{NetNS: d.opts.NetNS}).Rename
	}
	if d.store, err = hotplug.OpenStore(roots, opts); err != nil {
		d.log.Warn(err.Error())
	}
}

func (d *Daemon) loadPolicy(cfg *modload.Config) *Policy {
	p := LoadPolicy(PolicyOptions{
		Config: cfg, Roots: d.opts.Roots, RulesDirs: d.opts.RulesDirs, HWDB: d.opts.HWDB, Users: d.machine.Users, Names: d.opts.Names,
		Builtins: builtin.Options{Network: network(d.opts.Roots)},
	})
	for _, problem := range p.Problems {
		if strings.HasPrefix(problem.File, "embedded/") {
			d.log.Debug(problem.Error()) // a group that this machine does not have
			continue
		}
		d.log.Warn(problem.Error())
	}
	return p
}

// network is the builtins' way to the interfaces of roots: nil for the kernel's own.
func network(roots hotplug.Roots) builtin.Network {
	if roots.SysDir() == "/sys" {
		return nil
	}
	return builtin.NoNetwork{}
}

// run is the directory that stands for /run.
func (d *Daemon) run() string { return d.opts.Roots.RunDir() }

// receive takes events from the kernel to the queue until the daemon ends.
func (d *Daemon) receive(ctx context.Context) {
	batch := make([]*hotplug.Event, 64)
	for {
		n, err := d.source.Receive(ctx, batch)
		if n > 0 {
			d.freshen(ctx)
		}
		for _, ev := range batch[:n] {
			d.watch.watch.Note(ev)
			d.take(ctx, ev)
		}
		clear(batch[:n])
		switch {
		case err == nil:
		case errors.Is(err, hotplug.ErrOverflow):
			d.overflow(ctx)
		case ctx.Err() != nil || errors.Is(err, hotplug.ErrClosed):
			return
		default:
			d.log.Error(err.Error())
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// take gives one event its place. The queue's markers end there.
func (d *Daemon) take(ctx context.Context, ev *hotplug.Event) {
	if n := ev.Seqnum(); n != 0 {
		d.lastSeqnum.Store(n)
	}
	d.known.note(d.opts.Roots, ev)
	if err := d.queue.Add(ctx, ev); err != nil && ctx.Err() == nil {
		d.log.Error("queue an event: "+err.Error(), "event", ev)
	}
}

// passMarker returns when everything that the kernel had sent before the call is in the queue.
func (d *Daemon) passMarker(ctx context.Context) error {
	_, err := d.queue.SettleOnly(ctx, d.mark, nil)
	return err
}

// mark sends a marker through our own socket. Where the kernel does not let us, as in a user namespace that does not own the
// network's, or has no such means (before Linux 4.18), a write to the uevent file of /dev/null's device does the same, and others hear of it.
func (d *Daemon) mark(uuid string) error {
	err := d.source.Mark(uuid)
	if err == nil || errors.Is(err, hotplug.ErrClosed) {
		return err
	}
	name := d.opts.Roots.SysDir() + "/devices/virtual/mem/null/uevent"
	f, openErr := os.OpenFile(name, os.O_WRONLY, 0)
	if openErr != nil {
		return fmt.Errorf("%w, and %w", err, openErr)
	}
	_, writeErr := f.WriteString("change " + uuid)
	if writeErr = errors.Join(writeErr, f.Close()); writeErr != nil {
		return fmt.Errorf("%w, and %w", err, writeErr)
	}
	return nil
}

// Exit ends the daemon as a signal does.
func (d *Daemon) Exit() { d.cancel(errExit) }

// Wait waits for the daemon's end: until its context ends or Exit is called, then for the events that it has begun.
func (d *Daemon) Wait() error {
	<-d.ctx.Done()
	d.opts.Ready.Stopping()
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	errs := []error{}
	if n := d.queue.Counts().Queued; n > 0 {
		d.log.Info("ending: waiting for the events that were begun", "queued", n)
	}
	if err := d.queue.Close(limit); err != nil {
		d.log.Warn(err.Error())
	}
	d.later.wait()
	d.source.Close()
	d.workers.Wait()
	d.sink.Close()
	if d.cgroup != nil {
		d.cgroup.Close()
	}
	d.loads.close()
	for _, name := range []string{SocketName, UdevSocketName, "udev/queue"} {
		os.Remove(filepath.Join(d.run(), name))
	}
	errs = append(errs, d.claim.Release())
	if d.opts.Transient {
		os.Remove(passingName(d.run(), os.Getpid()))
	}
	return errors.Join(errs...)
}

// setStopped holds events back, or lets them go on.
func (d *Daemon) setStopped(stop bool) {
	d.stopped.Store(stop)
	if stop {
		d.queue.Pause()
	} else {
		d.queue.Resume()
	}
}

// setLogLevel takes a level's name, or syslog's number of it.
func (d *Daemon) setLogLevel(s string) error {
	level, ok := levels()[strings.ToLower(s)]
	if !ok {
		return fmt.Errorf("unknown log level %q", s)
	}
	d.log.SetLevel(level)
	return nil
}

// levels are syslog's, by name and by number.
func levels() map[string]modload.Level {
	return map[string]modload.Level{
		"emerg": modload.LevelError, "alert": modload.LevelError, "crit": modload.LevelError, "err": modload.LevelError, "error": modload.LevelError,
		"warning": modload.LevelWarn, "warn": modload.LevelWarn, "notice": modload.LevelNotice, "info": modload.LevelInfo, "debug": modload.LevelDebug,
		"0": modload.LevelError, "1": modload.LevelError, "2": modload.LevelError, "3": modload.LevelError, "4": modload.LevelWarn,
		"5": modload.LevelNotice, "6": modload.LevelInfo, "7": modload.LevelDebug,
	}
}

// setEnv sets a property of all events to come: KEY=value, or KEY= to remove it.
func (d *Daemon) setEnv(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return fmt.Errorf("set %q: it is KEY=VALUE", s)
	}
	d.machine.SetGlobal(key, value)
	return nil
}

// Status returns the counters and what else there is to say of the daemon.
func (d *Daemon) Status() *Status {
	policy := d.policy.Load()
	events := d.queue.Counts()
	heard := d.source.Counts()
	refused := heard.Refused + heard.Malformed
	s := &Status{
		Pid: os.Getpid(), Version: d.opts.Version,
		UptimeUS: now() - d.began, ReadyUS: Micros(d.ready.Load()),
		Received: events.Received, Handled: events.Handled, Failed: events.Failed + d.counters.FailedLater.Load(), Queued: events.Queued,
		Refused: refused, Lost: d.counters.Lost.Load(), Recovered: d.counters.Recovered.Load(),
		ModulesLoaded: d.counters.ModulesLoaded.Load(),
		Loading:       d.loads.inFlight(),
		Stopped:       d.stopped.Load(),
		Tree:          d.opts.Config.Tree(), Release: d.opts.Config.Release(),
		Rules: policy.Shown(), RuleCount: policy.Count(), Reloads: d.reloads.Load(), Journal: d.journal.Len(),
		RSSBytes: residentBytes(),
	}
	for _, dir := range d.opts.RulesDirs {
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		s.RulesDirs = append(s.RulesDirs, dir)
	}
	s.Waiting = d.watch.waiting()
	d.mu.Lock()
	s.ReloadError, s.Registered, s.Problems = d.reloadError, d.registered, slices.Clone(d.problems)
	d.mu.Unlock()
	return s
}
