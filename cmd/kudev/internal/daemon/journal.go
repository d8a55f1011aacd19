package daemon

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one event's way through the daemon: the device, the rules that had a say, the modules with their times, the
// node and the links. The journal keeps the last of them. As JSON it is one line of what the control socket's "watch"
// and "journal" send, of `kudev monitor --json --decisions`, and of what explain, plot and status read.
//
// Times are microseconds of CLOCK_MONOTONIC, that is, since the start of the machine as a rule. An empty field is left
// out. Fields may be added; none changes its meaning.
type Entry struct {
	N         uint64 `json:"n"`                // number of the entry, from 1 without gaps: one that is missing was overrun
	Type      string `json:"type"`             // "event", or "note" for what the daemon has to say itself
	Note      string `json:"note,omitempty"`   // of a note: "coldplug began", "the kernel dropped 12 events", …
	Seqnum    uint64 `json:"seqnum,omitempty"` // the kernel's
	Action    string `json:"action,omitempty"`
	Devpath   string `json:"devpath,omitempty"`
	Subsystem string `json:"subsystem,omitempty"`
	Devtype   string `json:"devtype,omitempty"`
	Devname   string `json:"devname,omitempty"` // the kernel's name of the node, below /dev
	Driver    string `json:"driver,omitempty"`
	Modalias  string `json:"modalias,omitempty"`
	Origin    string `json:"origin,omitempty"` // "kernel", "coldplug", "trigger" (someone wrote to the uevent file), "recovered"

	Received Micros `json:"received_us,omitempty"` // the daemon read it from the socket
	Started  Micros `json:"started_us,omitempty"`  // its turn came: nothing of its kin was before it any more
	Applied  Micros `json:"applied_us,omitempty"`  // rules done; node, links and record are there
	Finished Micros `json:"finished_us,omitempty"` // RUN done, listeners told. For a note: when it was made

	Rules    []RuleLine `json:"rules,omitempty"`   // what matched, in order
	Modules  []Module   `json:"modules,omitempty"` // each that was asked for, dependencies included, in order of its start
	NoModule bool       `json:"no_module,omitempty"`
	NotKept  string     `json:"not_kept,omitempty"` // why the record could not be
	Node     *Node      `json:"node,omitempty"`
	Links    []string   `json:"links,omitempty"`    // below /dev, that are this device's now
	Unlinked []string   `json:"unlinked,omitempty"` // below /dev, that were this device's before
	Name     string     `json:"name,omitempty"`     // a network interface's new name
	Run      []Ran      `json:"run,omitempty"`      // programs and builtins of RUN, but for kmod
	Error    string     `json:"error,omitempty"`
}

// RuleLine is one rule that matched.
type RuleLine struct {
	Rule string `json:"rule"` // file:line
	Did  string `json:"did,omitempty"`
}

// Module is one module that an event asked for.
type Module struct {
	Name    string `json:"name"`
	State   string `json:"state"`         // loaded, live, builtin, blacklisted, forbidden, failed
	For     string `json:"for,omitempty"` // the alias or name that was asked for
	Why     string `json:"why,omitempty"` // file:line of what forbids or blacklists it
	Started Micros `json:"started_us"`
	Took    Micros `json:"took_us"`
	Error   string `json:"error,omitempty"`
}

// Node is what became of the device's node.
type Node struct {
	Path string  `json:"path"` // "/dev/sda"
	Mode string  `json:"mode,omitempty"`
	UID  *uint32 `json:"uid,omitempty"`
	GID  *uint32 `json:"gid,omitempty"`
}

// Ran is one command of RUN.
type Ran struct {
	Line  string `json:"line"`
	Rule  string `json:"rule,omitempty"`
	Took  Micros `json:"took_us"`
	Error string `json:"error,omitempty"`
}

// Micros is a time or a duration in microseconds.
type Micros int64

func (m Micros) Duration() time.Duration { return time.Duration(m) * time.Microsecond }

func now() Micros { return Now() }

// Now is the monotonic clock in the journal's unit.
func Now() Micros {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return Micros(ts.Nano() / 1000)
}

// journalSize is how many entries are kept: a cold boot's worth of a usual machine.
const journalSize = 1024

// Journal keeps the last entries and hands new ones to whoever watches. An entry is never changed after it was added.
// Its methods may be called concurrently.
type Journal struct {
	mu       sync.Mutex
	ring     []*Entry
	n        uint64 // entries so far
	watchers map[*Watcher]struct{}
}

// NewJournal returns an empty journal.
func NewJournal() *Journal {
	return &Journal{watchers: make(map[*Watcher]struct{})}
}

// Add numbers the entry and keeps it.
func (j *Journal) Add(e *Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.n++
	e.N = j.n
	if len(j.ring) < journalSize {
		j.ring = append(j.ring, e)
	} else {
		j.ring[(j.n-1)%journalSize] = e
	}
	for w := range j.watchers {
		w.wake()
	}
}

// Note adds a note.
func (j *Journal) Note(text string) {
	j.Add(&Entry{Type: "note", Note: text, Finished: now()})
}

// Watched tells whether anyone follows the journal.
func (j *Journal) Watched() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.watchers) > 0
}

// Len returns how many entries there have been.
func (j *Journal) Len() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.n
}

// After returns the kept entries behind number n, oldest first.
func (j *Journal) After(n uint64) []*Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.after(n)
}

func (j *Journal) after(n uint64) []*Entry {
	if n >= j.n {
		return nil
	}
	if kept := uint64(len(j.ring)); j.n-n > kept {
		n = j.n - kept
	}
	list := make([]*Entry, 0, j.n-n)
	for ; n < j.n; n++ {
		list = append(list, j.ring[n%journalSize])
	}
	return list
}

// Watcher follows a journal from the ring itself: a slow one costs no memory, and misses what was overrun.
type Watcher struct {
	j    *Journal
	seen uint64
	c    chan struct{}
}

// Watch follows the entries behind number n. The watcher must be closed.
func (j *Journal) Watch(n uint64) *Watcher {
	w := &Watcher{j: j, seen: n, c: make(chan struct{}, 1)}
	j.mu.Lock()
	j.watchers[w] = struct{}{}
	j.mu.Unlock()
	w.wake()
	return w
}

func (w *Watcher) wake() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// Next waits for entries and returns them.
func (w *Watcher) Next(ctx context.Context) ([]*Entry, error) {
	for {
		w.j.mu.Lock()
		list := w.j.after(w.seen)
		w.j.mu.Unlock()
		if len(list) > 0 {
			w.seen = list[len(list)-1].N
			return list, nil
		}
		select {
		case <-w.c:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.j.mu.Lock()
	delete(w.j.watchers, w)
	w.j.mu.Unlock()
}
