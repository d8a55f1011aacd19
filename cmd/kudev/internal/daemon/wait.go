package daemon

import (
	"context"
	"errors"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
)

// WaitOptions are what a settle or a coldplug waits for.
type WaitOptions struct {
	Timeout time.Duration // 0 for none
	WaitFor string        // a link or node below /dev, or a device; "" for everything
	DryRun  bool
	UUID    string // "" for all events, else only those that were triggered with it are waited for
	Lost    uint64 // of UUID: how many events had been lost before it was first used
}

// WaitOptions are those of a request, with the configured limit where it names none.
func (d *Daemon) WaitOptions(req Request) WaitOptions {
	o := WaitOptions{Timeout: req.Timeout.Duration(), WaitFor: req.WaitFor, UUID: req.UUID}
	switch {
	case req.Timeout == 0:
		o.Timeout = d.opts.Config.SettleTimeout()
	case req.Timeout < 0:
		o.Timeout = 0
	}
	return o
}

// tally adds up what happens during one settle or coldplug.
type tally struct {
	d     *Daemon
	began Micros

	mu      sync.Mutex
	account Account
	waited  map[string]Micros
}

func (d *Daemon) newTally() *tally {
	t := &tally{d: d, began: now(), waited: make(map[string]Micros)}
	d.mu.Lock()
	d.tallies[t] = struct{}{}
	d.mu.Unlock()
	return t
}

const maxNames = 200 // in an account's lists

// add counts an event that is over.
func (t *tally) add(e *Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &t.account
	a.Events++
	for _, m := range e.Modules {
		if m.State == "failed" {
			a.Failed = addName(a.Failed, m.Name+": "+m.Error)
		}
	}
	if e.NotKept != "" {
		a.Failed = addName(a.Failed, e.NotKept)
	}
	if e.NoModule {
		a.NoModule = addName(a.NoModule, e.Modalias)
	}
	if e.Devtype == "disk" && e.Subsystem == "block" && a.FirstDisk == 0 && e.Action == "add" && !strings.Contains(e.Devpath, "/virtual/") {
		a.FirstDisk = e.Finished - t.began
	}
}

func addName(list []string, name string) []string {
	if len(list) >= maxNames || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// kernel notes that the witnesses alone were waited for.
func (t *tally) kernel(list []coldplug.Witness, took Micros) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account.Kernel += took
	for _, w := range list {
		t.waited[w.String()] += took
	}
}

// finish ends the tally and returns the account.
func (t *tally) finish() *Account {
	t.d.mu.Lock()
	delete(t.d.tallies, t)
	t.d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.account
	a.Took = now() - t.began
	for what, took := range t.waited {
		a.Waited = append(a.Waited, WaitedFor{what, took})
	}
	sort.Slice(a.Waited, func(i, j int) bool {
		x, y := a.Waited[i], a.Waited[j]
		if x.Took != y.Took {
			return x.Took > y.Took
		}
		return x.What < y.What
	})
	return &a
}

// witnesses is the kernel's unfinished work as the queue's Settle asks for it, for all who wait.
type witnesses struct {
	d     *Daemon
	mu    sync.Mutex
	watch *coldplug.Watch
	last  []coldplug.Witness // of the last look
	users int                // who wait now
}

func newWitnesses(d *Daemon) *witnesses {
	return &witnesses{d: d, watch: coldplug.NewWatch(d.opts.Roots)}
}

// look looks once.
func (w *witnesses) look() []coldplug.Witness {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending, givenUp := w.watch.Pending()
	w.last = pending
	for _, g := range givenUp {
		w.d.log.Warn("the kernel does not finish: no longer waited for", "device", g.Devpath, "what", g.What)
		w.d.journal.Note("no longer waited for: " + g.String())
		w.d.mu.Lock()
		for t := range w.d.tallies {
			t.mu.Lock()
			t.account.GivenUp = addName(t.account.GivenUp, g.String())
			t.mu.Unlock()
		}
		w.d.mu.Unlock()
	}
	return pending
}

// waiting returns what was pending at the last look, as long as anyone waits.
func (w *witnesses) waiting() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users == 0 {
		return nil
	}
	return names(w.last)
}

func names(list []coldplug.Witness) []string {
	var s []string
	for _, w := range list {
		s = append(s, w.String())
	}
	return s
}

// witness is witnesses for one who waits: the time counts on its tally.
type witness struct {
	*witnesses
	tally *tally
}

func (w witness) Name() string { return "the kernel" }

func (w witness) Pending(context.Context) []string { return names(w.look()) }

// Wait looks again and again until nothing is pending. Only the time in which the daemon itself has nothing to do
// counts as waited for the kernel.
func (w witness) Wait(ctx context.Context) error {
	w.mu.Lock()
	w.users++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.users--
		w.mu.Unlock()
	}()
	for {
		began, idle := now(), w.d.idle()
		list := w.look()
		if len(list) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollWitnesses):
		}
		if idle && w.d.idle() {
			w.tally.kernel(list, now()-began)
		}
	}
}

// pollWitnesses is how often the kernel's unfinished work is looked at while someone waits for it: sysfs tells nobody of
// a change.
const pollWitnesses = 20 * time.Millisecond

// idle tells whether the daemon has nothing to do at this moment.
func (d *Daemon) idle() bool { return d.queue.Counts().Queued == 0 && d.loads.inFlight() == 0 }

// waitFor is one who waits for a device.
type waitFor struct {
	node    string // below /dev
	devpath string
	found   chan *Entry // takes one
}

func newWaitFor(roots hotplug.Roots, target string) *waitFor {
	w := &waitFor{found: make(chan *Entry, 1)}
	switch p := path.Clean(target); {
	case strings.HasPrefix(p, "/dev/"):
		w.node = p[len("/dev/"):]
	case strings.HasPrefix(p, "/sys/"):
		w.devpath = p[len("/sys"):]
	case strings.HasPrefix(p, "/"):
		w.devpath = p
	default:
		w.node = p
	}
	if w.devpath != "" { // links in it are followed
		if item, err := coldplug.Lookup(roots, w.devpath); err == nil {
			w.devpath = item.Devpath
		}
	}
	return w
}

// made tells whether the event made what is waited for.
func (w *waitFor) made(e *Entry) bool {
	if e.Type != "event" || e.Action == "remove" {
		return false
	}
	if w.devpath != "" {
		return e.Devpath == w.devpath
	}
	return e.Devname == w.node || slices.Contains(e.Links, w.node)
}

// there tells whether the device has been handled already, and returns its devpath.
func (w *waitFor) there(d *Daemon) (string, bool) {
	roots := d.opts.Roots
	var dev *hotplug.Device
	var err error
	if w.devpath != "" {
		dev, err = roots.Device(w.devpath)
	} else {
		dev, err = roots.DeviceByNode(w.node)
	}
	if err != nil {
		return "", false
	}
	_, err = dev.Record()
	return dev.Devpath(), err == nil
}

// found tells all who wait of an event that is over.
func (d *Daemon) found(e *Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t := range d.tallies {
		t.add(e)
	}
	for w := range d.waitFors {
		if w.made(e) {
			select {
			case w.found <- e:
			default:
			}
		}
	}
}

func (d *Daemon) addWaitFor(target string) *waitFor {
	w := newWaitFor(d.opts.Roots, target)
	d.mu.Lock()
	d.waitFors[w] = struct{}{}
	d.mu.Unlock()
	return w
}

func (d *Daemon) removeWaitFor(w *waitFor) {
	d.mu.Lock()
	delete(d.waitFors, w)
	d.mu.Unlock()
}

// Settle returns when every event that the kernel had sent is through, with all that it caused, no load is in flight
// and the kernel has nothing unfinished; or with the event that makes the device of WaitFor. The account is returned in
// any case; the error is the account's, or says that the daemon ends.
func (d *Daemon) Settle(ctx context.Context, o WaitOptions) (*Account, error) {
	return d.waitUntil(ctx, o, func(ctx context.Context, t *tally) error {
		if o.UUID == "" {
			return d.settle(ctx, t, "")
		}
		_, err := d.queue.SettleOnly(ctx, d.mark, func(ev *hotplug.Event) bool { return ev.UUID() == o.UUID })
		if err == nil && d.counters.Lost.Load() != o.Lost { // some of these, perhaps: what is made up for them does not say so
			err = d.settle(ctx, t, "")
		}
		return err
	})
}

// waitUntil runs work, which waits, within the limits of o, and makes the account.
func (d *Daemon) waitUntil(ctx context.Context, o WaitOptions, work func(context.Context, *tally) error) (*Account, error) {
	t := d.newTally()
	limit := context.CancelFunc(func() {})
	if o.Timeout > 0 {
		ctx, limit = context.WithTimeout(ctx, o.Timeout)
	}
	defer limit()
	done := make(chan error, 1)
	if o.WaitFor == "" {
		done <- work(ctx, t)
		return d.close(t, <-done)
	}
	w := d.addWaitFor(o.WaitFor)
	defer d.removeWaitFor(w)
	devpath, there := w.there(d)
	// The work goes on when the device is there and its caller has gone: the rest of a coldplug is wanted too.
	workCtx, cancel := context.WithCancelCause(d.ctx)
	d.workers.Go(func() {
		defer cancel(nil)
		if there || ctx.Err() == nil {
			done <- work(workCtx, t)
		}
	})
	if there {
		a, _ := d.close(t, nil)
		a.Found = devpath
		return a, nil
	}
	select {
	case e := <-w.found:
		t.foundBy(e)
		return d.close(t, nil)
	case <-ctx.Done():
		cancel(ctx.Err())
		return d.close(t, context.Cause(ctx), "/dev/"+w.node+w.devpath)
	case err := <-done:
		select { // both at once
		case e := <-w.found:
			t.foundBy(e)
			return d.close(t, err)
		default:
		}
		// Everything is through, and the device has not come: it may still, of itself.
		if err == nil {
			select {
			case e := <-w.found:
				t.foundBy(e)
				return d.close(t, nil)
			case <-ctx.Done():
				return d.close(t, context.Cause(ctx), o.WaitFor)
			}
		}
		return d.close(t, err)
	}
}

func (t *tally) foundBy(e *Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.account.Found, t.account.FoundTook = e.Devpath, now()-t.began
}

// close makes the account of what err ended.
func (d *Daemon) close(t *tally, err error, pending ...string) (*Account, error) {
	a := t.finish()
	var un *hotplug.UnsettledError
	switch {
	case err == nil:
	case errors.As(err, &un):
		a.Pending = append(a.Pending, un.Waiting...)
	case errors.Is(err, context.DeadlineExceeded):
		a.Pending = append(a.Pending, pending...)
		if len(a.Pending) == 0 {
			a.Pending = []string{"the coldplug"}
		}
	case d.ctx.Err() != nil:
		return a, errors.New("the daemon ends")
	default:
		return a, err
	}
	return a, nil
}

// settle waits for the queue and for the kernel's unfinished work. own is the caller's claim.
func (d *Daemon) settle(ctx context.Context, t *tally, own string) error {
	_, err := d.queue.Settle(ctx, hotplug.SettleOptions{
		Mark: d.mark, Own: own, Witnesses: []hotplug.Witness{&d.later, d.loads, witness{d.watch, t}},
	})
	return err
}

// settleDisks waits until the queue is empty, which it may be with loads put off, and, when asked so, until the kernel has
// nothing unfinished.
func (d *Daemon) settleDisks(ctx context.Context, kernel bool) error {
	for {
		if _, err := d.queue.Settle(ctx, hotplug.SettleOptions{Mark: d.mark, Own: coldplugging}); err != nil {
			return err
		}
		if !kernel || len(d.watch.look()) == 0 {
			return nil
		}
		select {
		case <-time.After(pollWitnesses):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
