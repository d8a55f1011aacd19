package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/log"
	"github.com/kudev/kudev/modload"
)

// runDaemon is the hotplug daemon, in the foreground.
func runDaemon(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("daemon", pflag.ContinueOnError)
	cold := flags.Bool("coldplug", false, "replay every device that is there, once ready")
	readyFD := flags.Int("ready-fd", -1, "write a newline to descriptor `N` and close it when ready")
	rulesDirs := flags.StringArray("rules-dir", nil, "take rules from `DIR` alone; again: with lower precedence")
	tree := e.treeFlags(flags)
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	cfg, err := e.resolveDaemon(tree)
	if err != nil {
		return err
	}
	log := log.NewDaemon(e.stderr, cfg)
	warnOfMissing(*rulesDirs, log)
	opts := e.daemonOptions(cfg, log)
	opts.Coldplug = *cold
	opts.RulesDirs = *rulesDirs
	opts.Ready = daemon.Readiness{FD: *readyFD, NotifySocket: os.Getenv("NOTIFY_SOCKET")}
	opts.Resolve = cfg.Reload
	// A burst of events takes a few MiB more and a tenth less of time than with the collector always at work; what it took is
	// given back when the coldplug is over.
	debug.SetGCPercent(200)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	// Who reads what the daemon says may go, and another come. That must not end it; programs of rules get the signal as ever.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	d, err := startDaemon(ctx, opts)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hup:
				if err := d.Reload(ctx); err != nil {
					log.Error(err.Error())
				}
			case <-done:
				return
			}
		}
	}()
	defer close(done)
	return d.Wait()
}

// startDaemon starts it; a coldplug that runs by itself is waited for, since it ends.
func startDaemon(ctx context.Context, opts daemon.Options) (*daemon.Daemon, error) {
	for {
		d, err := daemon.Start(ctx, opts)
		var held *modload.HeldError
		if err == nil || !errors.As(err, &held) || !daemon.Passing(opts.Config, opts.Roots) {
			return d, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// daemonOptions are what every daemon is started with, the one of a lone coldplug included.
func (e *env) daemonOptions(cfg *modload.Config, log *log.Logger) daemon.Options {
	return daemon.Options{Config: cfg, Roots: e.roots, Log: log, Version: version, Ready: daemon.Readiness{FD: -1}}
}
