package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/modload"
)

// runCheck says what is wrong with the module tree, and which of this machine's other tools would look elsewhere.
func runCheck(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("check", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	cfg, err := modload.Resolve(e.sources(tree)) // what is wrong with kudev.conf is among the findings
	if err != nil {
		return err
	}
	findings := cfg.CheckAll(ctx)
	if err := cfg.Conflict(); err != nil {
		findings = append(findings, modload.Finding{Severity: modload.Broken, Text: err.Error()})
	}
	tools := cfg.Tools(ctx, os.Getenv("PATH"))
	findings = append(findings, cfg.CheckTools(tools)...)
	if err := ctx.Err(); err != nil {
		return err
	}
	if *asJSON {
		err = e.writeCheckJSON(cfg, findings, tools)
	} else {
		err = e.writeCheck(cfg, findings, tools)
	}
	if err != nil {
		return err
	}
	switch n := count(findings, modload.Broken); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("one error")
	default:
		return fmt.Errorf("%d errors", n)
	}
}

func count(findings []modload.Finding, s modload.Severity) int {
	n := 0
	for _, f := range findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func (e *env) writeCheck(cfg *modload.Config, findings []modload.Finding, tools []modload.Tool) error {
	if cfg.Tree() != "" {
		fmt.Fprintf(e.stdout, "tree: %s\n", cfg.Tree())
	}
	for _, f := range findings {
		fmt.Fprintf(e.stdout, "%s: %s\n", f.Severity, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(e.stdout, "    %s\n", f.Remedy)
		}
	}
	for _, t := range tools {
		if len(cfg.CheckTools([]modload.Tool{t})) > 0 {
			continue // said above
		}
		if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", t.Kind, t); err != nil {
			return err
		}
	}
	if count(findings, modload.Broken) == 0 {
		fmt.Fprintln(e.stdout, "no errors")
	}
	return nil
}

func (e *env) writeCheckJSON(cfg *modload.Config, findings []modload.Finding, tools []modload.Tool) error {
	type finding struct {
		Severity string `json:"severity"`
		Text     string `json:"text"`
		Remedy   string `json:"remedy,omitempty"`
	}
	type tool struct {
		Kind  string   `json:"kind"`
		Path  string   `json:"path"`
		Pid   int      `json:"pid,omitempty"`
		Looks []string `json:"looks_in"`
		Tree  string   `json:"tree,omitempty"`
		Kudev bool     `json:"kudev"`
		Same  bool     `json:"same_tree"`
		Note  string   `json:"note,omitempty"`
	}
	out := struct {
		Release  string    `json:"release"`
		Tree     string    `json:"tree"`
		Modules  bool      `json:"kernel_has_modules"`
		Findings []finding `json:"findings"`
		Tools    []tool    `json:"tools"`
	}{cfg.Release(), cfg.Tree(), cfg.HasModules(), []finding{}, []tool{}}
	for _, f := range findings {
		out.Findings = append(out.Findings, finding{f.Severity.String(), f.Text, f.Remedy})
	}
	for _, t := range tools {
		out.Tools = append(out.Tools, tool{t.Kind, t.Path, t.Pid, append([]string{}, t.Looks...), t.Tree, t.Ours, t.Same, t.Note})
	}
	return e.writeJSON(out)
}
