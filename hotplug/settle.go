package hotplug

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Witness knows of work that the kernel, or the program itself, has begun and not finished, and from which events will
// come: a bus that is being scanned, a module that is being loaded.
type Witness interface {
	// Name says what kind of work it is, in two or three words.
	Name() string
	// Pending returns what is unfinished, by name; nothing for nothing.
	Pending(ctx context.Context) []string
}

// Waiter is a witness that can say when its work is over, so that it need not be asked again and again.
type Waiter interface {
	Witness
	// Wait returns when nothing is pending or the context has ended.
	Wait(ctx context.Context) error
}

// SettleOptions are what Settle goes by besides the queue.
type SettleOptions struct {
	// Mark makes the kernel send an event with SYNTH_UUID=uuid to where the queue's events come from. When it comes
	// back, all that was sent earlier has arrived. Without Mark, what has been added so far counts. See [Listener.Mark].
	Mark func(uuid string) error
	// Witnesses are asked before each marker and after it.
	Witnesses []Witness
	// Own is the name of holds that are not waited for: they are those of the caller's own work, and of others' of its kind, who
	// would else wait for one another.
	Own string
	// Poll is how often a witness that is no Waiter is asked; 0 means 10 ms.
	Poll time.Duration
}

// Settled is the account of one Settle.
type Settled struct {
	Took   time.Duration
	Rounds int
	Events int           // how many events it saw to their end
	Queue  time.Duration // spent waiting for the queue
	Waits  []Wait        // spent waiting for witnesses, one entry for each that it waited for
}

// Wait is how long a witness held Settle up, and with what.
type Wait struct {
	Witness string
	What    []string
	Took    time.Duration
}

// Kernel is how long witnesses held it up, all together.
func (s Settled) Kernel() time.Duration {
	var sum time.Duration
	for _, w := range s.Waits {
		sum += w.Took
	}
	return sum
}

// UnsettledError is what Settle returns when its context ends first. It unwraps to the context's error.
type UnsettledError struct {
	Waiting []string // what it was still waiting for
	Err     error
}

func (e *UnsettledError) Error() string {
	return "still waiting for " + strings.Join(e.Waiting, ", ") + ": " + e.Err.Error()
}

func (e *UnsettledError) Unwrap() error { return e.Err }

// settle is one caller of Settle in one round.
type settle struct {
	uuid    string
	arrived chan struct{} // closed when the marker is back
	done    chan struct{} // closed when all before the marker is over
	here    bool
	upto    uint64            // the last event before the marker
	left    int               // how many of these are not over
	events  int               // how many ended in the round
	only    func(*Event) bool // what counts; nil for all
	caused  bool              // one of them did something that may bring more
}

// marked notes the arrival of a marker. The queue is locked.
func (q *Queue) marked(uuid string) bool {
	s := q.markers[uuid]
	if s == nil {
		return false
	}
	if !s.here {
		s.here, s.upto, s.left = true, q.seq, len(q.pending)
		if s.only != nil {
			s.left = 0
			for it := range q.pending {
				if s.only(it.ev) {
					s.left++
				}
			}
		}
		close(s.arrived)
		if s.left == 0 {
			close(s.done)
		}
	}
	return true
}

// finished notes the end of an event. The queue is locked.
func (s *settle) finished(it *item, caused bool) {
	if s.here && it.seq > s.upto || s.only != nil && !s.only(it.ev) {
		return
	}
	s.events++
	s.caused = s.caused || caused
	if s.here {
		if s.left--; s.left == 0 {
			close(s.done)
		}
	}
}

// Settle returns when every event that the kernel had sent when it was called is over, and all that these caused, and no
// witness has anything left.
//
// It goes in rounds: wait until no witness has anything pending; send a marker; wait until it is back and all before it
// is over; ask the witnesses again. When no event of the round caused anything and no witness has anything pending,
// there is nothing that could come because of what was there. Otherwise there is another round. Events that come by
// themselves meanwhile, and cause nothing, do not hold it up.
//
// When ctx ends first the error is an *UnsettledError. The account is returned in any case.
func (q *Queue) Settle(ctx context.Context, opts SettleOptions) (acc Settled, err error) {
	begin := time.Now()
	defer func() { acc.Took = time.Since(begin) }()
	if opts.Poll <= 0 {
		opts.Poll = 10 * time.Millisecond
	}
	witnesses := append([]Witness{holdWitness{q, opts.Own}}, opts.Witnesses...)
	for {
		acc.Rounds++
		for _, w := range witnesses {
			if err := acc.wait(ctx, w, opts.Poll); err != nil {
				return acc, err
			}
		}
		caused, err := q.round(ctx, &acc, opts.Mark, nil)
		if err != nil {
			return acc, err
		}
		if caused {
			continue
		}
		if !slices.ContainsFunc(witnesses, func(w Witness) bool { return len(w.Pending(ctx)) > 0 }) {
			if err := ctx.Err(); err != nil {
				return acc, err
			}
			return acc, nil
		}
	}
}

// SettleOnly returns when the events that only picks are over, of those that the kernel had sent when it was called; nothing
// that they caused is waited for. With nil for only it returns as soon as all these are in the queue. The rest is as with Settle.
func (q *Queue) SettleOnly(ctx context.Context, mark func(uuid string) error, only func(*Event) bool) (acc Settled, err error) {
	begin := time.Now()
	defer func() { acc.Took = time.Since(begin) }()
	if only == nil {
		only = func(*Event) bool { return false }
	}
	acc.Rounds++
	_, err = q.round(ctx, &acc, mark, only)
	return acc, err
}

// wait waits until a witness has nothing pending.
func (acc *Settled) wait(ctx context.Context, w Witness, poll time.Duration) error {
	what := w.Pending(ctx)
	if len(what) == 0 {
		return ctx.Err()
	}
	begin := time.Now()
	seen := slices.Clone(what)
	defer func() {
		took := time.Since(begin)
		for i := range acc.Waits {
			if had := &acc.Waits[i]; had.Witness == w.Name() {
				had.Took += took
				had.What = merge(had.What, seen)
				return
			}
		}
		acc.Waits = append(acc.Waits, Wait{w.Name(), seen, took})
	}()
	for len(what) > 0 {
		if waiter, ok := w.(Waiter); ok {
			_ = waiter.Wait(ctx)
		} else {
			select {
			case <-ctx.Done():
			case <-time.After(poll):
			}
		}
		if ctx.Err() != nil {
			return &UnsettledError{[]string{w.Name() + " (" + strings.Join(shorten(what), ", ") + ")"}, context.Cause(ctx)}
		}
		what = w.Pending(ctx)
		seen = merge(seen, what)
	}
	return nil
}

// markAgain is after how long a marker that has not come back is sent once more: one may be lost when the socket
// overflows.
const markAgain = time.Second

// round sends a marker and waits until all before it is over.
func (q *Queue) round(ctx context.Context, acc *Settled, mark func(string) error, only func(*Event) bool) (caused bool, err error) {
	begin := time.Now()
	s := &settle{only: only, uuid: NewUUID(), arrived: make(chan struct{}), done: make(chan struct{})}
	q.mu.Lock()
	q.settles[s] = struct{}{}
	q.markers[s.uuid] = s
	if mark == nil {
		q.marked(s.uuid)
	}
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.settles, s)
		delete(q.markers, s.uuid)
		q.mu.Unlock()
		acc.Queue += time.Since(begin)
		acc.Events += s.events
		caused = s.caused
	}()
	if mark != nil {
		again := time.NewTicker(markAgain)
		defer again.Stop()
	waiting:
		for {
			if err := mark(s.uuid); err != nil {
				return false, fmt.Errorf("send the marker: %w", err)
			}
			select {
			case <-s.arrived:
				break waiting
			case <-ctx.Done():
				return false, &UnsettledError{[]string{"the marker, which has not come back"}, context.Cause(ctx)}
			case <-again.C:
			}
		}
	}
	select {
	case <-s.done:
		return false, nil
	case <-ctx.Done():
		var waiting []string
		for _, p := range q.Pending(5) {
			waiting = append(waiting, p.Event.String())
		}
		if n := q.Counts().Queued; n > len(waiting) {
			waiting = append(waiting, fmt.Sprintf("and %d more events", n-len(waiting)))
		}
		if len(waiting) == 0 {
			waiting = []string{"the queue"}
		}
		return false, &UnsettledError{waiting, context.Cause(ctx)}
	}
}

// hold is a piece of the program's own work that Settle waits for.
type hold struct{ what string }

// Hold makes Settle wait until release is called: for a walk of /sys after lost events, for a coldplug under way. What
// it adds to the queue before the release counts.
func (q *Queue) Hold(what string) (release func()) {
	h := &hold{what}
	q.mu.Lock()
	q.begins()
	q.holds[h] = struct{}{}
	q.mu.Unlock()
	return func() {
		q.mu.Lock()
		if _, held := q.holds[h]; held {
			delete(q.holds, h)
			q.ends()
		}
		q.mu.Unlock()
	}
}

// Caused says that something which is no handler has made the kernel send events, as a load that a handler left for later. What
// a witness shows only between two looks of Settle would else go unseen: a Settle under way makes another round. It is called
// while the witness still shows the work.
func (q *Queue) Caused() {
	q.mu.Lock()
	for s := range q.settles {
		s.caused = true
	}
	q.mu.Unlock()
}

type holdWitness struct {
	q   *Queue
	own string
}

func (holdWitness) Name() string { return "own work" }

func (w holdWitness) Pending(context.Context) []string {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	var all []string
	for h := range w.q.holds {
		if w.own == "" || h.what != w.own {
			all = append(all, h.what)
		}
	}
	return all
}

// NewUUID makes a random UUID as the kernel takes it in a uevent file. It has to differ from others, and is no secret.
func NewUUID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// merge adds to have what of more it lacks, up to a number that fits a message.
func merge(have, more []string) []string {
	for _, m := range more {
		if len(have) < 50 && !slices.Contains(have, m) {
			have = append(have, m)
		}
	}
	return have
}

func shorten(names []string) []string {
	if len(names) > 5 {
		return append(slices.Clone(names[:5]), fmt.Sprintf("and %d more", len(names)-5))
	}
	return names
}

// IsUnsettled says whether err is that of a Settle whose time was over.
func IsUnsettled(err error) bool {
	var u *UnsettledError
	return errors.As(err, &u)
}
