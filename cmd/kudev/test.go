package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
)

// runTest says what an event would do; with --apply it does it, without a daemon.
func runTest(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	action := flags.StringP("action", "a", "add", "handle this `ACTION`")
	names := flags.StringP("resolve-names", "N", "early", "look up users and groups `WHEN`: early, late or never")
	extra := flags.StringArrayP("extra-rules-dir", "D", nil, "take rules from `DIR` too, above all others")
	verbose := flags.BoolP("verbose", "v", false, "print what each matching line does")
	all := flags.Bool("all", false, "print the lines that do not match too, and at which key")
	apply := flags.Bool("apply", false, "handle the event for real, RUN included")
	in := addStandIns(flags)
	asJSON := flags.Bool("json", false, "print JSON")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if *action == "help" {
		return e.printActions()
	}
	if !slices.Contains(actions, *action) {
		return misuse("unknown action %q", *action)
	}
	if !slices.Contains([]string{"early", "late", "never"}, *names) {
		return misuse(`--resolve-names takes "early", "late" or "never"`)
	}
	if len(rest) != 1 {
		return misuse("one device wanted")
	}
	if !*apply && !*asJSON {
		fmt.Fprint(e.stdout, "This program is for debugging only, it does not run any program\n"+
			"specified by a RUN key. It may show incorrect results, because\n"+
			"some values may be different, or not available at a simulation run.\n\n")
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	once := daemon.Once{Config: cfg, Roots: e.roots, Log: e.logger(cfg), Names: *names}
	if err := in.apply(&once, *apply); err != nil {
		return err
	}
	if len(*extra) > 0 {
		if len(once.RulesDirs) == 0 {
			once.RulesDirs = rules.StandardDirs()
		}
		once.RulesDirs = append(slices.Clone(*extra), once.RulesDirs...)
	}
	if *verbose || *all {
		once.Trace = &rules.Trace{All: *all}
	}
	ev, err := e.testEvent(&once, rest[0], *action)
	if err != nil {
		return err
	}
	if *apply {
		out, err := once.Apply(ctx, ev)
		e.printTrace(once.Trace)
		if *asJSON && out.Entry != nil {
			err = errors.Join(err, e.writeJSON(out.Entry))
		}
		switch {
		case err == nil:
			return nil
		case out.Entry != nil && cfg.LogLevel() <= modload.LevelWarn: // it is logged, too
			return exitStatus(1)
		}
		return fmt.Errorf("%s %s: %w", *action, ev.Devpath(), err)
	}
	out, err := once.Decide(ctx, ev)
	if err != nil {
		return err
	}
	if *asJSON {
		return e.writeJSON(testJSON(out, once.Trace))
	}
	e.printTrace(once.Trace)
	return e.printDecided(out)
}

// standIns are the flags that say what stands for /sys, /dev, /run, the rules directories and the hardware database.
type standIns struct {
	sysfs, dev, run, hwdb string
	rules                 []string
}

func addStandIns(flags *pflag.FlagSet) *standIns {
	in := &standIns{}
	flags.StringVar(&in.sysfs, "sysfs", "", "`DIR` stands for /sys")
	flags.StringVar(&in.dev, "dev", "", "`DIR` stands for /dev")
	flags.StringVar(&in.run, "run", "", "`DIR` stands for /run")
	flags.StringArrayVar(&in.rules, "rules-dir", nil, "take rules from `DIR` alone; again: with lower precedence")
	flags.StringVar(&in.hwdb, "hwdb", "", "use this `FILE` as the hardware database")
	return in
}

// apply makes once go by them. With writes set, what stands for /dev and /run is made where it is not there.
func (in *standIns) apply(once *daemon.Once, writes bool) error {
	once.RulesDirs, once.HWDB = in.rules, in.hwdb
	warnOfMissing(in.rules, once.Log)
	if in.hwdb != "" {
		if _, err := os.Stat(in.hwdb); err != nil {
			return fmt.Errorf("--hwdb: %w", err)
		}
	}
	for _, r := range []struct {
		flag, value string
		to          *string
		made        bool
	}{{"--sysfs", in.sysfs, &once.Roots.Sys, false}, {"--dev", in.dev, &once.Roots.Dev, writes}, {"--run", in.run, &once.Roots.Run, writes}} {
		if r.value == "" {
			continue
		}
		*r.to = r.value
		if r.made {
			if err := os.MkdirAll(r.value, 0o755); err != nil {
				return fmt.Errorf("%s: %w", r.flag, err)
			}
		} else if _, err := os.Stat(r.value + "/"); err != nil {
			return fmt.Errorf("%s: %w", r.flag, err)
		}
	}
	return nil
}

// warnOfMissing says which directories of --rules-dir are not there. They may come yet.
func warnOfMissing(dirs []string, log *log.Logger) {
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			log.Warn("--rules-dir: " + err.Error())
		}
	}
}

// testEvent finds the device by its devpath, its path below the directory that stands for /sys, or its node.
func (e *env) testEvent(once *daemon.Once, name, action string) (*hotplug.Event, error) {
	devpath := ""
	item, err := coldplug.Lookup(once.Roots, name)
	if err == nil {
		devpath = item.Devpath
	} else if dev, nodeErr := once.Roots.DeviceByNode(name); nodeErr == nil {
		devpath = dev.Devpath()
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such device", name)
	} else {
		return nil, err
	}
	return once.Event(devpath, action)
}

func (e *env) printTrace(t *rules.Trace) {
	if t == nil {
		return
	}
	for _, s := range t.Steps {
		switch {
		case s.Matched:
			fmt.Fprintf(e.stdout, "%s  %s\n", s.Rule, strings.Join(s.Did, ", "))
		default:
			fmt.Fprintf(e.stdout, "%s  does not match: %s is %q\n", s.Rule, s.Key, s.Got)
		}
		for _, n := range s.Notes {
			fmt.Fprintf(e.stdout, "%s  note: %s\n", s.Rule, n)
		}
		if s.Goto != "" {
			fmt.Fprintf(e.stdout, "%s  goes on at %s\n", s.Rule, s.Goto)
		}
	}
}

// printDecided prints in udevadm test's manner: properties, then RUN.
func (e *env) printDecided(out *daemon.Decided) error {
	var b strings.Builder
	if out.Result.Name != "" {
		fmt.Fprintf(&b, "NAME=%s\n", out.Result.Name)
	}
	for _, p := range out.Result.Properties {
		if !strings.HasPrefix(p.Key, ".") {
			fmt.Fprintf(&b, "%s=%s\n", p.Key, p.Value)
		}
	}
	if len(out.Result.Links) > 0 {
		fmt.Fprintf(&b, "DEVLINKS=/dev/%s\n", strings.Join(out.Result.Links, " /dev/"))
	}
	if len(out.Result.Tags) > 0 {
		fmt.Fprintf(&b, "TAGS=:%s:\n", strings.Join(out.Result.Tags, ":"))
	}
	n := out.Result.Node
	if n.UID != nil {
		fmt.Fprintf(&b, "owner: %d\n", *n.UID)
	}
	if n.GID != nil {
		fmt.Fprintf(&b, "group: %d\n", *n.GID)
	}
	if n.Mode != nil {
		fmt.Fprintf(&b, "mode: %04o\n", n.Mode.Perm())
	}
	for _, eff := range out.Effects {
		fmt.Fprintf(&b, "%s\n", eff)
	}
	for _, c := range out.Result.Run {
		kind := "run"
		if c.Builtin {
			kind = "run builtin"
		}
		fmt.Fprintf(&b, "%s: '%s'\n", kind, c.Line)
	}
	_, err := fmt.Fprint(e.stdout, b.String())
	return err
}

func testJSON(out *daemon.Decided, t *rules.Trace) any {
	type line struct {
		Rule    string   `json:"rule"`
		Matched bool     `json:"matched"`
		Key     string   `json:"key,omitempty"`
		Got     string   `json:"got,omitempty"`
		Did     []string `json:"did,omitempty"`
		Notes   []string `json:"notes,omitempty"`
	}
	type command struct {
		Builtin bool   `json:"builtin"`
		Line    string `json:"line"`
		Rule    string `json:"rule"`
	}
	v := struct {
		Devpath    string            `json:"devpath"`
		Action     string            `json:"action"`
		Name       string            `json:"name,omitempty"`
		Properties map[string]string `json:"properties"`
		Links      []string          `json:"links,omitempty"`
		Tags       []string          `json:"tags,omitempty"`
		Effects    []string          `json:"effects,omitempty"`
		Run        []command         `json:"run,omitempty"`
		Rules      []line            `json:"rules,omitempty"`
	}{Devpath: out.Event.Devpath(), Action: out.Event.Action(), Name: out.Result.Name, Properties: map[string]string{}, Links: out.Result.Links, Tags: out.Result.Tags}
	for _, p := range out.Result.Properties {
		v.Properties[p.Key] = p.Value
	}
	for _, eff := range out.Effects {
		v.Effects = append(v.Effects, eff.String())
	}
	for _, c := range out.Result.Run {
		v.Run = append(v.Run, command{c.Builtin, c.Line, c.Rule})
	}
	if t != nil {
		for _, s := range t.Steps {
			v.Rules = append(v.Rules, line{s.Rule.String(), s.Matched, s.Key, s.Got, s.Did, s.Notes})
		}
	}
	return v
}
