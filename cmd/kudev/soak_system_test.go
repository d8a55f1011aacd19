//go:build system

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kudev/kudev/hotplug/hotplugtest"
)

// TestTheDaemonStandsAFlood adds, removes, changes and renames devices at random, while rules are rewritten, SIGHUP comes again and
// again, and the daemon is killed, or told to end, and started again in the middle. At the end there is what belongs to the devices that are
// left, and nothing else; and the daemon holds no more descriptors, goroutines or memory than before. KUDEV_SOAK=10m makes it last.
func TestTheDaemonStandsAFlood(t *testing.T) {
	last := 10 * time.Second
	if text := os.Getenv("KUDEV_SOAK"); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil {
			t.Fatalf("KUDEV_SOAK: %v", err)
		}
	}
	const rules = `SUBSYSTEM=="block", SYMLINK+="by/$kernel by/shared", TAG+="t", ENV{SEEN}="1"
SUBSYSTEM=="net", TAG+="t", ENV{SEEN}="1"
ACTION=="change", RUN+="/bin/true"
`
	m := newMachine(t, buildKudev(t), "", rules)
	f := &flood{m: m, r: rand.New(rand.NewPCG(1, 2)), disks: map[int]bool{}, nets: map[int]string{}}
	d := m.start()
	for range 200 {
		f.step()
	}
	m.must("$KUDEV settle --timeout 60")
	descriptors, memory := d.descriptors(), m.status().RSSBytes
	end := time.Now().Add(last)
	restart := time.Now().Add(last / 4)
	signals := [...]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}
	for n := 0; time.Now().Before(end); n++ {
		f.step()
		switch {
		case n%2000 == 1999:
			if err := os.WriteFile(m.dir+"/rules/10-a.rules", fmt.Appendf(nil, "%s# %d\n", rules, n), 0o644); err != nil {
				t.Fatal(err)
			}
		case n%500 == 499:
			d.cmd.Process.Signal(syscall.SIGHUP)
		}
		if n%5000 == 4999 {
			m.must("$KUDEV settle --timeout 60")
		}
		if time.Now().After(restart) {
			d.stop(signals[0])
			signals[0], signals[1] = signals[1], signals[0]
			for range 100 {
				f.step() // nobody listens
			}
			d = m.start()
			restart = time.Now().Add(last / 4)
		}
	}
	m.must("$KUDEV settle --timeout 60")
	s := m.status()
	t.Logf("%d steps; %d received, %d handled, %d lost, %d recovered, %d reloads; memory %d before, %d after", f.steps, s.Received, s.Handled, s.Lost, s.Recovered, s.Reloads, memory, s.RSSBytes)
	if s.Received != s.Handled || s.Failed != 0 || s.Queued != 0 || s.ReloadError != "" {
		t.Errorf("%+v", s)
	}
	f.check()
	if got := d.descriptors(); got > descriptors+3 {
		t.Errorf("%d descriptors, %d before", got, descriptors)
	}
	if s.RSSBytes > 3*memory+16<<20 {
		t.Errorf("%d bytes of memory, %d before", s.RSSBytes, memory)
	}
	d.cmd.Process.Signal(syscall.SIGQUIT) // the runtime says what runs
	<-d.ended
	if n := strings.Count(d.stderr.String(), "\ngoroutine "); n == 0 || n > 40 {
		t.Errorf("%d goroutines: %s", n, d.stderr)
	}
}

func (d *running) descriptors() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.m.t.Fatal(err)
	}
	return len(list)
}

// flood is what happens to the machine.
type flood struct {
	m     *machine
	r     *rand.Rand
	disks map[int]bool
	nets  map[int]string
	steps int
}

func (f *flood) step() {
	f.steps++
	t, n := f.m.t, f.r.IntN(30)
	send := func(action, devpath, subsystem string, properties ...string) {
		if err := f.m.net.Send(action, devpath, subsystem, properties...); err != nil {
			t.Fatal(err)
		}
	}
	if n >= 20 { // an interface
		name, there := f.nets[n]
		next := fmt.Sprintf("n%d-%d", n, f.r.IntN(5))
		index := fmt.Sprintf("IFINDEX=%d", 100+n)
		add := func() {
			hotplugtest.Add(t, f.m.roots, fmt.Sprintf("/devices/virtual/net/%s subsystem=net\n\tuevent INTERFACE=%s\n\tuevent %s\n\tifindex %d\n", next, next, index, 100+n))
			f.nets[n] = next
		}
		switch {
		case !there:
			add()
			send("add", "/devices/virtual/net/"+next, "net", "INTERFACE="+next, index)
		case f.r.IntN(3) == 0:
			hotplugtest.Remove(t, f.m.roots, "/devices/virtual/net/"+name)
			delete(f.nets, n)
			send("remove", "/devices/virtual/net/"+name, "net", "INTERFACE="+name, index)
		case name != next:
			hotplugtest.Remove(t, f.m.roots, "/devices/virtual/net/"+name)
			add()
			send("move", "/devices/virtual/net/"+next, "net", "INTERFACE="+next, index, "DEVPATH_OLD=/devices/virtual/net/"+name)
		}
		return
	}
	path := fmt.Sprintf("/devices/virtual/block/d%d", n)
	properties := []string{fmt.Sprintf("DEVNAME=d%d", n), "DEVTYPE=disk", "MAJOR=240", fmt.Sprintf("MINOR=%d", n)}
	switch {
	case !f.disks[n]:
		hotplugtest.Add(t, f.m.roots, fmt.Sprintf("%s subsystem=block dev=240:%d\n\tuevent DEVNAME=d%d\n\tuevent DEVTYPE=disk\n", path, n, n))
		f.disks[n] = true
		send("add", path, "block", properties...)
	case f.r.IntN(4) > 0:
		send("change", path, "block", properties...)
	default:
		hotplugtest.Remove(t, f.m.roots, path)
		delete(f.disks, n)
		send("remove", path, "block", properties...)
	}
}

// check compares what there is with what there should be.
func (f *flood) check() {
	t, m := f.m.t, f.m
	t.Helper()
	var links, records []string
	for n := range f.disks {
		links = append(links, fmt.Sprintf("d%d", n))
		records = append(records, fmt.Sprintf("b240:%d", n))
	}
	for n := range f.nets {
		records = append(records, fmt.Sprintf("n%d", 100+n))
	}
	if len(links) > 0 {
		links = append(links, "shared")
	}
	for _, c := range []struct {
		where string
		want  []string
	}{{"/dev/by", links}, {"/run/udev/data", records}, {"/run/udev/tags/t", records}} {
		slices.Sort(c.want)
		got := strings.Fields(m.must("ls -A " + c.where + " 2>/dev/null || true"))
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s holds %v, want %v", c.where, got, c.want)
		}
	}
	if broken := m.must("find /dev/by /dev/block -type l 2>/dev/null | while read -r l; do case $(readlink $l) in *d[0-9]*) ;; *) echo $l;; esac; done"); broken != "" {
		t.Errorf("links that lead nowhere: %s", broken)
	}
	if left := m.must("find /run/udev /dev -name '.#*'"); left != "" {
		t.Errorf("temporary files are left: %s", left)
	}
	if queue := m.sh("test -e /run/udev/queue"); queue.status == 0 {
		t.Error("/run/udev/queue is left")
	}
}
