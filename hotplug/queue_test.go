package hotplug

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// related says whether two events must not run side by side, by the words of the rule.
func related(a, b *Event) bool {
	for _, p := range []string{a.Devpath(), a.DevpathOld()} {
		for _, q := range []string{b.Devpath(), b.DevpathOld()} {
			if p != "" && q != "" && (p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/")) {
				return true
			}
		}
	}
	an, aok := a.Devnum()
	bn, bok := b.Devnum()
	return a.Devname() != "" && a.Devname() == b.Devname() ||
		aok && bok && an == bn && (a.Subsystem() == "block") == (b.Subsystem() == "block") ||
		a.Ifindex() > 0 && a.Ifindex() == b.Ifindex() ||
		!aok && !bok && a.Ifindex() == 0 && b.Ifindex() == 0 && a.Subsystem() == b.Subsystem() && path.Base(a.Devpath()) == path.Base(b.Devpath())
}

// randomEvent makes an event in a small tree, so that kin meet often.
func randomEvent(r *rand.Rand, n int) *Event {
	path := func() string {
		p := "/devices"
		for depth := range 1 + r.IntN(4) {
			p += fmt.Sprintf("/%c", 'a'+3*depth+r.IntN(3))
		}
		return p
	}
	properties := []string{fmt.Sprintf("N=%d", n)}
	switch r.IntN(8) {
	case 0:
		properties = append(properties, "DEVPATH_OLD="+path())
	case 1:
		properties = append(properties, fmt.Sprintf("MAJOR=%d", 1+r.IntN(3)), "MINOR=0")
	case 2:
		properties = append(properties, fmt.Sprintf("DEVNAME=n%d", r.IntN(3)))
	case 3:
		properties = append(properties, fmt.Sprintf("IFINDEX=%d", 1+r.IntN(3)))
	}
	return NewEvent("change", path(), []string{"block", "mem"}[r.IntN(2)], properties...)
}

// The events that may run are exactly those of which no earlier kin is unfinished: none too early, none held back. Kinship is
// taken transitively, as waiting is.
func TestEventRunsWhenNoEarlierKinIsLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var k kinship
		var all []*item
		var live []*item
		for n := range 60 {
			it := &item{ev: randomEvent(r, n), seq: uint64(n + 1)}
			k.add(it)
			all, live = append(all, it), append(live, it)
			if r.IntN(3) == 0 { // one that may run ends
				live = endOne(t, r, &k, live)
			}
			check(t, live)
		}
		for len(live) > 0 {
			live = endOne(t, r, &k, live)
			check(t, live)
		}
		if len(k.root.below)+len(k.nodes)+len(k.number)+len(k.named) != 0 || k.root.firstOpen != nil {
			t.Fatal("something is left of finished events")
		}
	}
}

func check(t *testing.T, live []*item) {
	t.Helper()
	for i, it := range live {
		blocked := false
		for _, earlier := range live[:i] {
			blocked = blocked || related(earlier.ev, it.ev)
		}
		if blocked != (it.waits > 0) {
			t.Fatalf("%v (%d): waits for %d, has earlier kin: %v", it.ev, it.seq, it.waits, blocked)
		}
	}
}

func endOne(t *testing.T, r *rand.Rand, k *kinship, live []*item) []*item {
	t.Helper()
	var can []int
	for i, it := range live {
		if it.waits == 0 {
			can = append(can, i)
		}
	}
	if len(can) == 0 {
		t.Fatal("nothing can run")
	}
	i := can[r.IntN(len(can))]
	it := live[i]
	k.remove(it)
	for _, next := range append([]*item{it.first}, it.more...) {
		if next != nil {
			next.waits--
		}
	}
	return append(live[:i:i], live[i+1:]...)
}

func TestOrderHoldsUnderLoad(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var mu sync.Mutex
	running := map[*Event]int{} // with its number
	var handled atomic.Int64
	last := map[string]int{}
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		n := 0
		fmt.Sscan(ev.Value("N"), &n)
		mu.Lock()
		for other := range running {
			if related(other, ev) {
				t.Errorf("%v and %v run side by side", other, ev)
			}
		}
		if last[ev.Devpath()] > n {
			t.Errorf("%v: number %d after %d", ev, n, last[ev.Devpath()])
		}
		last[ev.Devpath()] = n
		running[ev] = n
		mu.Unlock()
		for range n % 3 {
			time.Sleep(10 * time.Microsecond)
		}
		mu.Lock()
		delete(running, ev)
		mu.Unlock()
		handled.Add(1)
		return false, nil
	}, QueueOptions{Workers: 8})
	const count = 3000
	for n := range count {
		must(t, q.Add(t.Context(), randomEvent(r, n)))
	}
	must(t, q.Close(t.Context()))
	if handled.Load() != count {
		t.Errorf("%d of %d events handled", handled.Load(), count)
	}
}

func TestStrangersRunAtOnce(t *testing.T) {
	all := make(chan struct{})
	var n atomic.Int32
	q := NewQueue(func(ctx context.Context, _ *Event) (bool, error) {
		if n.Add(1) == 5 {
			close(all)
		}
		select {
		case <-all: // all five are here together
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}, QueueOptions{})
	for i := range 5 {
		must(t, q.Add(t.Context(), NewEvent("add", fmt.Sprintf("/devices/d%d", i), "test")))
	}
	must(t, q.Close(t.Context()))
	if c := q.Counts(); c.Handled != 5 || c.Failed != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestPanicAndErrorAreContained(t *testing.T) {
	var mu sync.Mutex
	errs := map[string]error{}
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		switch ev.Devpath() {
		case "/devices/panics":
			panic("handler is wrong")
		case "/devices/fails":
			return false, errors.New("no such thing")
		}
		return false, nil
	}, QueueOptions{Done: func(o Outcome) { mu.Lock(); errs[o.Event.String()] = o.Err; mu.Unlock() }})
	for _, p := range []string{"/devices/panics", "/devices/fails", "/devices/works", "/devices/panics"} {
		must(t, q.Add(t.Context(), NewEvent("add", p, "test")))
	}
	must(t, q.Close(t.Context()))
	if err := errs["add@/devices/panics"]; err == nil || !strings.Contains(err.Error(), "handler is wrong") {
		t.Errorf("the panic ended as %v", err)
	}
	if errs["add@/devices/fails"] == nil || errs["add@/devices/works"] != nil {
		t.Errorf("errors %v", errs)
	}
	if c := q.Counts(); c.Handled != 4 || c.Failed != 3 || c.Queued != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestOverdueHandlerGivesItsPlaceAway(t *testing.T) {
	release := make(chan struct{})
	slow := make(chan bool, 10)
	var order []string
	var mu sync.Mutex
	q := NewQueue(func(ctx context.Context, ev *Event) (bool, error) {
		if ev.Value("HANG") != "" {
			<-ctx.Done()
			<-release // deaf even to its context
		}
		mu.Lock()
		order = append(order, ev.Value("N"))
		mu.Unlock()
		return false, nil
	}, QueueOptions{Workers: 1, Timeout: 30 * time.Millisecond, Slow: func(_ *Event, _ time.Duration, overdue bool) { slow <- overdue }})
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/a", "test", "HANG=1", "N=1")))
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/a/below", "test", "N=2")))
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/b", "test", "N=3")))
	if first, second := <-slow, <-slow; first || !second {
		t.Errorf("told of overdue: %v, %v", first, second)
	}
	acc, err := q.Settle(expired(t), SettleOptions{})
	if !IsUnsettled(err) || !strings.Contains(err.Error(), "add@/devices/a") {
		t.Errorf("settle: %+v, %v", acc, err)
	}
	close(release)
	must(t, q.Close(t.Context()))
	if got := strings.Join(order, ""); got != "312" {
		t.Errorf("order %s, want 312", got)
	}
	if c := q.Counts(); c.Failed == 0 || c.Handled != 3 {
		t.Errorf("counts %+v", c)
	}
}

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestBusyDeviceIsTriedAgainAndHoldsOnlyItsKin(t *testing.T) {
	var tries, other atomic.Int32
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		if ev.Devpath() == "/devices/disk" && tries.Add(1) < 4 {
			return false, fmt.Errorf("lock /dev/disk: %w", ErrBusy)
		}
		if ev.Devpath() == "/devices/disk/part" && tries.Load() < 4 {
			t.Error("the partition overtook its disk")
		}
		other.Add(1)
		return false, nil
	}, QueueOptions{Workers: 1, BusyEvery: time.Millisecond})
	for _, p := range []string{"/devices/disk", "/devices/disk/part", "/devices/other"} {
		must(t, q.Add(t.Context(), NewEvent("add", p, "block")))
	}
	must(t, q.Close(t.Context()))
	if tries.Load() != 4 || other.Load() != 3 || q.Counts().Failed != 0 {
		t.Errorf("%d tries, %d handled, %+v", tries.Load(), other.Load(), q.Counts())
	}
}

func TestFullQueueMakesTheSourceWait(t *testing.T) {
	gate := make(chan struct{})
	q := NewQueue(func(context.Context, *Event) (bool, error) { <-gate; return false, nil }, QueueOptions{Max: 2, Workers: 1})
	for i := range 2 {
		must(t, q.Add(t.Context(), NewEvent("add", fmt.Sprintf("/devices/%d", i), "test")))
	}
	if err := q.Add(expired(t), NewEvent("add", "/devices/2", "test")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third event: %v", err)
	}
	close(gate)
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/3", "test")))
	must(t, q.Close(t.Context()))
	if err := q.Add(t.Context(), NewEvent("add", "/devices/4", "test")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if c := q.Counts(); c.Received != 3 || c.Handled != 3 {
		t.Errorf("counts %+v", c)
	}
}

func TestPausedQueueKeepsItsEvents(t *testing.T) {
	var n atomic.Int32
	var busy []bool
	q := NewQueue(func(context.Context, *Event) (bool, error) { n.Add(1); return false, nil },
		QueueOptions{Busy: func(b bool) { busy = append(busy, b) }})
	q.Pause()
	for i := range 20 {
		must(t, q.Add(t.Context(), NewEvent("add", fmt.Sprintf("/devices/%d", i), "test")))
	}
	if n.Load() != 0 {
		t.Error("events ran")
	}
	if p := q.Pending(5); len(p) != 5 || p[0].Running {
		t.Errorf("pending %v", p)
	}
	q.Resume()
	must(t, q.Close(t.Context()))
	if n.Load() != 20 || fmt.Sprint(busy) != "[true false]" {
		t.Errorf("%d ran, busy %v", n.Load(), busy)
	}
}

// What is held back stays: nobody waits for it.
func TestClosingAPausedQueueWaitsForWhatIsAtWork(t *testing.T) {
	at, ends := make(chan struct{}), make(chan struct{})
	q := NewQueue(func(context.Context, *Event) (bool, error) { close(at); <-ends; return false, nil }, QueueOptions{})
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/a", "test")))
	<-at
	q.Pause()
	must(t, q.Add(t.Context(), NewEvent("add", "/devices/b", "test")))
	closed := make(chan error)
	go func() { closed <- q.Close(context.Background()) }()
	select {
	case err := <-closed:
		t.Fatalf("closed while an event is at work: %v", err)
	default:
	}
	close(ends)
	if err := <-closed; !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "1 events left") {
		t.Errorf("got %v", err)
	}
}

// An event that begins after its time is over would be handled by half.
func TestNoEventBeginsAfterTheTimeToCloseIsOver(t *testing.T) {
	var begun atomic.Int32
	at := make(chan struct{}, 1)
	over := make(chan Outcome, 2)
	q := NewQueue(func(ctx context.Context, _ *Event) (bool, error) {
		begun.Add(1)
		at <- struct{}{}
		<-ctx.Done()
		return false, ctx.Err()
	}, QueueOptions{Done: func(o Outcome) { over <- o }})
	for range 2 {
		must(t, q.Add(t.Context(), NewEvent("add", "/devices/a", "test")))
	}
	<-at
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-over
	for q.Counts().Running > 0 {
		runtime.Gosched()
	}
	if n := begun.Load(); n != 1 {
		t.Errorf("%d events began", n)
	}
}

// kernel stands for the kernel's side of a queue: what is sent comes in order.
type kernel struct {
	t *testing.T
	q *Queue
	c chan *Event
}

func newKernel(t *testing.T) *kernel {
	k := &kernel{t: t, c: make(chan *Event, 10000)}
	return k
}

func (k *kernel) run(q *Queue) {
	k.q = q
	go func() {
		for ev := range k.c {
			_ = q.Add(k.t.Context(), ev)
		}
	}()
}

func (k *kernel) mark(uuid string) error {
	k.c <- NewEvent("change", "/devices/virtual/mem/null", "mem", "SYNTH_UUID="+uuid)
	return nil
}

func TestSettleSeesWhatEventsCaused(t *testing.T) {
	k := newKernel(t)
	var handled atomic.Int32
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		time.Sleep(time.Millisecond)
		handled.Add(1)
		depth := len(ev.Value("DEEP"))
		if depth == 0 {
			return false, nil
		}
		k.c <- NewEvent("add", ev.Devpath()+"/child", "test", "DEEP="+strings.Repeat("x", depth-1))
		return true, nil
	}, QueueOptions{})
	k.run(q)
	k.c <- NewEvent("add", "/devices/a", "test", "DEEP=xxxxxxxxxx")
	acc, err := q.Settle(t.Context(), SettleOptions{Mark: k.mark})
	if err != nil || handled.Load() != 11 || acc.Events != 11 {
		t.Errorf("%d handled, %+v, %v", handled.Load(), acc, err)
	}
	if c := q.Counts(); c.Received != 11 {
		t.Errorf("markers count as events: %+v", c)
	}
}

// chatter comes all the while and causes nothing: it must not hold settle up.
func TestSettleDoesNotWaitForChatter(t *testing.T) {
	k := newKernel(t)
	q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{})
	k.run(q)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			select {
			case k.c <- NewEvent("change", fmt.Sprintf("/devices/%d", i%7), "test"):
			case <-ctx.Done():
			}
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	acc, err := q.Settle(t.Context(), SettleOptions{Mark: k.mark})
	cancel()
	wg.Wait()
	if err != nil || acc.Rounds != 1 {
		t.Errorf("%+v, %v", acc, err)
	}
}

// bus is a witness: a scan that is going on, at the end of which the kernel sends an event.
type bus struct {
	k     *kernel
	asked atomic.Int32
	scans int32
}

func (b *bus) Name() string { return "bus scan" }
func (b *bus) Pending(context.Context) []string {
	n := b.asked.Add(1)
	if n == b.scans {
		b.k.c <- NewEvent("add", "/devices/bus/found", "test")
	}
	if n < b.scans {
		return []string{"bus 1"}
	}
	return nil
}

func TestSettleWaitsForWitnesses(t *testing.T) {
	k := newKernel(t)
	found := false
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		found = found || strings.HasSuffix(ev.Devpath(), "found")
		return false, nil
	}, QueueOptions{})
	k.run(q)
	acc, err := q.Settle(t.Context(), SettleOptions{Mark: k.mark, Witnesses: []Witness{&bus{k: k, scans: 4}}, Poll: time.Millisecond})
	if err != nil || !found {
		t.Errorf("returned before the device: %+v, %v", acc, err)
	}
	if len(acc.Waits) != 1 || acc.Waits[0].Witness != "bus scan" || acc.Waits[0].What[0] != "bus 1" || acc.Kernel() == 0 {
		t.Errorf("account %+v", acc)
	}
}

func TestSettleSaysWhatItWaitedForInVain(t *testing.T) {
	k := newKernel(t)
	q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{})
	k.run(q)
	_, err := q.Settle(expired(t), SettleOptions{Mark: k.mark, Witnesses: []Witness{&bus{k: k, scans: 1 << 30}}})
	if !IsUnsettled(err) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "bus scan (bus 1)") {
		t.Errorf("got %v", err)
	}
	_, err = q.Settle(expired(t), SettleOptions{Mark: func(string) error { return nil }})
	if !IsUnsettled(err) || !strings.Contains(err.Error(), "marker") {
		t.Errorf("a lost marker: %v", err)
	}
	if _, err = q.Settle(t.Context(), SettleOptions{Mark: func(string) error { return errors.New("no kernel") }}); err == nil {
		t.Error("a marker that cannot be sent is no error")
	}
}

func TestSettleOnIdleQueueWaitsForNothing(t *testing.T) {
	k := newKernel(t)
	q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{})
	k.run(q)
	acc, err := q.Settle(t.Context(), SettleOptions{Mark: k.mark, Witnesses: []Witness{&bus{k: k, scans: 0}}})
	if err != nil || acc.Rounds != 1 || len(acc.Waits) != 0 || acc.Kernel() != 0 || acc.Events != 0 {
		t.Errorf("%+v, %v", acc, err)
	}
}

func TestSettleWaitsForHolds(t *testing.T) {
	var busy []bool
	q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{Busy: func(b bool) { busy = append(busy, b) }})
	release := q.Hold("walk of /sys")
	if _, err := q.Settle(t.Context(), SettleOptions{Own: "walk of /sys"}); err != nil {
		t.Errorf("the work's own settle: %v", err)
	}
	if _, err := q.Settle(expired(t), SettleOptions{}); !IsUnsettled(err) || !strings.Contains(err.Error(), "walk of /sys") {
		t.Errorf("while held: %v", err)
	}
	release()
	release()
	if _, err := q.Settle(t.Context(), SettleOptions{}); err != nil {
		t.Errorf("after release: %v", err)
	}
	if fmt.Sprint(busy) != "[true false]" {
		t.Errorf("busy %v", busy)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// 200,000 events queued at once, most of one bus, as when a machine with many disks is triggered.
func BenchmarkQueue200k(b *testing.B) {
	events := make([]*Event, 0, 200_000)
	for i := range cap(events) {
		events = append(events, NewEvent("change", fmt.Sprintf("/devices/pci0000:00/0000:00:%02x.0/host%d/target%d/block/sd%d", i%32, i%1000, i%5000, i%20000), "block", fmt.Sprintf("SEQNUM=%d", i+1)))
	}
	b.ReportAllocs()
	for b.Loop() {
		q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{})
		q.Pause()
		for _, ev := range events {
			_ = q.Add(context.Background(), ev)
		}
		q.Resume()
		_ = q.Close(context.Background())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(events)), "ns/event")
}

// One parent and its 100,000 children take turns: the worst case for who looks at all kin.
func BenchmarkQueueParentAndChildren(b *testing.B) {
	var events []*Event
	for i := range 100_000 {
		events = append(events, NewEvent("change", fmt.Sprintf("/devices/bus/%d", i), "test"))
		if i%2 == 0 {
			events = append(events, NewEvent("change", "/devices/bus", "test"))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		q := NewQueue(func(context.Context, *Event) (bool, error) { return false, nil }, QueueOptions{})
		q.Pause()
		for _, ev := range events {
			_ = q.Add(context.Background(), ev)
		}
		q.Resume()
		_ = q.Close(context.Background())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(events)), "ns/event")
}

func TestSettleOnlyWaitsForWhatIsPickedAlone(t *testing.T) {
	k := newKernel(t)
	release := make(chan struct{})
	defer close(release)
	var picked atomic.Int32
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		if ev.Value("MINE") == "" {
			<-release
		} else {
			picked.Add(1)
		}
		return true, nil
	}, QueueOptions{})
	k.run(q)
	k.c <- NewEvent("change", "/devices/others", "test")
	for i := range 3 {
		k.c <- NewEvent("change", fmt.Sprintf("/devices/%d", i), "test", "MINE=1")
	}
	acc, err := q.SettleOnly(t.Context(), k.mark, func(ev *Event) bool { return ev.Value("MINE") == "1" })
	if err != nil || picked.Load() != 3 || acc.Rounds != 1 {
		t.Errorf("%d were over, %+v, %v", picked.Load(), acc, err)
	}
	if _, err := q.SettleOnly(t.Context(), k.mark, nil); err != nil {
		t.Error(err)
	}
}

func TestEventsThatTakeLongMakeRoomForOthers(t *testing.T) {
	gate := make(chan struct{})
	var quick atomic.Int32
	q := NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		if strings.HasPrefix(ev.Devpath(), "/devices/slow") {
			<-gate
		} else if quick.Add(1) == 4 {
			close(gate)
		}
		return false, nil
	}, QueueOptions{Workers: 4*runtime.GOMAXPROCS(0) + 6})
	for i := range 4*runtime.GOMAXPROCS(0) + 2 {
		if err := q.Add(t.Context(), NewEvent("add", fmt.Sprintf("/devices/slow%d", i), "mem")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		if err := q.Add(t.Context(), NewEvent("add", fmt.Sprintf("/devices/quick%d", i), "mem")); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// worker is a witness of work that a test begins and ends.
type worker struct{ busy atomic.Bool }

func (*worker) Name() string { return "work" }

func (w *worker) Pending(context.Context) []string {
	if w.busy.Load() {
		return []string{"something"}
	}
	return nil
}

// Work that a handler leaves for later may begin and end while Settle waits for another event: no look sees it.
func TestSettleSeesWhatCameOfWorkBetweenItsLooks(t *testing.T) {
	k := newKernel(t)
	var w worker
	var q *Queue
	slow, handled := make(chan struct{}), make(chan struct{})
	var late atomic.Bool
	q = NewQueue(func(_ context.Context, ev *Event) (bool, error) {
		switch ev.Devpath() {
		case "/devices/slow":
			<-slow
		case "/devices/putsoff":
			w.busy.Store(true)
			go func() {
				for q.Counts().Running > 1 || q.Counts().Queued > 1 { // until the slow one alone is left
					time.Sleep(time.Millisecond)
				}
				<-handled // the marker is back
				k.c <- NewEvent("add", "/devices/late", "test")
				q.Caused()
				w.busy.Store(false)
				close(slow)
			}()
		case "/devices/late":
			time.Sleep(20 * time.Millisecond)
			late.Store(true)
		}
		return false, nil
	}, QueueOptions{})
	k.run(q)
	k.c <- NewEvent("add", "/devices/slow", "test")
	marked := false
	mark := func(uuid string) error {
		if !marked {
			marked = true
			k.c <- NewEvent("add", "/devices/putsoff", "test")
			defer close(handled)
		}
		return k.mark(uuid)
	}
	if _, err := q.Settle(t.Context(), SettleOptions{Mark: mark, Witnesses: []Witness{&w}}); err != nil || !late.Load() {
		t.Errorf("settled before what the work caused was over: %v", err)
	}
}
