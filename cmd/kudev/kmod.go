package main

import (
	"context"
	"fmt"
)

// kmodCommands are the commands of the program kmod.
func kmodCommands() []command {
	return []command{
		{"help", "", "show what there is", nil},
		{"list", "", "list the modules in the kernel", runLsmod},
		{"static-nodes", "[OPTION...]", "list the nodes that modules want before they are loaded", runStaticNodes},
	}
}

// runKmod is the program kmod: kmod list, kmod static-nodes. Its other commands are programs of their own. See kmod(8).
func runKmod(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e}
	found, rest, err := getopt([]getoptOption{
		{id: "help", short: 'h', long: "help"},
		{id: "version", short: 'V', long: "version"},
	}, args, true)
	if err != nil {
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
		return exitStatus(1)
	}
	for _, f := range found {
		if f.id == "version" {
			return a.kmodVersion()
		}
		return a.kmodHelp()
	}
	if len(rest) == 0 {
		fmt.Fprintln(e.stderr, "missing command")
		a.kmodHelp()
		return exitStatus(1)
	}
	for _, c := range kmodCommands() {
		if c.name != rest[0] {
			continue
		}
		if c.run == nil {
			return a.kmodHelp()
		}
		if c.name != "list" { // whose usage line names the program alone
			e.name += " " + c.name
		}
		return c.run(ctx, e, rest[1:])
	}
	fmt.Fprintf(e.stderr, "invalid command '%s'\n", rest[0])
	a.kmodHelp()
	return exitStatus(1)
}

func (a *applet) kmodHelp() error {
	fmt.Fprintf(a.stdout, "Usage:\n\t%s [-V] [-h] COMMAND [OPTION...]\nCommands:\n", a.name)
	for _, c := range kmodCommands() {
		fmt.Fprintf(a.stdout, "\t%-13s %s\n", c.name, c.short)
	}
	_, err := fmt.Fprintln(a.stdout, "Called as modprobe, insmod, rmmod, lsmod, modinfo or depmod it is that program.")
	return err
}
