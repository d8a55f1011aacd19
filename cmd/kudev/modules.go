package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// runModules lists the modules that this machine's devices need, with all that these need: what an initramfs for it has to hold.
func runModules(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("modules", pflag.ContinueOnError)
	from := flags.String("from", "", "read the devices of this `DIR`, a saved /sys, not those of this machine")
	files := flags.Bool("files", false, "print the modules' files, not their names")
	all := flags.Bool("built-in", false, "list those too that are part of the kernel")
	asJSON := flags.Bool("json", false, "print JSON: each module with its file and with what asks for it")
	tree := e.treeFlags(flags)
	names, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	index, err := modload.Open(cfg)
	if err != nil {
		return err
	}
	for _, p := range index.Problems() {
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, p)
	}
	roots := e.roots
	if *from != "" {
		roots = hotplug.Roots{Sys: *from}
	}
	aliases, drivers, err := coldplug.Modaliases(ctx, roots)
	if err != nil {
		return err
	}
	_, unknown := index.Needs(names)
	for _, name := range unknown {
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, &modload.NotFoundError{Name: name, Dir: index.Dir()})
	}
	needed, _ := index.Needs(append(append(aliases, drivers...), names...))
	type module struct {
		Name    string   `json:"name"`
		File    string   `json:"file,omitempty"`
		BuiltIn bool     `json:"built_in,omitempty"`
		For     []string `json:"for"`
	}
	list := []module{}
	var missing error
	for _, n := range needed {
		switch {
		case n.BuiltIn && !*all:
			continue
		case *asJSON:
			list = append(list, module{n.Name, n.Path, n.BuiltIn, n.For})
		case *files:
			if n.BuiltIn {
				continue
			}
			fmt.Fprintln(e.stdout, n.Path)
		default:
			fmt.Fprintln(e.stdout, n.Name)
		}
		if n.Path != "" {
			if _, err := os.Stat(n.Path); errors.Is(err, fs.ErrNotExist) && missing == nil {
				missing = fmt.Errorf("%s is in the index and not in the tree: run kudev depmod", n.Path)
			}
		}
	}
	if *asJSON {
		if err := e.writeJSON(list); err != nil {
			return err
		}
	}
	if missing != nil {
		return missing
	}
	if len(unknown) > 0 {
		return exitStatus(1)
	}
	return nil
}
