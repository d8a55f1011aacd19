package rules

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kudev/kudev/hotplug"
)

// FuzzRules reads any text as rules and runs it twice: by the plan for the event's kind, and line by line. Both must
// come to the same.
func FuzzRules(f *testing.F) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if _, rules, ok := strings.Cut(string(text), "\nrules\n"); ok && i%4 == 0 {
			rules, _, _ = strings.Cut(rules, "\nexpect")
			f.Add([]byte(strings.ReplaceAll(rules, "\t", "")), "add", "block", "sda1")
		}
	}
	f.Add([]byte("KERNEL==\"a\", GOTO=\"x\"\nACTION!=\"add\", GOTO=\"y\"\nLABEL=\"x\"\nENV{A}=\"1\"\nLABEL=\"y\"\n"), "add", "net", "b")
	roots := hotplug.Roots{Sys: "/nonexistent/sys", Dev: "/nonexistent/dev", Run: "/nonexistent/run"}
	f.Fuzz(func(t *testing.T, text []byte, action, subsystem, name string) {
		ev, err := hotplug.ParseEvent(hotplug.AppendMessage(nil, action, "/devices/virtual/"+name, subsystem, "MAJOR=8", "MINOR=0", "DEVNAME=sda", "X=1"))
		if err != nil || strings.Contains(subsystem, "/") {
			return // no such event comes
		}
		file, problems := ParseFile("fuzz.rules", text)
		lines := 1 + strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + strings.Count(string(text), "\x00")
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 0 || p.Message == "" {
				t.Fatalf("a problem at no place: %+v", p)
			}
		}
		CheckFile("fuzz.rules", text, CheckOptions{Strict: true, Users: ReadUsers("/nonexistent", "/nonexistent")})
		program, _ := Compile(&Set{Files: []*File{file}}, Options{})
		run := func(trace *Trace) (hotplug.Result, *Recorder) {
			host := &Recorder{Names: map[string]uint32{"disk": 6}, Cmdline: "quiet x=1"}
			res, err := program.Evaluate(context.Background(), ev, roots.EventDevice(ev), host, trace)
			if err != nil {
				t.Fatal(err)
			}
			return res, host
		}
		planned, host1 := run(nil)
		straight, host2 := run(&Trace{All: true})
		if diff := cmp.Diff(straight, planned); diff != "" {
			t.Fatalf("the plan comes to something else (-line by line +plan):\n%s", diff)
		}
		if diff := cmp.Diff(host2.Effects, host1.Effects) + cmp.Diff(host2.Ran, host1.Ran); diff != "" {
			t.Fatalf("the plan does something else (-line by line +plan):\n%s", diff)
		}
	})
}

// slowGlob is glob as its definition reads.
func slowGlob(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		return slowGlob(pattern[1:], s) || s != "" && slowGlob(pattern, s[1:])
	}
	if s == "" {
		return false
	}
	n := globOne(pattern, s[0], false)
	return n > 0 && slowGlob(pattern[n:], s[1:])
}

func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"*", "a*b", "sd*[!0-9]", "[", "[]a]", "[[:digit:]]*", `\*`, "a*b*c*d", "?*?", "[a-", "[a-]", `[\]]`} {
		f.Add(pattern, "sda1")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 12 {
			return
		}
		if got, want := glob(pattern, s, false), slowGlob(pattern, s); got != want {
			t.Errorf("glob(%q, %q) = %v", pattern, s, got)
		}
		m := compileMember(pattern, true, false)
		if got, want := m.match(s, false), slowGlob(pattern, s); got != want {
			t.Errorf("member %q matches %q: %v", pattern, s, got)
		}
	})
}
