//go:build system

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
	"github.com/kudev/kudev/modload"
)

// world is a machine of its own: a fake /sys, /dev and /run, and a real network namespace in which the kernel itself
// broadcasts what the test makes it send.
type world struct {
	t     testing.TB
	net   *hotplugtest.Net
	roots hotplug.Roots
	rules string
	base  string
	buf   int
}

func newWorld(t testing.TB, devices, rules string) *world {
	t.Helper()
	w := &world{t: t, net: hotplugtest.NewNet(t), roots: hotplugtest.Tree(t, devices)}
	w.base = filepath.Dir(w.roots.Sys)
	w.rules = filepath.Join(w.base, "rules.d")
	must(t, os.MkdirAll(w.rules, 0o755))
	must(t, os.WriteFile(w.rules+"/10-test.rules", []byte(rules), 0o644))
	must(t, os.MkdirAll(w.base+"/proc", 0o755))
	must(t, os.WriteFile(w.base+"/proc/cmdline", nil, 0o644))
	return w
}

func (w *world) options() Options {
	w.t.Helper()
	o := modload.Options{SystemRoot: w.base, Uname: func() (string, error) { return "6.1.0-test", nil }}
	if w.buf > 0 {
		o.Flags = append(o.Flags, modload.Flag{Setting: "receive_buffer", Value: fmt.Sprint(w.buf), Name: "--receive-buffer"})
	}
	cfg, err := modload.Resolve(o)
	must(w.t, err)
	return Options{
		Config: cfg, Roots: w.roots, Log: log.New(w.t.Output(), modload.LevelInfo, ""), Ready: Readiness{FD: -1},
		NetNS: w.net.FD, RulesDirs: []string{w.rules},
		Announce: func(item coldplug.Item, message string) error {
			action, rest, _ := strings.Cut(message, " ")
			uuid, args, _ := strings.Cut(rest, " ")
			properties := []string{"SYNTH_UUID=" + uuid}
			for _, a := range strings.Fields(args) {
				properties = append(properties, "SYNTH_ARG_"+a)
			}
			dev, err := w.roots.Device(item.Devpath)
			if err != nil {
				return err
			}
			for k, v := range dev.Properties() {
				if k != "DEVPATH" && k != "SUBSYSTEM" {
					properties = append(properties, k+"="+v)
				}
			}
			return w.net.Send(action, item.Devpath, item.Subsystem, properties...)
		},
	}
}

// start starts a daemon that ends with the test, or when stop is called.
func (w *world) start(o Options) (d *Daemon, stop func()) {
	w.t.Helper()
	d, err := Start(context.Background(), o)
	must(w.t, err)
	stop = sync.OnceFunc(func() {
		d.Exit()
		if err := d.Wait(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return d, stop
}

func (w *world) settle(d *Daemon) *Account {
	w.t.Helper()
	a, err := d.Settle(context.Background(), WaitOptions{Timeout: 2 * time.Minute})
	must(w.t, err)
	must(w.t, a.Err())
	return a
}

func TestTwoHundredThousandEventsAreHandledNoneLostAndEachToldOnceInOrder(t *testing.T) {
	const devices, rounds = 1000, 200
	w := newWorld(t, "", `SUBSYSTEM=="test", ENV{SEEN}="1"`)
	l, err := hotplug.Listen(hotplug.ListenOptions{NetNS: w.net.FD, Group: hotplug.UdevGroup})
	must(t, err)
	defer l.Close()
	d, _ := w.start(w.options())

	told := make(map[string]int, devices)
	done := make(chan error, 1)
	go func() {
		batch := make([]*hotplug.Event, 64)
		for n := 0; n < devices*rounds; {
			got, err := l.Receive(t.Context(), batch)
			if err != nil {
				done <- fmt.Errorf("after %d events: %w", n, err)
				return
			}
			for _, ev := range batch[:got] {
				want := told[ev.Devpath()]
				if ev.Value("ROUND") != fmt.Sprint(want) || ev.Value("SEEN") != "1" {
					done <- fmt.Errorf("%s: round %s, want %d", ev, ev.Value("ROUND"), want)
					return
				}
				told[ev.Devpath()]++
			}
			n += got
		}
		done <- nil
	}()
	for r := range rounds {
		for i := range devices {
			must(t, w.net.Send("change", fmt.Sprintf("/devices/virtual/test/t%d", i), "test", fmt.Sprintf("ROUND=%d", r)))
		}
	}
	w.settle(d)
	s := d.Status()
	if s.Received != devices*rounds || s.Handled != devices*rounds || s.Failed != 0 || s.Lost != 0 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the listener did not hear of all")
	}
	for path, n := range told {
		if n != rounds {
			t.Errorf("%s was told %d times", path, n)
		}
	}
}

const threeDisks = `
/devices/virtual/block/one subsystem=block dev=240:1
	uevent DEVNAME=one
	uevent DEVTYPE=disk
/devices/virtual/block/two subsystem=block dev=240:2
	uevent DEVNAME=two
	uevent DEVTYPE=disk
/devices/virtual/block/three subsystem=block dev=240:3
	uevent DEVNAME=three
	uevent DEVTYPE=disk
`

const linkRule = `SUBSYSTEM=="block", SYMLINK+="disk/by-test/$kernel"`

func (w *world) links() string {
	entries, _ := os.ReadDir(w.roots.Dev + "/disk/by-test")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestEventsLostInAnOverflowAreRecovered(t *testing.T) {
	w := newWorld(t, threeDisks, linkRule)
	w.buf = 16 << 10
	said := &lines{}
	o := w.options()
	o.Log = log.New(said, modload.LevelInfo, "")
	d, _ := w.start(o)
	a, err := d.Coldplug(t.Context(), WaitOptions{Timeout: time.Minute})
	must(t, err)
	must(t, a.Err())
	if w.links() != "one three two" {
		t.Fatalf("links %q", w.links())
	}
	// One goes, one comes, and the kernel's word of both is lost in a flood while nobody reads.
	hotplugtest.Remove(t, w.roots, "/devices/virtual/block/two")
	hotplugtest.Add(t, w.roots, "/devices/virtual/block/four subsystem=block dev=240:4\n\tuevent DEVNAME=four\n\tuevent DEVTYPE=disk\n")
	for d.Status().Lost == 0 {
		for i := range 20000 {
			must(t, w.net.Send("change", fmt.Sprintf("/devices/virtual/test/t%d", i%50), "test"))
		}
		if err := d.passMarker(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(d)
	if w.links() != "four one three" {
		t.Errorf("links %q", w.links())
	}
	s := d.Status()
	if s.Recovered < 2 || s.Received != s.Handled {
		t.Errorf("%+v", s)
	}
	if text := said.String(); !strings.Contains(text, "the kernel dropped") || !strings.Contains(text, "made up") {
		t.Errorf("not said: %s", text)
	}
}

func TestWhatHappenedBetweenTwoDaemonsIsRecovered(t *testing.T) {
	w := newWorld(t, threeDisks, linkRule)
	d, stop := w.start(w.options())
	_, err := d.Coldplug(t.Context(), WaitOptions{Timeout: time.Minute})
	must(t, err)
	stop()
	hotplugtest.Remove(t, w.roots, "/devices/virtual/block/two")
	hotplugtest.Add(t, w.roots, "/devices/virtual/block/four subsystem=block dev=240:4\n\tuevent DEVNAME=four\n\tuevent DEVTYPE=disk\n")
	d, _ = w.start(w.options())
	w.settle(d)
	if w.links() != "four one three" {
		t.Errorf("links %q", w.links())
	}
	if s := d.Status(); s.Recovered < 2 {
		t.Errorf("%+v", s)
	}
}

func TestASecondDaemonFindsTheFirst(t *testing.T) {
	w := newWorld(t, "", "")
	w.start(w.options())
	_, err := Start(context.Background(), w.options())
	var held *modload.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("got %v", err)
	}
	c, err := Connect(t.Context(), w.options().Config, w.roots.Run)
	must(t, err)
	defer c.Close()
	r, err := c.Ask(Request{Do: "status"})
	if err != nil || r.Status.Pid != os.Getpid() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestALoneColdplugLeavesNoDaemonBehind(t *testing.T) {
	w := newWorld(t, threeDisks, linkRule)
	o := w.options()
	o.Transient = true
	d, stop := w.start(o)
	a, err := d.Coldplug(t.Context(), WaitOptions{Timeout: time.Minute})
	must(t, err)
	if a.Triggered != 3 || a.Events != 3 || a.Kernel != 0 {
		t.Errorf("%+v", a)
	}
	stop()
	if w.links() != "one three two" {
		t.Errorf("links %q", w.links())
	}
	if _, err := Connect(t.Context(), o.Config, w.roots.Run); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("somebody answers: %v", err)
	}
	for _, name := range []string{SocketName, UdevSocketName, "udev/queue", "kudev/passing." + fmt.Sprint(os.Getpid())} {
		if exists(filepath.Join(w.roots.Run, name)) {
			t.Errorf("%s is left", name)
		}
	}
}

func TestWaitForReturnsWithTheEventThatMakesTheDevice(t *testing.T) {
	w := newWorld(t, "", linkRule+"\n"+`SUBSYSTEM=="slow", PROGRAM=="/bin/sleep 1"`)
	d, _ := w.start(w.options())
	got := make(chan *Account, 1)
	go func() {
		a, err := d.Settle(context.Background(), WaitOptions{Timeout: time.Minute, WaitFor: "/dev/disk/by-test/five"})
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	for { // until it waits
		d.mu.Lock()
		n := len(d.waitFors)
		d.mu.Unlock()
		if n > 0 {
			break
		}
		runtime.Gosched()
	}
	must(t, w.net.Send("add", "/devices/virtual/slow/s", "slow"))
	must(t, w.net.Send("add", "/devices/virtual/block/five", "block", "MAJOR=240", "MINOR=5", "DEVNAME=five", "DEVTYPE=disk"))
	if a := <-got; a.Found != "/devices/virtual/block/five" {
		t.Errorf("%+v", a)
	}
	a, err := d.Settle(t.Context(), WaitOptions{Timeout: time.Millisecond, WaitFor: "/dev/never"})
	if err != nil || a.Err() == nil || !strings.Contains(a.Err().Error(), "/dev/never") {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestDevicesOfAnotherNamespaceDoNotHoldASettleUp(t *testing.T) {
	w := newWorld(t, "", `SUBSYSTEM=="test", PROGRAM=="/bin/sleep 60"`)
	other := hotplugtest.NewNet(t)
	d, _ := w.start(w.options())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			other.Send("add", "/devices/virtual/test/x", "test")
		}
	})
	a := w.settle(d)
	cancel()
	wg.Wait()
	if a.Events != 0 || d.Status().Received != 0 {
		t.Errorf("%+v", a)
	}
}

func TestAMessageOfAUserIsRefusedAndCounted(t *testing.T) {
	w := newWorld(t, "", "")
	d, _ := w.start(w.options())
	must(t, w.net.Forge(hotplug.KernelGroup, hotplug.AppendMessage(nil, "add", "/devices/forged", "block", "SEQNUM=1")))
	w.settle(d)
	if s := d.Status(); s.Refused != 1 || s.Received != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRulesAreReloadedWhenTheyChange(t *testing.T) {
	w := newWorld(t, threeDisks, linkRule)
	d, _ := w.start(w.options())
	must(t, os.WriteFile(w.rules+"/10-test.rules", []byte(`SUBSYSTEM=="block", SYMLINK+="disk/by-test/new-$kernel"`), 0o644))
	for d.reloads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_, err := d.Coldplug(t.Context(), WaitOptions{Timeout: time.Minute})
	must(t, err)
	if w.links() != "new-one new-three new-two" {
		t.Errorf("links %q", w.links())
	}
}

func TestUdevadmsControlSocketIsServed(t *testing.T) {
	w := newWorld(t, "", "")
	d, _ := w.start(w.options())
	for _, c := range []struct {
		verb UdevVerb
		n    int32
		text string
	}{{UdevPing, 0, ""}, {UdevReload, 0, ""}, {UdevEnv, 0, "A=b"}, {UdevStop, 0, ""}, {UdevStart, 0, ""}} {
		must(t, UdevControl(t.Context(), w.roots.Run, c.verb, c.n, c.text))
	}
	if d.reloads.Load() != 1 || strings.Join(d.machine.Globals(), " ") != "A=b" {
		t.Errorf("%d reloads, %v", d.reloads.Load(), d.machine.Globals())
	}
	must(t, UdevControl(t.Context(), w.roots.Run, UdevExit, 0, ""))
	<-d.ctx.Done()
}
