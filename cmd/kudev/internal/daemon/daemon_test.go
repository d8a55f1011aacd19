package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/hotplug/hotplugtest"
	"github.com/kudev/kudev/modload"
)

// kernel is a source of events without a kernel: it says what the test lets it say.
type kernel struct{ c chan *hotplug.Event }

func (k *kernel) send(action, devpath, subsystem string, properties ...string) {
	k.c <- hotplug.NewEvent(action, devpath, subsystem, properties...)
}

func (k *kernel) Receive(ctx context.Context, events []*hotplug.Event) (int, error) {
	select {
	case events[0] = <-k.c:
		return 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (k *kernel) Mark(uuid string) error {
	k.send("change", "/devices/virtual/mem/null", "mem", "SYNTH_UUID="+uuid)
	return nil
}

func (k *kernel) Drain(context.Context, func(*hotplug.Event) error) (uint64, error) { return 0, nil }
func (k *kernel) Counts() hotplug.ListenCounts                                      { return hotplug.ListenCounts{} }
func (k *kernel) Close() error                                                      { return nil }

// small is a daemon on a fake machine that needs no privileges. What is announced comes back at once.
func small(t *testing.T, devices, rules string) (Options, *kernel, *lines) {
	t.Helper()
	roots := hotplugtest.Tree(t, devices)
	base := filepath.Dir(roots.Sys)
	for name, text := range map[string]string{"/rules.d/10-test.rules": rules, "/proc/cmdline": ""} {
		must(t, os.MkdirAll(filepath.Dir(base+name), 0o755))
		must(t, os.WriteFile(base+name, []byte(text), 0o644))
	}
	cfg, err := modload.Resolve(modload.Options{SystemRoot: base, Uname: func() (string, error) { return "6.1.0-test", nil }})
	must(t, err)
	k, said := &kernel{make(chan *hotplug.Event, 1000)}, &lines{}
	return Options{
		Config: cfg, Roots: roots, Log: log.New(said, modload.LevelInfo, ""), Ready: Readiness{FD: -1}, RulesDirs: []string{base + "/rules.d"},
		Source: k, Sink: noSink{},
		Announce: func(item coldplug.Item, message string) error {
			dev, err := roots.Device(item.Devpath)
			if err != nil {
				return err
			}
			ev, err := dev.MakeEvent(strings.Fields(message)[0])
			if err == nil {
				k.c <- ev
			}
			return err
		},
	}, k, said
}

// run starts a daemon, which ends with the test.
func run(t *testing.T, o Options) *Daemon {
	t.Helper()
	d, err := Start(context.Background(), o)
	must(t, err)
	t.Cleanup(func() {
		d.Exit()
		if err := d.Wait(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestASettleWaitsForTheColdplugOfTheStart(t *testing.T) {
	o, _, _ := small(t, "/devices/virtual/test/a subsystem=test\n", `SUBSYSTEM=="test", ENV{SEEN}="1"`)
	announce, begun, goOn := o.Announce, make(chan struct{}), make(chan struct{})
	o.Coldplug = true
	o.Announce = func(item coldplug.Item, message string) error {
		close(begun)
		<-goOn
		return announce(item, message)
	}
	d := run(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	a, err := d.Settle(ctx, WaitOptions{})
	must(t, err)
	if err := a.Err(); err == nil || !strings.Contains(err.Error(), coldplugging) {
		t.Errorf("before the first event: %v", err)
	}
	<-begun
	if !exists(o.Roots.Run + "/udev/queue") {
		t.Error("udevadm settle would not wait")
	}
	close(goOn)
	a, err = d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	must(t, a.Err())
	if s := d.Status(); s.Handled != 1 {
		t.Errorf("%+v", s)
	}
	if exists(o.Roots.Run + "/udev/queue") {
		t.Error("the queue's file is left")
	}
}

func TestARecordThatCannotBeKeptFailsTheColdplug(t *testing.T) {
	o, _, _ := small(t, "/devices/virtual/block/one subsystem=block dev=240:1\n\tuevent DEVNAME=one\n", `ENV{SEEN}="1"`)
	must(t, os.MkdirAll(o.Roots.Run+"/udev", 0o755))
	must(t, os.WriteFile(o.Roots.Run+"/udev/data", nil, 0o644)) // where records would lie
	a, err := run(t, o).Coldplug(t.Context(), WaitOptions{})
	must(t, err)
	if err := a.Err(); err == nil || !strings.HasPrefix(err.Error(), "failed: record b240:1: ") {
		t.Errorf("got %v", err)
	}
}

// panicking is a machine on which running a program goes wrong.
type panicking struct{}

func (panicking) Run(context.Context, hotplug.Program) (hotplug.Output, error) { panic("out of order") }

func TestAPanicEndsItsEventAlone(t *testing.T) {
	const rules = `SUBSYSTEM=="test", RUN+="/bin/true"
SUBSYSTEM=="sound", RUN{builtin}+="kmod load", RUN+="/bin/true"
`
	o, k, said := small(t, "", rules)
	o.Runner = panicking{}
	d := run(t, o)
	d.later.begin()
	k.send("add", "/devices/virtual/test/a", "test")
	k.send("add", "/devices/virtual/sound/b", "sound", "MODALIAS=hdaudio:v1")
	must(t, d.passMarker(t.Context()))
	for d.Status().Handled < 2 {
		runtime.Gosched()
	}
	if s := d.Status(); s.Failed != 1 {
		t.Errorf("before the rest: %+v", s)
	}
	d.later.end()
	a, err := d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	if s := d.Status(); s.Handled != 2 || s.Failed != 2 {
		t.Errorf("%+v, %+v", s, a)
	}
	var failed int
	for _, e := range d.journal.After(0) {
		if strings.Contains(e.Error, "out of order") {
			failed++
		}
	}
	if text := said.String(); failed != 2 || !strings.Contains(text, "/devices/virtual/test/a") || !strings.Contains(text, "panicking.Run") {
		t.Errorf("%d in the journal; said: %s", failed, text)
	}
}

func TestADeviceThatWasGoneWhenItsEventCameIsRemovedThoughThatIsLost(t *testing.T) {
	roots := hotplugtest.Tree(t, "")
	d, handled := recoverer(roots, func() {})
	d.known.note(roots, hotplug.NewEvent("add", lostDisk, "block", "DEVNAME=sda", "MAJOR=8", "MINOR=0"))
	d.recover(t.Context(), afterLoss)
	if got := handled(); len(got) != 1 || got[0] != "remove@"+lostDisk+" sda" || len(d.known.paths()) != 0 {
		t.Errorf("handled %q", got)
	}
}

// listener hears what the daemon tells.
type listener struct {
	mu    sync.Mutex
	heard []map[string]string
}

func (l *listener) Send(properties []hotplug.Pair) error {
	all := map[string]string{}
	for _, p := range properties {
		all[p.Key] = p.Value
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, all)
	return nil
}

func (*listener) Close() error { return nil }

// of is what was told of a device, the latest.
func (l *listener) of(devpath string) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, all := range slices.Backward(l.heard) {
		if all["DEVPATH"] == devpath {
			return all
		}
	}
	return nil
}

// systemd does not take a device for ready whose event failed, and waits for ever for one of which nobody speaks.
func TestListenersAreToldOfAnEventThatFailed(t *testing.T) {
	o, k, _ := small(t, "", `SUBSYSTEM=="test", RUN+="/bin/true"`)
	l := &listener{}
	o.Runner, o.Sink = panicking{}, l
	d := run(t, o)
	k.send("add", "/devices/virtual/test/a", "test", "DEVNAME=a", "X=1")
	k.send("add", "/devices/virtual/other/b", "other")
	_, err := d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	want := map[string]string{
		"ACTION": "add", "DEVPATH": "/devices/virtual/test/a", "SUBSYSTEM": "test", "DEVNAME": "/dev/a", "X": "1", "UDEV_DATABASE_VERSION": "1",
		"UDEV_WORKER_FAILED": "1", "UDEV_WORKER_ERRNO": "5", "UDEV_WORKER_ERRNO_NAME": "EIO",
	}
	if diff := cmp.Diff(want, l.of("/devices/virtual/test/a")); diff != "" {
		t.Error(diff)
	}
	if all := l.of("/devices/virtual/other/b"); all == nil || all["UDEV_WORKER_FAILED"] != "" {
		t.Errorf("of an event that did not: %v", all)
	}
}

// looking is a machine on which a program looks at the record and its environment.
type looking struct {
	record string
	saw    chan string
}

func (l looking) Run(_ context.Context, p hotplug.Program) (hotplug.Output, error) {
	text, err := os.ReadFile(l.record)
	l.saw <- p.Line + "\n" + strings.Join(p.Env, "\n") + "\n--\n" + string(text)
	return hotplug.Output{}, err
}

func TestRunFindsTheRecordUnfinishedAndMayAddToIt(t *testing.T) {
	o, k, _ := small(t, "/devices/platform/soc subsystem=platform\n/devices/platform/soc/block/one subsystem=block dev=240:1\n\tuevent DEVNAME=one\n\tuevent DEVTYPE=disk\n",
		`SUBSYSTEM=="block", ENV{A}="1", ENV{.B}="1", RUN{builtin}+="path_id", RUN+="/bin/look"`)
	l, record := &listener{}, o.Roots.Run+"/udev/data/b240:1"
	machine := looking{record, make(chan string, 16)}
	o.Runner, o.Sink = machine, l
	d := run(t, o)
	d.machine.SetGlobal("EVERYWHERE", "1")
	k.send("add", "/devices/platform/soc/block/one", "block", "DEVNAME=one", "DEVTYPE=disk", "MAJOR=240", "MINOR=1")
	_, err := d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	saw := <-machine.saw
	for _, want := range []string{"/bin/look\n", "\nUDEV_DATABASE_VERSION=1\n", "\nA=1\n", "\nDEVNAME=/dev/one\n", "\nID_PATH=platform-soc\n", "\nE:ID_PROCESSING=1\n"} {
		if !strings.Contains(saw, want) {
			t.Errorf("the program does not see %q in\n%s", want, saw)
		}
	}
	for _, no := range []string{"\n.B=", "\nEVERYWHERE=", "\nID_PROCESSING=", "\nE:ID_PATH="} {
		if strings.Contains(saw, no) {
			t.Errorf("the program sees %q in\n%s", no, saw)
		}
	}
	text, err := os.ReadFile(record)
	must(t, err)
	if got := string(text); !strings.Contains(got, "\nE:ID_PATH=platform-soc\n") || strings.Contains(got, "ID_PROCESSING") {
		t.Errorf("record afterwards\n%s", got)
	}
	if all := l.of("/devices/platform/soc/block/one"); all["ID_PATH"] != "platform-soc" || all["ID_PROCESSING"] != "" || all["UDEV_DATABASE_VERSION"] != "1" {
		t.Errorf("told: %v", all)
	}
}

func TestADeviceThatWasRenamedIsForgottenWithAllBelowIt(t *testing.T) {
	o, k, _ := small(t, "", "")
	d := run(t, o)
	for i := range 50 {
		hotplugtest.Add(t, o.Roots, fmt.Sprintf("/devices/virtual/net/n%d subsystem=net\n/devices/virtual/net/n%d/queues/rx-0 subsystem=queues\n", i, i))
		k.send("add", fmt.Sprintf("/devices/virtual/net/n%d", i), "net", fmt.Sprintf("IFINDEX=%d", 10+i))
		k.send("add", fmt.Sprintf("/devices/virtual/net/n%d/queues/rx-0", i), "queues")
		must(t, d.passMarker(t.Context()))
		must(t, os.Rename(o.Roots.Sys+fmt.Sprintf("/devices/virtual/net/n%d", i), o.Roots.Sys+fmt.Sprintf("/devices/virtual/net/lan%d", i)))
		k.send("move", fmt.Sprintf("/devices/virtual/net/lan%d", i), "net", fmt.Sprintf("IFINDEX=%d", 10+i), fmt.Sprintf("DEVPATH_OLD=/devices/virtual/net/n%d", i))
		k.send("remove", fmt.Sprintf("/devices/virtual/net/lan%d/queues/rx-0", i), "queues")
		k.send("remove", fmt.Sprintf("/devices/virtual/net/lan%d", i), "net", fmt.Sprintf("IFINDEX=%d", 10+i))
	}
	_, err := d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	if left := d.known.paths(); len(left) != 1 { // the marker's
		t.Errorf("known still: %q", left)
	}
}

// hanging is a machine on which programs do not end.
type hanging struct{}

func (hanging) Run(ctx context.Context, _ hotplug.Program) (hotplug.Output, error) {
	<-ctx.Done()
	return hotplug.Output{}, ctx.Err()
}

func TestAnEventThatIsOutOfTimeGivesNothingUp(t *testing.T) {
	o, k, said := small(t, "/devices/virtual/block/one subsystem=block dev=240:1\n\tuevent DEVNAME=one\n\tuevent DEVTYPE=disk\n",
		`SUBSYSTEM=="block", ENV{SLOW}=="1", PROGRAM=="/bin/wait"
SUBSYSTEM=="block", ENV{SEEN}="1", SYMLINK+="link", OPTIONS+="watch"
`)
	must(t, os.WriteFile(o.Roots.Dev+"/one", nil, 0o600))
	o.Runner = hanging{}
	var err error
	o.Config, err = modload.Resolve(modload.Options{SystemRoot: filepath.Dir(o.Roots.Sys), Uname: func() (string, error) { return "6.1.0-test", nil },
		Flags: []modload.Flag{{Setting: "event_timeout", Value: "2s", Name: "--event-timeout"}}})
	must(t, err)
	d := run(t, o)
	disk := []string{"DEVNAME=one", "DEVTYPE=disk", "MAJOR=240", "MINOR=1"}
	k.send("add", "/devices/virtual/block/one", "block", disk...)
	k.send("change", "/devices/virtual/block/one", "block", append(disk, "SLOW=1")...)
	_, err = d.Settle(t.Context(), WaitOptions{})
	must(t, err)
	if target, err := os.Readlink(o.Roots.Dev + "/link"); err != nil || target != "one" {
		t.Errorf("the link is %q, %v", target, err)
	}
	if _, err := os.Lstat(o.Roots.Run + "/udev/watch/b240:1"); err != nil {
		t.Errorf("the node is watched no more: %v", err)
	}
	if record, _ := os.ReadFile(o.Roots.Run + "/udev/data/b240:1"); !strings.Contains(string(record), "E:SEEN=1\n") {
		t.Errorf("record %q", record)
	}
	if s := d.Status(); s.Failed != 1 || !strings.Contains(said.String(), "handled for more than") {
		t.Errorf("%+v; said %s", s, said)
	}
}

func TestClientsThatHangTalkRubbishOrHangUpLeaveNothingBehind(t *testing.T) {
	o, _, _ := small(t, "", "")
	o.patience = 10 * time.Millisecond
	d := run(t, o)
	dial := func(network, path string) *net.UnixConn {
		c, err := dialUnix(network, path)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	own := socketPath(o.Roots.Run)
	for what, said := range map[string]string{"nothing": "", "a line without end": strings.Repeat("x", 1<<16), "half a request": `{"do":"stat`} {
		c := dial("unix", own)
		_, _ = c.Write([]byte(said)) // it may be cut off meanwhile
		if answer, _ := io.ReadAll(c); len(answer) != 0 {
			t.Errorf("%s: answered %q", what, answer)
		}
	}
	c := dial("unix", own)
	_, err := c.Write([]byte("\x00\xff rubbish\n"))
	must(t, err)
	if answer, _ := io.ReadAll(c); !strings.Contains(string(answer), `"error":"the daemon knows no request`) {
		t.Errorf("rubbish: answered %q", answer)
	}
	for _, said := range []string{"", "rubbish", strings.Repeat("\xff", 280)} {
		c := dial("unixpacket", udevSocketPath(o.Roots.Run))
		if said != "" {
			_, err := c.Write([]byte(said))
			must(t, err)
		}
		_, _ = c.Read(make([]byte, 1)) // its end
	}

	release := d.queue.Hold("the test")
	defer release()
	waiting := func() int { d.mu.Lock(); defer d.mu.Unlock(); return len(d.tallies) + len(d.waitFors) }
	for range 3 {
		c := dial("unix", own)
		_, err := c.Write([]byte(`{"do":"settle","wait_for":"/dev/x"}` + "\n"))
		must(t, err)
		for waiting() == 0 {
			runtime.Gosched()
		}
		c.Close()
		for waiting() != 0 {
			runtime.Gosched()
		}
	}
}

func TestADaemonIsNotTakenForALoneColdplugThatWasKilled(t *testing.T) {
	o, _, _ := small(t, "", "")
	for _, pid := range []int{os.Getpid(), 1 << 30, os.Getppid()} { // our own number, nobody's, and somebody's
		must(t, os.MkdirAll(filepath.Dir(passingName(o.Roots.Run, pid)), 0o755))
		must(t, os.WriteFile(passingName(o.Roots.Run, pid), nil, 0o644))
	}
	must(t, os.MkdirAll(o.Roots.Run+"/udev", 0o755))
	must(t, os.WriteFile(o.Roots.Run+"/udev/queue", nil, 0o644))
	run(t, o)
	if exists(o.Roots.Run + "/udev/queue") {
		t.Error("udevadm settle would wait for a daemon that was killed")
	}
	if Passing(o.Config, o.Roots) {
		t.Error("it is")
	}
	if exists(passingName(o.Roots.Run, 1<<30)) || !exists(passingName(o.Roots.Run, os.Getppid())) {
		t.Error("what is a dead process's goes, what is a live one's stays")
	}
}

func TestEventsThatMakeNoSenseAreHandledAndLeadNowhere(t *testing.T) {
	o, k, said := small(t, "", `SYMLINK+="by/$name", TAG+="t", ENV{SEEN}="$env{DEVNAME}", ENV{BIG}="$env{LONG}$env{LONG}"
SUBSYSTEM=="net", NAME="x/../../y"
`)
	d := run(t, o)
	base := filepath.Dir(o.Roots.Sys)
	must(t, os.WriteFile(base+"/precious", nil, 0o600))
	long := strings.Repeat("x", 15<<10)
	n := 0
	for _, properties := range [][]string{
		nil, {"MAJOR=8", "MINOR=0"}, {"DEVNAME=sda"}, {"MAJOR=-1", "MINOR=99999999999999", "DEVNAME=sda"}, {"MAJOR=x"}, {"IFINDEX=-1"}, {"IFINDEX=99999999999999999999"},
		{"MAJOR=8", "MINOR=1", "DEVNAME=../precious"}, {"MAJOR=8", "MINOR=2", "DEVNAME=/dev/../../precious"}, {"MAJOR=8", "MINOR=3", "DEVNAME=/precious"},
		{"MAJOR=8", "MINOR=4", "DEVNAME=a\nS:../precious"}, {"MAJOR=8", "MINOR=5", "DEVNAME=" + long}, {"MAJOR=8", "MINOR=6", "DEVNAME=.."}, {"MAJOR=8", "MINOR=7", "DEVNAME=sdb", "DEVMODE=99999"},
		{"LONG=" + long, "MAJOR=8", "MINOR=8", "DEVNAME=sdc"}, {"DEVNAME="}, {"SYNTH_UUID=\n"}, {"TAGS=:../../x:"}, {"DEVPATH_OLD=/devices/other"}, {"ACTION=fröb\nnicate"}, {"MODALIAS=" + long},
	} {
		for _, subsystem := range []string{"", "block", "net", "../../precious", ".."} {
			for _, action := range []string{"add", "change", "remove", "frobnicate"} {
				k.send(action, "/devices/virtual/"+strings.Repeat("deep/", 200)+"a b%n$name", subsystem, properties...)
				n++
			}
		}
	}
	_, err := d.Settle(t.Context(), WaitOptions{Timeout: time.Minute})
	must(t, err)
	if s := d.Status(); s.Handled != uint64(n) || strings.Contains(said.String(), "panicked") {
		t.Errorf("%+v of %d: %s", s, n, said)
	}
	if info, err := os.Stat(base + "/precious"); err != nil || info.Mode() != 0o600 || info.Size() != 0 {
		t.Errorf("precious: %v, %v", info, err)
	}
	must(t, filepath.WalkDir(base, func(name string, e os.DirEntry, err error) error {
		if e.Type()&os.ModeSymlink != 0 {
			target, _ := os.Readlink(name)
			if at := filepath.Join(filepath.Dir(name), target); strings.Contains(target, "precious") || !strings.HasPrefix(target, "/dev/") && !strings.HasPrefix(at, base) && target[0] == '.' {
				t.Errorf("%s leads to %s", name, target)
			}
		}
		return err
	}))
}

func TestASettleForSomeEventsWaitsForWhatIsMadeUpForThem(t *testing.T) {
	o, _, _ := small(t, "", "")
	d := run(t, o)
	release := d.queue.Hold("recovering lost events")
	d.counters.Lost.Add(1)
	a, err := d.Settle(t.Context(), WaitOptions{UUID: "a", Lost: 1})
	must(t, err)
	must(t, a.Err()) // what was lost before the client came is nothing to it
	a, err = d.Settle(t.Context(), WaitOptions{UUID: "a", Timeout: 100 * time.Millisecond})
	must(t, err)
	if a.Err() == nil {
		t.Error("an event that was lost is not waited for")
	}
	release()
}

func TestRulesBehindALinkThatIsTurnedAreRead(t *testing.T) {
	o, k, _ := small(t, "", `ENV{GENERATION}="1"`)
	base := filepath.Dir(o.Roots.Sys)
	must(t, os.MkdirAll(base+"/second/rules.d", 0o755))
	must(t, os.WriteFile(base+"/second/rules.d/10-test.rules", []byte(`SUBSYSTEM=="test", PROGRAM=="/bin/true", ENV{GENERATION}="2"`), 0o644))
	must(t, os.Symlink(base, base+"/system"))
	o.RulesDirs = []string{base + "/system/rules.d"}
	ran := make(counting, 1)
	o.Runner = ran
	run(t, o)
	must(t, os.Remove(base+"/system"))
	must(t, os.Symlink(base+"/second", base+"/system"))
	for {
		k.send("change", "/devices/virtual/test/a", "test")
		select {
		case <-ran:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// counting is a machine on which programs tell that they were run.
type counting chan struct{}

func (c counting) Run(context.Context, hotplug.Program) (hotplug.Output, error) {
	select {
	case c <- struct{}{}:
	default:
	}
	return hotplug.Output{}, nil
}

func TestWhatIsHeldBackIsNotWaitedForAtTheEnd(t *testing.T) {
	o, k, said := small(t, "", "")
	d, err := Start(context.Background(), o)
	must(t, err)
	d.setStopped(true)
	k.send("add", "/devices/virtual/test/a", "test")
	must(t, d.passMarker(t.Context()))
	d.Exit()
	must(t, d.Wait())
	if text := said.String(); !strings.Contains(text, "1 events left: closed") {
		t.Errorf("said: %s", text)
	}
}

func TestAnEventThatIsGivenUpForALockedDiskIsSaid(t *testing.T) {
	o, _, said := small(t, "", "")
	d := run(t, o)
	d.done(hotplug.Outcome{Event: hotplug.NewEvent("change", lostDisk, "block"), Err: fmt.Errorf("/dev/sda is locked: %w", hotplug.ErrBusy)})
	list := d.journal.After(0)
	if e := list[len(list)-1]; e.Devpath != lostDisk || !strings.Contains(e.Error, "locked") || !strings.Contains(said.String(), "locked") {
		t.Errorf("journal: %+v; said: %s", e, said)
	}
}
