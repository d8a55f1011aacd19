package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
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
	cfg, err := e.resolve(tree)
	if err != nil {
		return err
	}
	log, level, err := e.daemonLog(cfg)
	if err != nil {
		return err
	}
	opts := e.daemonOptions(cfg, log)
	opts.Level = level
	opts.Coldplug = *cold
	opts.RulesDirs = *rulesDirs
	opts.Ready = daemon.Readiness{FD: *readyFD, NotifySocket: os.Getenv("NOTIFY_SOCKET")}
	opts.Resolve = func() (*modload.Config, error) { return e.resolve(tree) }
	// Memory matters more than speed between two bursts of events.
	debug.SetGCPercent(50)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
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
func (e *env) daemonOptions(cfg *modload.Config, log *slog.Logger) daemon.Options {
	return daemon.Options{Config: cfg, Roots: e.roots, Log: log, Version: version, Ready: daemon.Readiness{FD: -1}}
}

// daemonLog returns the log of the daemon: on stderr, with syslog's levels where nobody sits in front of it, or in the
// kernel's log before anything else is there to take it.
func (e *env) daemonLog(cfg *modload.Config) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel())
	out, levels := e.stderr, !terminal(e.stderr)
	target := cfg.LogTarget()
	if target == "kmsg" || target == "auto" && nowhere(e.stderr) {
		f, err := os.OpenFile(cfg.Path("/dev/kmsg"), os.O_WRONLY, 0)
		switch {
		case err == nil:
			out, levels = f, true
		case target == "kmsg":
			return nil, nil, fmt.Errorf("log: %w", err)
		}
	}
	prefix := ""
	if out != e.stderr {
		prefix = "kudev: "
	}
	h := newLogHandler(out, level, prefix)
	h.levels = levels
	return slog.New(h), level, nil
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true // a test's
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// nowhere tells whether what is written to w is lost: it is closed, or /dev/null.
func nowhere(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return true
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}
