package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

func compileText(t *testing.T, text string) *Program {
	t.Helper()
	file, problems := ParseFile("t.rules", []byte(text))
	for _, p := range problems {
		t.Fatal(p.Error())
	}
	program, _ := Compile(&Set{Files: []*File{file}}, Options{})
	return program
}

func valueOf(res hotplug.Result, key string) string {
	for _, p := range res.Properties {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

func TestAThousandFilesAreRead(t *testing.T) {
	fsys := fstest.MapFS{}
	for i := range 1000 {
		text := fmt.Sprintf("SUBSYSTEM==\"block\", GOTO=\"on\"\nGOTO=\"end\"\nLABEL=\"on\"\nENV{N%d}=\"%d\"\nLABEL=\"end\"\n", i, i)
		fsys[fmt.Sprintf("%04d.rules", i)] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	set, problems := Parse([]Source{{Dir: "many", FS: fsys}})
	if len(problems) > 0 || len(set.Files) != 1000 {
		t.Fatal(len(set.Files), problems)
	}
	program, _ := Compile(set, Options{})
	ev := hotplug.NewEvent("add", "/devices/virtual/sda", "block")
	res, err := program.Evaluate(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), &Recorder{}, nil)
	if err != nil || valueOf(res, "N999") != "999" {
		t.Error(err, valueOf(res, "N999"))
	}
	if n := len((*program.plans.Load())[planKeyOf(program, ev)].steps); n != 1000 {
		t.Errorf("the plan has %d of 5000 lines, 1000 are needed", n)
	}
}

func planKeyOf(p *Program, ev *hotplug.Event) planKey {
	s := newState(p)
	s.begin(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), &Recorder{}, nil)
	return planKey(s.planKey())
}

// A GOTO goes forward only, so a file in which each line goes to all others ends, and those with nowhere to go are said.
func TestGotosThatWouldLoopEnd(t *testing.T) {
	const count = 2000
	label, goesTo := func(i int) int { return i % 7 }, func(i int) int { return (i*5 + 3) % 7 }
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "LABEL=\"l%d\", ENV{A}=\"%d\", RUN+=\"/bin/x\", GOTO=\"l%d\"\n", label(i), i, goesTo(i))
	}
	last, steps, nowhere := 0, 0, 0
	for at := 0; at < count; steps++ {
		last = at
		next := at + 1
		for to := at + 1; to < count; to++ {
			if label(to) == goesTo(at) {
				next = to
				break
			}
		}
		at = next
	}
	for i := range count {
		found := false
		for to := i + 1; to < count; to++ {
			found = found || label(to) == goesTo(i)
		}
		if !found {
			nowhere++
		}
	}
	file, problems := ParseFile("loop.rules", []byte(text.String()))
	if len(problems) != nowhere || nowhere == 0 {
		t.Errorf("%d problems, %d lines have nowhere to go", len(problems), nowhere)
	}
	program, _ := Compile(&Set{Files: []*File{file}}, Options{})
	ev := hotplug.NewEvent("add", "/devices/virtual/sda", "block")
	for _, trace := range []*Trace{nil, {All: true}} {
		res, err := program.Evaluate(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), &Recorder{}, trace)
		if err != nil || valueOf(res, "A") != fmt.Sprint(last) {
			t.Errorf("ends at line %s, not %d: %v", valueOf(res, "A"), last, err)
		}
		if len(res.Run) != steps {
			t.Errorf("%d lines ran, not %d", len(res.Run), steps)
		}
	}
}

func TestAHugeAttributeIsRefusedAndSaid(t *testing.T) {
	roots := hotplug.Roots{Sys: t.TempDir()}
	at := roots.Sys + "/devices/virtual/block/sda"
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"uevent": "", "huge": strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(at+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := compileText(t, `ATTR{huge}=="x*", ENV{A}="matched", ENV{B}="$attr{huge}"`)
	ev := hotplug.NewEvent("add", "/devices/virtual/block/sda", "block", "MAJOR=8", "MINOR=0", "DEVNAME=sda")
	trace := &Trace{}
	res, err := program.Evaluate(context.Background(), ev, roots.EventDevice(ev), &Recorder{}, trace)
	if err != nil || valueOf(res, "A") != "matched" || valueOf(res, "B") != "" {
		t.Errorf("A=%q B has %d bytes, %v", valueOf(res, "A"), len(valueOf(res, "B")), err)
	}
	if len(trace.Steps) != 1 || len(trace.Steps[0].Notes) != 1 || !strings.Contains(trace.Steps[0].Notes[0], "too long") {
		t.Errorf("nothing is said: %+v", trace.Steps)
	}
}

// floods prints without end as far as the evaluator can tell, and takes the device away on the way.
type floods struct {
	*Recorder
	vanish func()
}

func (f floods) Program(context.Context, string, []string, string) (string, error) {
	if f.vanish != nil {
		f.vanish()
	}
	return "A=1\nB=" + strings.Repeat("x", 1<<20), nil
}

func TestAProgramThatFloodsIsCut(t *testing.T) {
	program := compileText(t, "IMPORT{program}=\"/bin/flood\"\nPROGRAM=\"/bin/flood\", ENV{C}=\"done\"\n")
	ev := hotplug.NewEvent("add", "/devices/virtual/sda", "block")
	res, err := program.Evaluate(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), floods{Recorder: &Recorder{}}, nil)
	if err != nil || valueOf(res, "A") != "1" || valueOf(res, "B") != "" || valueOf(res, "C") != "done" {
		t.Errorf("%v %v", res.Properties, err)
	}
}

// vanishes takes the device away when a program is run, and writes attributes for real.
type vanishes struct{ floods }

func (vanishes) SetAttr(dev *hotplug.Device, name, value string) error {
	return dev.SetAttr(name, value)
}

func TestADeviceThatVanishesHalfWay(t *testing.T) {
	roots := hotplug.Roots{Sys: t.TempDir()}
	at := roots.Sys + "/devices/virtual/block/sda"
	if err := os.MkdirAll(at+"/queue", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uevent", "size", "queue/x"} {
		if err := os.WriteFile(at+"/"+name, []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := compileText(t, `ATTR{size}=="1", ENV{BEFORE}="1"
PROGRAM="/bin/vanish", ENV{RAN}="1"
TEST=="queue/x", ENV{TEST}="1"
ATTR{queue/x}=="1", ENV{ATTR}="1"
ATTR{queue/x}="2", ENV{E}="$attr{queue/x}."
SUBSYSTEM=="block", ENV{END}="1"
`)
	ev := hotplug.NewEvent("add", "/devices/virtual/block/sda", "block")
	host := vanishes{floods{&Recorder{}, func() { os.RemoveAll(roots.Sys + "/devices") }}}
	trace := &Trace{}
	res, err := program.Evaluate(context.Background(), ev, roots.EventDevice(ev), host, trace)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"BEFORE": "1", "RAN": "1", "TEST": "", "ATTR": "", "END": "1"} {
		if got := valueOf(res, key); got != want {
			t.Errorf("%s=%q, want %q", key, got, want)
		}
	}
	var said []string
	for _, step := range trace.Steps {
		said = append(said, step.Notes...)
	}
	if len(said) != 1 || !strings.Contains(said[0], "cannot write the attribute") || !strings.Contains(said[0], "queue/x of /devices/virtual/block/sda") {
		t.Errorf("said: %q", said)
	}
}

// hangs waits for its context.
type hangs struct{ *Recorder }

func (hangs) Program(ctx context.Context, _ string, _ []string, _ string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func TestAnEventThatEndsKeepsWhatWasDecided(t *testing.T) {
	program := compileText(t, "ENV{A}=\"1\"\nPROGRAM!=\"/bin/hang\", ENV{B}=\"1\"\nENV{C}=\"1\"\n")
	ev := hotplug.NewEvent("add", "/devices/virtual/sda", "block")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("too long"))
	res, err := program.Evaluate(ctx, ev, hotplug.Roots{}.EventDevice(ev), hangs{&Recorder{}}, nil)
	if !errors.Is(err, context.Canceled) || valueOf(res, "C") != "" {
		t.Errorf("%v %v", res.Properties, err)
	}
}

func TestManyEvaluateAtOnce(t *testing.T) {
	set, _ := Parse([]Source{Embedded()})
	program, _ := Compile(set, Options{})
	roots, events := benchEvents(t)
	host := func() *Recorder {
		return &Recorder{BuiltinFn: func(name string, c *builtin.Call) error {
			c.Set("ID_"+strings.ToUpper(name), c.Device.Sysname())
			return nil
		}}
	}
	want := make([]hotplug.Result, len(events))
	for i, ev := range events {
		want[i], _ = program.Evaluate(context.Background(), ev, roots.EventDevice(ev), host(), nil)
	}
	var all sync.WaitGroup
	for g := range 32 {
		all.Go(func() {
			for n := range 20 {
				i := (g + n) % len(events)
				got, err := program.Evaluate(context.Background(), events[i], roots.EventDevice(events[i]), host(), nil)
				if diff := cmp.Diff(want[i], got); err != nil || diff != "" {
					t.Errorf("event %d: %v %s", i, err, diff)
				}
			}
		})
	}
	all.Wait()
}

func TestMadeUpKindsOfEventsDoNotFillTheMemory(t *testing.T) {
	program := compileText(t, `SUBSYSTEM=="x", ENV{A}="1"`)
	for i := range 3 * maxPlans {
		ev := hotplug.NewEvent("add", "/devices/virtual/sda", fmt.Sprint("made-up-", i))
		if _, err := program.Evaluate(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), &Recorder{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(*program.plans.Load()); n > maxPlans {
		t.Errorf("%d plans are kept", n)
	}
}

func TestATraceSaysWhyALineDidNotMatch(t *testing.T) {
	program := compileText(t, "KERNEL==\"sdb\", ENV{A}=\"1\"\nENV{X}==\"2\", ENV{B}=\"1\"\nENV{X}==\"1\", ENV{C}=\"$kernel\", GOTO=\"end\"\nLABEL=\"end\"\n")
	ev := hotplug.NewEvent("add", "/devices/virtual/sda", "block", "X=1")
	trace := &Trace{All: true}
	if _, err := program.Evaluate(context.Background(), ev, hotplug.Roots{}.EventDevice(ev), &Recorder{}, trace); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range trace.Steps {
		got = append(got, fmt.Sprintf("%s %v %s|%s|%s|%s", s.Rule, s.Matched, s.Key, s.Got, strings.Join(s.Did, " "), s.Goto))
	}
	want := []string{
		`t.rules:1 false KERNEL=="sdb"|sda||`,
		`t.rules:2 false ENV{X}=="2"|1||`,
		`t.rules:3 true ||ENV{C}="sda"|end`,
	}
	if diff := cmp.Diff(want, got[:3]); diff != "" {
		t.Error(diff)
	}
}
