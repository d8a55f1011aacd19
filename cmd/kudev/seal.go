package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/modload"
)

// runSeal ends all loading of modules but for what the allow lines of kudev.conf name.
func runSeal(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("seal", pflag.ContinueOnError)
	forever := flags.Bool("forever", false, "for everybody, what is allowed too (kernel.modules_disabled)")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	cfg, err := e.resolveLive(nil)
	if err != nil {
		return err
	}
	if err := modload.Seal(cfg, *forever); err != nil {
		return err
	}
	switch allowed := cfg.Allow(); {
	case *forever:
		fmt.Fprintln(e.stdout, "sealed: no module is loaded any more until the machine starts anew")
	case len(allowed) == 0:
		fmt.Fprintln(e.stdout, "sealed: kudev loads no module any more until the machine starts anew")
	default:
		fmt.Fprintf(e.stdout, "sealed: until the machine starts anew kudev loads only what the allow lines name (the first: %s)\n", allowed[0].Origin)
	}
	return nil
}
