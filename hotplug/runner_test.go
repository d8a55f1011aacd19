package hotplug

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCommandLinesAreSplitAsUdevDoes(t *testing.T) {
	for line, want := range map[string][]string{
		"":                              nil,
		"  ":                            nil,
		"a b\tc":                        {"a", "b", "c"},
		`/bin/sh -c 'echo "$1"' x`:      {"/bin/sh", "-c", `echo "$1"`, "x"},
		`a "b c"d 'e'`:                  {"a", "b cd", "e"},
		`a '' ""`:                       {"a", "", ""},
		`a\ b "c\"d`:                    {`a\`, "b", `c\d`},
		`unbalanced 'rest of the line `: {"unbalanced", "rest of the line "},
		`x $HOME * ; y`:                 {"x", "$HOME", "*", ";", "y"},
	} {
		if got := SplitCommand(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzSplitCommand(f *testing.F) {
	f.Add(`a "b c" 'd`)
	f.Fuzz(func(t *testing.T, line string) {
		n := 0
		for _, w := range SplitCommand(line) {
			n += len(w)
		}
		if n > len(line) {
			t.Fatal("words longer than the line")
		}
	})
}

func TestProgramGetsItsEnvironmentAndNoShell(t *testing.T) {
	var r Runner
	out, err := r.Run(t.Context(), Program{Line: `/usr/bin/env`, Env: []string{"ACTION=add", "X=a b"}})
	if err != nil || out.Stdout != "ACTION=add\nX=a b\n" {
		t.Errorf("prints %q, %v", out.Stdout, err)
	}
	out, err = r.Run(t.Context(), Program{Line: `/bin/echo $HOME * "two words"`})
	if err != nil || out.Stdout != "$HOME * two words\n" {
		t.Errorf("prints %q, %v", out.Stdout, err)
	}
	out, err = r.Run(t.Context(), Program{Line: "/bin/cat"}) // its input is empty
	if err != nil || out.Stdout != "" {
		t.Errorf("cat prints %q, %v", out.Stdout, err)
	}
}

func TestRelativeProgramIsLookedUp(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "helper"), []byte("#!/bin/sh\necho found\n"), 0o755))
	r := Runner{Dirs: []string{"/nonexistent", dir}}
	if out, err := r.Run(t.Context(), Program{Line: "helper"}); err != nil || out.Stdout != "found\n" {
		t.Errorf("prints %q, %v", out.Stdout, err)
	}
	if _, err := r.Run(t.Context(), Program{Line: "missing arg"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFailureNamesProgramRuleAndWord(t *testing.T) {
	var r Runner
	out, err := r.Run(t.Context(), Program{Line: "/bin/sh -c 'echo said; echo why >&2; exit 3'", Rule: "/etc/udev/rules.d/10-x.rules:7"})
	if status, ok := Status(err); status != 3 || !ok || out.Stdout != "said\n" {
		t.Errorf("status %d, %q, %v", status, out.Stdout, err)
	}
	for _, word := range []string{"/bin/sh", "10-x.rules:7", "exit status 3", "why"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no word of %s: %v", word, err)
		}
	}
	if _, err := r.Run(t.Context(), Program{Line: "/nonexistent/x"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Run(t.Context(), Program{Line: " "}); err == nil {
		t.Error("nothing ran")
	}
}

// groupOf waits until the program has written the id of what it started, and returns it.
func pidIn(t *testing.T, name string) int {
	t.Helper()
	for range 2000 {
		if text, err := os.ReadFile(name); err == nil && strings.HasSuffix(string(text), "\n") {
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			must(t, err)
			return pid
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the program did not begin")
	return 0
}

// gone waits until a process has ended; a zombie that nobody has reaped yet has.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 5000 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(text), ") Z ") || unix.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

func TestHangingProgramIsKilledWithItsGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	slow := make(chan time.Duration, 1)
	r := Runner{Timeout: time.Second, Slow: func(_ Program, took time.Duration) { slow <- took }}
	_, err := r.Run(t.Context(), Program{Line: "/bin/sh -c 'trap \"\" TERM; sleep 1000 & echo $! >" + file + "; wait'", Env: []string{"PATH=/usr/bin:/bin"}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "killed after 1s") {
		t.Errorf("got %v", err)
	}
	gone(t, pidIn(t, file))
	if len(slow) != 1 {
		t.Error("no word of its slowness")
	}
}

func TestCancelledContextKillsTheProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { pidIn(t, file); cancel() }()
	_, err := new(Runner).Run(ctx, Program{Line: "/bin/sh -c 'echo $$ >" + file + "; exec sleep 1000'", Env: []string{"PATH=/usr/bin:/bin"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Neither the child in the background, nor the one that has left the group and holds the pipe, holds up the event.
func TestChildrenThatOutliveAreNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	out, err := new(Runner).Run(t.Context(), Program{Line: "/bin/sh -c 'sleep 1000 & echo $! >" + dir + "/in; setsid sleep 1000 & echo $! >" + dir + "/out; sleep 0.1; echo done'", Env: []string{"PATH=/usr/bin:/bin"}})
	if err != nil || out.Stdout != "done\n" {
		t.Errorf("prints %q, %v", out.Stdout, err)
	}
	gone(t, pidIn(t, dir+"/in"))
	_ = unix.Kill(pidIn(t, dir+"/out"), unix.SIGKILL)
}

// What goes on forking ends with its time, to the last child.
func TestAProgramThatForksIsKilledWithAllItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	r := Runner{Timeout: 2 * time.Second}
	_, err := r.Run(t.Context(), Program{
		Line: "/bin/sh -c 'while :; do sleep 1000 & echo $! >>" + file + "; sleep 0.05; done'",
		Env:  []string{"PATH=/usr/bin:/bin"},
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	pids := strings.Fields(string(text))
	if len(pids) < 2 {
		t.Fatalf("%d children", len(pids))
	}
	for _, word := range pids {
		pid, err := strconv.Atoi(word)
		must(t, err)
		gone(t, pid)
	}
}

func TestFloodIsCut(t *testing.T) {
	r := Runner{Output: 100}
	out, err := r.Run(t.Context(), Program{Line: "/usr/bin/head -c 1000000 /dev/zero"})
	if err != nil || len(out.Stdout) != 100 || !out.Cut {
		t.Errorf("%d bytes, cut %v, %v", len(out.Stdout), out.Cut, err)
	}
	if _, err = r.Run(t.Context(), Program{Line: "/usr/bin/yes"}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}
