package hotplug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// ErrBusy is what a handler returns for a device that somebody else holds for now, as a disk that a partitioning tool
// has locked. The event is handled again a little later; its kin wait, all others go on.
var ErrBusy = errors.New("device is busy")

// ErrClosed is what a queue or listener says that has been closed.
var ErrClosed = errors.New("closed")

// Handler handles one event. caused says that it may have made the kernel send further events: it loaded a module, wrote
// an attribute, ran a program. [Queue.Settle] then waits for these too. The context ends when the event has taken too long, and
// when the queue is closed by force.
type Handler func(ctx context.Context, ev *Event) (caused bool, err error)

// QueueOptions may all be left out.
type QueueOptions struct {
	Workers   int           // events handled at once, at most; 0 means 32. See Queue
	Max       int           // events held; Add waits for room beyond. 0 means 262144, on a machine with little memory an eighth of it
	Timeout   time.Duration // of one event; 0 means 180 s
	BusyEvery time.Duration // how often an event is tried again after ErrBusy; 0 means 200 ms
	BusyLimit time.Duration // and for how long; 0 means 3 min

	// Done is told of each event when it is over, before any event that waited for it begins. Events of kin are told
	// in their order; Done may be called by several goroutines at once.
	Done func(Outcome)
	// Slow is told, once at a third of Timeout and again at Timeout, of an event that is still being handled. It may be called
	// when that has just ended.
	Slow func(ev *Event, took time.Duration, overdue bool)
	// Busy is told when the queue gets its first event, or is held, and when the last of both is over. It is called with the
	// queue locked: in order, and it must not use the queue.
	Busy func(bool)
}

// PanicError is what a handler's panic becomes.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// Outcome is how an event ended.
type Outcome struct {
	Event  *Event
	Err    error         // of the handler; nil for a success
	Caused bool          // as the handler said
	Waited time.Duration // in the queue
	Took   time.Duration // in the handler
}

// QueueCounts counts the events since the queue was made, markers left out.
type QueueCounts struct {
	Received, Handled, Failed uint64 // Handled includes Failed
	Queued, Running           int
}

// Queue gives each event its turn: it waits for the earlier ones of its kin (the same device, those above
// and below it, the old name of a moved one, the same node, number or interface), and all else runs at once, on a
// bounded number of goroutines, which are there only while there is something to do. Order is order of arrival.
//
// No event is lost: what a handler makes of it, a panic included, ends in Done. A handler that does not return in time
// gets its context cancelled and gives its place to another; its kin go on waiting, since it is still at work.
//
// As long as none takes longer than a tenth of a second, four events a processor are handled at once: more of them only get in each
// other's way. Each that does, since it waits for a program, a driver or a disk, makes room for one more.
//
// All methods may be called by any goroutine.
type Queue struct {
	handler Handler
	opts    QueueOptions
	ctx     context.Context
	cancel  context.CancelFunc
	overdue error // what ends the context of an event that takes too long

	mu      sync.Mutex
	room    sync.Cond
	idle    sync.Cond
	kin     kinship
	ready   fifo
	pending map[*item]struct{} // all that are not over
	peak    int                // how many these were since there was none
	seq     uint64
	workers int     // goroutines that count against the limit
	running int     // handlers at work
	active  []*item // these
	few     int     // workers as long as no event takes long
	long    int     // events that did when they were looked at last
	looks   bool    // somebody will look again
	guarded bool    // somebody will look for those that take too long
	paused  bool
	closed  bool
	counts  QueueCounts

	settles map[*settle]struct{}
	markers map[string]*settle
	holds   map[*hold]struct{}
}

// item is one queued event.
type item struct {
	ev       *Event
	at       [2]*kinNode
	seq      uint64
	waits    int   // how many it waits for
	first    *item // that waits for this one
	more     []*item
	queued   time.Duration // of the monotonic clock, as the following
	started  time.Duration
	tried    time.Duration           // for the first time, 0 for not yet
	cancel   context.CancelCauseFunc // of what its handler runs with
	running  bool
	slow     bool // Slow has been told
	detached bool // has given its worker's place to another
}

// waitFor makes it wait for an earlier event, nil for none.
func (it *item) waitFor(earlier *item) {
	if earlier == nil || earlier == it {
		return
	}
	it.waits++
	if earlier.first == nil {
		earlier.first = it
	} else {
		earlier.more = append(earlier.more, it)
	}
}

// NewQueue makes a queue that hands its events to handler.
func NewQueue(handler Handler, opts QueueOptions) *Queue {
	if opts.Workers <= 0 {
		opts.Workers = 32
	}
	few := min(4*runtime.GOMAXPROCS(0), opts.Workers)
	if opts.Max <= 0 {
		const size = 3 << 9 // of one, with what the queue adds
		opts.Max = min(1<<18, max(memory()/8/size, 1<<12))
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 180 * time.Second
	}
	if opts.BusyEvery <= 0 {
		opts.BusyEvery = 200 * time.Millisecond
	}
	if opts.BusyLimit <= 0 {
		opts.BusyLimit = 3 * time.Minute
	}
	q := &Queue{
		handler: handler, opts: opts, few: few,
		pending: make(map[*item]struct{}),
		settles: make(map[*settle]struct{}), markers: make(map[string]*settle), holds: make(map[*hold]struct{}),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.overdue = fmt.Errorf("handled for more than %v: %w", opts.Timeout, context.DeadlineExceeded)
	q.room.L, q.idle.L = &q.mu, &q.mu
	return q
}

// Add puts an event at the end. When the queue is full it waits for room, so that what comes in stays in the kernel's
// buffer meanwhile. A marker of Settle's is noted and goes no further. The error is ErrClosed or the context's.
func (q *Queue) Add(ctx context.Context, ev *Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.markers) > 0 {
		if uuid := ev.UUID(); uuid != "" && q.marked(uuid) {
			return nil
		}
	}
	if len(q.pending) >= q.opts.Max {
		stop := context.AfterFunc(ctx, func() { q.mu.Lock(); q.room.Broadcast(); q.mu.Unlock() })
		defer stop()
		for len(q.pending) >= q.opts.Max && !q.closed && ctx.Err() == nil {
			q.room.Wait()
		}
	}
	if q.closed {
		return fmt.Errorf("queue: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	q.seq++
	it := &item{ev: ev, seq: q.seq, queued: ev.Received()}
	if it.queued == 0 {
		it.queued = monotonic()
	}
	q.counts.Received++
	q.begins()
	q.pending[it] = struct{}{}
	q.peak = max(q.peak, len(q.pending))
	q.kin.add(it)
	if it.waits == 0 {
		q.start(it)
	}
	return nil
}

// begins tells Busy that there is something to do, when there was nothing. The queue is locked.
func (q *Queue) begins() {
	if len(q.pending)+len(q.holds) == 0 && q.opts.Busy != nil {
		q.opts.Busy(true)
	}
}

// ends tells Busy that there is nothing to do, when there is nothing. The queue is locked.
func (q *Queue) ends() {
	if len(q.pending)+len(q.holds) == 0 && q.opts.Busy != nil {
		q.opts.Busy(false)
	}
}

// start gives a runnable event to a worker, a new one while there may be more. The queue is locked.
func (q *Queue) start(it *item) {
	q.ready.push(it)
	q.hire()
}

// held says that no event may begin. The queue is locked.
func (q *Queue) held() bool { return q.paused || q.ctx.Err() != nil }

func (q *Queue) hire() {
	if q.ready.len() <= q.workers-q.running || q.held() {
		return
	}
	if q.workers < q.most() {
		q.workers++
		go q.work()
	} else if !q.looks && q.most() < q.opts.Workers {
		q.looks = true
		time.AfterFunc(longEvent/2, q.look)
	}
}

// most is how many workers there may be now.
func (q *Queue) most() int { return min(q.few+q.long, q.opts.Workers) }

// longEvent is how long an event takes at least that makes room for one more.
const longEvent = 100 * time.Millisecond

// look counts the events that take long, while others wait for a worker.
func (q *Queue) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.long, q.looks = 0, false
	now := monotonic()
	for _, it := range q.active {
		if !it.detached && now-it.started >= longEvent {
			q.long++
		}
	}
	for before := -1; q.workers != before; {
		before = q.workers
		q.hire()
	}
	if q.ready.len() > 0 && !q.looks && !q.held() {
		q.looks = true
		time.AfterFunc(longEvent/2, q.look)
	}
}

// work handles runnable events until there are none. The clock is read once an event: when one ends the next begins. Some
// machines' clocks cost more than all that a queue does.
func (q *Queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := monotonic()
	for q.ready.len() > 0 && !q.held() && q.workers <= q.most() {
		it := q.ready.pop()
		it.started, it.running, it.slow = now, true, false
		if it.tried == 0 {
			it.tried = now
		}
		var ctx context.Context
		ctx, it.cancel = context.WithCancelCause(q.ctx)
		q.running++
		q.active = append(q.active, it)
		if !q.guarded {
			q.guarded = true
			time.AfterFunc(q.opts.Timeout/3, q.guard)
		}
		q.mu.Unlock()
		caused, err := q.handle(ctx, it)
		q.mu.Lock()
		now = monotonic()
		it.cancel(nil)
		it.running = false
		q.active = slices.DeleteFunc(q.active, func(have *item) bool { return have == it })
		detached := it.detached
		it.detached = false
		busy := errors.Is(err, ErrBusy) && now-it.tried < q.opts.BusyLimit && q.ctx.Err() == nil
		if busy {
			time.AfterFunc(q.opts.BusyEvery, func() { q.mu.Lock(); q.start(it); q.mu.Unlock() })
		} else {
			q.tell(it, caused, err, now)
		}
		if !detached {
			q.running--
		}
		if !busy {
			q.finish(it, caused)
		}
		if q.closed && q.over() {
			q.idle.Broadcast()
		}
		if detached {
			return // somebody else has the place
		}
	}
	q.workers--
}

// handle runs the handler, and turns a panic into an error.
func (q *Queue) handle(ctx context.Context, it *item) (caused bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			caused, err = true, &PanicError{p, debug.Stack()}
		}
		if err == nil && ctx.Err() != nil && q.ctx.Err() == nil {
			err = context.Cause(ctx)
		}
	}()
	return q.handler(ctx, it.ev)
}

// guard looks for events that take too long: it tells Slow of them, ends the contexts of those whose time is over, and gives
// their places to others. One timer serves for all, set for the first that could be late and gone when nothing is at work.
func (q *Queue) guard() {
	type late struct {
		ev      *Event
		took    time.Duration
		overdue bool
	}
	var told []late
	q.mu.Lock()
	now, next := monotonic(), time.Duration(0)
	for _, it := range q.active {
		took := now - it.started
		wait := q.opts.Timeout - took
		switch {
		case it.detached:
			continue
		case wait <= 0:
			told = append(told, late{it.ev, took, true})
			it.cancel(q.overdue)
			it.detached = true
			q.running--
			q.workers--
			continue
		case took < q.opts.Timeout/3:
			wait = q.opts.Timeout/3 - took
		case !it.slow:
			it.slow = true
			told = append(told, late{it.ev, took, false})
		}
		if next == 0 || wait < next {
			next = wait
		}
	}
	if q.guarded = next > 0; q.guarded {
		time.AfterFunc(next, q.guard)
	}
	for range told {
		q.hire()
	}
	q.mu.Unlock()
	if q.opts.Slow == nil {
		return
	}
	for _, l := range told {
		q.opts.Slow(l.ev, l.took, l.overdue)
	}
}

// tell counts an event that is over and tells Done of it. The queue is locked, and unlocked meanwhile.
func (q *Queue) tell(it *item, caused bool, err error, now time.Duration) {
	q.counts.Handled++
	if err != nil {
		q.counts.Failed++
	}
	if q.opts.Done != nil {
		q.mu.Unlock()
		defer q.mu.Lock()
		q.opts.Done(Outcome{Event: it.ev, Err: err, Caused: caused, Waited: it.tried - it.queued, Took: now - it.started})
	}
}

// finish lets the kin of an event that is over go on. The queue is locked.
func (q *Queue) finish(it *item, caused bool) {
	q.kin.remove(it)
	delete(q.pending, it)
	if it.first != nil {
		q.release(it.first)
		for _, next := range it.more {
			q.release(next)
		}
		it.first, it.more = nil, nil
	}
	for s := range q.settles {
		s.finished(it, caused)
	}
	if len(q.pending) == q.opts.Max-1 {
		q.room.Broadcast()
	}
	if len(q.pending) == 0 {
		if q.peak > 1<<10 { // maps keep the room that they once had
			q.pending, q.kin = make(map[*item]struct{}), kinship{}
		}
		q.peak = 0
		q.ends()
	}
}

func (q *Queue) release(it *item) {
	if it.waits--; it.waits == 0 {
		q.start(it)
	}
}

// Counts returns the counters as they are now.
func (q *Queue) Counts() QueueCounts {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.counts
	c.Queued, c.Running = len(q.pending), q.running
	return c
}

// Pending is one event that is not over yet.
type Pending struct {
	Event   *Event
	Running bool
	Since   time.Duration // in the queue, of the monotonic clock
}

// Pending returns at most max events that are not over, those at work first, else in no order. It is for messages.
func (q *Queue) Pending(max int) []Pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	var running, waiting []Pending
	for it := range q.pending {
		switch {
		case it.running && len(running) < max:
			running = append(running, Pending{it.ev, true, it.queued})
		case !it.running && len(waiting) < max:
			waiting = append(waiting, Pending{it.ev, false, it.queued})
		}
		if len(running) == max {
			break
		}
	}
	all := append(running, waiting...)
	return all[:min(len(all), max)]
}

// Pause stops the beginning of further events; those at work go on. Resume ends it.
func (q *Queue) Pause() {
	q.mu.Lock()
	q.paused = true
	q.idle.Broadcast() // Close does not wait for those any more
	q.mu.Unlock()
}

// Resume ends a pause: what waited begins.
func (q *Queue) Resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = false
	for range q.ready.len() {
		q.hire()
	}
}

// Close takes no more events and waits until those that it has are over; in a pause until those at work are, since no other
// begins. When ctx ends first it ends their contexts, and none begins any more. The error counts the events that are left,
// of which some may be at work still, and unwraps to the context's, or in a pause to ErrClosed.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.room.Broadcast()
	stop := context.AfterFunc(ctx, func() { q.mu.Lock(); q.idle.Broadcast(); q.mu.Unlock() })
	defer stop()
	for !q.over() && ctx.Err() == nil {
		q.idle.Wait()
	}
	q.cancel()
	if n := len(q.pending); n > 0 {
		return fmt.Errorf("queue: %d events left: %w", n, cmp.Or(ctx.Err(), ErrClosed))
	}
	return nil
}

// over says whether nothing is at work, nor will be. The queue is locked.
func (q *Queue) over() bool { return len(q.active) == 0 && (len(q.pending) == 0 || q.paused) }

// fifo is a queue of runnable events.
type fifo struct {
	items []*item
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(it *item) {
	if f.head > 64 && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, it)
}

func (f *fifo) pop() *item {
	it := f.items[f.head]
	f.items[f.head] = nil
	if f.head++; f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		if cap(f.items) > 1<<12 {
			f.items = nil
		}
	}
	return it
}
