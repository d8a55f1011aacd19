package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/modload/modloadtest"
)

// TestMain makes the test binary be kudev and its applets for the scripts.
func TestMain(m *testing.M) {
	programs := map[string]func(){"kudev": scriptMain}
	for _, name := range applets {
		programs[name] = scriptMain
	}
	testscript.Main(m, programs)
}

// scriptMain is main on the fake machine of a script: its / is $WORK, its kernel is $RELEASE.
func scriptMain() {
	e := newEnv()
	root := os.Getenv("WORK")
	e.options.SystemRoot = root
	e.options.LinkedRoot = os.Getenv("LINKED_ROOT")
	e.options.Uname = func() (string, error) { return os.Getenv("RELEASE"), nil }
	e.roots = hotplug.Roots{Sys: root + "/sys", Dev: root + "/dev", Run: root + "/run"}
	os.Exit(run(context.Background(), e, os.Args))
}

// TestScript runs testdata/script/*.txt: one behaviour each, on a fake machine. In a script, $WORK is the machine's /:
// "-- etc/kudev/kudev.conf --" is its configuration and "-- proc/cmdline --" its kernel command line.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RELEASE", "6.1.0-1-test")
			completion, err := filepath.Abs("etc/completion.bash")
			e.Setenv("COMPLETION", completion)
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"claim":  scriptClaim,
			"module": scriptModule,
			"status": scriptStatus,
		},
	})
}

// scriptModule makes a module's file: module FILE [KEY=VALUE | exports=SYMBOL | needs=SYMBOL]... where the rest are lines of its .modinfo.
func scriptModule(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: module FILE [KEY=VALUE | exports=SYMBOL | needs=SYMBOL]...")
	}
	var m modloadtest.Module
	for _, a := range args[1:] {
		if s, ok := strings.CutPrefix(a, "exports="); ok {
			m.Exports = append(m.Exports, s)
		} else if s, ok := strings.CutPrefix(a, "needs="); ok {
			m.Needs = append(m.Needs, s)
		} else {
			m.Info = append(m.Info, a)
		}
	}
	ts.Check(modloadtest.WriteModule(ts.MkAbs(args[0]), m))
}

// scriptClaim lets a daemon live until the script ends, as far as other processes can tell: claim [--module-root DIR...].
func scriptClaim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 && args[0] != "--module-root" {
		ts.Fatalf("usage: claim [--module-root DIR...]")
	}
	options := modload.Options{
		SystemRoot: ts.Getenv("WORK"),
		LinkedRoot: ts.Getenv("LINKED_ROOT"),
		Uname:      func() (string, error) { return ts.Getenv("RELEASE"), nil },
	}
	for _, dir := range args[min(len(args), 1):] {
		options.Flags = append(options.Flags, modload.Flag{Setting: "module_root", Value: dir})
	}
	cfg, err := modload.Resolve(options)
	ts.Check(err)
	claim, err := cfg.Claim()
	ts.Check(err)
	ts.Defer(func() { claim.Release() })
}

// scriptStatus runs a program and wants this very exit status: status 2 kudev config --nonsense.
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
