package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/coldplug"
	"github.com/kudev/kudev/modload"
)

// runColdplug replays every device and returns when all is done. Without a daemon it is the daemon for that while.
func runColdplug(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("coldplug", pflag.ContinueOnError)
	timeout := timeoutFlag(flags, "t")
	waitFor := flags.String("wait-for", "", "return with the event that makes this `LINK|DEVICE`")
	dry := flags.BoolP("dry-run", "n", false, "print what would be announced, in order, and do nothing")
	asJSON := flags.Bool("json", false, "print the account as JSON")
	quiet := flags.BoolP("quiet", "q", false, "print no account")
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
	if *dry {
		return e.coldplugDryRun(ctx, *asJSON)
	}
	if err := cfg.Conflict(); err != nil {
		return err
	}
	req := daemon.Request{Do: "coldplug", Timeout: timeout.micros(), WaitFor: *waitFor}
	account, err := e.coldplug(ctx, cfg, req)
	if account != nil && !*quiet {
		if err := e.printAccount(account, *asJSON); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return account.Err()
}

// coldplug asks the daemon for it, or is the daemon for that while.
func (e *env) coldplug(ctx context.Context, cfg *modload.Config, req daemon.Request) (*daemon.Account, error) {
	for {
		conn, end, err := e.connect(ctx, cfg)
		if err == nil {
			defer end()
			r, err := conn.Ask(req)
			if err != nil {
				return nil, interruption(ctx, err)
			}
			return r.Account, nil
		}
		if !errors.Is(err, daemon.ErrNoDaemon) {
			return nil, err
		}
		account, err := e.coldplugAlone(ctx, cfg, req)
		var held *modload.HeldError
		if errors.As(err, &held) {
			continue // another one was quicker
		}
		return account, err
	}
}

// coldplugAlone is the daemon for one coldplug.
func (e *env) coldplugAlone(ctx context.Context, cfg *modload.Config, req daemon.Request) (*daemon.Account, error) {
	return e.aloneDo(ctx, cfg, func(ctx context.Context, d *daemon.Daemon) (*daemon.Account, error) {
		return d.Coldplug(ctx, d.WaitOptions(req))
	})
}

// aloneDo starts a daemon for one piece of work, and ends it.
func (e *env) aloneDo(ctx context.Context, cfg *modload.Config, work func(context.Context, *daemon.Daemon) (*daemon.Account, error)) (*daemon.Account, error) {
	opts := e.daemonOptions(cfg, e.logger(cfg))
	opts.Transient = true
	d, err := daemon.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	account, err := work(ctx, d)
	d.Exit()
	return account, errors.Join(err, d.Wait())
}

func (e *env) coldplugDryRun(ctx context.Context, asJSON bool) error {
	items, err := coldplug.Walk(ctx, e.roots, coldplug.All)
	if err != nil {
		return err
	}
	if asJSON {
		type item struct {
			Devpath   string `json:"devpath"`
			Subsystem string `json:"subsystem"`
		}
		list := make([]item, 0, len(items))
		for _, i := range items {
			list = append(list, item{i.Devpath, i.Subsystem})
		}
		return e.writeJSON(list)
	}
	for _, i := range items {
		if _, err := fmt.Fprintf(e.stdout, "add %s (%s)\n", i.Devpath, i.Subsystem); err != nil {
			return err
		}
	}
	return nil
}

// printAccount prints what was done and waited for.
func (e *env) printAccount(a *daemon.Account, asJSON bool) error {
	if asJSON {
		return e.writeJSON(a)
	}
	if a.Found != "" {
		fmt.Fprintf(e.stdout, "%s is there after %s\n", a.Found, a.FoundTook.Duration().Round(time.Millisecond))
	}
	_, err := fmt.Fprintln(e.stdout, a.Summary())
	for _, g := range a.GivenUp {
		fmt.Fprintf(e.stderr, "%s: not waited for any longer: %s\n", e.name, g)
	}
	return err
}
