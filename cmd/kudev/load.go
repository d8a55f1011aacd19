package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/modload"
)

// runLoad loads what modules-load.d, /etc/modules and modules_load= on the kernel command line ask for, side by side.
func runLoad(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("load", pflag.ContinueOnError)
	verbose := flags.BoolP("verbose", "v", false, "say what becomes of each")
	dry := flags.BoolP("dry-run", "n", false, "say what would be loaded, and load nothing")
	asJSON := flags.Bool("json", false, "print JSON")
	tree := e.treeFlags(flags)
	files, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	resolve := e.resolveLive
	if *dry {
		resolve = e.resolve
	}
	cfg, err := resolve(tree)
	if err != nil {
		return err
	}
	list, problems := modload.BootModules(cfg)
	if len(files) > 0 {
		list, problems = modload.BootModulesOf(cfg, files)
	}
	failed := false
	for _, p := range problems {
		failed = true
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, p)
	}
	index, err := modload.Open(cfg)
	if err != nil && len(list) > 0 {
		return err
	}
	loader := modload.NewLoader(index, modload.NewKernel(cfg), modload.LoaderOptions{Width: cfg.LoadWorkers(), Log: e.logger(cfg)})

	type line struct {
		Name    string   `json:"name"`
		Place   string   `json:"place"`
		Modules []string `json:"modules"`
		States  []string `json:"states"`
		Error   string   `json:"error,omitempty"`
		Took    int64    `json:"took_us"`
	}
	lines := []line{}
	loader.LoadBoot(ctx, list, modload.Request{DryRun: *dry}, func(o modload.BootOutcome) {
		l := line{Name: o.Name, Place: o.Place, Took: o.Took.Microseconds(), Modules: []string{}, States: []string{}}
		for _, m := range o.Modules {
			l.Modules = append(l.Modules, m.Module)
			l.States = append(l.States, m.State.String())
		}
		if o.Err != nil {
			failed = true
			l.Error = o.Err.Error()
			fmt.Fprintf(e.stderr, "%s: %v (%s)\n", e.name, o.Err, o.Place)
		}
		if *asJSON {
			lines = append(lines, l)
			return
		}
		if *verbose || *dry {
			for i := range l.Modules {
				fmt.Fprintf(e.stdout, "%s\t%s\t%s\t%s\n", o.Name, l.Modules[i], l.States[i], o.Place)
			}
		}
	})
	if *asJSON {
		if err := e.writeJSON(lines); err != nil {
			return err
		}
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}
