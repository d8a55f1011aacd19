package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/json"
	"github.com/kudev/kudev/modload"
)

// runConfig shows every setting with the source that it comes from.
func runConfig(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("config", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	if *asJSON {
		return writeConfigJSON(e, cfg)
	}
	if err := cfg.Conflict(); err != nil {
		e.logger(cfg).Warn(err.Error())
	}
	var t table
	for _, s := range cfg.Settings() {
		value := s.Value
		if value == "" {
			value = "-"
		}
		t.row(s.Name, value, "("+s.Origin.String()+")")
	}
	treeDir := cfg.Tree()
	if treeDir == "" {
		treeDir = "-"
	}
	t.row("tree", treeDir, "(first root that holds the release)")
	return t.print(e.stdout)
}

func writeConfigJSON(e *env, cfg *modload.Config) error {
	type setting struct {
		Name   string   `json:"name"`
		Value  string   `json:"value"`
		Values []string `json:"values,omitempty"`
		Origin string   `json:"origin"`
	}
	out := struct {
		Settings []setting `json:"settings"`
		Tree     string    `json:"tree"`
		Daemon   int       `json:"daemon,omitempty"` // the process whose record counts
		Problems []string  `json:"problems,omitempty"`
		Conflict string    `json:"conflict,omitempty"`
	}{Tree: cfg.Tree(), Daemon: cfg.Daemon()}
	for _, s := range cfg.Settings() {
		out.Settings = append(out.Settings, setting{s.Name, s.Value, s.Values, s.Origin.String()})
	}
	for _, p := range cfg.Problems() {
		out.Problems = append(out.Problems, p.Error())
	}
	if err := cfg.Conflict(); err != nil {
		out.Conflict = err.Error()
	}
	return e.writeJSON(out)
}

// writeJSON prints v, indented.
func (e *env) writeJSON(v any) error { return json.WriteIndented(e.stdout, v) }
