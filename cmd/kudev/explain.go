package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
)

// explanation is why something did or did not happen. It is what explain --json prints.
type explanation struct {
	About    string            `json:"about"`
	Device   string            `json:"device,omitempty"`
	Modalias string            `json:"modalias,omitempty"`
	Modules  []explainedModule `json:"modules,omitempty"`
	Rules    []explainedRule   `json:"rules,omitempty"`
	Last     []*daemon.Entry   `json:"last_events,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
}

type explainedModule struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern,omitempty"` // the alias that led to it
	State   string `json:"state"`             // absent, coming, live, going, built-in
	Stopped string `json:"stopped,omitempty"` // the line that stops it
}

type explainedRule struct {
	Rule string   `json:"rule"`
	Did  []string `json:"did,omitempty"`
	Key  string   `json:"key,omitempty"` // at which a line stopped that did not match
	Got  string   `json:"got,omitempty"`
}

// runExplain says why a device has, or has not, its driver, links and properties; or why a module is, or is not, loaded.
func runExplain(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("explain", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	all := flags.Bool("all", false, "name the rules that do not match too, and the key at which each stops")
	action := flags.StringP("action", "a", "add", "for an event with this `ACTION`")
	rulesDirs := flags.StringArray("rules-dir", nil, "by the rules from `DIR` alone; again: with lower precedence")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if !slices.Contains(actions, *action) {
		return misuse("unknown action %q", *action)
	}
	if len(rest) != 1 {
		return misuse("one device, module or alias wanted")
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	x := &explanation{About: rest[0]}
	index, err := modload.Open(cfg)
	if err != nil {
		x.Notes = append(x.Notes, err.Error())
	}
	if item, err := e.lookupDevice(rest[0]); err == nil {
		err = e.explainDevice(ctx, x, cfg, index, item.Devpath, *action, *rulesDirs, *all)
		if err != nil {
			return err
		}
	} else if strings.HasPrefix(rest[0], "/") {
		return fmt.Errorf("%s: no such device", rest[0])
	} else {
		e.explainAlias(x, cfg, index, rest[0])
	}
	if *asJSON {
		return e.writeJSON(x)
	}
	return x.print(e.stdout)
}

// explainAlias says what an alias or a name stands for, and what stops it.
func (e *env) explainAlias(x *explanation, cfg *modload.Config, index *modload.Index, alias string) {
	kernel := modload.NewKernel(cfg)
	for m := range index.Match(alias) {
		em := explainedModule{Name: m.Module, Pattern: m.Pattern(), State: cmp.Or(kernel.State(m.Module), "absent")}
		if index.BuiltIn(m.Module) {
			em.State = "built-in"
		}
		if err := index.Refusal(m.Module, alias); err != nil {
			em.Stopped = err.Error()
		} else if line, yes := index.Policy().Blacklisted(m.Module); yes {
			em.Stopped = "blacklisted by " + line.Place()
		} else if line, yes := index.Policy().InstallCommand(m.Module); yes {
			em.Stopped = fmt.Sprintf("replaced by the command of %s: %s", line.Place(), line.Value)
		}
		x.Modules = append(x.Modules, em)
	}
	if len(x.Modules) == 0 {
		where := cfg.Tree()
		if where == "" {
			where = "any tree: there is none"
		}
		x.Notes = append(x.Notes, fmt.Sprintf("no module for %s in %s", alias, where))
	}
}

func (e *env) explainDevice(ctx context.Context, x *explanation, cfg *modload.Config, index *modload.Index, devpath, action string, rulesDirs []string, all bool) error {
	dev, err := e.roots.Device(devpath)
	if err != nil {
		return err
	}
	x.Device = devpath
	if alias, ok := dev.Property("MODALIAS"); ok {
		x.Modalias = alias
		e.explainAlias(x, cfg, index, alias)
	} else {
		x.Notes = append(x.Notes, "the device has no MODALIAS: no driver is asked for by it")
	}
	if d := dev.Driver(); d != "" {
		x.Notes = append(x.Notes, "its driver is "+d)
	}
	trace := &rules.Trace{All: all}
	once := daemon.Once{Config: cfg, Roots: e.roots, Log: e.logger(cfg), Trace: trace, RulesDirs: rulesDirs}
	warnOfMissing(rulesDirs, once.Log)
	if rulesDirs == nil {
		once.RulesDirs = e.daemonRulesDirs(ctx, cfg)
	}
	ev, err := once.Event(devpath, action)
	if err != nil {
		return err
	}
	if _, err := once.Decide(ctx, ev); err != nil {
		return err
	}
	for _, s := range trace.Steps {
		did := s.Did
		if s.Goto != "" {
			did = append(slices.Clip(did), "goes on at "+s.Goto)
		}
		if s.Matched || all {
			x.Rules = append(x.Rules, explainedRule{s.Rule.String(), did, s.Key, s.Got})
		}
	}
	entries, err := e.journal(ctx, "")
	if errors.Is(err, daemon.ErrNoDaemon) {
		x.Notes = append(x.Notes, "no daemon runs: the rules are those that one would have now")
	} else if errors.Is(err, fs.ErrPermission) {
		x.Notes = append(x.Notes, "what the daemon did is not shown: "+err.Error())
	} else if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Devpath == devpath {
			x.Last = append(x.Last, entry)
		}
	}
	x.Last = x.Last[max(0, len(x.Last)-5):]
	return nil
}

// daemonRulesDirs are what the running daemon was given as --rules-dir; nil when none runs, or none that tells us.
func (e *env) daemonRulesDirs(ctx context.Context, cfg *modload.Config) []string {
	conn, end, err := e.connect(ctx, cfg)
	if err != nil {
		return nil
	}
	defer end()
	r, err := conn.Ask(daemon.Request{Do: "status"})
	if err != nil || r.Status == nil {
		return nil
	}
	return r.Status.RulesDirs
}

func (x *explanation) print(w io.Writer) error {
	var b strings.Builder
	if x.Device != "" {
		fmt.Fprintf(&b, "device   %s\n", x.Device)
	}
	if x.Modalias != "" {
		fmt.Fprintf(&b, "modalias %s\n", x.Modalias)
	}
	for _, m := range x.Modules {
		fmt.Fprintf(&b, "module   %s: %s", m.Name, m.State)
		if m.Pattern != "" && m.Pattern != m.Name {
			fmt.Fprintf(&b, ", by %s", m.Pattern)
		}
		if m.Stopped != "" {
			fmt.Fprintf(&b, "\n         stopped: %s", m.Stopped)
		}
		b.WriteByte('\n')
	}
	for _, n := range x.Notes {
		fmt.Fprintf(&b, "note     %s\n", n)
	}
	for _, r := range x.Rules {
		if r.Key != "" {
			fmt.Fprintf(&b, "no match %s: %s, and it is %q\n", r.Rule, r.Key, r.Got)
			continue
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("rule     %s %s", r.Rule, strings.Join(r.Did, ", ")), " ") + "\n")
	}
	if len(x.Last) > 0 {
		b.WriteString("\nwhat the daemon did last:\n")
		for _, e := range x.Last {
			printEntry(&b, e)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
