package daemon

import (
	"context"
	"sync"
	"time"
)

// later keeps the loads of drivers for sound and graphics until the disks are there: as long as a coldplug is about the
// disks, such a load is put off, and its event goes on without it. Nobody's turn is held up by that.
type later struct {
	mu     sync.Mutex
	active int // coldplugs that are about the disks
	put    []func()
	names  []string
	left   sync.WaitGroup
	count  int // put off or running
}

// begin puts such loads off from now on.
func (l *later) begin() {
	l.mu.Lock()
	l.active++
	l.mu.Unlock()
}

// atOnce is how many loads go on side by side that were put off. The loader has its own bound of what the kernel gets.
const atOnce = 32

// end lets what was put off begin.
func (l *later) end() {
	l.mu.Lock()
	l.active--
	var put []func()
	if l.active == 0 {
		put, l.put, l.names = l.put, nil, nil
	}
	l.mu.Unlock()
	next := make(chan func(), len(put))
	for _, f := range put {
		next <- f
	}
	close(next)
	for range min(len(put), atOnce) {
		go func() {
			for f := range next {
				f()
				l.finished()
			}
		}()
	}
}

func (l *later) finished() {
	l.mu.Lock()
	l.count--
	l.mu.Unlock()
	l.left.Done()
}

// now tells whether loads are put off at this moment.
func (l *later) now() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active > 0
}

// putOff keeps load for later and returns true, or false when now is the time.
func (l *later) putOff(name string, load func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active == 0 {
		return false
	}
	l.put, l.names = append(l.put, load), append(l.names, name)
	l.count++
	l.left.Add(1)
	return true
}

// wait waits for those that have begun, and drops the others: the daemon ends.
func (l *later) wait() {
	l.mu.Lock()
	for range l.put {
		l.count--
		l.left.Done()
	}
	l.put, l.names = nil, nil
	l.mu.Unlock()
	l.left.Wait()
}

// Name and Pending make it a witness for the queue's Settle.
func (l *later) Name() string { return "loads put off until the disks are there" }

func (l *later) Pending(context.Context) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == 0 {
		return nil
	}
	if len(l.names) == 0 {
		return []string{"drivers of sound and graphics"}
	}
	return append([]string(nil), l.names...)
}

// eventContext is the time that one event may take.
func (d *Daemon) eventContext() (context.Context, context.CancelFunc) {
	limit := d.opts.Config.EventTimeout()
	if limit <= 0 {
		limit = 180 * time.Second
	}
	return context.WithTimeout(d.ctx, limit)
}
