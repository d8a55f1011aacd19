//go:build system

package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// TestNothingGrows lets the kernel broadcast devices that come, change, are renamed and go, by the thousand, while clients ask, wait, hang
// up and ping, programs are run and the socket overflows. After each round there are as many goroutines, descriptors and bytes in use as
// after the second, when the journal is full. KUDEV_ROUNDS makes more of the five rounds: some hundreds are a day of a busy machine.
func TestNothingGrows(t *testing.T) {
	rounds := 5
	if text := os.Getenv("KUDEV_ROUNDS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		must(t, err)
	}
	w := newWorld(t, "", `SUBSYSTEM=="block", SYMLINK+="by/$kernel by/shared", TAG+="t", ENV{SEEN}="$env{N}"
SUBSYSTEM=="net", TAG+="t"
ENV{N}=="*00", RUN+="/bin/true"
SUBSYSTEM=="pci", RUN{builtin}+="kmod load"
`)
	w.buf = 16 << 10 // for an overflow a round
	d, _ := w.start(w.options())
	var before usage
	for round := range rounds {
		w.flood(d, round)
		w.settle(d)
		now := inUse()
		t.Logf("round %d: %v; %d received, %d lost, %d recovered", round, now, d.Status().Received, d.Status().Lost, d.Status().Recovered)
		switch {
		case round == 1:
			before = now
		case round > 1 && (now.goroutines > before.goroutines || now.descriptors > before.descriptors || now.heap > before.heap+128<<10):
			t.Fatalf("in use after round %d: %v; after the second: %v", round, now, before)
		}
	}
	if s := d.Status(); s.Failed != 0 || s.Received != s.Handled || s.Lost == 0 {
		t.Errorf("%+v", s)
	}
}

type usage struct {
	goroutines, descriptors int
	heap                    uint64
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB", u.goroutines, u.descriptors, u.heap>>10)
}

// inUse is what the process has, once those goroutines have ended that are about to.
func inUse() (u usage) {
	for range 100 {
		n := runtime.NumGoroutine()
		if n == u.goroutines {
			break
		}
		u.goroutines = n
		time.Sleep(20 * time.Millisecond)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	u.descriptors = len(fds)
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers have let go
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	return u
}

// flood is one round. All devices that came in it have gone at its end.
func (w *world) flood(d *Daemon, round int) {
	t, r := w.t, rand.New(rand.NewPCG(1, uint64(round)))
	send := func(action, devpath, subsystem string, properties ...string) {
		must(t, w.net.Send(action, devpath, subsystem, properties...))
	}
	const devices = 40
	names := make(map[int]string)
	for step := range 1500 {
		n := r.IntN(devices)
		name, there := names[n]
		if n%2 == 0 { // a disk
			path := fmt.Sprintf("/devices/virtual/block/d%d", n)
			properties := []string{fmt.Sprintf("DEVNAME=d%d", n), "DEVTYPE=disk", "MAJOR=240", fmt.Sprintf("MINOR=%d", n), fmt.Sprintf("N=%d", step)}
			switch {
			case !there:
				names[n] = path
				hotplugtest.Add(t, w.roots, fmt.Sprintf("%s subsystem=block dev=240:%d\n\tuevent DEVNAME=d%d\n\tuevent DEVTYPE=disk\n", path, n, n))
				send("add", path, "block", properties...)
			case r.IntN(4) > 0:
				send("change", path, "block", properties...)
			default:
				delete(names, n)
				hotplugtest.Remove(t, w.roots, path)
				send("remove", path, "block", properties...)
			}
			continue
		}
		index := fmt.Sprintf("IFINDEX=%d", 100+n)
		next := fmt.Sprintf("/devices/virtual/net/n%d-%d-%d", n, round, step)
		tree := func(path string) {
			hotplugtest.Add(t, w.roots, fmt.Sprintf("%s subsystem=net\n\tuevent %s\n%s/queues/rx-0 subsystem=queues\n", path, index, path))
		}
		switch {
		case !there:
			names[n] = next
			tree(next)
			send("add", next, "net", index)
			send("add", next+"/queues/rx-0", "queues")
		case r.IntN(2) == 0:
			names[n] = next
			hotplugtest.Remove(t, w.roots, name)
			tree(next)
			send("move", next, "net", index, "DEVPATH_OLD="+name)
		default:
			delete(names, n)
			hotplugtest.Remove(t, w.roots, name)
			send("remove", name+"/queues/rx-0", "queues")
			send("remove", name, "net", index)
		}
		if step%50 == 0 {
			w.clients(d, step)
		}
	}
	for lost := d.Status().Lost; d.Status().Lost == lost; {
		for i := range 5000 {
			send("change", fmt.Sprintf("/devices/virtual/test/t%d", i%50), "test")
		}
		must(t, d.passMarker(t.Context()))
	}
	w.settle(d)
	for n, path := range names {
		hotplugtest.Remove(t, w.roots, path)
		if n%2 == 0 {
			send("remove", path, "block", fmt.Sprintf("DEVNAME=d%d", n), "DEVTYPE=disk", "MAJOR=240", fmt.Sprintf("MINOR=%d", n))
			continue
		}
		send("remove", path+"/queues/rx-0", "queues")
		send("remove", path, "net", fmt.Sprintf("IFINDEX=%d", 100+n))
	}
	hotplugtest.Remove(t, w.roots, "/class/net") // its links lead nowhere
	hotplugtest.Remove(t, w.roots, "/class/queues")
}

// clients are some that behave, and some that do not.
func (w *world) clients(d *Daemon, step int) {
	t := w.t
	for _, req := range []Request{{Do: "settle"}, {Do: "settle", WaitFor: "/dev/never"}, {Do: "watch"}, {Do: "journal"}, {Do: "status"}} {
		c, err := Dial(w.roots.Run)
		must(t, err)
		must(t, c.Send(req))
		if req.Do == "status" {
			_, err := c.Receive()
			must(t, err)
		}
		must(t, c.Close()) // in the middle of its answer
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	_, _ = d.Settle(ctx, WaitOptions{})
	cancel()
	must(t, UdevControl(t.Context(), w.roots.Run, UdevPing, 0, ""))
	if step%500 == 0 {
		must(t, UdevControl(t.Context(), w.roots.Run, UdevReload, 0, ""))
	}
}
