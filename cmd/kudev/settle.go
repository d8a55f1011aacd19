package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
)

// runSettle waits until the daemon has nothing more to do. Without a daemon there is nothing to wait for, as with
// udevadm.
func runSettle(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("settle", pflag.ContinueOnError)
	timeout := timeoutFlag(flags, "t")
	exitIf := flags.StringP("exit-if-exists", "E", "", "return at once when `FILE` exists")
	waitFor := flags.String("wait-for", "", "return with the event that makes this `LINK|DEVICE`")
	asJSON := flags.Bool("json", false, "print the account as JSON")
	verbose := flags.BoolP("verbose", "v", false, "print the account")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 && !e.udevadm { // udevadm looks at none
		return misuse("no arguments wanted")
	}
	if *exitIf != "" {
		if _, err := os.Stat(*exitIf); err == nil {
			return nil
		}
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, end, err := e.connect(ctx, cfg)
	if errors.Is(err, daemon.ErrNoDaemon) {
		if *waitFor != "" && !e.waitDone(inDev(*waitFor), false, true) {
			return fmt.Errorf("%s is not there: %w", *waitFor, err)
		}
		e.logger(cfg).Debug("no kudev daemon runs: nothing to wait for")
		return nil
	}
	if err != nil {
		return err
	}
	defer end()
	if *exitIf != "" {
		go e.untilExists(ctx, *exitIf, cancel)
	}
	r, err := conn.Ask(daemon.Request{Do: "settle", Timeout: timeout.micros(), WaitFor: *waitFor})
	if errors.Is(context.Cause(ctx), errExists) {
		return nil
	}
	if err != nil {
		return interruption(ctx, err)
	}
	if *asJSON || *verbose {
		if err := e.printAccount(r.Account, *asJSON); err != nil {
			return err
		}
	}
	r.Account.Failed = nil // of a coldplug's or trigger's caller, not of who waits
	return r.Account.Err()
}

// inDev is a name below /dev as a path, and a path as it is.
func inDev(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return "/dev/" + name
}

var errExists = errors.New("the file exists")

// untilExists ends the context when the file is there. A file system need not tell of it, so the file is looked for.
func (e *env) untilExists(ctx context.Context, name string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := os.Stat(name); err == nil {
				cancel(errExists)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
