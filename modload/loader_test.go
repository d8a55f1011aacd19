package modload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kudev/kudev/modload/modloadtest"
	"golang.org/x/sys/unix"
)

// fixture is a tree of small modules with its index, and a kernel that knows their dependencies.
type fixture struct {
	dir    string
	kernel *modloadtest.Kernel
}

// newFixture makes modules of lines "name[.ext]: dep dep | alias=… softdep=…".
func newFixture(t testing.TB, lines ...string) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), kernel: &modloadtest.Kernel{Deps: map[string][]string{}}}
	for _, line := range lines {
		file, rest, _ := strings.Cut(line, ":")
		deps, info, _ := strings.Cut(rest, "|")
		name, ext, ok := strings.Cut(file, ".")
		if !ok {
			ext = "ko"
		}
		m := modloadtest.Module{Name: name, Exports: []string{"symbol_of_" + name}}
		for d := range strings.FieldsSeq(deps) {
			m.Needs = append(m.Needs, "symbol_of_"+d)
		}
		for i := range strings.SplitSeq(info, ";") {
			if i = strings.TrimSpace(i); i != "" {
				m.Info = append(m.Info, i)
			}
		}
		f.kernel.Deps[name] = strings.Fields(deps)
		if err := modloadtest.WriteModule(filepath.Join(f.dir, "kernel", name+"."+ext), m); err != nil {
			t.Fatal(err)
		}
	}
	var order strings.Builder
	for _, line := range lines {
		file, _, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(file, ".")
		order.WriteString("kernel/" + name + ".ko\n")
	}
	if err := os.WriteFile(filepath.Join(f.dir, "modules.order"), []byte(order.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Depmod(t.Context(), DepmodOptions{Dir: f.dir}); err != nil {
		t.Fatal(err)
	}
	return f
}

// index opens the tree with lines of modprobe.d.
func (f *fixture) index(t testing.TB, lines ...string) *Index {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "test.conf")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := openTree(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	x := &Index{tree: tr}
	x.setPolicy(readModprobe(tr, []string{conf}, ""))
	return x
}

func (f *fixture) loader(t testing.TB, lines ...string) *Loader {
	return NewLoader(f.index(t, lines...), f.kernel, LoaderOptions{})
}

func states(outs []Outcome) string {
	var s []string
	for _, o := range outs {
		s = append(s, o.Module+"="+o.State.String())
	}
	return strings.Join(s, " ")
}

func TestDependenciesComeFirst(t *testing.T) {
	f := newFixture(t, "a: b c", "b: d", "c: d", "d:")
	outs, err := f.loader(t).Load(t.Context(), Request{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	order := f.kernel.Order()
	if v := f.kernel.Violations(); v != nil || len(order) != 4 || order[0] != "d" || order[3] != "a" {
		t.Errorf("order %q, violations %q", order, v)
	}
	if len(outs) != 4 || outs[3].Module != "a" || outs[3].State != StateLoaded {
		t.Errorf("outcomes %s", states(outs))
	}
	outs, err = f.loader(t).Load(t.Context(), Request{Name: "a"})
	if err != nil || states(outs) != "a=live" {
		t.Errorf("again: %s, %v", states(outs), err)
	}
	if _, err = f.loader(t).Load(t.Context(), Request{Name: "a", FirstTime: true}); !errors.Is(err, ErrLoaded) {
		t.Errorf("first time: %v", err)
	}
}

// A module can be used as soon as it is live. The call that inserts it may return much later, when the asynchronous work of all drivers is done:
// that is waited for only where the order counts.
func TestDependentsWaitUntilTheModuleIsLive(t *testing.T) {
	f := newFixture(t, "user: core", "core:", "first:")
	index := f.index(t, "softdep user pre: first")
	synctest.Test(t, func(t *testing.T) {
		settled := map[string]chan struct{}{"core": make(chan struct{}), "first": make(chan struct{})}
		f.kernel.Settle = func(module string) {
			if c := settled[module]; c != nil {
				<-c
			}
		}
		l := NewLoader(index, f.kernel, LoaderOptions{})
		result := make(chan string)
		go func() {
			outs, err := l.Load(t.Context(), Request{Name: "user"})
			result <- fmt.Sprint(states(outs), " ", err)
		}()
		time.Sleep(time.Second)
		if state := f.kernel.State("user"); state != ModuleAbsent {
			t.Errorf("user is %s before what a softdep wants first is done", state)
		}
		close(settled["first"])
		time.Sleep(time.Second)
		if state := f.kernel.State("user"); state != ModuleLive {
			t.Errorf("user is %q while core, which it needs, is live", state)
		}
		if loading, _ := l.Loading(); !slices.Equal(loading, []string{"core"}) {
			t.Errorf("loading %q, want core until the kernel has done with it", loading)
		}
		close(settled["core"])
		if got := <-result; got != "core=loaded first=loaded user=loaded <nil>" {
			t.Error(got)
		}
	})
}

func TestSoftdepFailureDoesNotStopTheModule(t *testing.T) {
	f := newFixture(t, "a:", "b:", "c:", "z:")
	f.kernel.Fail = map[string]error{"b": unix.EIO}
	outs, err := f.loader(t, "softdep a pre: b missing c", "softdep a post: z").Load(t.Context(), Request{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	order := f.kernel.Order()
	if slices.Index(order, "a") < slices.Index(order, "c") || slices.Index(order, "z") < slices.Index(order, "a") || len(order) != 4 {
		t.Errorf("order %q", order)
	}
	if states(outs) != "b=failed c=loaded a=loaded z=loaded" {
		t.Errorf("outcomes %s", states(outs))
	}
}

func TestDependencyFailureStopsTheModuleAndIsNamed(t *testing.T) {
	f := newFixture(t, "a: b", "b:")
	f.kernel.Fail = map[string]error{"b": unix.ENODEV}
	_, err := f.loader(t).Load(t.Context(), Request{Name: "a"})
	if !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "load a: insert b: kernel refused it: ") {
		t.Errorf("error %v", err)
	}
	if o := f.kernel.Order(); !slices.Equal(o, []string{"b"}) {
		t.Errorf("order %q", o)
	}
}

func TestSoftdepLoopIsReportedAndNotFollowed(t *testing.T) {
	f := newFixture(t, "a:", "b:", "c: a")
	x := f.index(t, "softdep a pre: b", "softdep b pre: a", "softdep a pre: c")
	p := newPlan(x, slices.Collect(x.Match("a")), "a")
	if len(p.loops) == 0 {
		t.Error("no loop is reported")
	}
	if _, err := NewLoader(x, f.kernel, LoaderOptions{}).Load(t.Context(), Request{Name: "a"}); err != nil {
		t.Error(err)
	}
	if v := f.kernel.Violations(); v != nil {
		t.Errorf("violations %q", v)
	}
}

func TestBlacklistStopsAliasesAndOnRequestNames(t *testing.T) {
	f := newFixture(t, "a: | alias=pci:v1*", "b: a | alias=pci:v1*")
	l := f.loader(t, "blacklist a")
	outs, err := l.Load(t.Context(), Request{Name: "pci:v12"})
	if err != nil || states(outs) != "a=blacklisted a=loaded b=loaded" {
		t.Errorf("by alias: %s, %v", states(outs), err)
	}
	f = newFixture(t, "a: | alias=pci:v1*")
	l = f.loader(t, "blacklist a")
	if outs, err = l.Load(t.Context(), Request{Name: "a", UseBlacklist: true}); err != nil || states(outs) != "a=blacklisted" {
		t.Errorf("by name with UseBlacklist: %s, %v", states(outs), err)
	}
	if outs, err = l.Load(t.Context(), Request{Name: "a"}); err != nil || states(outs) != "a=loaded" {
		t.Errorf("by name: %s, %v", states(outs), err)
	}
}

func TestForbidHoldsForEveryWayIn(t *testing.T) {
	f := newFixture(t, "bad: | alias=pci:v666*", "user: bad", "soft:", "good: | alias=fs-good")
	x := f.index(t, "softdep soft pre: bad", "alias other bad")
	x.policy.forbid = []Pattern{{"b?d", Origin{Source: SourceFile, File: "/etc/kudev/kudev.conf", Line: 3}}, {"fs-good", Origin{}}}
	l := NewLoader(x, f.kernel, LoaderOptions{})
	for _, name := range []string{"bad", "pci:v6667", "user", "other", "fs-good", "good"} {
		_, err := l.Load(t.Context(), Request{Name: name})
		var forbidden *ForbiddenError
		if !errors.As(err, &forbidden) {
			t.Errorf("%s: %v", name, err)
		} else if name == "user" && !strings.Contains(err.Error(), "/etc/kudev/kudev.conf:3") {
			t.Errorf("%s: %v names no line", name, err)
		}
	}
	outs, err := l.Load(t.Context(), Request{Name: "soft"})
	if err != nil || states(outs) != "bad=forbidden soft=loaded" {
		t.Errorf("softdep: %s, %v", states(outs), err)
	}
	x.policy.forbid, x.policy.allow = nil, []Pattern{{"soft", Origin{}}, {"us*", Origin{}}}
	if _, err := l.Load(t.Context(), Request{Name: "good"}); err == nil {
		t.Error("allow: good was loaded")
	}
	x.policy.allow, x.policy.sealed = nil, SealFile
	if _, err := l.Load(t.Context(), Request{Name: "good"}); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("sealed: %v", err)
	}
}

func TestInstallCommandReplacesTheModuleBesideSoftdeps(t *testing.T) {
	f := newFixture(t, "a:", "b:")
	var ran []string
	x := f.index(t, "softdep a pre: b", "install a echo $CMDLINE_OPTS", "options a x=1\ty=2")
	l := NewLoader(x, f.kernel, LoaderOptions{Shell: func(_ context.Context, command string, env []string) error {
		ran = append(ran, command+" "+strings.Join(env, " "))
		return nil
	}})
	if _, err := l.Load(t.Context(), Request{Name: "a", Parameters: "z=3"}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ran, []string{"echo x=1 y=2 z=3 MODPROBE_MODULE=a"}) || !slices.Equal(f.kernel.Order(), []string{"b"}) {
		t.Errorf("ran %q, inserted %q", ran, f.kernel.Order())
	}
	if _, err := l.Load(t.Context(), Request{Name: "a", IgnoreCommand: true}); err != nil || f.kernel.State("a") != "live" {
		t.Errorf("ignoring the command: %v", err)
	}
	if p, _ := f.kernel.Parameters("a"); p != "x=1 y=2" {
		t.Errorf("parameters %q", p)
	}
}

func TestDryRunTellsTheStepsAndTouchesNothing(t *testing.T) {
	f := newFixture(t, "a: b", "b:")
	var steps []string
	outs, err := f.loader(t, "options b x=1").Load(t.Context(), Request{Name: "a", DryRun: true, Step: func(s Step) {
		steps = append(steps, filepath.Base(s.Path)+" "+s.Parameters)
	}})
	if err != nil || states(outs) != "b=planned a=planned" || !slices.Equal(steps, []string{"b.ko x=1", "a.ko "}) || len(f.kernel.Order()) > 0 {
		t.Errorf("%s, %v, steps %q, order %q", states(outs), err, steps, f.kernel.Order())
	}
}

func TestComingModuleIsWaitedForByTheKernel(t *testing.T) {
	f := newFixture(t, "a:")
	f.kernel.Have("coming", "a")
	done := make(chan error)
	go func() {
		outs, err := f.loader(t).Load(context.Background(), Request{Name: "a"})
		if err == nil && states(outs) != "a=live" {
			err = errors.New(states(outs))
		}
		done <- err
	}()
	f.kernel.Finish("a", nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCompressedModulesAreDecompressedWhereTheKernelCannot(t *testing.T) {
	f := newFixture(t, "a.ko.zst:", "b.ko.gz:", "c.ko:")
	f.kernel.Decompress = "zstd"
	l := f.loader(t)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := l.Load(t.Context(), Request{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, flags := f.kernel.Parameters("a"); flags != CompressedFile || f.kernel.Image("a") != nil {
		t.Errorf("a: flags %d, image %t", flags, f.kernel.Image("a") != nil)
	}
	if f.kernel.Image("b") == nil || f.kernel.Image("c") != nil {
		t.Error("b must come as an image, c as a file")
	}
}

func TestForceStripsWhatTheKernelWouldCompare(t *testing.T) {
	f := newFixture(t, "a.ko.gz: b", "b:")
	if _, err := f.loader(t).Load(t.Context(), Request{Name: "a", Force: IgnoreVermagic | IgnoreModversions}); err != nil {
		t.Fatal(err)
	}
	image := string(f.kernel.Image("a"))
	if strings.Contains(image, "vermagic=") {
		t.Error("the image still has its vermagic")
	}
	if _, flags := f.kernel.Parameters("b"); flags != IgnoreVermagic|IgnoreModversions {
		t.Errorf("b: flags %d", flags)
	}
}

func TestHundredLoadersOfOverlappingSets(t *testing.T) {
	var lines []string
	for i := range 60 {
		line := fmt.Sprintf("m%d:", i)
		for j := i/2 - 2; j < i/2; j++ {
			if j >= 0 {
				line += fmt.Sprintf(" m%d", j)
			}
		}
		lines = append(lines, line+fmt.Sprintf(" | alias=dev:%d*", i%7))
	}
	f := newFixture(t, lines...)
	f.kernel.Init = modloadtest.Sleep(100 * time.Microsecond)
	observed := map[string]int{}
	var mu sync.Mutex
	x := f.index(t, "softdep m3 pre: m59 m1", "softdep m59 post: m58", "softdep m1 pre: m3")
	l := NewLoader(x, f.kernel, LoaderOptions{Width: 8, Observe: func(o Outcome) {
		mu.Lock()
		observed[o.Module]++
		mu.Unlock()
	}})
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			for i := range 6 {
				name := fmt.Sprintf("m%d", (g*7+i*11)%60)
				if i == 5 {
					name = fmt.Sprintf("dev:%d", g%7)
				}
				if _, err := l.Load(context.Background(), Request{Name: name}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v := f.kernel.Violations(); v != nil {
		t.Errorf("violations %q", v)
	}
	order := f.kernel.Order()
	slices.Sort(order)
	if len(slices.Compact(slices.Clone(order))) != len(order) || len(order) != 60 {
		t.Errorf("%d insertions of 60 modules: %q", len(order), order)
	}
	if widest := f.kernel.Widest(); widest < 2 || widest > 8 {
		t.Errorf("%d at a time, want several, and 8 at most", widest)
	}
	for m, n := range observed {
		if n != 1 {
			t.Errorf("%s was observed %d times", m, n)
		}
	}
	if _, busy := l.Loading(); busy {
		t.Error("busy when all have returned")
	}
}

func TestCancelReturnsWhileTheKernelGoesOn(t *testing.T) {
	f := newFixture(t, "a: b", "b:")
	entered, release := make(chan struct{}), make(chan struct{})
	f.kernel.Init = func(module, _ string) error {
		close(entered)
		<-release
		return nil
	}
	l := f.loader(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := l.Load(ctx, Request{Name: "a"})
		done <- err
	}()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if m, busy := l.Loading(); !busy || !slices.Equal(m, []string{"b"}) {
		t.Errorf("loading %q, busy %t", m, busy)
	}
	close(release)
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if o := f.kernel.Order(); !slices.Equal(o, []string{"b"}) {
		t.Errorf("order %q", o)
	}
}

// Who joins another's flight does not fail because that one gives up before the kernel has the module.
func TestGivingUpIsNothingToThoseWhoJoined(t *testing.T) {
	f := newFixture(t, "a:", "b:")
	index := f.index(t)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f.kernel.Init = func(module, _ string) error {
			if module == "a" {
				<-release
			}
			return nil
		}
		l := NewLoader(index, f.kernel, LoaderOptions{Width: 1})
		load := func(ctx context.Context, name string) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := l.Load(ctx, Request{Name: name})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		busy := load(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		first, second := load(ctx, "b"), load(t.Context(), "b")
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v", err)
		}
		close(release)
		if err := errors.Join(<-busy, <-second); err != nil {
			t.Error(err)
		}
		if state := f.kernel.State("b"); state != ModuleLive {
			t.Errorf("b is %q", state)
		}
	})
}

func TestModuleWhoseInitAsksForAnotherIsNoDeadlock(t *testing.T) {
	f := newFixture(t, "a:", "b: a")
	f.kernel.Deps["b"] = nil
	f.kernel.Init = func(module, _ string) error {
		if module != "a" {
			return nil
		}
		// What request_module does: a loader of its own.
		_, err := NewLoader(f.index(t), f.kernel, LoaderOptions{}).Load(context.Background(), Request{Name: "dm-b"})
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	if _, err := f.loader(t).Load(t.Context(), Request{Name: "a"}); err != nil {
		t.Error(err)
	}
}

func TestRemovalTakesHoldersAndUnusedDependencies(t *testing.T) {
	f := newFixture(t, "a: b", "b:", "user: a")
	l := f.loader(t)
	if _, err := l.Load(t.Context(), Request{Name: "user"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(t.Context(), RemoveRequest{Name: "a"}); !errors.Is(err, ErrInUse) || err.Error() != "remove a: in use by user" {
		t.Errorf("in use: %v", err)
	}
	var steps []string
	step := func(s Step) { steps = append(steps, s.Module) }
	if err := l.Remove(t.Context(), RemoveRequest{Name: "a", Holders: true, Step: step}); err != nil {
		t.Error(err)
	}
	if s := strings.Join(steps, " "); s != "user a b" { // user takes a along: that is said once
		t.Errorf("steps: %s", s)
	}
	if o := f.kernel.Order(); strings.Join(o[3:], " ") != "-user -a -b" {
		t.Errorf("order %q", o)
	}
	if err := l.Remove(t.Context(), RemoveRequest{Name: "a"}); err != nil {
		t.Errorf("not there: %v", err)
	}
	if err := l.Remove(t.Context(), RemoveRequest{Name: "a", FirstTime: true}); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("not there, first time: %v", err)
	}
}

func TestRemovalWaitsWhileInUse(t *testing.T) {
	f := newFixture(t, "a:")
	f.kernel.Have("live", "a")
	f.kernel.Use("a", 1)
	if err := RemoveModule(t.Context(), f.kernel, "a", false, 3*time.Millisecond); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("in use all the time: %v", err)
	}
	go func() {
		time.Sleep(5 * time.Millisecond)
		f.kernel.Use("a", -1)
	}()
	if err := f.loader(t).Remove(t.Context(), RemoveRequest{Name: "a", Wait: time.Minute}); err != nil {
		t.Error(err)
	}
}
