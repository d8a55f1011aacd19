//go:build system

package hotplug_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	udevnetlink "github.com/pilebones/go-udev/netlink"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
)

func listen(t testing.TB, opts hotplug.ListenOptions) *hotplug.Listener {
	t.Helper()
	l, err := hotplug.Listen(opts)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// receive collects events until n have come.
func receive(t testing.TB, l *hotplug.Listener, n int) []*hotplug.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var all []*hotplug.Event
	batch := make([]*hotplug.Event, 64)
	for len(all) < n {
		got, err := l.Receive(ctx, batch)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		all = append(all, batch[:got]...)
	}
	return all
}

func TestKernelBroadcastIsReceived(t *testing.T) {
	net := hotplugtest.NewNet(t)
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD})
	must(t, net.Send("add", "/devices/virtual/test/a", "test", "KEY=a=b", "MODALIAS=test:x"))
	must(t, net.SendRaw([]byte("remove@/devices/virtual/test/b@2\x00")))
	events := receive(t, l, 2)
	if e := events[0]; e.Action() != "add" || e.Value("KEY") != "a=b" || e.Seqnum() == 0 {
		t.Errorf("got %v, seqnum %d", e, e.Seqnum())
	}
	if e := events[1]; e.Action() != "remove" || e.Devpath() != "/devices/virtual/test/b@2" || e.Seqnum() <= events[0].Seqnum() {
		t.Errorf("got %v, seqnum %d", e, e.Seqnum())
	}
}

func TestForgedMessageIsRefusedAndCounted(t *testing.T) {
	net := hotplugtest.NewNet(t)
	var refused []hotplug.Refusal
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD, Refused: func(r hotplug.Refusal) { refused = append(refused, r) }})
	must(t, net.Forge(hotplug.KernelGroup, hotplug.AppendMessage(nil, "add", "/devices/forged", "block", "SEQNUM=1")))
	must(t, net.SendRaw([]byte("garbage without a NUL")))
	must(t, net.Forge(hotplug.KernelGroup, append([]byte("add@/devices/longer\x00KEY="), bytes.Repeat([]byte("x"), 64<<10)...)))
	must(t, net.Send("add", "/devices/real", "test"))
	events := receive(t, l, 1)
	if len(events) != 1 || events[0].Devpath() != "/devices/real" {
		t.Errorf("received %v", events)
	}
	if c := l.Counts(); c.Received != 1 || c.Refused != 2 || c.Malformed != 1 || c.Dropped != 0 {
		t.Errorf("counts %+v", c)
	}
	if len(refused) != 3 || refused[2].Size != 64<<10+24 || !errors.Is(refused[0].Err, hotplug.ErrSender) || refused[0].Port == 0 || !errors.Is(refused[1].Err, hotplug.ErrMessage) {
		t.Errorf("told of %v", refused)
	}
}

// The kernel sends nothing so long; a process may.
func TestMessageTooLongIsRefusedWhole(t *testing.T) {
	net := hotplugtest.NewNet(t)
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD, Group: hotplug.UdevGroup})
	b, err := hotplug.NewBroadcaster(net.FD)
	must(t, err)
	defer b.Close()
	pairs := []hotplug.Pair{{Key: "ACTION", Value: "add"}, {Key: "DEVPATH", Value: "/devices/x"}, {Key: "SUBSYSTEM", Value: "test"}}
	must(t, b.Send(append(pairs, hotplug.Pair{Key: "LONG", Value: strings.Repeat("x", 64<<10)})))
	must(t, b.Send(pairs))
	receive(t, l, 1)
	if c := l.Counts(); c.Received != 1 || c.Malformed != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestReceiveEndsWithItsContextAndWithClose(t *testing.T) {
	net := hotplugtest.NewNet(t)
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD})
	batch := make([]*hotplug.Event, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Receive(ctx, batch); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context: %v", err)
	}
	must(t, net.Send("add", "/devices/a", "test"))
	if n, err := l.Receive(t.Context(), batch); n != 1 || err != nil {
		t.Errorf("after an ended context: %d, %v", n, err)
	}
	ended := make(chan error)
	go func() { _, err := l.Receive(t.Context(), batch); ended <- err }()
	time.Sleep(10 * time.Millisecond)
	must(t, l.Close())
	if err := <-ended; !errors.Is(err, hotplug.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

func TestOverflowIsToldWithTheExactNumber(t *testing.T) {
	net := hotplugtest.NewNet(t)
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD, Buffer: 256 << 10})
	const sent = 5000
	for i := range sent {
		must(t, net.Send("add", fmt.Sprintf("/devices/virtual/test/%d", i), "test"))
	}
	received := 0
	batch := make([]*hotplug.Event, 64)
	n, err := l.Receive(t.Context(), batch)
	received += n
	if !errors.Is(err, hotplug.ErrOverflow) {
		t.Fatalf("first answer is %d events, %v", n, err)
	}
	dropped, err := l.Drain(t.Context(), func(*hotplug.Event) error { received++; return nil })
	must(t, err)
	if received+int(dropped) != sent || dropped == 0 || l.Counts().Dropped != dropped {
		t.Errorf("%d received, %d dropped, %d sent", received, dropped, sent)
	}
	must(t, net.Send("add", "/devices/after", "test"))
	if got := receive(t, l, 1); got[0].Devpath() != "/devices/after" {
		t.Errorf("after the overflow: %v", got)
	}
}

func TestMarkComesBackAfterAllThatWasSentBefore(t *testing.T) {
	net := hotplugtest.NewNet(t)
	l := listen(t, hotplug.ListenOptions{NetNS: net.FD})
	var handled int
	var mu sync.Mutex
	q := hotplug.NewQueue(func(context.Context, *hotplug.Event) (bool, error) {
		mu.Lock()
		handled++
		mu.Unlock()
		return false, nil
	}, hotplug.QueueOptions{})
	go pump(t, l, q)
	const sent = 2000
	for i := range sent {
		must(t, net.Send("change", fmt.Sprintf("/devices/%d", i%50), "test"))
	}
	acc, err := q.Settle(t.Context(), hotplug.SettleOptions{Mark: l.Mark})
	mu.Lock()
	defer mu.Unlock()
	if err != nil || handled != sent || acc.Events > sent || acc.Rounds != 1 {
		t.Errorf("%d of %d handled at return: %+v, %v", handled, sent, acc, err)
	}
}

// pump takes events from a listener to a queue until the listener is closed.
func pump(t testing.TB, l *hotplug.Listener, q *hotplug.Queue) {
	batch := make([]*hotplug.Event, 64)
	for {
		n, err := l.Receive(context.Background(), batch)
		if errors.Is(err, hotplug.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		for _, ev := range batch[:n] {
			if err := q.Add(context.Background(), ev); err != nil {
				return
			}
		}
	}
}

// 200,000 events through listener, queue and broadcaster: none lost, and whoever listens with libudev sees each once,
// in order for each device.
func TestTwoHundredThousandEvents(t *testing.T) {
	net := hotplugtest.NewNet(t)
	in := listen(t, hotplug.ListenOptions{NetNS: net.FD})
	out := listen(t, hotplug.ListenOptions{NetNS: net.FD, Group: hotplug.UdevGroup})
	b, err := hotplug.NewBroadcaster(net.FD)
	must(t, err)
	defer b.Close()
	q := hotplug.NewQueue(func(_ context.Context, ev *hotplug.Event) (bool, error) {
		pairs := make([]hotplug.Pair, 0, 8)
		for key, value := range ev.All() {
			pairs = append(pairs, hotplug.Pair{Key: key, Value: value})
		}
		return false, b.Send(pairs)
	}, hotplug.QueueOptions{})
	go pump(t, in, q)
	const sent, devices = 200_000, 997
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range sent {
			if err := net.Send("change", fmt.Sprintf("/devices/virtual/test/%d", i%devices), "test", fmt.Sprintf("N=%d", i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	last := make(map[string]int)
	seen := 0
	for seen < sent && !t.Failed() {
		for _, ev := range receive(t, out, 1) {
			n := 0
			fmt.Sscan(ev.Value("N"), &n)
			before, known := last[ev.Devpath()]
			if known && n != before+devices || !known && n >= devices {
				t.Fatalf("%s: number %d after %d", ev.Devpath(), n, before)
			}
			last[ev.Devpath()] = n
			seen++
		}
	}
	wg.Wait()
	if c, qc := in.Counts(), q.Counts(); c.Received != sent || c.Dropped != 0 || qc.Handled != sent || qc.Failed != 0 || out.Counts().Dropped != 0 {
		t.Errorf("received %+v, queue %+v, listeners %+v", c, qc, out.Counts())
	}
}

func TestGoUdevReadsOurBroadcast(t *testing.T) {
	net := hotplugtest.NewNet(t)
	b, err := hotplug.NewBroadcaster(net.FD)
	must(t, err)
	defer b.Close()
	var reader udevnetlink.UEventConn
	inNamespace(t, net.FD, func() error { return reader.Connect(udevnetlink.UdevEvent) })
	defer reader.Close()
	must(t, b.Send([]hotplug.Pair{{Key: "ACTION", Value: "add"}, {Key: "DEVPATH", Value: "/devices/virtual/block/x"}, {Key: "SUBSYSTEM", Value: "block"}, {Key: "ID_BUS", Value: "usb"}}))
	ev, err := reader.ReadUEvent()
	if err != nil || ev.Action != udevnetlink.ADD || ev.KObj != "/devices/virtual/block/x" || ev.Env["ID_BUS"] != "usb" {
		t.Errorf("go-udev reads %+v, %v", ev, err)
	}
}

func inNamespace(t testing.TB, fd int, do func() error) {
	t.Helper()
	c := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			c <- err
			return
		}
		c <- do()
	}()
	must(t, <-c)
}

// debian returns where a package of Debian's is unpacked.
func debian(t testing.TB, packages ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"../testdata/debian/fetch"}, packages...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("Debian's packages: %v: sh testdata/debian/fetch %s", err, strings.Join(packages, " "))
	}
	lines := strings.Fields(string(out))
	return lines[len(lines)-1]
}

func TestUdevadmMonitorReadsOurBroadcast(t *testing.T) {
	cache := debian(t, "udev", "systemd")
	net := hotplugtest.NewNet(t)
	b, err := hotplug.NewBroadcaster(net.FD)
	must(t, err)
	defer b.Close()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	private, _ := filepath.Glob(cache + "/*/usr/lib/*/systemd")
	more, _ := filepath.Glob(cache + "/*/usr/lib/*-linux-gnu")
	env := append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(append(private, more...), ":"))
	udevadm := cache + "/udev/bin/udevadm"
	if _, err := os.Stat(udevadm); err != nil {
		udevadm = cache + "/udev/usr/bin/udevadm"
	}
	_, err = net.Run(env, []*os.File{nil, w, w}, udevadm, "monitor", "--udev", "--property", "--subsystem-match=block/disk", "--tag-match=seat")
	must(t, err)
	w.Close()
	stop := time.AfterFunc(20*time.Second, func() { r.Close() })
	defer stop.Stop()
	disk := []hotplug.Pair{{Key: "ACTION", Value: "add"}, {Key: "DEVPATH", Value: "/devices/virtual/block/x"}, {Key: "SUBSYSTEM", Value: "block"}, {Key: "DEVTYPE", Value: "disk"},
		{Key: "SEQNUM", Value: "77"}, {Key: "TAGS", Value: ":seat:other:"}, {Key: "CURRENT_TAGS", Value: ":seat:"}, {Key: "ID_MODEL", Value: "a=b c"}}
	lines := bufio.NewScanner(r)
	var text strings.Builder
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	done := make(chan struct{})
	defer close(done)
	go func() { // it says when it listens only by what it prints: tell it until it answers
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				other := append([]hotplug.Pair{{Key: "ACTION", Value: "change"}, {Key: "DEVPATH", Value: "/devices/virtual/mem/other"}, {Key: "SUBSYSTEM", Value: "mem"}, {Key: "SEQNUM", Value: "1"}}, disk[5:]...)
				_ = b.Send(other)
				_ = b.Send(disk)
			}
		}
	}()
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if lines.Text() == "" && strings.Contains(text.String(), "ID_MODEL=") {
			break
		}
	}
	for _, want := range []string{"/devices/virtual/block/x (block)", "ACTION=add", "DEVTYPE=disk", "SEQNUM=77", "ID_MODEL=a=b c", "\nCURRENT_TAGS=:seat:\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("udevadm does not show %s:\n%s", want, text.String())
		}
	}
	if s := text.String(); !strings.Contains(s, "\nTAGS=:seat:other:\n") && !strings.Contains(s, "\nTAGS=:other:seat:\n") { // a set, in any order
		t.Errorf("udevadm does not show both tags:\n%s", s)
	}
	if strings.Contains(text.String(), "other (mem)") {
		t.Errorf("its filter let another subsystem pass:\n%s", text.String())
	}
}

func BenchmarkReceive(b *testing.B) {
	net := hotplugtest.NewNet(b)
	l := listen(b, hotplug.ListenOptions{NetNS: net.FD})
	batch := make([]*hotplug.Event, 64)
	const chunk = 1000
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range chunk {
			must(b, net.Send("change", "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda", "block", "MAJOR=254", "MINOR=0", "DEVNAME=vda", fmt.Sprintf("N=%d", i)))
		}
		b.StartTimer()
		for n := 0; n < chunk; {
			got, err := l.Receive(b.Context(), batch)
			must(b, err)
			n += got
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*chunk), "ns/event")
}
